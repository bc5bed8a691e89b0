"""VIPs of both families on one virtual router, where the kernel looks for duplicates of IPv6 addresses, as it does by default.

With the virtual MAC too (keepalived.use_vmac), which those of the first one's family have.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.clients.load import Load
from lab.conftest import MakeCluster, PlugIn
from lab.fabric import ruleset
from lab.fabric.cluster import VIP, VIP6, Cluster, update
from lab.fabric.kernel_rules import situation
from lab.fabric.namespace import Namespace
from lab.fabric.node import Node
from lab.fabric.wait import until
from lab.scenarios.story import history
from vrrp_drain.notify.notice import Kind

CLIENTS = 20
DUAL_STACK = {"bind": ":::80 v4v6"}
FIRST_OF = pytest.mark.parametrize("vips", [(VIP, VIP6), (VIP6, VIP)], ids=["IPv4 first", "IPv6 first"])


def deploy(make_cluster: MakeCluster, vips: tuple[str, str], **options: Any) -> Cluster:
    vip, further = vips
    keepalived = {"vips": [further], **options.pop("keepalived", {})}
    return make_cluster(2, vip=vip, dad=True, keepalived=keepalived, ha_proxy=DUAL_STACK, **options)


def move(node: Node, how: str, to: Node) -> None:
    code, _, stderr = node.vrrpctl(how)
    assert code == 0, stderr
    to.wait_for(VIP)
    to.wait_for(VIP6)


def there_and_back(cluster: Cluster, vips: tuple[str, str]) -> None:
    """Move the VIPs away and back while clients have connections to both; nobody notices."""
    first, second = cluster.nodes
    with (
        Load(cluster.client, vips[0], rate=30, keep_alive=CLIENTS) as one,
        Load(cluster.client, vips[1], rate=30, keep_alive=CLIENTS, lane=1) as other,
    ):
        still_served(one, other)
        move(first, "demote", second)
        assert {each.vip.version for each in situation(second.machine).armed} == {4, 6}
        still_served(one, other)
        move(first, "promote", first)
        assert {each.vip.version for each in situation(first.machine).armed} == {4, 6}
        still_served(one, other)
    for load in (one, other):
        assert load.found.failed("established") == []
        assert load.found.failed("new") == []
        assert load.found.lost_syns() == []
        assert {each.node for each in load.found.of("established")} == {"haproxy/0"}
        assert {each.node for each in load.found.of("new")} == {"haproxy/0", "haproxy/1"}


def still_served(*loads: Load) -> None:
    served = [load.answered for load in loads]
    until(lambda: all(load.answered > before + 100 for load, before in zip(loads, served, strict=True)), "clients to be served")


@pytest.mark.kernel("IPv6")
@FIRST_OF
@pytest.mark.samples("IPv4 first")
def test_open_connections_of_both_families(make_cluster: MakeCluster, vips: tuple[str, str]) -> None:
    """Whichever comes first: keep-alive clients of both notice neither the move away nor the way back."""
    there_and_back(deploy(make_cluster, vips), vips)


@FIRST_OF
@pytest.mark.samples("IPv6 first")  # the other one is below
def test_where_no_multicast_passes(make_cluster: MakeCluster, vips: tuple[str, str]) -> None:
    """With unicast peers on a segment that carries VRRP to no group: the peers' addresses of the other family are learnt."""
    peers = {} if vips[0] == VIP else {"unicast_peers": ["fd00::1", "fd00::2"]}
    cluster = deploy(make_cluster, vips, create=False, keepalived={"unicast": True, **peers})
    cluster.switch.carry_no_multicast_of("vrrp")
    cluster.create()
    cluster.nodes[0].wait_for(cluster.vip)
    there_and_back(cluster, vips)


def test_an_update_where_no_multicast_passes(make_cluster: MakeCluster) -> None:
    """What an instance knew is gone when it starts again; its peer's watcher tells it what the way back needs."""
    cluster = deploy(make_cluster, (VIP, VIP6), create=False, watched=True, keepalived={"unicast": True})
    cluster.switch.carry_no_multicast_of("vrrp")
    first, _ = cluster.create().nodes
    first.wait_for(VIP)

    def is_armed() -> None:
        assert "no connection of a client is left here" in first.log()
        assert {each.vip.version for each in situation(first.machine).armed} == {4, 6}

    updated_under_load(cluster, is_armed)


def updated_under_load(cluster: Cluster, afterwards: Callable[[], None] = lambda: None) -> None:
    """Update the first node, while clients of both families notice nothing; call ``afterwards`` before they are asked once more."""
    first, second = cluster.nodes
    with (
        Load(cluster.client, VIP, rate=30, keep_alive=CLIENTS) as one,
        Load(cluster.client, VIP6, rate=30, keep_alive=CLIENTS, lane=1) as other,
    ):
        still_served(one, other)
        (drain,) = (each for each in update(first) if each.job == "vrrp-drain")
        assert drain.exit_code == 0, drain.stderr
        first.wait_for(VIP6)
        afterwards()
        still_served(one, other)
    for load in (one, other):
        assert load.found.failed("established") == []
        assert load.found.failed("new") == []
        assert load.found.lost_syns() == []
        assert {each.node for each in load.found.of("established")} == {first.name, second.name}


@pytest.mark.kernel("virtual MAC", all=("IPv4 first",), short=("IPv4 first",))
@pytest.mark.needs("macvlan")
@FIRST_OF
def test_a_virtual_mac(make_cluster: MakeCluster, vips: tuple[str, str]) -> None:
    """Nobody notices a move, there or back, nor that the switch forgets where that MAC is and sends what is for it to everybody.

    Where keepalived ends on the last instance, clients of the VIP that it leaves behind are served all the same.
    """
    cluster = deploy(make_cluster, vips, keepalived={"use_vmac": True})
    first, second = cluster.nodes
    mac = f"00:00:5e:00:{'01' if vips[0] == VIP else '02'}:01"
    there_and_back(cluster, vips)
    assert f"lladdr {mac}" in cluster.client.run(["/usr/sbin/ip", "neighbour", "show", vips[0]]).stdout
    until(lambda: not held(second, vips[0], "speaks"), "the second node to know that it is BACKUP")
    with (
        Load(cluster.client, vips[0], rate=50, keep_alive=CLIENTS, lane=2) as one,
        Load(cluster.client, vips[1], rate=50, keep_alive=CLIENTS, lane=3) as other,
    ):
        for _ in range(5):
            still_served(one, other)
            cluster.switch.forget()
        still_served(one, other)
    for load in (one, other):
        assert load.found.failed("established") + load.found.failed("new") + load.found.lost_syns() == []
        assert {each.node for each in load.found.requests} == {first.name}
    assert dropped(second, vips[0]) > 0
    second.power_off()
    first.crash_keepalived()
    until(lambda: not held(first, vips[0], "heard") and not held(first, vips[0], "speaks"), "the first node to hear nobody")
    with Load(cluster.client, vips[0], rate=50, keep_alive=0, lane=4) as alone:
        until(lambda: alone.answered > 20, "clients to be served")
    assert first.has(vips[0])
    assert first.vrrpctl("keepalived", "stop")[0] == 0
    assert not any(first.has(vip) for vip in vips)


def held(node: Node, vip: str, name: str) -> bool:
    """Tell whether a set of the rules for the virtual MAC holds anything."""
    return bool(ruleset.held(ruleset.objects(node.machine, "set", "ip" if vip == VIP else "ip6", "vrrp_drain", name)))


def dropped(node: Node, vip: str) -> int:
    """Return how many packets to the virtual MAC were dropped because a peer is MASTER."""
    return ruleset.counted(ruleset.objects(node.machine, "chain", "ip" if vip == VIP else "ip6", "vrrp_drain", "virtual"))


@pytest.mark.thorough
def test_an_update_with_a_virtual_mac(make_cluster: MakeCluster) -> None:
    """keepalived's interface goes with it and comes again; clients notice nothing, and doctor and status find nothing wrong."""
    cluster = deploy(make_cluster, (VIP, VIP6), watched=True, keepalived={"use_vmac": True})
    updated_under_load(cluster)
    for node in cluster.nodes:
        assert node.status()["unserved"] == []
        assert node.status()["obstacles"] == []
        assert "PROBLEM" not in node.vrrpctl("doctor")[1]


@pytest.mark.kernel("IPv6")
def test_an_ipv6_vip_that_the_kernel_does_not_use(make_cluster: MakeCluster, stranger: PlugIn) -> None:
    """keepalived has no duplicates of its VIPs looked for; one that somebody put there without that is told of, and is well again."""
    cluster = make_cluster(1, create=False, dad=True, watched=True, keepalived={"vips": [VIP6]}, ha_proxy=DUAL_STACK)
    (only,) = cluster.nodes
    have_looked_for_long(only.machine)
    only.start()
    only.wait_for(VIP6)
    assert "until the kernel had looked for another machine with fe80::" in only.log()
    assert "cannot send an advert" not in only.log()
    assert {"nodad", "tentative", "dadfailed"} & flags(only) == {"nodad"}
    assert only.status()["unserved"] == []
    other = stranger(cluster)
    ip(other, "address", "add", f"{VIP6}/128", "dev", "eth0", "nodad")
    assert only.vrrpctl("keepalived", "stop")[0] == 0
    ip(only.machine, "address", "add", f"{VIP6}/128", "dev", "eth0")
    until(lambda: "dadfailed" in flags(only), "the kernel to find the other machine")
    said = f"{VIP6} is on eth0, but the kernel has found another machine that has it, and does not answer for it (dadfailed)"
    assert only.status()["unserved"] == [said]
    assert f"PROBLEM vips: {said}" in " ".join(only.vrrpctl("doctor")[1].split())
    until(lambda: unserved(only) == ["on"], "the watcher to tell of it")
    ip(other, "address", "del", f"{VIP6}/128", "dev", "eth0")
    ip(only.machine, "address", "del", f"{VIP6}/128", "dev", "eth0")
    ip(only.machine, "address", "add", f"{VIP6}/128", "dev", "eth0")
    assert "tentative" in flags(only)
    assert "still looks for another machine" in only.status()["unserved"][0]
    until(lambda: "tentative" not in flags(only), "the kernel to find nobody")
    assert only.status()["unserved"] == []
    assert only.vrrpctl("keepalived", "start")[0] == 0
    only.wait_for(VIP)
    until(lambda: unserved(only)[-1] == "off", "the watcher to tell that it is over")
    assert only.status()["unserved"] == []


def have_looked_for_long(machine: Namespace) -> None:
    """Have the kernel look for other machines with an IPv6 address for three seconds (RFC 4862 section 5.1), and begin with the one that
    the instance speaks from."""
    machine.in_network(lambda: Path("/proc/sys/net/ipv6/conf/eth0/dad_transmits").write_text("3"))
    listed = ip(machine, "-6", "-oneline", "address", "show", "dev", "eth0", "scope", "link").split()
    own = listed[listed.index("inet6") + 1]
    ip(machine, "address", "del", own, "dev", "eth0")
    ip(machine, "address", "add", own, "dev", "eth0")


def unserved(node: Node) -> list[str]:
    """Return what the watcher told of the condition."""
    return [each.state for each in history(node) if each.kind is Kind.UNSERVED]


def flags(node: Node) -> set[str]:
    """Return what the kernel says of the IPv6 VIP on eth0."""
    listed = ip(node.machine, "-6", "-oneline", "address", "show", "dev", "eth0", "to", VIP6)
    return {*listed.split()}


def ip(machine: Namespace, *arguments: str) -> str:
    done = machine.run(["/usr/sbin/ip", *arguments])
    assert done.returncode == 0, done.stderr
    return done.stdout

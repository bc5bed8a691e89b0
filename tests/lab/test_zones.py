"""Instances in two availability zones, a router between them: their adverts arrive with a TTL of 254, and the VIP is routed."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from lab.clients.load import Load
from lab.conftest import nft, show
from lab.fabric import kernel_rules
from lab.fabric.cloud import COMMAND, NOTIFY, Cloud
from lab.fabric.cluster import FAST, VIP, VIP6, update
from lab.fabric.wait import until
from lab.fabric.zones import Zones

DUAL_STACK = {"bind": ":::80 v4v6"}
DEPLOYED: dict[str, dict[str, Any]] = {
    VIP: {"interface": "eth0"},
    VIP6: {"interface": "eth0", "unicast_peers": ["fd00:0::1", "fd00:1::1"]},
}
ADDRESSES = {VIP: ("10.0.0.1", "10.0.1.1"), VIP6: ("fd00::1", "fd00:1::1")}
MakeZones = Callable[..., tuple[Zones, Cloud]]


@pytest.fixture
def make_zones(package: Path) -> Iterator[MakeZones]:
    """Give a function that deploys an instance in each of two zones, with a router that the new MASTER tells to route the VIP to it."""
    made: list[Zones] = []
    with ExitStack() as stack:

        def make(vip: str, hops: int, *, start: bool = True, watched: bool = False, **vrrp_drain: Any) -> tuple[Zones, Cloud]:
            keepalived = {**FAST, **DEPLOYED[vip], "unicast": True, "unicast_hops": hops, "extra_instance_config": NOTIFY}
            drain = {"takeover_proof": "adverts", "on_no_successor": "fail", **vrrp_drain}
            zones = stack.enter_context(
                Zones(package, 2, vip=vip, watched=watched, keepalived=keepalived, vrrp_drain=drain, ha_proxy=DUAL_STACK)
            )
            made.append(zones)
            cloud = stack.enter_context(Cloud(zones.router, "10.0.0.254", vip))
            zones.apply()
            for node, address in zip(zones.nodes, ADDRESSES[vip], strict=True):
                cloud.install(node, address)
            if start:
                for node in zones.nodes:
                    node.start()
                zones.nodes[0].wait_for(vip)
            return zones, cloud

        yield make
        for each in made:
            show(each)


@pytest.mark.samples("command-IPv6")
@pytest.mark.parametrize("vip", [VIP, VIP6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("proof", ["adverts", "command"])
def test_an_update_across_a_router(make_zones: MakeZones, vip: str, proof: str) -> None:
    """With unicast_hops 1 they elect one MASTER, drain and post-start prove what they did, and no new connection is refused."""
    command = {"takeover_command": COMMAND, "handover_timeout": 8} if proof == "command" else {}
    zones, cloud = make_zones(vip, 1, takeover_proof=proof, **command)
    first, second = zones.nodes
    assert zones.holders() == [first]
    with Load(zones.client, vip, rate=50, keep_alive=0) as load:
        drains = update(first)
        first.wait_for(vip)
        update(second)
    assert [(each.exit_code, each.stdout) for each in drains] == [(0, "0\n")]
    assert zones.holders() == [first]
    us, peer = ADDRESSES[vip]
    assert cloud.told == [us, peer, us]
    assert ": handed over" in first.log()
    assert "this node is its backup" in second.log()
    assert load.found.refused() == []
    for node in zones.nodes:
        assert node.vrrpctl("doctor")[0] == 0


@pytest.mark.samples("IPv6")
@pytest.mark.parametrize("vip", [VIP, VIP6], ids=["IPv4", "IPv6"])
@pytest.mark.samples("IPv6")
def test_open_connections_across_a_router(make_zones: MakeZones, vip: str) -> None:
    """Through a tunnel packets of open connections get to the other zone, there and back; as they are, the router returns them."""
    zones, _ = make_zones(vip, 1, handoff_transport="tunnel")
    first, second = zones.nodes
    with Load(zones.client, vip, rate=0, keep_alive=10) as load:
        for node, how, holder in ((first, "demote", second), (first, "promote", first)):
            enough = load.answered + 30
            until(lambda enough=enough: load.answered >= enough, "the clients to be answered")  # type: ignore[misc]
            code, _, stderr = node.vrrpctl(how)
            assert code == 0, stderr
            assert zones.holders() == [holder]
        with Load(zones.client, vip, rate=0, keep_alive=10, lane=1) as later:
            until(lambda: load.answered >= enough + 30 and later.answered >= 30, "the clients to be answered")
    assert load.found.failed("established") == []
    assert later.found.failed("established") == []
    assert {each.node for each in load.found.of("established")} == {"haproxy/0"}


@pytest.mark.samples("IPv4")
@pytest.mark.parametrize("vip", [VIP, VIP6], ids=["IPv4", "IPv6"])
def test_a_leaver_across_a_router_that_is_gone(make_zones: MakeZones, vip: str) -> None:
    """ARP tells nothing of it, ICMP echo does: its clients get their reset, and do not hang until the window ends."""
    zones, _ = make_zones(vip, 1, watched=True, handoff_transport="tunnel")
    first, second = zones.nodes
    with zones.client.in_network(lambda: socket.create_connection((vip, 80), 5)) as client:
        code, _, stderr = first.vrrpctl("demote")
        assert code == 0, stderr
        time.sleep(2)  # as long as it takes to be given up
        assert kernel_rules.situation(second.machine).armed, "one that is there keeps them"
        client.sendall(b"GET / HTTP/1.1\r\nHost: vip\r\n\r\n")
        assert b"haproxy/0" in client.recv(4096)
        nft(first, "add table inet dead { chain in { type filter hook prerouting priority -400; policy drop; }; }")
        nft(first, "add chain inet dead out { type filter hook output priority -400; policy drop; }")
        until(lambda: is_reset(client), "the reset", 5)
    assert "left and went on serving open connections, but does not answer any more" in second.log()


def is_reset(client: socket.socket) -> bool:
    try:
        client.sendall(b"G")
    except OSError:
        return True
    time.sleep(0.05)
    return False


@pytest.mark.thorough
@pytest.mark.parametrize("vip", [VIP, VIP6], ids=["IPv4", "IPv6"])
def test_by_default_nothing_crosses_a_router(make_zones: MakeZones, vip: str) -> None:
    """Such adverts are dropped before keepalived hears them; pre-start and doctor say so, and which property allows them."""
    zones, _ = make_zones(vip, 0, start=False)
    first, second = zones.nodes
    first.start()
    second.agent.run_script("pre-start")
    second.monit.start()
    until(lambda: second.has(vip), "the second to be MASTER beside the first")
    assert first.has(vip)
    us, _ = ADDRESSES[vip]
    assert f"adverts of {us} have crossed routers (1), more than keepalived.unicast_hops allows" in second.log()
    code, stdout, _ = second.vrrpctl("doctor")
    assert (code, f"adverts of {us} have crossed routers (1) and are dropped: keepalived.unicast_hops is 0" in stdout) == (8, True)

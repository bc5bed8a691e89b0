"""Open connections in a network that drops foreign source addresses: they go through a tunnel, or are cut."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from lab.clients.both_ways import Transfer
from lab.clients.load import Load
from lab.conftest import MakeCluster
from lab.fabric import kernel_rules
from lab.fabric.cluster import Cluster
from lab.fabric.node import Node
from lab.fabric.port_security import dropped, secure
from lab.fabric.servers import echo, serving
from lab.fabric.wait import until
from lab.fabric.watchdog import watchdog
from lab.strangers.smuggler import NUMBER, PORT, echo_to, smuggle
from lab.strangers.stray import stray
from vrrp_drain.doctor import tunnel_probe
from vrrp_drain.handoff import tunnel

pytestmark = pytest.mark.needs("vxlan")

TUNNEL = {"handoff_transport": "tunnel"}
VIP, VIP6 = "10.0.0.10", "fd00::10"
FAMILIES = pytest.mark.parametrize("vip", [VIP, VIP6], ids=["IPv4", "IPv6"])
ECHO_PORT = 8081
CLIENTS = 10
SECONDS = 120.0  # a storm is ended from outside
MakeSecured = Callable[..., Cluster]


@pytest.fixture
def make_secured(make_cluster: MakeCluster) -> MakeSecured:
    """Give a function that deploys a group there, with reverse path filtering as strict as it can be."""

    def make(nodes: int, vip: str, vrrp_drain: dict[str, Any], *further: str, **options: Any) -> Cluster:
        bind = {"bind": ":::80 v4v6"} if ":" in vip else {}
        keepalived = {"vips": [f"{each}/64" for each in further]}
        cluster = make_cluster(nodes, vip=vip, create=False, vrrp_drain=vrrp_drain, ha_proxy=bind, keepalived=keepalived, **options)
        for node in cluster.nodes:
            secure(cluster.switch, node, [vip, *further])
            node.machine.in_network(lambda: Path("/proc/sys/net/ipv4/conf/all/rp_filter").write_text("1"))
        cluster.create()
        cluster.nodes[0].wait_for(vip)
        return cluster

    return make


def move(node: Node, how: str) -> None:
    code, _, stderr = node.vrrpctl(how)
    assert code == 0, stderr


def asked(*loads: Load) -> None:
    """Return when each load's clients have all been answered, or not, several times more."""
    enough = [load.answered + load.failed + 2 * CLIENTS for load in loads]
    for load, count in zip(loads, enough, strict=True):
        until(lambda load=load, count=count: load.answered + load.failed >= count, "the clients to be answered")  # type: ignore[misc]


def served_by(load: Load) -> set[str]:
    return {request.node for request in load.found.of("established")}


def snmp(node: Node, name: str, *, v6: bool = False) -> int:
    """Return a counter of the node's kernel."""
    directory = Path(f"/proc/{node.machine.pid}/net")
    if v6:
        return int(next(line for line in (directory / "snmp6").read_text().splitlines() if line.startswith(f"{name} ")).split()[1])
    names, values = (line.split() for line in (directory / "snmp").read_text().splitlines() if line.startswith("Ip: "))
    return int(values[names.index(name)])


def went(transfer: Transfer, size: int = 1 << 20) -> None:
    """Return when ``size`` bytes more have come back."""
    enough = transfer.bytes + size
    until(lambda: transfer.bytes >= enough or transfer.error, "the transfer to go on")


@pytest.mark.kernel("tunnel")
@pytest.mark.parametrize("vips", [(VIP,), (VIP6,), (VIP, VIP6)], ids=["IPv4", "IPv6", "both"])
@pytest.mark.samples("both")
def test_open_connections_survive_there(make_secured: MakeSecured, vips: tuple[str, ...]) -> None:
    """Two leave one after the other and come back: their clients and a long upload of full-size packets notice none of the four moves."""
    (vip, *_), (*_, uploaded_to) = vips, vips
    cluster = make_secured(3, vip, TUNNEL, *vips[1:], watched=True)
    first, second, third = cluster.nodes
    with ExitStack() as stack:
        stack.enter_context(watchdog(SECONDS, *(node.machine for node in cluster.nodes)))
        for node in cluster.nodes:
            stack.enter_context(serving(node.machine, "::", ECHO_PORT, echo))
        of_first = stack.enter_context(Load(cluster.client, vip, rate=0, keep_alive=CLIENTS))
        asked(of_first)
        upload = stack.enter_context(Transfer(cluster.client, uploaded_to, ECHO_PORT))
        went(upload)
        move(first, "demote")
        assert cluster.holders() == [second]
        until(lambda: cluster.client_sends_to(second), "the client to know the new MASTER")
        went(upload)
        of_second = stack.enter_context(Load(cluster.client, vip, rate=0, keep_alive=CLIENTS, lane=1))
        asked(of_first, of_second)
        move(second, "demote")
        assert cluster.holders() == [third]
        asked(of_first, of_second)
        went(upload)
        assert all(stray(cluster, each) for each in vips), "what nobody knows comes to its end"
        assert sum(kernel_rules.situation(node.machine).circled for node in cluster.nodes) == 0
        move(second, "promote")
        assert cluster.holders() == [second]
        move(first, "promote")
        assert cluster.holders() == [first]
        asked(of_first, of_second)
        went(upload)
    assert of_first.found.failed("established") == []
    assert of_second.found.failed("established") == []
    assert (served_by(of_first), served_by(of_second)) == ({"haproxy/0"}, {"haproxy/1"})
    assert upload.whole, upload.error
    assert dropped(cluster.switch) == 0, "nothing had a client's source"
    if uploaded_to == VIP:
        assert sum(snmp(node, "ReasmOKs") for node in cluster.nodes) > 0, "what was too long came in two"
    else:
        assert sum(snmp(node, "Icmp6OutPktTooBigs", v6=True) for node in cluster.nodes) > 0, "the client was told to send smaller ones"


@FAMILIES
@pytest.mark.samples("IPv4")
def test_without_the_tunnel_they_are_cut_there(make_secured: MakeSecured, vip: str) -> None:
    """What the tunnel is for: handed on as they are, the network drops the packets, and clients hang."""
    cluster = make_secured(2, vip, {})
    first, second = cluster.nodes
    with Load(cluster.client, vip, rate=0, keep_alive=CLIENTS) as load:
        asked(load)
        move(first, "demote")
        assert cluster.holders() == [second]
        until(lambda: load.failed >= CLIENTS, "the clients to be cut")
    assert dropped(cluster.switch) > 0


@pytest.mark.kernel("tunnel")
@FAMILIES
@pytest.mark.samples("IPv4")
def test_nobody_else_gets_in(make_secured: MakeSecured, vip: str) -> None:
    """The tunnel's end takes what a member sends from near by and to a VIP. Taken away it is put back, and post-stop leaves nothing."""
    cluster = make_secured(2, vip, TUNNEL, watched=True)
    first, second = cluster.nodes
    here, member = (f"fe80::ff:fe00:{n}" if ":" in vip else f"10.0.0.{n}" for n in (1, 2))
    client = "fd00::200" if ":" in vip else "10.0.0.200"
    to_vip = echo_to(vip, client)
    before = arrived(first)
    smuggle(cluster.client, here, to_vip)
    smuggle(second.machine, here, echo_to(here, client))
    smuggle(second.machine, here, to_vip, hops=254)
    if ":" not in vip:
        smuggle(cluster.client, here, to_vip, hops=254, source=member)
        smuggle(second.machine, here, echo_to(VIP6, "fd00::200"))
    assert arrived(first) == before
    smuggle(second.machine, here, to_vip)
    until(lambda: arrived(first) == before + 1, "what a member sends to a VIP to get in")
    code, told, _ = second.vrrpctl("doctor")
    assert code == 0, told
    assert "handoff-tunnel" in told
    longest = "ip6 length > 1400" if ":" in vip else "ip frag-off & 0x1fff != 0"
    with blocked(cluster, longest):
        assert passes(second, here, member, vip) == (True, False), "small ones, but none of full size"
    with blocked(cluster, f"udp dport {PORT}"):
        assert f"UDP port {PORT} does not pass between the instances" in tunnel_findings(second)[0]
    name = device(vip)
    assert "inet6" not in ip(first, "addr", "show", "dev", name), "it is no interface of anybody's network"
    assert ip(first, "link", "del", name) == ""
    until(lambda: f"the tunnel {name} is gone" in first.log(), "the watcher to tell of it")
    until(lambda: first.status()["obstacles"] == [], "the watcher to put it back")
    smuggle(second.machine, here, to_vip)
    until(lambda: arrived(first) == 1, "what a member sends to get in again")
    assert first.status()["handoff_transport"] == "tunnel"
    first.monit.stop()
    first.agent.run_script("post-stop")
    assert name not in ip(first, "link", "show") + ip(first, "-6" if ":" in vip else "-4", "rule")


@pytest.mark.kernel("tunnel")
def test_a_kernel_without_vxlan(make_cluster: MakeCluster) -> None:
    """Somebody else has the port, as good as no VXLAN: pre-start says so, nothing is handed on, and clients get their reset at once."""
    cluster = make_cluster(2, create=False, vrrp_drain=TUNNEL)
    first, second = cluster.nodes
    taken = second.machine.in_network(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with taken:
        taken.bind(("0.0.0.0", PORT))
        cluster.create()
        first.wait_for(cluster.vip)
        said = "the tunnel for packets of open connections cannot be made (somebody else has the port"
        assert said in second.log()
        found = second.status()
        assert (found["handoff"], found["obstacles"]) == (False, []), "nobody took away what never was there"
        with Load(cluster.client, cluster.vip, rate=0, keep_alive=CLIENTS) as load:
            asked(load)
            move(first, "demote")
            until(lambda: load.failed >= CLIENTS, "the clients to be cut")
    assert {each.outcome for each in load.found.failed("established")} == {"reset"}
    assert device(VIP) not in ip(second, "link", "show")


def tunnel_findings(node: Node) -> list[str]:
    """Return what doctor finds wrong with the tunnel."""
    report = json.loads(node.vrrpctl("doctor", "--json")[1])
    return [each["what"] for each in report["findings"] if each["check"] == "handoff-tunnel" and each["severity"] != "ok"]


def passes(node: Node, peer: str, own: str, vip: str) -> tuple[bool, bool]:
    """Tell whether packets reach the peer through the node's tunnel, and such of full size."""
    end, to, size = ip_address(own), ip_address(peer), 1430 if ":" in vip else 1500
    wanted = tunnel.Tunnel(PORT, NUMBER, "eth0", (end,))
    found = node.machine.in_network(lambda: tunnel_probe.probe(wanted, end, ip_address(vip), [to], size))
    return to in found.through, to in found.full


@contextmanager
def blocked(cluster: Cluster, what: str) -> Iterator[None]:
    """Have the network drop it."""
    environment = {"PATH": "/usr/sbin:/sbin:/usr/bin"}
    chain = "bridge block forward"
    text = f"add table bridge block\nadd chain {chain} {{ type filter hook forward priority 0; }}\nadd rule {chain} {what} drop\n"
    done = cluster.switch.namespace.run(["nft", text], environment)
    assert done.returncode == 0, done.stderr
    yield
    cluster.switch.namespace.run(["nft", "delete table bridge block"], environment)


def device(vip: str) -> str:
    return tunnel.NAMES[6 if ":" in vip else 4]


def arrived(node: Node) -> int:
    """Return how many packets have come out of the node's tunnel."""
    found = json.loads(ip(node, "-s", "-j", "link", "show", device(node.status()["vip"])))
    return int(found[0]["stats64"]["rx"]["packets"])


def ip(node: Node, *arguments: str) -> str:
    done = node.machine.run(["ip", *arguments], {"PATH": "/usr/sbin:/sbin:/usr/bin"})
    assert done.returncode == 0, done.stderr
    return done.stdout

"""HTTP/3: connections of UDP that are open when the VIP moves, where vrrp_drain.quic_ports names their port."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from lab.clients.datagrams import HANDSHAKE, SHORT, Connection, Server
from lab.conftest import MakeCluster
from lab.fabric.cluster import Cluster
from lab.fabric.kernel_rules import situation
from lab.fabric.node import Node
from lab.fabric.wait import until

PORT, OTHER = 443, 53
HANDED_OFF: Mapping[str, Mapping[str, Any]] = {"vrrp_drain": {"quic_ports": [PORT]}}
CONNECTIONS = 5


@contextmanager
def serving(cluster: Cluster, port: int = PORT) -> Iterator[list[Server]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Server(node.machine, cluster.vip, port, node.name)) for node in cluster.nodes]


@contextmanager
def connected(cluster: Cluster, port: int = PORT) -> Iterator[list[Connection]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Connection(cluster.client, cluster.vip, port)) for _ in range(CONNECTIONS)]


def move(cluster: Cluster, command: str, target: Node) -> None:
    """Demote or promote the first instance, so that the VIP moves to ``target``."""
    code, _, stderr = cluster.nodes[0].vrrpctl(command)
    assert code == 0, stderr
    assert cluster.holders() == [target]
    until(lambda: cluster.client_sends_to(target), f"the client to learn that the VIP is at {target.name}")


@pytest.mark.kernel("handoff", all=("fd00::10-direct", "10.0.0.10-tunnel"), short=("fd00::10-direct",))
@pytest.mark.parametrize(
    ("vip", "transport"),
    [("10.0.0.10", "direct"), ("fd00::10", "direct"), pytest.param("10.0.0.10", "tunnel", marks=pytest.mark.needs("vxlan"))],
)
def test_connections_of_quic_survive_both_moves(make_cluster: MakeCluster, vip: str, transport: str) -> None:
    """Each is answered by the instance that it was opened at, away and back; who opens one meanwhile gets the new MASTER."""
    vrrp_drain = {**HANDED_OFF["vrrp_drain"], "handoff_transport": transport}
    cluster = make_cluster(2, vip=vip, vrrp_drain=vrrp_drain, ha_proxy={"bind": ":::80 v4v6"} if ":" in vip else {})
    first, second = cluster.nodes
    with serving(cluster) as servers, connected(cluster) as early:
        assert {each.server for each in early} == {first.name}
        move(cluster, "demote", second)
        assert [each.ask() for each in early] == [first.name] * CONNECTIONS
        assert [each.ask(HANDSHAKE) for each in early] == [first.name] * CONNECTIONS
        with connected(cluster) as late:
            assert {each.server for each in late} == {second.name}
            assert [each.ask() for each in late] == [second.name] * CONNECTIONS
            move(cluster, "promote", first)
            assert [each.ask() for each in (*early, *late)] == [first.name] * CONNECTIONS + [second.name] * CONNECTIONS
        assert [each.unknown for each in servers] == [0, 0]


def test_other_services_of_udp_stay_with_the_master(make_cluster: MakeCluster) -> None:
    """Whatever their packets look like: a port that is not named is nobody's but the MASTER's, and so is QUIC where none is named."""
    cluster = make_cluster(2, **HANDED_OFF)
    _, second = cluster.nodes
    with serving(cluster, OTHER) as servers, connected(cluster, OTHER) as early:
        move(cluster, "demote", second)
        assert [each.ask(SHORT) for each in early] == [""] * CONNECTIONS
        assert servers[1].unknown == CONNECTIONS
        assert {each.peer for each in situation(second.machine).armed}, "packets are handed on at this time"


def test_drain_waits_for_connections_of_quic(make_cluster: MakeCluster) -> None:
    """It ends when the last one has ended, and says until then how many there are."""
    cluster = make_cluster(2, vrrp_drain={"quic_ports": [PORT], "drain_timeout": 60})
    first, second = cluster.nodes
    server = Server(first.machine, cluster.vip, PORT, first.name)
    with server, connected(cluster) as early:
        drain = first.agent.start_drain()
        second.wait_for(cluster.vip)
        until(lambda: f"{CONNECTIONS} connections are still served from here" in first.log(), "the drain to count them")
        assert [each.ask() for each in early] == [first.name] * CONNECTIONS
    run = drain.result()
    assert (run.exit_code, run.stdout) == (0, "0\n")
    assert "no connection of a client is left here" in run.stderr

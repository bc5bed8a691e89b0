"""Connections that are open when the VIP moves: they go on, wherever it moves, as long as the node that left serves them."""

import ipaddress
import socket
import time
from contextlib import AbstractContextManager

import pytest

from lab.clients.both_ways import Transfer
from lab.clients.load import Load
from lab.conftest import MakeCluster
from lab.fabric import kernel_rules
from lab.fabric.cluster import Cluster
from lab.fabric.node import Node
from lab.fabric.servers import echo, serving
from lab.fabric.wait import until
from lab.strangers.stray import stray
from vrrp_drain.handoff.situation import Situation

FAMILIES = pytest.mark.parametrize("vip", ["10.0.0.10", "fd00::10"])
ECHO_PORT = 8081
FIRST, SECOND = (ipaddress.ip_address(f"10.0.0.{n}") for n in (1, 2))


def deploy(make_cluster: MakeCluster, nodes: int, vip: str = "10.0.0.10") -> Cluster:
    """Deploy a cluster; pre-start has installed the rules in every node."""
    return make_cluster(nodes, vip=vip, ha_proxy={"bind": ":::80 v4v6"} if ":" in vip else {})


def situation(node: Node) -> Situation:
    return kernel_rules.situation(node.machine)


def adverts_come_from(node: Node, vip: str) -> str:
    """Return the node's address that its adverts come from."""
    if ":" not in vip:
        return node.spec.address
    listed = node.machine.run(["ip", "-6", "-o", "addr", "show", "dev", "eth0", "scope", "link"], {"PATH": "/usr/sbin:/sbin:/usr/bin"})
    return listed.stdout.split()[3].partition("/")[0]


def demote(node: Node) -> None:
    code, _, stderr = node.vrrpctl("demote")
    assert code == 0, stderr


def echoing(node: Node) -> AbstractContextManager[None]:
    return serving(node.machine, "::", ECHO_PORT, echo)


def transfer_to(cluster: Cluster) -> Transfer:
    return Transfer(cluster.client, cluster.vip, ECHO_PORT)


def served_by(load: Load) -> dict[int, set[str]]:
    """Return which nodes answered each keep-alive client."""
    found: dict[int, set[str]] = {}
    for request in load.found.of("established"):
        found.setdefault(request.client, set()).add(request.node)
    return found


@pytest.mark.kernel("handoff", short=True)
@pytest.mark.samples("fd00::10")
@FAMILIES
def test_open_connections_survive_both_moves(make_cluster: MakeCluster, vip: str) -> None:
    """20 keep-alive clients and a transfer in both directions notice neither the move away nor the move back."""
    cluster = deploy(make_cluster, 2, vip)
    first, second = cluster.nodes
    with echoing(first), echoing(second), Load(cluster.client, vip, rate=100, keep_alive=20) as load, transfer_to(cluster) as transfer:
        until(lambda: load.answered > 200, "the clients to be served")
        demote(first)
        assert cluster.holders() == [second]
        (armed,) = situation(second).armed
        assert (str(armed.vip), str(armed.peer)) == (vip, adverts_come_from(first, vip))
        with transfer_to(cluster) as later:  # the second node's own
            time.sleep(1)
            code, _, stderr = first.vrrpctl("promote")
            assert code == 0, stderr
            assert cluster.holders() == [first]
            time.sleep(1)
    assert load.found.failed("established") == []
    assert set(map(frozenset, served_by(load).values())) == {frozenset({"haproxy/0"})}, "every connection stays where it was opened"
    assert load.found.failed("new") == []
    assert transfer.whole, transfer.error
    assert later.whole, later.error
    assert situation(second).sent > 0
    assert situation(first).sent > 0


def test_the_second_leaves_while_the_first_still_serves(make_cluster: MakeCluster) -> None:
    """The third node knows both, and asks the last one first, which sends the first's connections on."""
    cluster = deploy(make_cluster, 3)
    first, second, third = cluster.nodes
    with Load(cluster.client, cluster.vip, rate=0, keep_alive=10) as of_first:
        until(lambda: of_first.answered > 20, "the first node's clients to be served")
        demote(first)
        assert cluster.holders() == [second]
        with Load(cluster.client, cluster.vip, rate=50, keep_alive=10, lane=1) as of_second:
            until(lambda: of_second.answered > 100, "the second node's clients to be served")
            demote(second)
            assert cluster.holders() == [third]
            assert [each.peer for each in situation(third).armed] == [FIRST, SECOND]
            time.sleep(1)
    assert of_first.found.failed("established") == []
    assert of_second.found.failed("established") == []
    assert of_second.found.failed("new") == []
    assert set().union(*served_by(of_first).values()) == {"haproxy/0"}
    assert set().union(*served_by(of_second).values()) == {"haproxy/1"}


@pytest.mark.kernel("handoff")
def test_open_connections_survive_without_a_listener_on_the_new_master(make_cluster: MakeCluster) -> None:
    """Where no socket at all is found the connection is not ours either: the node that left goes on serving it."""
    cluster = deploy(make_cluster, 2)
    first, second = cluster.nodes
    with echoing(first), transfer_to(cluster) as transfer:
        demote(first)
        assert cluster.holders() == [second]
        time.sleep(1)
    assert transfer.whole, transfer.error


def test_a_crashed_master_arms_nothing(make_cluster: MakeCluster) -> None:
    """Clients of a MASTER that died get their reset from the next one with the next packet."""
    cluster = deploy(make_cluster, 2)
    first, second = cluster.nodes
    client = cluster.client.in_network(lambda: socket.create_connection((cluster.vip, 80), 5))
    first.machine.run(["killall", "-KILL", "haproxy"])
    first.crash_keepalived()
    second.wait_for(cluster.vip)
    assert situation(second).armed == ()
    until(lambda: answered_with_reset(client), "the reset", 5)
    client.close()
    assert situation(second).sent == 0


def answered_with_reset(client: socket.socket) -> bool:
    try:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
    except (ConnectionResetError, BrokenPipeError):
        return True
    time.sleep(0.05)
    return False


def test_two_nodes_that_both_left_do_not_play_ping_pong(make_cluster: MakeCluster) -> None:
    """A packet that neither knows goes to the other one and back and to it again, then that one answers it with a reset."""
    cluster = make_cluster(2)
    first, second = cluster.nodes
    demote(first)
    second.vrrpctl("demote", "--keep")  # no successor, but the first is higher, also in the draining band
    until(lambda: cluster.holders() == [first], "the first node to have the VIP alone")
    until(lambda: situation(first).armed, "the first node to be armed")
    assert [each.peer for node in cluster.nodes for each in situation(node).armed] == [SECOND, FIRST]
    before = [situation(node).sent for node in cluster.nodes]
    assert stray(cluster)
    sent = [situation(node).sent - earlier for node, earlier in zip(cluster.nodes, before, strict=True)]
    assert sent == [2, 1]


@pytest.mark.kernel("handoff")
@pytest.mark.samples("10.0.0.10")
@FAMILIES
def test_a_port_that_a_client_uses_again(make_cluster: MakeCluster, vip: str) -> None:
    """The first node's TIME_WAIT of an earlier connection does not swallow the packets of one that the second serves."""
    cluster = deploy(make_cluster, 2, vip)
    first = cluster.nodes[0]
    earlier = connect_from(cluster, 50_002)
    assert ask(earlier, "close") == "haproxy/0"
    assert earlier.recv(1) == b"", "the server closes first: the TIME_WAIT is at the first node"
    earlier.close()
    demote(first)
    with connect_from(cluster, 50_002) as later:
        assert ask(later, "keep-alive") == "haproxy/1"
        code, _, stderr = first.vrrpctl("promote")
        assert code == 0, stderr
        assert cluster.holders() == [first]
        for _ in range(3):
            assert ask(later, "keep-alive") == "haproxy/1"
    with connect_from(cluster, 50_003) as new:
        assert ask(new, "keep-alive") == "haproxy/0", "a handshake with the first node stays with it"


def connect_from(cluster: Cluster, port: int) -> socket.socket:
    """Connect to the VIP from this port of the client's."""
    here = "::" if ":" in cluster.vip else ""
    return cluster.client.in_network(lambda: socket.create_connection((cluster.vip, 80), 5, source_address=(here, port)))


def ask(connection: socket.socket, keep: str) -> str:
    """Send one request and return the name of the node that answers."""
    connection.settimeout(3)
    connection.sendall(f"GET / HTTP/1.1\r\nHost: vip\r\nConnection: {keep}\r\n\r\n".encode())
    answer = b""
    while b"haproxy/" not in answer.rpartition(b"\r\n\r\n")[2]:
        answer += connection.recv(4096)
    return answer.rpartition(b"\r\n\r\n")[2].decode()

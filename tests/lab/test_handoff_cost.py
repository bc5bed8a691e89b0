"""What the handoff costs: ten thousand idle clients are handed off and counted, and no connection is tracked for it."""

import ipaddress
import os
import re
import socket
import time
from pathlib import Path

from lab.clients.crowd import Crowd
from lab.conftest import MakeCluster, nft
from lab.fabric.cluster import Cluster
from lab.fabric.kernel_rules import group, hold
from lab.fabric.node import Node
from lab.fabric.wait import until
from vrrp_drain.handoff.rules import Rules
from vrrp_drain.linux import connections

CLIENTS = 10_000
THE_VIP = ipaddress.ip_address("10.0.0.10")


def test_ten_thousand_idle_clients_survive_a_drain(make_cluster: MakeCluster) -> None:
    """After the VIP has moved each is answered by the node that it connected to; drain waits for them, on a tenth of a core."""
    ha_proxy = {"maxconn": CLIENTS + 1000, "keepalive_timeout": 100}
    cluster = make_cluster(2, ha_proxy=ha_proxy, vrrp_drain={"drain_timeout": 90})
    first, second = cluster.nodes
    with Crowd(cluster.client, cluster.vip, CLIENTS) as crowd:
        assert crowd.ask() == {first.name: CLIENTS}
        drain = first.agent.start_drain()
        second.wait_for(cluster.vip)
        until(lambda: "was told to finish its connections" in first.log(), "the drain to wait for them")
        since, used = time.monotonic(), cpu_seconds(first, "vrrpctl")
        until(lambda: f"{CLIENTS} connections are still served from here" in first.log(), "the drain to count them")
        share = (cpu_seconds(first, "vrrpctl") - used) / (time.monotonic() - since)
        assert crowd.ask() == {first.name: CLIENTS}
        run = drain.result()
    assert (run.exit_code, run.stdout) == (0, "0\n")
    assert "no connection of a client is left here" in run.stderr
    assert share < 0.13, "a tenth, and what Python needs besides"


def test_which_connections_are_counted(bench: Cluster) -> None:
    """Those of clients to a VIP, at sockets for one family or for both; not those to another address, and not the listener."""
    (node,) = bench.nodes
    own, own6 = (ipaddress.ip_address(each) for each in ("10.0.0.1", "fd00::1"))

    def open_here() -> list[int]:
        return node.machine.in_network(lambda: [connections.count(vips) for vips in ([own], [own6], [own, own6], [THE_VIP])])

    def connected(address: str, port: int) -> socket.socket:
        return bench.client.in_network(lambda: socket.create_connection((address, port), 5))

    both = node.machine.in_network(lambda: socket.create_server(("::", 81), family=socket.AF_INET6, dualstack_ipv6=True))
    one = node.machine.in_network(lambda: socket.create_server(("0.0.0.0", 82)))
    with both, one:
        assert open_here() == [0, 0, 0, 0]
        with connected(str(own), 81), connected(str(own6), 81), connected(str(own), 82):
            assert open_here() == [2, 1, 3, 0]


def cpu_seconds(node: Node, command: str) -> float:
    """Return what the only process of that name has used so far."""
    (pid,) = (pid for pid, name in node.machine.pids().items() if name == command)
    fields = (node.machine.root / f"proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_no_connection_is_tracked(bench: Cluster) -> None:
    """Our rules ask for no conntrack, so the kernel keeps no table of connections because of them; a rule that does ask shows it would."""
    (node,) = bench.nodes
    hold(node.machine, group(node.spec.address))
    assert not re.search(r"\bct\b", nft(node, "list", "ruleset"))
    connect(bench, node)
    assert tracked(node) == 0
    nft(
        node, "add table ip theirs; add chain ip theirs input { type filter hook input priority 0; }; add rule ip theirs input ct state new"
    )
    connect(bench, node)
    assert tracked(node) > 0
    nft(node, "delete table ip theirs")
    node.machine.in_network(Rules().release)


def connect(cluster: Cluster, node: Node) -> None:
    listener = node.machine.in_network(lambda: socket.create_server(("0.0.0.0", 80)))
    with listener, cluster.client.in_network(lambda: socket.create_connection((node.spec.address, 80), 5)):
        listener.accept()[0].close()


def tracked(node: Node) -> int:
    return node.machine.in_network(lambda: int(Path("/proc/sys/net/netfilter/nf_conntrack_count").read_text()))

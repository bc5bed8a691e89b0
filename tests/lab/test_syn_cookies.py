"""SYN cookies and floods while the VIPs move: new connections reach the new MASTER, handed-off ones the old, for each kind of frontend."""

import http.client
import socket
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from lab.clients.program import Program
from lab.conftest import MakeCluster
from lab.fabric.cluster import VIP, VIP6, Cluster
from lab.fabric.namespace import Namespace
from lab.fabric.node import Node
from lab.fabric.wait import until

pytestmark = pytest.mark.kernel("handoff rules", short=True)

WIDE, BOUND = 8001, 8002  # frontends: bound to the wildcard, and to the VIPs
EXTRA = f"""
frontend wide
    bind :::{WIDE} v4v6
    http-request return status 200 content-type text/plain string "$INSTANCE"

frontend bound
    bind {VIP}:{BOUND}
    bind [{VIP6}]:{BOUND}
    http-request return status 200 content-type text/plain string "$INSTANCE"
"""
TARGETS = [(vip, port) for vip in (VIP, VIP6) for port in (WIDE, BOUND)]
EACH = 10  # connections to each of them
FLOOD = 50_000  # SYNs a second
STARTS = 20.0  # seconds that the flood's program may take to begin
ALWAYS, UNDER_PRESSURE = 2, 1  # net.ipv4.tcp_syncookies

Connections = Mapping[tuple[str, int], list[http.client.HTTPConnection]]


class SynFlood(Program):
    """Floods ``targets`` behind the MAC ``mac`` from entry to exit, from ``machine``; ``rate`` is what was sent a second then."""

    rate = 0.0

    def __init__(self, machine: Namespace, mac: str, targets: Sequence[tuple[str, int]], rate: float) -> None:
        super().__init__(machine, "strangers.syn_flood", {"mac": mac.replace(":", ""), "targets": targets, "rate": rate})
        self._began = threading.Event()

    def __enter__(self) -> "SynFlood":
        super().__enter__()
        assert self._began.wait(STARTS), "no flood began"
        return self

    def hear(self, line: str) -> None:
        self._began.set()

    def finish(self, lines: Sequence[dict[str, Any]]) -> None:
        (said,) = lines
        self.rate = said["sent"] / said["seconds"]


def set_cookies(node: Node, value: int) -> None:
    node.machine.in_network(lambda: Path("/proc/sys/net/ipv4/tcp_syncookies").write_text(f"{value}\n"))


def counted(node: Node, name: str) -> int:
    """Return a counter of TCP's: SYN cookies that were sent, or that came back and opened a connection (RFC 4987 section 3.6)."""
    text = node.machine.in_network(lambda: Path("/proc/thread-self/net/netstat").read_text())
    names, values = (line.split() for line in text.splitlines()[:2])
    return int(values[names.index(name)])


def open_some(cluster: Cluster, stack: ExitStack) -> Connections:
    """Open connections to each frontend at each VIP."""

    def opened(vip: str, port: int) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(vip, port)
        connection.sock = cluster.client.in_network(lambda: socket.create_connection((vip, port), 10))
        connection.auto_open = 0
        stack.callback(connection.close)
        return connection

    return {each: [opened(*each) for _ in range(EACH)] for each in TARGETS}


def ask(connections: Connections) -> dict[tuple[str, int], Counter[str]]:
    """Return who answers on them, or what happened instead."""

    def one(connection: http.client.HTTPConnection) -> str:
        try:
            connection.request("GET", "/")
            return connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException) as error:
            return repr(error)

    return {target: Counter(map(one, some)) for target, some in connections.items()}


def all_by(node: Node) -> dict[tuple[str, int], Counter[str]]:
    return {target: Counter({node.name: EACH}) for target in TARGETS}


def test_cookies_and_a_flood_after_a_move(make_cluster: MakeCluster) -> None:
    """The first one's connections are asked again and again while the second gets new ones: with cookies alone, then under a flood."""
    cluster = make_cluster(2, keepalived={"vips": [f"{VIP6}/64"]}, ha_proxy={"extra": EXTRA})
    first, second = cluster.nodes
    for node in cluster.nodes:
        for family, via in (("-4", "10.0.0.200"), ("-6", "fd00::200")):  # so that there is a way back to whoever is invented
            node.machine.run(["/usr/sbin/ip", family, "route", "add", "default", "via", via])
    with ExitStack() as stack:
        of_first = open_some(cluster, stack)
        assert ask(of_first) == all_by(first)
        code, _, stderr = first.vrrpctl("demote")
        assert code == 0, stderr
        assert cluster.holders() == [second]
        set_cookies(second, ALWAYS)
        by_cookie = open_some(cluster, stack)
        assert ask(by_cookie) == all_by(second)
        assert counted(second, "SyncookiesRecv") >= EACH * len(TARGETS), "the kernel did answer with cookies"
        assert ask(of_first) == all_by(first)
        set_cookies(second, UNDER_PRESSURE)
        before = counted(second, "SyncookiesRecv")
        with SynFlood(cluster.client, second.mac, TARGETS, FLOOD) as flood:
            sent = counted(second, "SyncookiesSent")
            until(lambda: counted(second, "SyncookiesSent") > sent + 1000, "the flood to fill the queue of handshakes")
            for _ in range(3):
                assert ask(open_some(cluster, stack)) == all_by(second)
                assert ask(of_first) == all_by(first)
                assert ask(by_cookie) == all_by(second)
        print(f"{flood.rate:.0f} SYNs a second, {counted(second, 'SyncookiesRecv') - before} connections by cookies")
        assert counted(second, "SyncookiesRecv") > before, "new connections came by cookies"
        assert ask(of_first) == all_by(first)

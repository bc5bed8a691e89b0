"""Clients, and routers before clients, that learn late where the VIP is: they still come to the instance that had it."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from ipaddress import ip_address
from typing import Any

import pytest

from lab.clients.load import Load
from lab.conftest import MakeCluster
from lab.fabric.agent import ScriptRun
from lab.fabric.cluster import Cluster
from lab.fabric.node import Node
from lab.fabric.wait import until
from vrrp_drain.linux.neighbour import announced_mac

pytestmark = pytest.mark.long

LATE = 4.0  # seconds after which the client learns that the VIP has moved
IP = "/usr/sbin/ip"


@contextmanager
def knows(cluster: Cluster, node: Node, seconds: float) -> Iterator[None]:
    """The client sends what is for the VIP to ``node``, whatever it hears, for ``seconds`` after the block begins."""
    entry = [cluster.vip, "dev", "eth0"]
    assert cluster.client.run([IP, "neighbour", "replace", *entry, "lladdr", node.mac, "nud", "permanent"]).returncode == 0
    learns = threading.Timer(seconds, lambda: cluster.client.run([IP, "neighbour", "delete", *entry]))
    learns.start()
    try:
        yield
    finally:
        learns.join()


def stop(node: Node) -> tuple[ScriptRun, ...]:
    """What the director does until haproxy is stopped."""
    node.agent.run_script(
        "pre-stop", {"BOSH_VM_NEXT_STATE": "keep", "BOSH_INSTANCE_NEXT_STATE": "keep", "BOSH_DEPLOYMENT_NEXT_STATE": "keep"}
    )
    runs = tuple(node.agent.drain())
    node.monit.stop()
    node.agent.run_script("post-stop")
    return runs


@contextmanager
def announcements(cluster: Cluster) -> Iterator[list[tuple[float, str]]]:
    """Give what the client hears: when (monotonic seconds), and which MAC was said to have the VIP."""
    vip, heard, over = ip_address(cluster.vip), list[tuple[float, str]](), threading.Event()
    protocol = socket.htons(0x0806 if vip.version == 4 else 0x86DD)
    sniffer = cluster.client.in_network(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, protocol))
    sniffer.settimeout(0.1)

    def listen() -> None:
        while not over.is_set():
            with suppress(TimeoutError):
                if mac := announced_mac(sniffer.recv(2048), vip):
                    heard.append((time.monotonic(), mac))

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        yield heard
    finally:
        over.set()
        listener.join()
        sniffer.close()


@pytest.mark.samples("IPv6")
@pytest.mark.parametrize(
    ("vip", "vrrp_drain"),
    [
        pytest.param("10.0.0.10", {}, id="IPv4"),
        pytest.param("fd00::10", {}, id="IPv6"),
        pytest.param("10.0.0.10", {"connection_handoff": False}, id="without handoff"),
    ],
)
def test_a_client_that_learns_the_move_four_seconds_late(make_cluster: MakeCluster, vip: str, vrrp_drain: dict[str, Any]) -> None:
    """None of its connections is refused: the instance that leaves accepts until nobody new comes. Where open ones live on, none breaks."""
    cluster = make_cluster(2, vip=vip, ha_proxy={"bind": ":::80 v4v6"}, vrrp_drain=vrrp_drain)
    first, second = cluster.nodes
    with Load(cluster.client, vip, rate=50, keep_alive=5) as load:
        until(lambda: load.answered > 100, "clients to be served")
        with knows(cluster, first, LATE):
            (run,) = stop(first)
        until(lambda: cluster.client_sends_to(second), "the client to learn the move")
        time.sleep(1)  # of requests to the second
    assert (run.exit_code, run.stdout) == (0, "0\n")
    assert load.found.failed("new") == []
    if vrrp_drain.get("connection_handoff", True):
        assert load.found.failed("established") == []
    assert {each.node for each in load.found.of("new")} == {"haproxy/0", "haproxy/1"}


@pytest.mark.samples("10.0.0.10")
@pytest.mark.parametrize("vip", ["10.0.0.10", "fd00::10"])
def test_the_successor_announces_itself_while_clients_come_late(make_cluster: MakeCluster, vip: str) -> None:
    """keepalived does when it becomes MASTER, and a second later; the watcher once a second as long as somebody comes to who left."""
    cluster = make_cluster(2, watched=True, vip=vip, ha_proxy={"bind": ":::80 v4v6"})
    first, second = cluster.nodes
    with Load(cluster.client, vip, rate=50, keep_alive=0) as load, announcements(cluster) as heard:
        until(lambda: load.answered > 100, "clients to be served")
        with knows(cluster, first, LATE + 2):
            stop(first)
    begin = next(at for at, mac in heard if mac == second.mac)
    seconds = {int(at - begin) for at, mac in heard if mac == second.mac}
    assert len(seconds & {2, 3, 4, 5}) >= 3, seconds
    assert load.found.failed("new") == []


def test_who_follows_at_once_costs_no_time(make_cluster: MakeCluster) -> None:
    """The drain of a MASTER with no connections takes less than 2.5 s in all: a second of quiet is all that is added."""
    cluster = make_cluster(2)
    first, second = cluster.nodes
    (run,) = first.agent.drain()
    assert (run.exit_code, run.stdout) == (0, "0\n")
    assert cluster.holders() == [second]
    assert "still come here" not in first.log()
    lines = [line for line in first.log().splitlines() if " drain[" in line]
    begin, end = (datetime.fromisoformat(line.split()[0]) for line in (lines[0], lines[-1]))
    assert "no connection of a client is left here" in lines[-1]
    assert 1.0 <= (end - begin).total_seconds() < 2.5, f"{run.seconds:.1f} s with the start of Python on a machine that is busy"


def test_connections_outlive_a_window_that_is_shorter_than_the_drain(make_cluster: MakeCluster) -> None:
    """handoff_window 3 beside drain_timeout 15: who says something every second is answered for as long as drain waits for him."""
    drain = {"drain_timeout": 15, "handoff_window": 3, "haproxy_soft_stop": False}
    cluster = make_cluster(2, vrrp_drain=drain, ha_proxy={"keepalive_timeout": 30})
    first, second = cluster.nodes
    connection = cluster.client.in_network(lambda: socket.create_connection((cluster.vip, 80), 5))
    with connection:
        running = first.agent.start_drain()
        second.wait_for(cluster.vip)
        for _ in range(8):
            connection.sendall(b"GET / HTTP/1.1\r\nHost: vip\r\n\r\n")
            assert b"haproxy/0" in connection.recv(4096)
            time.sleep(1)
    run = running.result()
    assert (run.exit_code, run.stdout) == (0, "0\n")
    assert run.seconds < 14, "drain ends with the last connection"

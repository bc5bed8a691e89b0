"""A haproxy that is full serves whom it has: the VIP stays. One that hangs but lives loses the VIP, and none of its connections."""

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from time import monotonic, sleep

import pytest

from lab.conftest import MakeCluster
from lab.fabric.cluster import Cluster
from lab.fabric.node import Node
from lab.fabric.wait import until

FULL = 20
TIME_WAIT, LISTENS = "06", "0A"  # TCP_TIME_WAIT, TCP_LISTEN of the kernel's tcp_states.h
HOGS = 20  # of which one is always before who has least weight
LOOKS = 360  # what six minutes of them are by default
HOLD = 6.0  # seconds, three times of what a hang is found in
INTERVAL, FALL = 1.0, 2  # health_interval and health_fall as they are by default
REQUEST = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n"
OURS_ALONE = {"healthcheck_command": "/bin/true"}  # what moves the VIP is the watcher
FRONTEND = f"""
frontend small
    bind :81
    maxconn {FULL}
    http-request return status 200 content-type text/plain string "$INSTANCE"
"""
QUEUE = 5
SHORT_QUEUE = f"""
frontend short
    bind :82
    maxconn {FULL}
    backlog {QUEUE}
    http-request return status 200 content-type text/plain string "$INSTANCE"
"""
_PORTS = count(20_000)


def connect(cluster: Cluster, port: int = 80) -> socket.socket:
    """Open a connection of the client's to the VIP, from a port that no other one has."""
    return cluster.client.in_network(lambda: socket.create_connection((cluster.vip, port), 20, ("", next(_PORTS))))


def answer(client: socket.socket) -> str:
    """Return the body of the next answer: the node's name."""
    client.settimeout(20)
    read = b""
    while not read.endswith(b"/0") and not read.endswith(b"/1"):
        chunk = client.recv(65536)
        assert chunk, "the connection was closed"
        read += chunk
    return read.rpartition(b"\r\n\r\n")[2].decode()


@contextmanager
def clients(cluster: Cluster, number: int, port: int = 80) -> Iterator[list[socket.socket]]:
    """Give keep-alive connections on which one request was answered each."""
    with ExitStack() as stack:
        found = [stack.enter_context(connect(cluster, port)) for _ in range(number)]
        ask(found)
        yield found


def ask(those: Sequence[socket.socket]) -> set[str]:
    """Make a request on each, all at once, and return who answered."""
    for each in those:
        each.sendall(REQUEST)
    return {answer(each) for each in those}


def gauge(node: Node, name: str) -> float:
    """Return a metric of the node's watcher."""

    def scrape() -> str:
        with socket.create_connection(("127.0.0.1", 9922), 5) as client:
            client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            return b"".join(iter(lambda: client.recv(65536), b"")).decode()

    lines = node.machine.in_network(scrape).splitlines()
    return next((float(each.rpartition(" ")[2]) for each in lines if each.startswith(f"{name} ")), -1.0)


def haproxys(node: Node) -> tuple[int, int]:
    """Return the pids of haproxy's master and of its worker, as the node itself sees them."""
    master, worker = sorted(pid for pid, name in node.machine.pids().items() if name == "haproxy")
    return master, worker


def signal(node: Node, name: str, *pids: int) -> None:
    assert node.machine.run(["kill", name, *map(str, pids)]).returncode == 0


@pytest.mark.samples("tcp://127.0.0.1:80-process-True", "http://127.0.0.1:81/-frontend-False")
@pytest.mark.parametrize(
    ("health_check", "limit", "stats_socket"),
    [
        ("tcp://127.0.0.1:80", "process", True),
        ("tcp://127.0.0.1:80", "process", False),
        ("tcp://127.0.0.1:81", "frontend", True),
        ("http://127.0.0.1:81/", "frontend", False),
    ],
)
def test_a_full_haproxy_keeps_the_vip(make_cluster: MakeCluster, health_check: str, limit: str, stats_socket: bool) -> None:
    """Idle clients take all of maxconn for six seconds: nothing moves, those who wait are answered when there is room, and operators
    are told that it is full, and when it is over. haproxy's own word is not needed for it."""
    cluster = make_cluster(
        2,
        watched=True,
        keepalived=OURS_ALONE,
        ha_proxy={"maxconn": FULL if limit == "process" else 4000, "keepalive_timeout": 30, "extra": FRONTEND},
        vrrp_drain={"health_check": health_check},
    )
    first, _ = cluster.nodes
    if not stats_socket:
        (first.machine.root / "var/vcap/sys/run/haproxy/stats.sock").unlink()
    until(lambda: gauge(first, "vrrp_drain_haproxy_up") == 1, "the watcher to see haproxy")
    port = 81 if limit == "frontend" else 80
    with clients(cluster, FULL, port) as holders, ExitStack() as stack:
        began = monotonic()
        waiting = [stack.enter_context(connect(cluster, port)) for _ in range(FULL)]
        for each in waiting:
            each.sendall(REQUEST)
        until(lambda: gauge(first, "vrrp_drain_haproxy_saturated") == 1, "the watcher to say that haproxy is full")
        status = first.status()
        assert status["haproxy_healthy"] is True
        assert "takes no new connection" in status["haproxy_saturated"]
        assert any("takes no new connection" in each for each in status["conditions"])
        sleep(max(0.0, began + HOLD - monotonic()))  # how long they hold it is the scenario
        assert gauge(first, "vrrp_drain_haproxy_up") == 1
        assert cluster.holders() == [first]
        assert ask(holders) == {"haproxy/0"}
        for each in holders:
            each.close()
        assert {answer(each) for each in waiting} == {"haproxy/0"}
    until(lambda: gauge(first, "vrrp_drain_haproxy_saturated") == 0, "the watcher to say that it is over")
    assert "state master -> " not in first.log()
    assert "haproxy up -> down" not in first.log()
    assert "haproxy_saturated on -> off" in first.log()


@pytest.mark.samples("True-worker")
@pytest.mark.parametrize("who", ["worker", "both"])
@pytest.mark.parametrize("full", [False, True])
def test_a_haproxy_that_hangs_but_lives(make_cluster: MakeCluster, who: str, full: bool) -> None:
    """Stopped by SIGSTOP, full or not, it loses the VIP within health_interval x health_fall; its open connections stay with it,
    and are answered by it when it goes on."""
    number = FULL if full else 10
    cluster = make_cluster(
        2, watched=True, keepalived=OURS_ALONE, ha_proxy={"maxconn": FULL, "keepalive_timeout": 30}, vrrp_drain={"handoff_window": 60}
    )
    first, second = cluster.nodes
    until(lambda: gauge(first, "vrrp_drain_haproxy_up") == 1, "the watcher to see haproxy")
    with clients(cluster, number) as open_ones:
        if full:
            until(lambda: gauge(first, "vrrp_drain_haproxy_saturated") == 1, "the watcher to say that haproxy is full")
        master, worker = haproxys(first)
        stopped = (worker,) if who == "worker" else (master, worker)
        began = monotonic()
        signal(first, "-STOP", *stopped)
        for each in open_ones:
            each.sendall(REQUEST)
        second.wait_for(cluster.vip)
        assert monotonic() - began < INTERVAL * FALL + 0.2 + 0.3  # the latter for keepalived's skew and this machine
        until(lambda: cluster.client_sends_to(second), "the client to learn where the VIP is")
        with connect(cluster) as fresh:
            assert ask([fresh]) == {"haproxy/1"}
        sleep(max(0.0, began + 2.0 + INTERVAL * FALL - monotonic()))  # how long it hangs is the scenario
        signal(first, "-CONT", *stopped)
        assert [answer(each) for each in open_ones] == ["haproxy/0"] * number
        assert ask(open_ones) == {"haproxy/0"}
        first.wait_for(cluster.vip)
        assert ask(open_ones) == {"haproxy/0"}


def test_a_stopped_master_process_is_no_hang(make_cluster: MakeCluster) -> None:
    """The worker serves: nothing moves while haproxy's master process alone stands still."""
    cluster = make_cluster(2, watched=True, keepalived=OURS_ALONE)
    first, _ = cluster.nodes
    until(lambda: gauge(first, "vrrp_drain_haproxy_up") == 1, "the watcher to see haproxy")
    master, _ = haproxys(first)
    signal(first, "-STOP", master)
    sleep(2 * INTERVAL * FALL)  # twice of what a hang is found in
    assert cluster.holders() == [first]
    assert gauge(first, "vrrp_drain_haproxy_up") == 1
    signal(first, "-CONT", master)


def test_a_full_queue_of_another_frontend_is_told(make_cluster: MakeCluster) -> None:
    """The port that is asked by default answers all the time. Of another one the kernel has no room for a client: that is told, and
    whoever waits there is answered when there is."""
    cluster = make_cluster(2, watched=True, keepalived=OURS_ALONE, ha_proxy={"keepalive_timeout": 30, "extra": SHORT_QUEUE})
    first, _ = cluster.nodes
    until(lambda: gauge(first, "vrrp_drain_haproxy_up") == 1, "the watcher to see haproxy")
    with clients(cluster, FULL, 82) as holders, ExitStack() as stack:
        waiting = [stack.enter_context(connect(cluster, 82)) for _ in range(QUEUE + 1)]
        for each in waiting:
            each.sendall(REQUEST)
        until(lambda: gauge(first, "vrrp_drain_haproxy_saturated") == 1, "the watcher to say that haproxy is full")
        status = first.status()
        assert (status["haproxy_healthy"], status["haproxy_asked"]) == (True, "tcp://127.0.0.1:80")
        assert f"{QUEUE + 1} wait at port 82, as many as its queue holds" in status["haproxy_saturated"]
        assert cluster.holders() == [first]
        assert ask(holders) == {"haproxy/0"}
        for each in holders:
            each.close()
        assert {answer(each) for each in waiting} == {"haproxy/0"}
    until(lambda: gauge(first, "vrrp_drain_haproxy_saturated") == 0, "the watcher to say that it is over")
    assert "haproxy up -> down" not in first.log()


def test_a_haproxy_without_processor_time(make_cluster: MakeCluster) -> None:
    """Other programs have the processor, so its queue is taken late: it is slow, which is told, and nothing moves."""
    cluster = make_cluster(2, watched=True, keepalived=OURS_ALONE, vrrp_drain={"health_interval": 0.5})
    first, _ = cluster.nodes
    until(lambda: gauge(first, "vrrp_drain_haproxy_up") == 1, "the watcher to see haproxy")
    _, worker = haproxys(first)
    core = min(os.sched_getaffinity(0))
    for command in (
        f"taskset --all-tasks --pid --cpu-list {core} {worker}",
        f"chrt --all-tasks --idle --pid 0 {worker}",
        f"[ ! -e /proc/{worker}/autogroup ] || echo 19 >/proc/{worker}/autogroup",  # sched(7): it is weighed by its session
    ):
        assert first.machine.run(["sh", "-c", command]).returncode == 0
    with connect(cluster) as client, hogs(first, core):
        until(lambda: gauge(first, "vrrp_drain_haproxy_saturated") == 1, "the watcher to say that haproxy takes nobody", 60)
        sleep(HOLD)  # how long it starves is the scenario
        assert cluster.holders() == [first]
        assert ask([client]) == {"haproxy/0"}
    until(lambda: gauge(first, "vrrp_drain_haproxy_saturated") == 0, "the watcher to say that it is over")
    assert "haproxy up -> down" not in first.log()
    assert "it gets hardly any processor time, other programs have it" in first.log()


@contextmanager
def hogs(node: Node, core: int) -> Iterator[None]:
    """Have programs compute on one core, each in a session of its own; no more of it is taken than one of them alone would."""
    go_on = node.machine.root / "var/vcap/sys/run/hogs"
    go_on.touch()
    command = ["setsid", "taskset", "--cpu-list", str(core), "sh", "-c", "while [ -e /var/vcap/sys/run/hogs ]; do :; done"]
    with ExitStack() as stack:
        for _ in range(HOGS):
            stack.enter_context(node.machine.popen(command))
        stack.callback(go_on.unlink)
        yield


@pytest.mark.thorough
@pytest.mark.parametrize("check", [None, "http://127.0.0.1:80/"])
def test_checks_of_a_stopped_haproxy_do_not_pile_up(make_cluster: MakeCluster, check: str | None) -> None:
    """Six minutes' worth of looks at a haproxy that accepts nobody leave no socket behind at either end."""
    drain = {"health_interval": 0.1} | ({"health_check": check} if check else {})
    cluster = make_cluster(1, watched=True, keepalived=OURS_ALONE, vrrp_drain=drain)
    (only,) = cluster.nodes
    until(lambda: gauge(only, "vrrp_drain_haproxy_up") == 1, "the watcher to see haproxy")
    master, worker = haproxys(only)
    signal(only, "-STOP", master, worker)
    until(lambda: gauge(only, "vrrp_drain_haproxy_up") == 0, "the watcher to find that it hangs")
    most, began = 0, monotonic()
    while monotonic() - began < LOOKS * 0.1:
        most = max(most, only.machine.in_network(lambda: connections(80)))
        sleep(0.5)  # that it goes on is the scenario
    assert most <= 4
    signal(only, "-CONT", master, worker)
    until(lambda: gauge(only, "vrrp_drain_haproxy_up") == 1, "the watcher to see haproxy")


def connections(port: int) -> int:
    """Return how many connections of this network have that port at one of their ends (proc(5), net/tcp).

    Those that were closed in peace, while haproxy was well, are remembered by the kernel for a minute, and are none.
    """
    found = [line.split()[1:4] for each in ("tcp", "tcp6") for line in Path(f"/proc/thread-self/net/{each}").read_text().splitlines()[1:]]
    return sum(f"{port:04X}" in (here[-4:], there[-4:]) for here, there, state in found if state not in (LISTENS, TIME_WAIT))

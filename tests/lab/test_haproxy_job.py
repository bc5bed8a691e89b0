"""The process trees that haproxy-boshrelease makes under bpm: haproxy below its wrapper, and as a daemon beside it."""

import socket
from urllib.request import urlopen

import pytest

from lab.conftest import MakeCluster
from lab.fabric.wait import until

LAYOUTS = pytest.mark.parametrize("syslog_server", ["stdout", "/dev/log"], ids=["below the wrapper", "a daemon"])


@pytest.mark.samples("a daemon")
@LAYOUTS
def test_haproxy_is_told_to_finish(make_cluster: MakeCluster, syslog_server: str) -> None:
    """drain finds the master in both trees: its idle client is asked to close, so drain ends long before drain_timeout."""
    cluster = make_cluster(2, ha_proxy={"syslog_server": syslog_server, "keepalive_timeout": 60}, vrrp_drain={"drain_timeout": 30})
    first, second = cluster.nodes
    with cluster.client.in_network(lambda: socket.create_connection((cluster.vip, 80), 5)) as client:
        client.settimeout(20)
        client.sendall(b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n")
        assert b"haproxy/0" in client.recv(4096)
        drain = first.agent.start_drain()
        until(lambda: "was told to finish its connections" in first.log(), "haproxy to be told", 15)
        client.sendall(b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n")
        assert b"connection: close" in client.recv(4096).lower()
    run = drain.result()
    assert (run.exit_code, run.stdout) == (0, "0\n")
    assert run.seconds < 20
    assert cluster.holders() == [second]
    assert "haproxy" not in first.machine.pids().values()


@pytest.mark.samples("below the wrapper")
@LAYOUTS
def test_its_death_is_seen_at_once(make_cluster: MakeCluster, syslog_server: str) -> None:
    """In both trees the kernel tells of the end of haproxy's processes: a death, not a hang, and the VIP is away in a moment."""
    cluster = make_cluster(2, watched=True, ha_proxy={"syslog_server": syslog_server})
    first, second = cluster.nodes
    until(lambda: "2 checks" not in first.log() and first.status()["watcher_pid"], "the watcher to run")
    until(lambda: first.machine.in_network(haproxy_is_seen), "the watcher to see haproxy's processes")
    first.machine.run(["killall", "-KILL", "haproxy"])
    second.wait_for(cluster.vip, seconds=3)
    until(lambda: "haproxy up -> down" in first.log(), "the death to be told")
    assert "haproxy up -> down, haproxy_died" in first.log()


def haproxy_is_seen() -> bool:
    """Ask the watcher: it learns of the processes in the same look."""
    try:
        with urlopen("http://127.0.0.1:9922/metrics", timeout=5) as metrics:
            return b"vrrp_drain_haproxy_up 1.0" in metrics.read()
    except OSError:
        return False


@pytest.mark.samples("below the wrapper")
@LAYOUTS
def test_a_reload_is_no_death(make_cluster: MakeCluster, syslog_server: str) -> None:
    """The worker from before a reload serves what it has and ends: nothing moves, and it is the new one that is asked, told and watched."""
    cluster = make_cluster(
        2, watched=True, ha_proxy={"syslog_server": syslog_server, "keepalive_timeout": 60}, vrrp_drain={"drain_timeout": 20}
    )
    first, second = cluster.nodes
    until(lambda: first.machine.in_network(haproxy_is_seen), "the watcher to see haproxy's processes")

    def haproxys() -> set[int]:
        return {pid for pid, name in first.machine.pids().items() if name == "haproxy"}

    with cluster.client.in_network(lambda: socket.create_connection((cluster.vip, 80), 5)) as client:
        client.settimeout(20)
        client.sendall(b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n")
        assert b"haproxy/0" in client.recv(4096)
        before = haproxys()
        first.machine.run(["kill", "-USR2", str(min(before))])
        until(lambda: len(haproxys()) == 3, "a new worker beside the old one")
        until(lambda: first.status()["haproxy_healthy"], "haproxy to be found well")
        client.sendall(b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n")
        assert b"haproxy/0" in client.recv(4096)
    until(lambda: len(haproxys()) == 2, "the old worker to end")
    assert min(haproxys()) == min(before)
    until(lambda: first.machine.in_network(haproxy_is_seen), "the watcher to see haproxy's processes")
    assert cluster.holders() == [first]
    assert "haproxy up -> down" not in first.log()
    first.agent.run_script("pre-stop")
    assert first.agent.start_drain().result().exit_code == 0
    assert f"haproxy (pid {min(before)}) was told to finish its connections" in first.log()
    assert cluster.holders() == [second]
    assert not haproxys()

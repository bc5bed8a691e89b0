"""What the watcher withstands: in each case it goes on, says what it could not do, and handovers work meanwhile.

A wall clock that jumps is in tests/unit/watcher/test_loop.py: a network namespace has no wall clock of its own, and a time
namespace moves the monotonic one alone (time_namespaces(7)).
"""

import os
import random
import socket
import time

import pytest
from pyroute2 import IPRoute
from scapy.compat import raw
from scapy.layers.inet import IP
from scapy.layers.l2 import Ether
from scapy.layers.vrrp import VRRPv3

from lab.conftest import MakeCluster
from lab.fabric.cluster import Cluster
from lab.fabric.node import Node
from lab.fabric.wait import until
from lab.strangers.forger import Forger

WATCHER = "vrrp-drain-watch"
OURS_ALONE = {"healthcheck_command": "/bin/true"}  # keepalived's own check is content: what moves the VIP is the watcher
LOG = "var/vcap/sys/log"
PAGE = 4096  # bytes


def kill(node: Node, program: str) -> None:
    node.machine.run(["killall", "-KILL", program])


def told(node: Node) -> list[str]:
    """Return the history, a line a notice."""
    code, stdout, stderr = node.vrrpctl("history", "-n", "1000")
    assert code == 0, stderr
    return stdout.splitlines()


def kill_watcher(node: Node) -> None:
    """As the kernel does when memory is short."""
    node.machine.run(["kill", "-KILL", str(node.monit.pid(WATCHER))])
    until(lambda: node.monit.pid(WATCHER) is None, "the watcher to end")


def health(node: Node) -> str:
    return (node.machine.root / "var/vcap/sys/run/keepalived/health").read_text().strip()


def said(node: Node, text: str) -> None:
    """Wait until the log has ``text``, where the node itself sees it."""
    log = node.machine.root / LOG / "vrrp-drain/vrrp-drain.log"
    until(lambda: text in log.read_text(errors="replace"), f"{node.name} to log {text!r}")


def link(node: Node, state: str) -> None:
    def change() -> None:
        with IPRoute() as ipr:
            ipr.link("set", index=ipr.link_lookup(ifname="eth0")[0], state=state)

    node.machine.in_network(change)


def handovers_work(cluster: Cluster) -> None:
    """The first node demotes and promotes; its haproxy dies, and the VIP leaves; haproxy is back, and so is the VIP."""
    first, second = cluster.nodes
    assert first.vrrpctl("demote")[0] == 0
    assert cluster.holders() == [second]
    assert first.vrrpctl("promote")[0] == 0
    assert cluster.holders() == [first]
    haproxy_dies_and_comes_back(cluster)


def haproxy_dies_and_comes_back(cluster: Cluster) -> None:
    first, second = cluster.nodes
    kill(first, "haproxy")
    second.wait_for(cluster.vip)
    first.wait_for(cluster.vip, here=False)
    first.monit.start("haproxy")
    first.wait_for(cluster.vip)
    second.wait_for(cluster.vip, here=False)


def test_a_full_disk(make_cluster: MakeCluster) -> None:
    """Neither log nor history can be written: handovers are as ever; when there is room again it says what is missing."""
    cluster = make_cluster(2, watched=True, create=False, keepalived=OURS_ALONE)
    first, second = cluster.nodes
    (first.vcap / "sys/log").mkdir()
    assert first.machine.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", f"/{LOG}"]).returncode == 0
    for node in (first, second):
        node.start()
    first.wait_for(cluster.vip)
    watcher = first.monit.pid(WATCHER)
    history, filler = (first.machine.root / LOG / name for name in ("vrrp-drain/history.log", "filler"))
    with history.open("a") as file:
        file.write("\n" * (-history.stat().st_size % PAGE))  # a file's last page has room although the disk has none
    with pytest.raises(OSError, match="No space left"):
        filler.write_bytes(bytes(2 << 20))
    before, earlier = history.read_bytes(), len(told(first))
    handovers_work(cluster)
    assert history.read_bytes() == before
    filler.unlink()
    assert first.vrrpctl("demote")[0] == 0
    said(first, "no longer so: /var/vcap/sys/log/vrrp-drain/history.log cannot be written (No space left on device)")
    assert first.monit.pid(WATCHER) == watcher
    since = told(first)[earlier:]
    assert any("band active -> draining" in each for each in since), since


def test_a_run_directory_that_is_read_only(make_cluster: MakeCluster) -> None:
    """A command fails and leaves the VIP where it is; haproxy's death is left to keepalived's own check, and that is said."""
    cluster = make_cluster(2, watched=True)
    first, second = cluster.nodes
    watcher = first.monit.pid(WATCHER)
    run = "/var/vcap/sys/run"
    for arguments in (["--bind", run, run], ["-o", "remount,ro,bind", run]):
        assert first.machine.run(["mount", *arguments]).returncode == 0
    code, _, stderr = first.vrrpctl("demote")
    assert (code, cluster.holders()) == (1, [first])
    assert "Read-only file system" in stderr
    kill(first, "haproxy")
    second.wait_for(cluster.vip)
    said(first, "keepalived's own check has to see to haproxy alone")
    assert health(first) == "0"
    assert first.machine.run(["umount", run]).returncode == 0
    until(lambda: health(first) == "-188", "haproxy to be marked as dead, late")
    first.monit.start("haproxy")
    first.wait_for(cluster.vip)
    handovers_work(cluster)
    assert first.monit.pid(WATCHER) == watcher


def test_an_interface_that_flaps(make_cluster: MakeCluster) -> None:
    """Down and up, twice, and then taken away and made anew: adverts are heard again, what a handover needs of the interface
    is put in place again, and handovers work."""
    cluster = make_cluster(2, watched=True, keepalived=OURS_ALONE)
    first, second = cluster.nodes
    watcher = first.monit.pid(WATCHER)
    for _ in range(2):
        link(first, "down")
        second.wait_for(cluster.vip)
        link(first, "up")
        first.wait_for(cluster.vip)
        second.wait_for(cluster.vip, here=False)
    cluster.switch.detach(first.port)
    second.wait_for(cluster.vip)
    first.port = cluster.switch.attach(first.machine, 1, ("10.0.0.1/24", "fd00::1/64"))
    said(first, "eth0 was made anew")
    first.wait_for(cluster.vip)
    handovers_work(cluster)
    assert first.monit.pid(WATCHER) == watcher
    assert "this instance was told to leave: 10.0.0.2 has it" in first.log().rpartition("eth0 was made anew")[2]
    assert first.machine.run(["cat", "/proc/sys/net/ipv4/conf/eth0/arp_ignore"]).stdout == "1\n"
    assert first.status()["handoff"] is True


def garbage(count: int) -> list[bytes]:
    """Return frames of protocol 112 from invented addresses: noise, adverts of another virtual router, adverts with a wrong sum.

    They go to the first node alone: as multicast they would flood the lab's switch, which drops everybody's adverts then.
    """
    chance = random.Random(112)
    frames = []
    for n in range(count):
        ip = IP(src=f"10.66.{n % 256}.{chance.randrange(1, 255)}", dst="224.0.0.18", ttl=255, proto=112)
        advert = {"priority": chance.randrange(256), "adv": 20, "addrlist": ["10.0.0.10"]}
        wrong = (chance.randbytes(chance.randrange(1, 60)), VRRPv3(vrid=2, **advert), VRRPv3(vrid=1, chksum=0x1234, **advert))[n % 3]
        frames.append(bytes(raw(Ether(src="02:00:00:00:00:42", dst="02:00:00:00:00:01", type=0x0800) / ip / wrong)))
    return frames


def test_a_flood_of_garbage(make_cluster: MakeCluster) -> None:
    """Ten thousand packets a second, or as many as this machine can send, for five seconds and more: every handover works, nothing
    is taken for an advert, the memory does not grow, and the watcher reads 200 of them a second: it takes no core from haproxy."""
    cluster = make_cluster(2, watched=True, keepalived=OURS_ALONE)
    first, _ = cluster.nodes
    watcher = first.monit.pid(WATCHER)

    def resident() -> int:
        return int((first.machine.root / f"proc/{watcher}/statm").read_text().split()[1]) * 4

    def busy() -> float:
        fields = (first.machine.root / f"proc/{watcher}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before, busy_before, began = resident(), busy(), time.monotonic()
    frames = garbage(300)
    with Forger(cluster.client, frames, every=0.015) as forger:
        handovers_work(cluster)
        until(lambda: forger.rounds * len(frames) > 50_000, "the flood")
    seconds, spent = time.monotonic() - began, busy() - busy_before
    assert first.monit.pid(WATCHER) == watcher
    assert resident() - before < 4096
    assert spent < 0.2 * seconds, (spent, seconds)
    metrics = first.machine.in_network(lambda: scrape())
    assert 'verdict="foreign"} 0.0' in metrics
    damaged = next(line for line in metrics.splitlines() if line.startswith('vrrp_drain_adverts_total{verdict="damaged"}'))
    assert 100 < float(damaged.rpartition(" ")[2]) < 250 * (seconds + 1), seconds
    print(f"flood: the watcher spent {spent:.2f} s of {seconds:.1f}")


def scrape() -> str:
    with socket.create_connection(("127.0.0.1", 9922), 5) as client:
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        return b"".join(iter(lambda: client.recv(65536), b"")).decode()


def test_a_watcher_that_is_killed(make_cluster: MakeCluster) -> None:
    """With kill -9 while haproxy is marked as dead: the next watcher takes the mark away when haproxy is back. Without any watcher
    keepalived's own check moves the VIP. Two watchers at once are one too many."""
    cluster = make_cluster(2, watched=True)
    first, second = cluster.nodes
    code, _, stderr = first.vrrpctl("watch")
    assert (code, f"another watcher runs (pid {first.monit.pid(WATCHER)})" in stderr) == (6, True)
    kill(first, "haproxy")
    until(lambda: health(first) == "-188", "haproxy to be marked as dead")
    kill_watcher(first)
    second.wait_for(cluster.vip)
    first.monit.start(WATCHER)
    assert health(first) == "-188"
    first.monit.start("haproxy")
    until(lambda: health(first) == "0", "the mark to go")
    first.wait_for(cluster.vip)
    kill_watcher(first)
    haproxy_dies_and_comes_back(cluster)
    assert health(first) == "0"


def test_nobody_but_root_writes_what_is_ours(make_cluster: MakeCluster) -> None:
    """On a machine where everything has run: run directories are root's alone, and no file of ours is for others to write."""
    cluster = make_cluster(1, watched=True, vrrp_drain={"handover_timeout": 10})
    (only,) = cluster.nodes
    only.vrrpctl("demote", "--timeout", "0.5")
    assert modes(only, "/var/vcap/sys/run/vrrp-drain", "/var/vcap/sys/run/keepalived", "-type", "d") == {"700"}
    assert modes(only, "/var/vcap/sys/run/vrrp-drain/lock") == {"600"}
    files = ("/var/vcap/sys/run/vrrp-drain", "/var/vcap/sys/run/keepalived", f"/{LOG}/vrrp-drain", f"/{LOG}/keepalived", "-type", "f")
    assert modes(only, *files) <= {"644", "640", "600"}


def modes(node: Node, *found: str) -> set[str]:
    return set(node.machine.run(["find", *found, "-printf", "%m\n"]).stdout.split())

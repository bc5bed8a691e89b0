"""An instance that has a machine's initial namespaces, a disk, and a network card: the kernel tells of processes, it is rebooted, its power
is cut."""

import time

import pytest

from lab.clients.load import Load
from lab.fabric.cluster import VIP6
from lab.fabric.wait import until

from .claims import in_order, served, settled, unharmed
from .conftest import Deploy
from .instances import WAIT, GuestCluster

pytestmark = pytest.mark.timeout(900)

ELECTION = 5.0  # seconds: three intervals of adverts and a skew, in which nobody has the VIP, and what a busy machine adds
BOTH_FAMILIES = {"keepalived": {"vips": [VIP6]}, "ha_proxy": {"bind": ":::80 v4v6"}}
ON_TMPFS_OR_DISK = pytest.mark.parametrize("keeps_run", [False, True], ids=["run on tmpfs", "run on disk"])
# what a file system may make of files that were being written: empty, zeroes, half
TORN = """
cd /var/vcap/sys
: > run/vrrp-drain/boot
printf '\\0\\0' > run/keepalived/band
printf '{"vips": ["10.0' > run/vrrp-drain/overlap.json
printf '1' > run/keepalived/keepalived.pid
: > run/keepalived/vrrp.pid
"""
TORN_LOG = """printf '\\0\\0\\0\\0\\0{"time": 17' >> /var/vcap/sys/log/vrrp-drain/history.log"""


def begin(cluster: GuestCluster) -> None:
    """Have the machine's monit start the jobs, as after each boot, and wait until the instance has its VIP again."""
    first = cluster.guest()
    first.monit.start()
    until(lambda: first.band() == "0", "the instance to be promoted", WAIT)
    settled(cluster, first)


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_track_process(deploy: Deploy, how: str) -> None:
    """The kernel itself tells keepalived that haproxy has ended: without a watcher, and with a check that is content, the VIP moves; and it
    comes back when haproxy does. Whoever comes after the move is served."""
    check = {"healthcheck_command": "/bin/true", "healthcheck_interval": 60}
    cluster = deploy(watched=False, keepalived={"track_process": "haproxy", **check})
    first, second = cluster.guest(), cluster.nodes[1]
    assert "does not report here which processes end" not in first.log("keepalived", "vrrpctl.log")
    assert "process haproxy" in first.machine.read("/var/vcap/sys/run/keepalived/keepalived.conf")
    if how == "killed":
        first.shell("killall -KILL haproxy")
    else:
        first.monit.stop("haproxy")
    settled(cluster, second)
    with Load(cluster.client, cluster.vip, rate=20, keep_alive=5) as load:
        served(load)
        first.monit.start("haproxy")
        settled(cluster, first)
        served(load)
    assert load.found.failed("new") == []
    assert {each.node for each in load.found.of("new")} == {first.name, second.name}


@ON_TMPFS_OR_DISK
def test_a_reboot(deploy: Deploy, keeps_run: bool) -> None:
    """`vrrpctl leave`, shutdown, monit's start: no client notices it. What was before is over: pids, words, rules, orders."""
    cluster = deploy(keeps_run=keeps_run, **BOTH_FAMILIES)
    first, second = cluster.guest(), cluster.nodes[1]
    assert first.vrrpctl("let-go", "--by", "before")[0] == 0
    boot = first.machine.read("/proc/sys/kernel/random/boot_id")
    with Load(cluster.client, cluster.vip, rate=20, keep_alive=5) as load, Load(cluster.client, VIP6, rate=20, keep_alive=5, lane=1) as six:
        served(load, six)
        code, _, told = first.vrrpctl("leave")
        assert code == 0, told
        settled(cluster, second)
        first.reboot()
        assert first.machine.read("/proc/sys/kernel/random/boot_id") != boot
        assert cluster.holders() == [second]
        first.shell(_forget_bpm())
        begin(cluster)
        served(load, six)
    unharmed(load, six)
    in_order(first)
    assert first.status()["let_go_by"] is None
    assert first.status()["asked_by"] == "promote"
    assert "the machine was started anew, and haproxy answers: it is promoted" in first.log()


@ON_TMPFS_OR_DISK
def test_the_power_is_cut(deploy: Deploy, keeps_run: bool) -> None:
    """The peer has the VIP within the time of an election, and answers whoever comes. When the machine is back, with files of which half
    was written, it takes part again, and nobody notices."""
    cluster = deploy(keeps_run=keeps_run, **BOTH_FAMILIES)
    first, second = cluster.guest(), cluster.nodes[1]
    with Load(cluster.client, cluster.vip, rate=20, keep_alive=5) as load:
        served(load)
        cut = time.monotonic()
        first.power_off()
        second.wait_for(cluster.vip, seconds=ELECTION)
        there = time.monotonic()
        served(load)
    assert there - cut < ELECTION
    assert [each for each in load.found.failed("new") + load.found.failed("established") if each.t > there] == []
    assert load.found.of("new")[-1].node == second.name
    with Load(cluster.client, cluster.vip, rate=20, keep_alive=5, lane=1) as load:
        first.power_on()
        first.shell(TORN_LOG)
        if keeps_run:
            first.shell(TORN)
        first.shell(_forget_bpm())
        served(load)
        begin(cluster)
        served(load)
    unharmed(load)
    in_order(first)
    assert first.vrrpctl("history")[0] == 0
    assert "the machine was started anew, and haproxy answers: it is promoted" in first.log()


def test_who_was_taken_out_stays_out(deploy: Deploy) -> None:
    """That an instance stays out until it is promoted outlives a cut of the power right after it was said; that it was promoted, too."""
    cluster = deploy()
    first, second = cluster.guest(), cluster.nodes[1]

    def back() -> None:
        first.power_off()
        first.power_on()
        first.monit.start()
        until(lambda: first.status()["watcher_pid"], "the watcher to run", WAIT)

    code, _, told = first.vrrpctl("demote", "--until-promoted", "--by", "Alice")
    assert code == 0, told
    back()
    found = first.status()
    assert (found["taken_out_by"], found["band"], found["asked_by"]) == ("Alice", "draining", "demote")
    assert cluster.holders() == [second]
    code, _, told = first.vrrpctl("promote")
    assert code == 0, told
    back()
    settled(cluster, first)
    assert first.status()["taken_out_by"] is None


def _forget_bpm() -> str:
    """bpm keeps its containers' state where a reboot leaves none of it; the lab's stand-in has a pid file of which it believes all."""
    return "rm -rf /var/vcap/sys/run/bpm"

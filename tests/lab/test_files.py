"""The run and log directories as they may be: with what others planted there, full, read-only."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.conftest import MakeCluster
from lab.fabric.agent import PATH
from lab.fabric.cluster import Cluster, update
from lab.fabric.node import Node
from lab.fabric.wait import until

RUN = {
    "keepalived": ("keepalived.conf", "keepalived.pid", "vrrp.pid", "band", "health"),
    "vrrp-drain": ("lock", "boot", "overlap.json", "watch.pid", "next-state", "no-successor"),
}
LOGS = {
    "keepalived": ("keepalived.log", "vrrpctl.log"),
    "vrrp-drain": ("vrrp-drain.log", "watch.log", "history.log", "history.log.1", "history.log.1.gz"),
}
SOMEBODY = ("setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups", "--")
PLANTS = {
    "link": "ln -s /var/vcap/victims/$name $path",
    "dangling link": "ln -s /var/vcap/victims/new-$name $path",
    "FIFO": "mkfifo $path",
    "directory": "mkdir -p $path/below && touch $path/below/file",
    "file": "echo 4711 > $path",
}
KEEP = {"BOSH_DEPLOYMENT_NEXT_STATE": "keep"}


def sh(node: Node, script: str, *prefix: str) -> str:
    done = node.machine.run([*prefix, "sh", "-ec", script], {"PATH": PATH})
    assert done.returncode == 0, done.stderr
    return done.stdout


def somebody() -> tuple[str, ...]:
    """Return what makes a command run as somebody of the group vcap; where only root is mapped, the plants are root's."""
    mapped = sum(int(line.split()[2]) for line in Path("/proc/self/uid_map").read_text().splitlines())
    return SOMEBODY if mapped > 1000 else ()


def plant(node: Node, how: str, directory: str, names: Mapping[str, tuple[str, ...]]) -> None:
    """Take the names of our files in sys/run or sys/log, and of the files that are renamed over them."""
    taken = [
        f"name={name} path=/var/vcap/sys/{directory}/{job}/{name}; rm -rf $path; {PLANTS[how]}"
        for job, files in names.items()
        for name in [*files, *(f".{name}.new" for name in files if directory == "run")]
    ]
    sh(node, "\n".join(taken), *somebody())


def victims(node: Node) -> dict[str, str]:
    return {path.name: path.read_text() for path in (node.vcap / "victims").iterdir()}


@pytest.mark.samples("link")
@pytest.mark.parametrize("how", PLANTS)
def test_what_others_planted_changes_nothing_elsewhere(make_cluster: MakeCluster, how: str) -> None:
    """Somebody of the group vcap takes the name of every file of ours before pre-start, and of every log again later.

    No script hangs or fails, the instance becomes MASTER, hands over and comes back, and nothing outside was changed or made.
    """
    cluster = make_cluster(2, create=False, watched=True)
    first, second = cluster.nodes
    second.start()
    every = {name for names in (RUN, LOGS) for files in names.values() for name in files}
    (first.vcap / "victims").mkdir()
    for name in {*every, *(f".{each}.new" for each in every)}:
        (first.vcap / "victims" / name).write_text("what others rely on\n")
    before = victims(first)
    for job in RUN:  # as bosh-agent makes them
        for kind in ("run", "log"):
            path = f"/var/vcap/sys/{kind}/{job}"
            sh(first, f"mkdir -p {path}; chmod 770 {path}" + (f"; chgrp 1000 {path}" if somebody() else ""))
    plant(first, how, "run", RUN)
    plant(first, how, "log", LOGS)
    first.start()
    first.wait_for(cluster.vip)
    plant(first, how, "log", LOGS)
    update(first)
    first.wait_for(cluster.vip)
    for command in ("status", "history", "doctor"):
        code, stdout, stderr = first.vrrpctl(command)
        assert (code, "Traceback" in stderr) == (0, False), stdout + stderr
    assert victims(first) == before
    owners = sh(first, "stat --format '%n %F %U %a' /var/vcap/sys/run/keepalived /var/vcap/sys/run/vrrp-drain").split("\n")
    assert [line.split(" ", 1)[1] for line in owners if line] == ["directory root 700"] * 2
    assert not first.log("vrrp-drain", "watch.log").count("Traceback")


@contextmanager
def run_directory(node: Node, spoil: str, mend: str) -> Iterator[None]:
    """Have /var/vcap/sys/run spoilt for a while."""
    sh(node, spoil)
    try:
        yield
    finally:
        sh(node, mend)


FULL = "mount -o remount,size=1m /var/vcap/sys/run; cat /dev/zero > /var/vcap/sys/run/fill 2>/dev/null || true"
FREE = "rm /var/vcap/sys/run/fill"
# A mount of its own on top: keepalived has its pid file open to write, and would keep the one below from it.
READ_ONLY = "mount --bind /var/vcap/sys/run /var/vcap/sys/run; mount -o remount,bind,ro /var/vcap/sys/run"
WRITABLE = "umount --lazy /var/vcap/sys/run"


def kernel(node: Node) -> str:
    """All that our scripts change in the kernel, as ip, nft and the files below /proc print it."""
    return sh(
        node,
        "ip -o addr; nft list tables; cd /proc/sys/net/ipv4/conf; cat eth0/arp_ignore eth0/arp_announce all/arp_ignore all/arp_announce",
    )


def said(cluster: Cluster) -> str:
    names = (("vrrp-drain", "vrrp-drain.log"), ("vrrp-drain", "watch.log"), ("keepalived", "vrrpctl.log"))
    return "".join(node.log(*name) for node in cluster.nodes for name in names)


def test_a_full_run_directory_stops_no_handover(make_cluster: MakeCluster) -> None:
    """demote, promote, and an update from pre-stop to post-start do their work without a free page, and leave nothing behind."""
    cluster = make_cluster(2, create=False, watched=True)
    first, second = cluster.nodes
    untouched = kernel(first)
    for node in cluster.nodes:
        node.start()
    first.wait_for(cluster.vip)
    with run_directory(first, FULL, FREE):
        assert first.vrrpctl("demote")[0] == 0
        assert (first.band(), cluster.holders()) == ("-155", [second])
        assert first.vrrpctl("promote")[0] == 0
        assert (first.band(), cluster.holders()) == ("0", [first])
        first.agent.run_script("pre-stop", KEEP)
        assert cluster.holders() == [second]
        assert [run.stdout for run in first.agent.drain()] == ["0\n"]
        first.monit.stop()
        first.agent.run_script("post-stop")
        assert kernel(first) == untouched
        sh(first, FULL)  # what post-stop has freed
        first.agent.run_script("pre-start")
    first.monit.start()
    first.agent.run_script("post-start")
    first.wait_for(cluster.vip)
    assert "Traceback" not in said(cluster)


def test_a_read_only_run_directory_keeps_nobody_from_stopping(make_cluster: MakeCluster) -> None:
    """The band cannot be changed: demote says so and changes nothing, and BOSH can stop the instance, which leaves nothing behind."""
    cluster = make_cluster(2, create=False)
    first, second = cluster.nodes
    untouched = kernel(first)
    for node in cluster.nodes:
        node.start()
    first.wait_for(cluster.vip)
    with run_directory(first, READ_ONLY, WRITABLE):
        code, _, stderr = first.vrrpctl("demote")
        assert code == 1
        assert "cannot write draining (-155) to /var/vcap/sys/run/keepalived/band: Read-only file system" in stderr
        assert cluster.holders() == [first]
        assert first.vrrpctl("promote")[0] == 0, "nothing has to be written for it"
        first.agent.run_script("pre-stop", KEEP)
        assert "nothing was handed over; stopping this instance moves" in first.log()
        assert [run.stdout for run in first.agent.drain()] == ["0\n"]
        first.monit.stop()
        until(lambda: cluster.holders() == [second], "the peer to have the VIP")
        first.agent.run_script("post-stop")
        assert kernel(first) == untouched
        assert "cannot remove /var/vcap/sys/run/vrrp-drain/overlap.json: Read-only file system; what it tells of is undone" in first.log()
    first.start()
    first.wait_for(cluster.vip)
    assert "Traceback" not in said(cluster)

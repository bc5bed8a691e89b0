"""pre-start and post-stop killed at any step, a keepalived killed before its VIP changed: the next run repairs what was left."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.conftest import MakeCluster
from lab.fabric.cluster import Cluster
from lab.fabric.killer import Killer
from lab.fabric.node import Node
from vrrp_drain.handoff.situation import TABLE

SOMEBODY_ELSES = "10.0.0.11"  # a VIP of ours that is on lo before us
VIPS = {"vips": [f"{SOMEBODY_ELSES}/24", "fd00::10/64"]}
SETTINGS = Path("/proc/sys/net/ipv4/conf")
THEIRS = "add table ip theirs; add chain ip theirs input { type filter hook input priority 0; }; add rule ip theirs input tcp dport 9 drop"


@dataclass(frozen=True)
class State:
    """All that the two scripts change, with whatever else is there: ``kernel`` as ip, nft and the files below /proc print it."""

    kernel: str
    files: frozenset[tuple[str, str]]

    @property
    def complete(self) -> bool:
        """Tell whether all is in place that pre-start puts there."""
        wanted = (
            "lo    inet 10.0.0.10/32 ",
            "lo    inet6 fd00::10/128 ",
            "arp 1 2 1 2\n",
            "table ip vrrp_drain {",
            "table ip6 vrrp_drain {",
        )
        return all(each in self.kernel for each in wanted)


def run(node: Node, script: str) -> str:
    done = node.machine.run(["bash", "-ec", script], {"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"})
    assert done.returncode == 0, done.stderr
    return done.stdout


def state(node: Node) -> State:
    kernel = run(node, f"ip -o addr; echo arp $(cd {SETTINGS}; cat {{eth0,all}}/{{arp_ignore,arp_announce}}); nft list ruleset")
    directory = node.machine.root / "var/vcap/sys/run/vrrp-drain"
    return State(kernel, frozenset((file.name, file.read_text()) for file in directory.glob("*overlap*")))


@pytest.fixture
def node(package: Path) -> Iterator[Node]:
    """A machine with its jobs rendered and nothing started, on which somebody else has settings, addresses and a table.

    Each test has its own: what one that fails leaves behind is not there at first for the next.
    """
    with Cluster(package, 1, keepalived=VIPS) as cluster:
        cluster.apply()
        (node,) = cluster.nodes
        run(node, f"ip addr add 192.0.2.1/32 dev lo; ip addr add {SOMEBODY_ELSES}/32 dev lo")
        run(node, f"echo 1 > {SETTINGS}/eth0/arp_announce; nft '{THEIRS}'")
        yield node


@pytest.fixture
def killer(node: Node) -> Iterator[Killer]:
    with Killer(node.machine) as killer:
        yield killer


def ends_well(killer: Killer, *scripts: str) -> None:
    for script in scripts:
        assert killer.run(script).status == 0


@pytest.mark.samples("post-stop")
@pytest.mark.parametrize(
    ("before", "killed", "calls", "states"),
    [
        pytest.param([], "pre-start", {"mkdir", "open", "write", "__exit__", "rename", "send"}, 8, id="pre-start"),
        pytest.param(["pre-start"], "post-stop", {"open", "write", "__exit__", "unlink", "send"}, 6, id="post-stop"),
    ],
)
@pytest.mark.timeout(900)  # two hundred steps, each of them several processes
def test_killed_at_any_step(node: Node, killer: Killer, before: list[str], killed: str, calls: set[str], states: int) -> None:
    """Whatever the step, post-stop leaves what was there at first, and a further pre-start has all in place before that.

    What comes after depends on nothing but the state that was left, so pre-start is tried once for each different one.
    """
    first = state(node)
    ends_well(killer, *before)
    begin = state(node)
    seen, left = [], set()
    for step in itertools.count(1):
        died = killer.run(killed, step)
        if died.killed_at is None:
            break
        seen.append(died.killed_at)
        where = f"{killed}, killed at step {step}, the last of {seen}"
        found = state(node)
        if found == begin:
            continue
        if found not in left:
            left.add(found)
            ends_well(killer, "pre-start")
            assert state(node).complete, where
            ends_well(killer, "post-stop")
            assert state(node) == first, where
            ends_well(killer, *before)
            assert killer.run(killed, step) == died
        ends_well(killer, "post-stop")
        assert state(node).kernel == first.kernel, where
        ends_well(killer, *before)
    ends_well(killer, "post-stop")
    assert state(node) == first
    assert {*seen} >= calls, "these calls were among the steps"
    assert len(left) >= states


@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
def test_a_deploy_changes_the_vip(make_cluster: MakeCluster, killed: bool) -> None:
    """Of the old VIP nothing is left anywhere, although no post-stop ran after keepalived was killed; the new one is where it belongs."""
    cluster = make_cluster(1)
    (node,) = cluster.nodes
    old, new = cluster.vip, "10.0.0.20"
    if killed:
        node.crash_keepalived()
        assert node.has(old)
        node.monit.stop("haproxy")
    else:
        node.monit.stop()
        node.agent.run_script("post-stop")
    cluster.properties["keepalived"]["vip"] = new
    cluster.apply()
    node.agent.run_script("pre-start")
    found = state(node).kernel
    assert old not in found
    assert f"lo    inet {new}/32 " in found
    assert f"table ip {TABLE} {{" in found
    assert f'comment "{new}"' in found
    assert ("was still on eth0, left by a keepalived that was killed" in node.log()) is killed
    node.monit.start()
    node.agent.run_script("post-start")
    node.wait_for(new)
    assert old not in state(node).kernel

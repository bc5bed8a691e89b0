"""keepalived dies or stands still while haproxy serves: the VIP moves as in a planned handover, and comes back as in one."""

import time

import pytest

from lab.clients.load import Load
from lab.conftest import MakeCluster
from lab.fabric.node import Node
from lab.fabric.wait import until
from lab.scenarios.recorder import Recorder

pytestmark = pytest.mark.long

CHILD, PARENT = "vrrp.pid", "keepalived.pid"
WATCHER_SEES = 1.5  # seconds, on a busy machine


def pid(node: Node, which: str) -> int:
    return int((node.machine.root / "var/vcap/sys/run/keepalived" / which).read_text())


def harm(node: Node, signal: str, *whom: str) -> None:
    """Send ``signal`` to these processes of keepalived's, at once."""
    done = node.machine.run(["kill", f"-{signal}", *(str(pid(node, each)) for each in whom)])
    assert done.returncode == 0, done.stderr


def served(load: Load) -> None:
    """Wait until clients have been answered for a while."""
    before = load.answered
    until(lambda: load.answered > before + 50, "clients to be served")


def is_alive(node: Node) -> bool:
    """Tell whether keepalived speaks VRRP: its VRRP process is there, and is neither a zombie nor stopped."""
    try:
        state = (node.machine.root / f"proc/{pid(node, CHILD)}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ValueError):  # it is about to be written
        return False
    return state not in "ZTX"


@pytest.mark.samples("child killed", "child stopped", "parent killed")
@pytest.mark.parametrize(
    ("signal", "whom", "restart"),
    [
        pytest.param("KILL", (CHILD,), False, id="child killed"),
        pytest.param("KILL", (PARENT,), True, id="parent killed"),
        pytest.param("KILL", (CHILD, PARENT), True, id="both killed"),
        pytest.param("STOP", (CHILD,), False, id="child stopped"),
        pytest.param("STOP", (PARENT, CHILD), True, id="both stopped"),
    ],
)
def test_the_masters_keepalived(make_cluster: MakeCluster, signal: str, whom: tuple[str, ...], restart: bool) -> None:
    """A peer has the VIP at once, and once keepalived runs again the way back is a promotion: nobody is refused, nothing open is cut,
    nobody is without an owner, and two owners are there for a moment only."""
    cluster = make_cluster(2, watched=True)
    first, second = cluster.nodes
    with Recorder(cluster.nodes, cluster.vip) as recorder, Load(cluster.client, cluster.vip, rate=100, keep_alive=10) as load:
        served(load)
        began = time.monotonic()
        harm(first, signal, *whom)
        second.wait_for(cluster.vip)
        took = time.monotonic() - began
        first.wait_for(cluster.vip, here=False)
        until(lambda: first.band() == "-155", "it to begin anew as one that leaves")
        served(load)
        if restart:
            until(lambda: not is_alive(first), "keepalived to be gone")
            first.monit.start("keepalived")
        until(lambda: is_alive(first), "keepalived to run again")
        first.wait_for(cluster.vip)
        served(load)
    print(f"{signal} {whom}: a peer had the VIP after {took:.3f} s, {recorder.marks}")
    assert took < WATCHER_SEES
    assert [(each.source, each.target) for each in recorder.moves()] == [(first.name, second.name), (second.name, first.name)]
    assert recorder.vacant_seconds() < 0.3
    assert recorder.overlap_seconds() < 0.6
    assert load.found.failed("new") == []
    assert load.found.failed("established") == []
    assert cluster.holders() == [first]
    assert "keepalived runs again, and haproxy answers: it is promoted" in first.log()


def test_what_takes_nothing_from_clients_moves_nothing(make_cluster: MakeCluster) -> None:
    """The parent alone is stopped, which speaks to nobody; a backup is stopped, and is ended before it can go on as a second MASTER."""
    cluster = make_cluster(2, watched=True)
    first, second = cluster.nodes
    with Recorder(cluster.nodes, cluster.vip) as recorder, Load(cluster.client, cluster.vip, rate=100, keep_alive=10) as load:
        served(load)
        harm(first, "STOP", PARENT)
        stopped = pid(second, CHILD)
        harm(second, "STOP", CHILD)
        until(lambda: is_alive(second) and pid(second, CHILD) != stopped, "the backup's keepalived to begin anew")
        served(load)
        harm(first, "CONT", PARENT)
        served(load)
    assert recorder.moves() == []
    assert recorder.overlap_seconds() == 0.0
    assert cluster.holders() == [first]
    assert load.found.failed("new") + load.found.failed("established") == []
    assert first.band() == second.band() == "0"


def test_nobody_could_take_it_over(make_cluster: MakeCluster) -> None:
    """A single instance goes on serving from the VIP on lo while its keepalived begins anew, and asks nobody to take over."""
    cluster = make_cluster(1, watched=True)
    (only,) = cluster.nodes
    with Load(cluster.client, cluster.vip, rate=100, keep_alive=10) as load:
        served(load)
        killed = pid(only, CHILD)
        harm(only, "KILL", CHILD)
        until(lambda: is_alive(only) and pid(only, CHILD) != killed, "keepalived to begin anew")
        only.wait_for(cluster.vip)
        served(load)
    assert load.found.failed("new") + load.found.failed("established") == []
    assert only.band() == "0"
    assert "nobody is hurried to take it over: there is no other instance in this group" in only.log()

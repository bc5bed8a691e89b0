"""Several instances that have left serve their open connections at the same time, and end in any order."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from lab.clients.load import Load
from lab.conftest import MakeCluster
from lab.fabric import kernel_rules
from lab.fabric.cluster import Cluster, update
from lab.fabric.node import Node
from lab.fabric.wait import until
from lab.fabric.watchdog import watchdog
from lab.strangers.stray import stray

CLIENTS = 20
SECONDS = 120.0  # a storm is ended from outside


@contextmanager
def clients(cluster: Cluster, *, lane: int = 0) -> Iterator[Load]:
    """Keep connections open at whoever is MASTER now, from here to the end of the block."""
    with Load(cluster.client, cluster.vip, rate=0, keep_alive=CLIENTS, lane=lane) as load:
        asked(load)
        yield load


def asked(*loads: Load) -> None:
    """Return when each load's clients have all been answered, or not, several times more."""
    enough = [load.answered + load.failed + 5 * CLIENTS for load in loads]
    for load, count in zip(loads, enough, strict=True):
        until(lambda load=load, count=count: load.answered + load.failed >= count, "the clients to be answered")  # type: ignore[misc]


def demote(node: Node) -> None:
    code, _, stderr = node.vrrpctl("demote")
    assert code == 0, stderr


def stop(node: Node) -> None:
    """Stop an instance as `bosh stop` does."""
    node.agent.run_script(
        "pre-stop", {"BOSH_VM_NEXT_STATE": "keep", "BOSH_INSTANCE_NEXT_STATE": "stopped", "BOSH_DEPLOYMENT_NEXT_STATE": "keep"}
    )
    node.agent.drain()
    node.monit.stop()
    node.agent.run_script("post-stop")


def served_by(load: Load) -> set[str]:
    return {request.node for request in load.found.of("established")}


def assert_answered(cluster: Cluster) -> None:
    """A packet that nobody knows comes to its end, and did not go round."""
    assert stray(cluster, cluster.vip)
    assert sum(kernel_rules.situation(node.machine).circled for node in cluster.nodes) == 0


@pytest.mark.samples("10.0.0.10")
@pytest.mark.parametrize("vip", ["10.0.0.10", "fd00::10"])
def test_the_next_is_updated_while_the_first_still_serves(make_cluster: MakeCluster, vip: str) -> None:
    """The operator took one out, BOSH updates the next: what is open at the first lives on when the second stops, and when it is back."""
    cluster = make_cluster(3, vip=vip, watched=True, ha_proxy={"bind": ":::80 v4v6"} if ":" in vip else {})
    first, second, third = cluster.nodes
    with watchdog(SECONDS, *(node.machine for node in cluster.nodes)), clients(cluster) as of_first:
        demote(first)
        second.wait_for(vip)
        with clients(cluster, lane=1) as of_second:

            def note(what: str) -> None:
                if what in ("stop", "stopped"):
                    assert cluster.holders() == [third]
                    asked(of_first, of_second)

            update(second, note)
            assert cluster.holders() == [second], "it is above the third, and takes the VIP back"
            asked(of_first, of_second)
            assert_answered(cluster)
    assert of_first.found.failed("established") == []
    assert of_second.found.failed("established") == []
    assert served_by(of_first) == {"haproxy/0"}


@pytest.mark.samples("the-later-first")
@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["the-earlier-first", "the-later-first"])
def test_two_have_left_and_stop_in_any_order(make_cluster: MakeCluster, order: tuple[int, int]) -> None:
    """Whoever stops says so: the connections of the other one live on, and nobody needs to run on any instance for that."""
    cluster = make_cluster(3)
    first, second, third = cluster.nodes
    with watchdog(SECONDS, *(node.machine for node in cluster.nodes)), clients(cluster) as of_first:
        demote(first)
        assert cluster.holders() == [second]
        with clients(cluster, lane=1) as of_second:
            demote(second)
            assert cluster.holders() == [third]
            asked(of_first, of_second)
            assert_answered(cluster)
            loads, leavers = (of_first, of_second), (first, second)
            stop(leavers[order[0]])
            asked(*loads)
            assert_answered(cluster)
            assert [str(each.peer) for each in kernel_rules.situation(third.machine).armed] == [leavers[order[1]].spec.address]
    assert of_first.found.failed("established") == []
    assert of_second.found.failed("established") == []
    assert served_by(loads[order[1]]) == {leavers[order[1]].name}


@pytest.mark.thorough
def test_four_leave_one_after_the_other(make_cluster: MakeCluster) -> None:
    """Four of five have left, and each serves what was opened there; the first and the third stop."""
    cluster = make_cluster(5)
    *leavers, last = cluster.nodes
    with watchdog(SECONDS, *(node.machine for node in cluster.nodes)), ExitStack() as stack:
        loads = []
        for lane, node in enumerate(leavers):
            loads.append(stack.enter_context(clients(cluster, lane=lane)))
            demote(node)
        assert cluster.holders() == [last]
        asked(*loads)
        assert_answered(cluster)
        stop(leavers[0])
        stop(leavers[2])
        asked(*loads)
        assert_answered(cluster)
    assert [load.found.failed("established") for load in loads] == [[]] * 4
    assert served_by(loads[1]) == {"haproxy/1"}
    assert served_by(loads[3]) == {"haproxy/3"}

"""With unicast: an instance comes back with another address, while its peers still have the one before in their lists."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from lab.clients.load import Load
from lab.conftest import MakeCluster
from lab.fabric.agent import ScriptFailed
from lab.fabric.cluster import WATCHER, Cluster, update
from lab.fabric.node import Node
from lab.fabric.wait import until
from lab.scenarios.recorder import Recorder

OVERLAP = 0.25  # seconds that a move may have two holders on a busy machine: the old one gives the VIP up at the new one's first advert
UNICAST = {"unicast": True}


def readdress(cluster: Cluster, node: Node) -> None:
    """Stop it and make it anew with another address; its own jobs are the only ones that know."""
    index = node.spec.index
    cluster.group[index] = replace(node.spec, address=f"10.0.0.{index + 51}")
    node.power_off()
    node.readdress(cluster.group[index])
    node.power_on(mac=index + 51)
    node.apply(cluster.jobs, cluster.group, cluster.properties, cluster.package)


@contextmanager
def never_two(cluster: Cluster, *others: Node) -> Iterator[Recorder]:
    """At no time do two have the VIP, but for the moment of a move."""
    with Recorder([*cluster.nodes, *others], cluster.vip) as recorder:
        yield recorder
    assert recorder.overlap_seconds() < OVERLAP, [(each.nodes, each.ms) for each in recorder.owners() if len(each.nodes) > 1]


@pytest.mark.samples("3, the lower first")
@pytest.mark.long
@pytest.mark.parametrize(
    ("nodes", "order"),
    [(2, (0, 1)), (2, (1, 0)), (3, (0, 1, 2)), (3, (2, 1, 0))],
    ids=["2, the higher first", "2, the lower first", "3, the higher first", "3, the lower first"],
)
def test_addresses_change_one_by_one(make_cluster: MakeCluster, nodes: int, order: Sequence[int]) -> None:
    """One instance after the other gets another address: one MASTER at every step, and no new connection refused."""
    cluster = make_cluster(nodes, watched=True, keepalived=UNICAST)
    with never_two(cluster), Load(cluster.client, cluster.vip, rate=50, keep_alive=0) as load:
        for index in order:
            node = cluster.nodes[index]
            update(node, apply=lambda node=node: readdress(cluster, node))  # type: ignore[misc]
    assert cluster.holders() == [cluster.nodes[0]]
    assert load.found.refused() == []
    for node in cluster.nodes:
        assert "Entering FAULT" not in node.log("keepalived", "keepalived.log")


@pytest.mark.thorough
def test_a_master_that_nobody_tells_of_it(make_cluster: MakeCluster) -> None:
    """Where no watcher runs the peer goes on adverting to the address before: nothing is started beside it, and the reason says why."""
    cluster = make_cluster(2, keepalived=UNICAST)
    first, second = cluster.nodes
    said = r"02:00:00:00:00:01 has 10\.0\.0\.10, and none of its adverts reaches 10\.0\.0\.52"
    with never_two(cluster), pytest.raises(ScriptFailed, match=said):
        update(second, apply=lambda: readdress(cluster, second))
    assert cluster.holders() == [first]


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[Callable[[Cluster, Node], Node]]:
    """Give a function that makes a VM beside the one of an instance, as create-swap-delete does: of the same ID, with another address."""
    with ExitStack() as stack:

        def make(cluster: Cluster, node: Node) -> Node:
            spec = replace(node.spec, address="10.0.0.51")
            disk = Path(tempfile.mkdtemp(prefix="disk-", dir=cluster.package.parent))
            stack.callback(shutil.rmtree, disk, ignore_errors=True)
            made = Node(cluster.switch, spec, ("10.0.0.51/24",), disk, unmonitored=(WATCHER,), mac=51)
            stack.callback(made.machine.kill)
            made.name = f"{node.name} anew"
            made.apply(cluster.jobs, [spec, *cluster.group[1:]], cluster.properties, cluster.package)
            return made

        yield make


@pytest.mark.thorough
def test_a_vm_beside_the_one_before(make_cluster: MakeCluster, beside: Callable[[Cluster, Node], Node]) -> None:
    """It is no stranger to the one that still runs, though that has an address that no link names; the VIP leaves that one as ever."""
    cluster = make_cluster(2, watched=True)
    before, second = cluster.nodes
    anew = beside(cluster, before)
    with never_two(cluster, anew), Load(cluster.client, cluster.vip, rate=50, keep_alive=0) as load:
        anew.start()
        assert cluster.holders() == [before]
        before.agent.run_script("pre-stop")
        before.agent.drain()
        before.monit.stop()
        before.agent.run_script("post-stop")
        until(lambda: anew.has(cluster.vip) or second.has(cluster.vip), "one of the two that are left to have the VIP")
    assert "is its backup" in anew.log()
    assert load.found.refused() == []

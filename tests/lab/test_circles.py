"""A packet that nobody knows never goes round for long, whoever takes whom for a leaver: the kernel as witness of the unit tests' model."""

import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from lab.conftest import MakeCluster
from lab.fabric.cluster import Cluster
from lab.fabric.kernel_rules import arm, group, hold, situation
from lab.fabric.namespace import Namespace
from lab.fabric.node import Node
from lab.fabric.wait import until
from lab.fabric.watchdog import watchdog
from lab.strangers.stray import stray
from vrrp_drain.handoff.vip_on_lo import VipOnLo

NODES = 3
SECONDS = 20.0  # a storm of so long is ended from outside
VIPS = {4: "10.0.0.10", 6: "fd00::10"}
FAMILIES = pytest.mark.parametrize("version", VIPS)
NOBODY = {4: "10.0.0.99", 6: "fd00::99"}
BROADCAST = "10.0.0.255"
Target = int | str | None  # which node, an address, or nobody


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three machines with both VIPs on lo; each answers ARP for them on no interface, the first has them on eth0."""
    with Cluster(tmp_path_factory.mktemp("ring") / "none", NODES) as cluster, watchdog(110, *machines(cluster)):
        for node in cluster.nodes:
            node.machine.in_network(lambda node=node: _hold_vips(node, tmp_path_factory.mktemp("run")))  # type: ignore[misc]
        first = cluster.nodes[0].machine
        for version, vip in VIPS.items():
            length = 24 if version == 4 else 64
            first.run(["ip", f"-{version}", "addr", "add", f"{vip}/{length}", "dev", "eth0"], {"PATH": "/usr/sbin:/sbin:/usr/bin"})
        yield cluster


def machines(cluster: Cluster) -> list[Namespace]:
    return [node.machine for node in cluster.nodes]


def _hold_vips(node: Node, directory: Path) -> None:
    from vrrp_drain.linux.rtnetlink import Netlink

    with Netlink() as netlink:
        VipOnLo(directory, netlink, Path("/proc/sys/net/ipv4/conf")).hold([ip_address(vip) for vip in VIPS.values()], "eth0")


def address(version: int, target: int | str) -> str:
    if isinstance(target, str):
        return target
    return f"10.0.0.{target + 1}" if version == 4 else f"fd00::{target + 1}"


def prepare(ring: Cluster, version: int, armed: tuple[Target, ...]) -> None:
    """Install the rules anew, each node at its place, and armed at a target."""
    for rank, (node, target) in enumerate(zip(ring.nodes, armed, strict=True)):
        ranks = {address(version, each): each for each in range(NODES) if each != rank}
        hold(node.machine, group(VIPS[version], closed=False, rank=rank, ranks=ranks))
        if target is not None:
            arm(node.machine, VIPS[version], address(version, target))


def handed_on(ring: Cluster) -> int:
    return sum(situation(node.machine).sent for node in ring.nodes)


@pytest.mark.kernel("handoff rules")
@FAMILIES
@pytest.mark.parametrize(
    ("armed", "moves"),
    [
        pytest.param((None, None, None), 0, id="nobody"),
        pytest.param((1, None, None), 1, id="one-leaver"),
        pytest.param((1, 2, None), 2, id="a-chain"),
        pytest.param((1, 0, None), 3, id="two-at-each-other"),
        pytest.param((1, 2, 0), 5, id="three-in-a-ring"),
        pytest.param((1, 2, 1), 4, id="a-tail-and-a-circle"),
        pytest.param((0, None, None), 1, id="at-itself"),
    ],
)
def test_it_is_handed_on_a_few_times_and_answered(ring: Cluster, version: int, armed: tuple[Target, ...], moves: int) -> None:
    """However long it could go on, it goes up twice; whoever is the last to be asked answers with its reset, long before its last hop."""
    prepare(ring, version, armed)
    with watchdog(SECONDS, *machines(ring)):
        assert stray(ring, VIPS[version]) or armed[0] == 0, "one who is armed at itself sends it nowhere"
        time.sleep(0.1)  # whatever goes round does so thousands of times meanwhile
        assert handed_on(ring) == moves
        assert sum(situation(node.machine).circled for node in ring.nodes) == 0


@pytest.mark.kernel("handoff rules")
@FAMILIES
@pytest.mark.parametrize(("hops", "moves", "circled"), [(1, 0, 1), (2, 1, 1), (3, 1, 0), (8, 1, 0), (9, 1, 0), (10, 3, 0), (255, 3, 0)])
def test_how_many_hops_it_came_with(ring: Cluster, version: int, hops: int, moves: int, circled: int) -> None:
    """None wraps: the kernel takes a hop from each copy without asking whether there is one. Few are taken for those of a later round."""
    prepare(ring, version, (1, 0, None))
    with watchdog(SECONDS, *machines(ring)):
        assert stray(ring, VIPS[version], hops=hops)
        time.sleep(0.1)
        assert handed_on(ring) == moves
        assert sum(situation(node.machine).circled for node in ring.nodes) == circled


@pytest.mark.kernel("handoff rules")
@pytest.mark.parametrize("armed", [(BROADCAST, BROADCAST, BROADCAST), (NOBODY[4], None, None)], ids=["broadcast", "nobody there"])
def test_an_address_that_is_no_hosts_makes_no_storm(ring: Cluster, armed: tuple[Target, ...]) -> None:
    """Even if such an address were in the map, which the rules for adverts prevent: no storm."""
    prepare(ring, 4, armed)
    with watchdog(SECONDS, *machines(ring)):
        stray(ring)
        time.sleep(0.1)
        assert handed_on(ring) == 1


def test_an_instance_that_was_made_anew(make_cluster: MakeCluster) -> None:
    """bosh recreate gives it another MAC; it says that nothing is open there, and nobody hands anything on to it any more."""
    cluster = make_cluster(2)
    first = cluster.nodes[0]
    with watchdog(60, *machines(cluster)):
        code, _, stderr = first.vrrpctl("demote")
        assert code == 0, stderr
        first.power_off()
        first.power_on(mac=77)
        first.start()
        first.wait_for(cluster.vip)
        until(lambda: situation(first.machine).armed, "the first node to be armed at the second")
        assert [str(each.peer) for node in cluster.nodes for each in situation(node.machine).armed] == ["10.0.0.2"]
        before = handed_on(cluster)
        assert stray(cluster)
        time.sleep(0.1)
        assert handed_on(cluster) - before == 1

"""A stranger on the segment sends adverts of every kind, seldom and very often: nobody feels it, and nothing moves because of it."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from lab.benches import noise
from lab.benches.noise import CLIENTS_NUMBER, KINDS, RATES, STRANGERS_NUMBER, frame, pair, plugged_in
from lab.conftest import MakeCluster, PlugIn, show
from lab.fabric import kernel_rules
from lab.fabric.cluster import Cluster
from lab.fabric.namespace import Namespace
from lab.fabric.node import Node
from lab.fabric.wait import until
from lab.strangers.forger import Forger


@pytest.fixture(scope="module")
def group(package: Path) -> Iterator[tuple[Cluster, Iterator[int]]]:
    """A group for the kinds of noise, one after the other, and the numbers of their clients."""
    with noise.group(package) as cluster:
        yield cluster, count(CLIENTS_NUMBER)


@pytest.fixture
def noisy(group: tuple[Cluster, Iterator[int]]) -> Iterator[tuple[Cluster, Namespace, Namespace]]:
    """The group, the stranger and a client."""
    cluster, numbers = group
    with plugged_in(cluster, "stranger", STRANGERS_NUMBER) as stranger, plugged_in(cluster, "client", next(numbers)) as client:
        yield cluster, stranger, client
    show(cluster)


@pytest.mark.samples("other VIP-10000", "priority 255-2", "wrong checksum-10000", "draining priority-2")
@pytest.mark.parametrize("rate", [pytest.param(rate, marks=pytest.mark.xdist_group(f"noise {rate}")) for rate in RATES])
@pytest.mark.parametrize("kind", KINDS)
def test_moves_under_noise(noisy: tuple[Cluster, Namespace, Namespace], kind: str, rate: float) -> None:
    """A move away and back: no request fails, no open connection breaks, and there are the two moves that were asked for."""
    cluster, stranger, client = noisy
    before = refused(cluster)
    found = pair(cluster, stranger, client, kind, rate)
    assert found.rate > 0.5 * rate, found
    assert found.clean, found
    assert all(now > then for now, then in zip(refused(cluster), before, strict=True))


def refused(cluster: Cluster) -> list[int]:
    """Return how many packets each node has refused so far."""
    return [kernel_rules.situation(node.machine).refused for node in cluster.nodes]


def test_the_highest_priority_of_nobody_takes_no_vip(make_cluster: MakeCluster, stranger: PlugIn) -> None:
    """With unicast, adverts at priority 255 to both instances, of a machine that is no peer: the MASTER keeps the VIP."""
    cluster = make_cluster(2, fast=False, keepalived={"unicast": True})
    first, second = cluster.nodes
    payload = KINDS["priority 255"]
    frames = [frame(payload, destination=node.spec.address, mac=bytes((2, 0, 0, 0, 0, node.spec.index + 1))) for node in (first, second)]
    logged = first.log("keepalived", "keepalived.log").count("STATE")
    with Forger(stranger(cluster), frames) as forger:
        until(lambda: forger.rounds > 40, "two seconds of adverts", 10)
    assert cluster.holders() == [first]
    assert first.log("keepalived", "keepalived.log").count("STATE") == logged


def test_keepalived_without_our_rules_hears_its_unicast_peers_alone(make_cluster: MakeCluster, stranger: PlugIn) -> None:
    """Where the kernel lacks nftables, keepalived checks the source itself: the same adverts take nothing."""
    cluster = make_cluster(2, fast=False, keepalived={"unicast": True}, create=False)
    first, second = cluster.nodes
    for node in cluster.nodes:
        node.agent.run_script("pre-start")
        node.machine.run(["nft", "flush", "ruleset"], {"PATH": "/usr/sbin:/sbin:/usr/bin"})
        node.monit.start()
        node.agent.run_script("post-start")
    first.wait_for(cluster.vip)
    assert "check_unicast_src" in (first.machine.root / "var/vcap/sys/run/keepalived/keepalived.conf").read_text()
    frames = [
        frame(KINDS["priority 255"], destination=node.spec.address, mac=bytes((2, 0, 0, 0, 0, node.spec.index + 1)))
        for node in (first, second)
    ]
    with Forger(stranger(cluster), frames) as forger:
        until(lambda: forger.rounds > 40, "two seconds of adverts", 10)
    assert cluster.holders() == [first]


def test_one_packet_fails_no_deploy(make_cluster: MakeCluster, stranger: PlugIn) -> None:
    """A single advert of a stranger while pre-start listens is a warning; the instance starts and is MASTER."""
    cluster = make_cluster(1, create=False)
    (only,) = cluster.nodes
    with ThreadPoolExecutor(1) as pool, stranger(cluster).in_network(_wire) as wire:
        start = pool.submit(only.start)
        until(lambda: _listens(only), "pre-start to listen")
        wire.send(frame(KINDS["other VIP"]))
        start.result()
    only.wait_for(cluster.vip)
    assert "heard in one packet alone, which proves nothing: 10.0.0.66 uses VRID 1" in only.log()


def _wire() -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    opened.bind(("eth0", 0))
    return opened


def _listens(node: Node) -> bool:
    """Tell whether a packet socket for IPv4 is open there (proc(5), the fourth column)."""
    sockets = Path(f"/proc/{node.machine.pid}/net/packet").read_text().splitlines()[1:]
    return any(each.split()[3] == "0800" for each in sockets)

"""Connections of every kind of frontend, in every network and whyever the VIP moves: each goes on, on the instance that opened it."""

import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.clients.both_ways import Transfer
from lab.clients.frontends import TCP, Client, backends, certificate, every_kind, more_than, use
from lab.conftest import MakeCluster
from lab.fabric.cluster import VIP, VIP6
from lab.fabric.node import Node
from lab.fabric.wait import until
from lab.fabric.watchdog import watchdog
from lab.scenarios.matrix import NETWORKS, REASONS, TWO_MASTERS, Network, Reason

PATIENT = {"keepalive_timeout": 60}  # haproxy closes nobody's connection who is quiet during a test
MODULES = {"virtual MAC": pytest.mark.needs("macvlan"), "drops foreign sources": pytest.mark.needs("vxlan")}
SECONDS = 120.0  # a storm is ended from outside
_ACKNOWLEDGED = 0.5  # seconds within which a client acknowledges what it got (RFC 9293 section 3.8.6.3)


@pytest.mark.kernel(
    "frontends",
    all=("drain, IPv4, one segment", "drain, IPv4, virtual MAC", "drain, IPv6, drops foreign sources"),
    short=("drain, IPv4, one segment",),
)
@pytest.mark.samples(
    "drain, IPv4, one segment",
    "drain, IPv6, drops foreign sources",
    "drain, IPv4, virtual MAC",
    "keepalived died, IPv6, one segment",
    "partition, IPv4, one segment",
)
@pytest.mark.parametrize(
    ("reason", "vip", "network"),
    [
        pytest.param(reason, vip, network, marks=MODULES.get(network.name, ()), id=f"{reason.name}, {family}, {network.name}")
        for reason in REASONS
        for family, vip in (("IPv4", VIP), ("IPv6", VIP6))
        for network in NETWORKS
    ],
)
def test_every_kind_survives(make_cluster: MakeCluster, tmp_path: Path, reason: Reason, vip: str, network: Network) -> None:
    """Each kind of connection is used before the move, after it and after the way back, and is always served by the node that opened it.

    While the VIP is away, new ones reach the other node: so packets to the VIP do go there.
    """
    pem = certificate(tmp_path / "vip.pem")
    drain = {"health_interval": 0.3, **network.properties.get("vrrp_drain", {})}
    properties = {**network.properties, "vrrp_drain": drain, "ha_proxy": {**PATIENT, "extra": every_kind(pem, vip)}}
    cluster = make_cluster(2, vip=vip, create=False, watched=True, **properties)
    network.prepare(cluster)
    cluster.create()
    first, second = cluster.nodes
    first.wait_for(vip)
    transfers: list[str] = []
    with watchdog(SECONDS, first.machine, second.machine), ExitStack() as stack:
        for node in cluster.nodes:
            stack.enter_context(backends(node, pem, transfers))
        client = Client(cluster, pem, stack)
        of_first = client.one_of_each()
        by_first, by_second = (dict.fromkeys(of_first, node.name) for node in cluster.nodes)
        transfer = None if reason.cut_off else stack.enter_context(Transfer(cluster.client, vip, TCP))
        assert use(of_first, "before") == by_first
        if reason.cut_off:
            time.sleep(_ACKNOWLEDGED)
        reason.leave(cluster, first)
        second.wait_for(vip)
        learnt(client, second)
        of_second = client.one_of_each()
        assert use(of_second, "away") == by_second
        if not reason.waits:
            assert use(of_first, "away") == by_first
        if transfer and not reason.waits:
            more_than(transfer, 1 << 20)
        reason.come_back(cluster, first)
        second.wait_for(vip, here=False, seconds=40)
        first.wait_for(vip)
        learnt(client, first)
        assert use(of_first, "back") == by_first
        opened_meanwhile = use(of_second, "back")
        if (reason.name, network.name) in TWO_MASTERS:
            assert not any("timed out" in each for each in opened_meanwhile.values()), "a reset at once, if anything"
        else:
            assert opened_meanwhile == by_second
        if transfer:
            more_than(transfer, 1 << 20)
    assert transfer is None or transfer.whole, transfer
    assert transfers == ([] if reason.cut_off else [first.name])
    assert first.status()["bound_to_vip"] == []


def learnt(client: Client, node: Node) -> None:
    """Wait until new clients reach ``node``: who has not learnt yet where the VIP is asks whoever had it, as dead as that may be."""
    until(lambda: client.who_answers() == node.name, f"new clients to reach {node.name}", 15)

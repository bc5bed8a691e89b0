"""Adverts that are lost, and leavers that are: what one packet or one VM less must not cost."""

import ipaddress
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab.clients.load import Load
from lab.conftest import MakeCluster, nft
from lab.fabric.cluster import Cluster
from lab.fabric.kernel_rules import situation
from lab.fabric.node import Node
from lab.fabric.wait import until
from vrrp_drain.handoff.rules import Rules

CLIENTS = 30
FAMILIES = pytest.mark.parametrize("vip", ["10.0.0.10", "fd00::10"])
DUAL_STACK = {"bind": ":::80 v4v6"}
DRAINING = "@th,16,8 0x43-0x63"
LEAVING = "@th,16,8 0x0-0x63"  # and priority 0, and hellos


@contextmanager
def losing(node: Node, *rules: str) -> Iterator[None]:
    """Drop what ``rules`` match of what reaches ``node``, before our rules see it."""
    nft(node, "add table inet lost; add chain inet lost raw { type filter hook prerouting priority -300; }")
    for rule in rules:
        nft(node, f"add rule inet lost raw {rule} drop")
    try:
        yield
    finally:
        nft(node, "delete table inet lost")


def move(cluster: Cluster, leaver: Node, successor: Node) -> None:
    code, _, stderr = leaver.vrrpctl("demote")
    assert code == 0, stderr
    assert cluster.holders() == [successor]


@pytest.mark.samples("nopreempt")
@pytest.mark.parametrize("preempt", [True, False], ids=["preempt", "nopreempt"])
def test_the_first_advert_of_the_leaver_is_lost(make_cluster: MakeCluster, preempt: bool) -> None:
    """Nobody's connection is cut: it is said again."""
    keepalived = {"vrrp_version": 2, "advert_int": 1, "preempt": preempt}
    cluster = make_cluster(2, fast=False, keepalived=keepalived)
    first, second = cluster.nodes
    once = f"meta nfproto ipv4 ip protocol 112 {DRAINING} limit rate 1/day burst 1 packets"
    with losing(second, once), Load(cluster.client, cluster.vip, rate=20, keep_alive=CLIENTS) as load:
        until(lambda: load.answered > 100, "clients to be served")
        move(cluster, first, second)
        served = load.answered
        until(lambda: load.answered > served + 100, "clients to be served after the move")
    assert load.found.failed("established") == []
    assert load.found.failed("new") == []


@pytest.mark.thorough
def test_a_fifth_of_the_leavers_adverts_is_lost(make_cluster: MakeCluster) -> None:
    """Six moves away, the successor knowing of none before: no open connection is cut by any, nor by a way back."""
    cluster = make_cluster(2)
    first, second = cluster.nodes
    fifth = f"meta nfproto ipv4 ip protocol 112 {LEAVING} numgen random mod 100 < 20"
    with losing(second, fifth), Load(cluster.client, cluster.vip, rate=20, keep_alive=CLIENTS) as load:
        for _ in range(6):
            second.machine.in_network(lambda: Rules().disarm(ipaddress.ip_address(first.spec.address)))
            assert situation(second.machine).armed == ()
            still_served(load)
            move(cluster, first, second)
            still_served(load)
            code, _, stderr = first.vrrpctl("promote")
            assert code == 0, stderr
            first.wait_for(cluster.vip)
        still_served(load)
    assert load.found.failed("established") == []
    assert load.found.failed("new") == []


def still_served(load: Load) -> None:
    served = load.answered
    until(lambda: load.answered > served + 100, "clients to be served")


@FAMILIES
def test_a_leaver_that_is_gone_for_good(make_cluster: MakeCluster, vip: str) -> None:
    """Its VM dies while it serves what was open: the client hears it within seconds, not at the end of the window."""
    cluster = make_cluster(2, vip=vip, watched=True, ha_proxy=DUAL_STACK)
    first, second = cluster.nodes
    client = cluster.client.in_network(lambda: socket.create_connection((vip, 80), 5))
    with client:
        move(cluster, first, second)
        assert len(situation(second.machine).armed) == 1
        time.sleep(3)
        assert len(situation(second.machine).armed) == 1, "one that is there keeps them"
        first.power_off()
        began = time.monotonic()
        assert closed_after(client) - began < 3
    assert "does not answer any more: their clients get a reset from haproxy/1" in second.log()


def closed_after(client: socket.socket, seconds: float = 20) -> float:
    """Send bytes of a request until the connection is reset; return when it was (monotonic)."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            client.sendall(b"X")
        except OSError:
            return time.monotonic()
        time.sleep(0.05)
    raise AssertionError(f"no reset within {seconds:g} s")

"""Somebody takes our rules away, or a VIP on lo: they are back within a second or two, and it is told who it was."""

import time
from functools import partial

import pytest

from lab.clients.load import Load
from lab.conftest import MakeCluster, nft
from lab.fabric.node import Node
from lab.fabric.wait import until

BACK = 4.0  # seconds, on a busy machine; with one of its own it is half a second


def harm(node: Node, command: str) -> None:
    done = node.machine.run(["sh", "-ec", command], {"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"})
    assert done.returncode == 0, done.stderr


def losses(node: Node) -> list[str]:
    return [line for line in node.log(name="history.log").splitlines() if '"rules_lost"' in line]


def rules(node: Node) -> str:
    """Return all rules, without what counters have counted and sets hold."""
    return nft(node, "--stateless", "--terse", "list", "ruleset")


def has_told(node: Node, count: int) -> bool:
    return len(losses(node)) == count


HARMS = {
    "all rules of everybody": ("nft flush ruleset", "the nftables table ip vrrp_drain, the nftables table ip6 vrrp_drain are gone"),
    "our table": ("nft delete table ip vrrp_drain", "the nftables table ip vrrp_drain is gone"),
    "the rules in it": ("nft flush table ip vrrp_drain", "rules of chain prerouting of ip vrrp_drain"),
    "the rules of a chain": ("nft flush chain ip vrrp_drain send", "rules of chain send of ip vrrp_drain is gone"),
    "who is a member": ("nft flush set ip vrrp_drain members", "elements of set members of ip vrrp_drain is gone"),
    "a VIP on lo": ("ip addr del 10.0.0.10/32 dev lo", "10.0.0.10 on lo is gone"),
}


@pytest.mark.kernel("handoff rules")
def test_what_is_taken_away_is_put_back(make_cluster: MakeCluster) -> None:
    """Each kind of loss once: all is there again, the loss and its end stand in the history with who did it, and a metric counts it."""
    cluster = make_cluster(2, watched=True, keepalived={"vips": ["fd00::10/64"]})
    first, _ = cluster.nodes
    whole = rules(first)
    told = len(losses(first))
    for kind, (command, says) in HARMS.items():
        harm(first, command)
        began = time.monotonic()
        until(partial(has_told, first, told + 2), f"{kind}: the loss and its end to be told", BACK + 6)
        print(f"{kind}: told as over after {time.monotonic() - began:.2f} s")
        on, off = losses(first)[-2:]
        assert says in on, kind
        assert ("since a change by nft (pid " in on) is command.startswith("nft"), kind
        assert '"state": "off"' in off, kind
        assert rules(first) == whole, kind
        assert "10.0.0.10/32" in first.machine.run(["ip", "-o", "addr", "show", "lo"]).stdout, kind
        told += 2
    assert f"vrrp_drain_rules_losses_total {len(HARMS)}.0" in first.machine.run(["curl", "-s", "127.0.0.1:9922/metrics"]).stdout
    assert first.status()["obstacles"] == []


@pytest.mark.parametrize("watched", [True, False], ids=["watched", "not watched"])
def test_a_drain_after_it(make_cluster: MakeCluster, watched: bool) -> None:
    """The rules of both instances are flushed while clients are connected; a drain some seconds later breaks none of them. Where no
    watcher puts them back, status says at once what a drain would do."""
    cluster = make_cluster(2, watched=watched)
    first, second = cluster.nodes
    with Load(cluster.client, cluster.vip, rate=50, keep_alive=10) as load:
        until(lambda: load.answered > 50, "clients to be served")
        for node in (first, second):
            harm(node, "nft flush ruleset")
        if watched:
            until(lambda: first.status()["handoff"] and second.status()["handoff"], "the rules to be back", BACK)
        else:
            (obstacle,) = first.status()["obstacles"]
            assert obstacle.startswith("the nftables table ip vrrp_drain: taken away by somebody")
            return
        first.agent.drain()
        second.wait_for(cluster.vip)
        before = load.answered
        until(lambda: load.answered > before + 50, "clients to be served by the second one")
    assert load.found.failed("established") == []
    assert load.found.failed("new") == []

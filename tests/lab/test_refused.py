"""A kernel that lacks what the handoff needs: everything else works, and log and status say what is lost."""

import socket
import time
from typing import Any

import pytest

from lab.clients.load import Load
from lab.conftest import MakeCluster, nft
from lab.fabric.cluster import Cluster
from lab.fabric.kernel_rules import group, hold, situation
from lab.fabric.refusal import NETFILTER, SOCK_DIAG, refuse
from lab.fabric.wait import until
from vrrp_drain.handoff.rules import Rules
from vrrp_drain.linux.nftables import expressions
from vrrp_drain.runtime.errors import SystemFault

pytestmark = pytest.mark.kernel("refused netlink", short=True)

DRAIN_TIMEOUT = 30


def test_without_nftables_and_sock_diag(make_cluster: MakeCluster) -> None:
    """Both nodes start, say that moves cut open connections, and drain: at once, and no client is refused by the move.

    Without the rules it cuts what is open at its instant, as the log says, and requests may be: nothing before or after them.
    """
    cluster = make_cluster(2, create=False, vrrp_drain={"drain_timeout": DRAIN_TIMEOUT})
    first, second = cluster.nodes
    for node in cluster.nodes:
        refuse(node, NETFILTER, SOCK_DIAG)
        node.start()
        lost = f"a move of {cluster.vip} cuts them (Protocol not supported: it has no nftables)"
        assert f"the kernel refuses the rules that hand open connections over: {lost}" in node.log()
    first.wait_for(cluster.vip)
    assert "handoff     not installed: a move cuts the connections that are open\n" in first.vrrpctl("status")[1]
    assert first.status()["handoff"] is False
    idle = cluster.client.in_network(lambda: socket.create_connection((cluster.vip, 80), 5))
    with idle, Load(cluster.client, cluster.vip, rate=100, keep_alive=0) as load:
        until(lambda: load.answered > 50, "clients to be served")
        started = time.monotonic()
        (run,) = (each for each in first.agent.drain() if each.job == "vrrp-drain")
        took = time.monotonic() - started
        assert cluster.holders() == [second]
        served = load.answered
        until(lambda: load.answered > served + 50, "clients to be served by the other one")
    assert (run.exit_code, run.stdout) == (0, "0\n")
    assert "the kernel does not tell its connections (Protocol not supported): not waiting for connections" in run.stderr
    assert took < DRAIN_TIMEOUT / 2
    assert load.found.refused() == []
    cut = [(each.t, each.t + (each.ms + each.stalled_ms) / 1000) for each in load.found.failed("new")]
    assert not cut or max(began for began, _ in cut) <= min(ended for _, ended in cut), "not all were open at one instant"
    first.monit.stop()
    first.agent.run_script("post-stop")
    assert " ERROR " not in first.log()


@pytest.mark.parametrize(("part", "left"), [("socket", (4,)), ("dup", (4,)), ("dynset", ())])
def test_a_part_of_nftables_is_missing(bench: Cluster, monkeypatch: pytest.MonkeyPatch, part: str, left: tuple[int, ...]) -> None:
    """A kernel that does not know one of the expressions gets no handoff, and the error says what that costs clients.

    The rules for adverts need neither socket nor dup, and are there without the handoff's; without dynset nothing is.

    The kernel is asked for an expression that none has, in the place of ``part``.
    """
    (node,) = bench.nodes
    node.machine.in_network(Rules().release)
    before = nft(node, "list", "ruleset")
    genuine = expressions.genex

    def unknown(name: str, attributes: dict[str, Any]) -> Any:
        return {"attrs": [("NFTA_EXPR_NAME", "unheard-of")]} if name == part else genuine(name, attributes)

    monkeypatch.setattr(expressions, "genex", unknown)
    with pytest.raises(SystemFault, match=r"a move of 10\.0\.0\.10 cuts them \(it lacks unheard-of of IPv4, in nftables\)"):
        hold(node.machine, group("10.0.0.10"))
    found = situation(node.machine)
    assert (found.families, found.tables) == ((), left)
    node.machine.in_network(Rules().release)
    assert nft(node, "list", "ruleset") == before

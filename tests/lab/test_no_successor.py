"""Nobody can take the VIP over: it stays where it is served, the wait is bounded, and the policy decides."""

import pytest

from lab.clients.load import Load
from lab.conftest import MakeCluster
from lab.fabric.agent import ScriptFailed
from lab.fabric.wait import until
from lab.scenarios.recorder import Recorder

FAIL = {"on_no_successor": "fail"}


def test_single_node_proceeds(make_cluster: MakeCluster) -> None:
    """A single node waits for nobody, warns, keeps serving until it is stopped, and lets BOSH go on."""
    cluster = make_cluster(1)
    (only,) = cluster.nodes
    with Load(cluster.client, cluster.vip) as load:
        (run,) = only.agent.drain()
    assert (run.exit_code, run.stdout) == (0, "0\n")
    assert "WARNING" in only.log()
    assert load.found.failed("new") == []


def test_single_node_fails(make_cluster: MakeCluster) -> None:
    """With on_no_successor fail, pre-stop and drain exit 1, drain's stdout is empty, and the priority is back."""
    cluster = make_cluster(1, vrrp_drain=FAIL)
    (only,) = cluster.nodes
    with pytest.raises(ScriptFailed, match="on_no_successor is fail"):
        only.agent.run_script("pre-stop")
    with pytest.raises(ScriptFailed) as failed:
        only.agent.drain()
    assert [(run.exit_code, run.stdout) for run in failed.value.runs] == [(1, "")]
    assert only.band() == "0"
    assert cluster.holders() == [only]


def test_all_peers_draining_below_us(make_cluster: MakeCluster) -> None:
    """Peers that an operator demoted do not get the VIP from a MASTER that outranks them, and nobody waits for them."""
    cluster = make_cluster(3, vrrp_drain=FAIL)
    first, second, third = cluster.nodes
    for peer in (second, third):
        assert peer.vrrpctl("demote")[0] == 0
    with pytest.raises(ScriptFailed, match="stopped, until somebody starts them: haproxy/1, haproxy/2"):
        first.agent.drain()
    assert first.band() == "0"
    until(lambda: cluster.holders() == [first], "the VIP to be with the first node alone")


def test_all_peers_draining_above_us(make_cluster: MakeCluster) -> None:
    """Demoted peers that would outrank the MASTER if it lowered its priority are no successors: the VIP stays all the while."""
    cluster = make_cluster(3, vrrp_drain=FAIL)
    first, second, third = cluster.nodes
    for peer in (first, second):
        assert peer.vrrpctl("demote")[0] == 0
    third.wait_for(cluster.vip)
    with (
        Recorder(cluster.nodes, cluster.vip) as recorder,
        pytest.raises(ScriptFailed, match="stopped, until somebody starts them: haproxy/0, haproxy/1"),
    ):
        third.agent.drain()
    assert recorder.moves() == []
    assert cluster.holders() == [third]
    assert third.band() == "0"


def test_an_unhealthy_peer_does_not_get_the_vip(make_cluster: MakeCluster) -> None:
    """The only peer's haproxy is down: it is waited for, then the VIP stays where it is served, and not one request is lost."""
    cluster = make_cluster(2, vrrp_drain={**FAIL, "successor_timeout": 8})
    first, second = cluster.nodes
    second.monit.stop("haproxy")
    second.wait_until_logged("Changing effective priority from 253 to 65")
    with Load(cluster.client, cluster.vip) as load, pytest.raises(ScriptFailed, match="no active peer"):
        first.agent.drain()
    assert "haproxy of haproxy/1 does not answer" in first.log()
    assert cluster.holders() == [first]
    assert load.found.failed("new") == []
    assert load.found.failed("established") == []

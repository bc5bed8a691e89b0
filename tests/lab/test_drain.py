"""Drain, wherever the node stands and in whatever state it is."""

import time

import pytest

from lab.clients.load import Load
from lab.conftest import MakeCluster


@pytest.mark.kernel("drain", short=True)
def test_drain_of_the_master_moves_the_vip_and_refuses_nobody(make_cluster: MakeCluster) -> None:
    """With default timing the MASTER's drain prints 0 when the successor serves, and no new connection is refused."""
    cluster = make_cluster(2, fast=False)
    first, second = cluster.nodes
    with Load(cluster.client, cluster.vip) as load:
        (run,) = first.agent.drain()
        second.wait_for(cluster.vip, seconds=0.5)
    assert (run.exit_code, run.stdout) == (0, "0\n")
    assert cluster.holders() == [second]
    assert load.found.refused() == []
    assert len(load.found.failed("new")) <= 2, "at most the request in flight, two where the machine ran the client in bursts"


def test_drain_of_a_backup_leaves_the_vip_where_it_is(make_cluster: MakeCluster) -> None:
    """A BACKUP's drain confirms that a peer is MASTER, and moves nothing."""
    cluster = make_cluster(2)
    first, second = cluster.nodes
    (run,) = second.agent.drain()
    assert (run.exit_code, run.stdout) == (0, "0\n")
    assert cluster.holders() == [first]
    assert second.band() == "-155"


@pytest.mark.kernel("drain")
def test_drain_twice_and_after_pre_stop(make_cluster: MakeCluster) -> None:
    """pre-stop hands over, and every drain after it only confirms: the VIP moves once."""
    cluster = make_cluster(2)
    first, second = cluster.nodes
    first.agent.run_script("pre-stop")
    assert cluster.holders() == [second]
    for _ in range(2):
        (run,) = first.agent.drain()
        assert (run.exit_code, run.stdout) == (0, "0\n")
    assert cluster.holders() == [second]


def test_drain_without_keepalived(make_cluster: MakeCluster) -> None:
    """Where keepalived does not run and the VIP is not there, there is nothing to hand over and nothing to wait for."""
    cluster = make_cluster(2)
    first, second = cluster.nodes
    first.monit.stop("keepalived")
    second.wait_for(cluster.vip)
    (run,) = first.agent.drain()
    assert (run.exit_code, run.stdout) == (0, "0\n")
    assert "nothing to hand over" in first.log()
    assert cluster.holders() == [second]


def test_drain_with_a_stale_vip_of_a_dead_keepalived(make_cluster: MakeCluster) -> None:
    """A VIP that a killed keepalived left behind is taken away once a peer is MASTER."""
    cluster = make_cluster(2)
    first, second = cluster.nodes
    first.crash_keepalived()
    second.wait_for(cluster.vip)
    assert set(cluster.holders()) == {first, second}, "the stale VIP is what this test is about"
    (run,) = first.agent.drain()
    assert (run.exit_code, run.stdout) == (0, "0\n")
    assert cluster.holders() == [second]


def test_a_stale_vip_stays_while_nobody_else_has_it(make_cluster: MakeCluster) -> None:
    """Without keepalived and without a peer the VIP stays: it is all that clients have."""
    cluster = make_cluster(1)
    (only,) = cluster.nodes
    only.crash_keepalived()
    (run,) = only.agent.drain()
    assert (run.exit_code, run.stdout) == (0, "0\n")
    assert cluster.holders() == [only]
    assert "no successor" in only.log()


def test_drain_of_a_node_without_haproxy(make_cluster: MakeCluster) -> None:
    """A MASTER whose haproxy is gone hands over as well: its peer is healthy."""
    cluster = make_cluster(2, keepalived={"healthcheck_command": "/bin/true"})
    first, second = cluster.nodes
    first.monit.stop("haproxy")
    assert cluster.holders() == [first], "keepalived must not have noticed by itself"
    (run,) = first.agent.drain()
    assert (run.exit_code, run.stdout) == (0, "0\n")
    assert cluster.holders() == [second]


def test_deployment_delete_waits_for_nobody(make_cluster: MakeCluster) -> None:
    """When the whole deployment goes, neither pre-stop nor drain lowers a priority or waits for a successor."""
    cluster = make_cluster(1, fast=False, vrrp_drain={"on_no_successor": "fail"})
    (only,) = cluster.nodes
    started = time.monotonic()
    only.agent.run_script("pre-stop", {"BOSH_DEPLOYMENT_NEXT_STATE": "delete"})
    (run,) = only.agent.drain("job_shutdown", "hash_unchanged")
    assert time.monotonic() - started < 3.0, "a handover_timeout is 5.2 s"
    assert (run.exit_code, run.stdout) == (0, "0\n")
    assert only.band() == "0"


@pytest.mark.kernel("IPv6")
def test_ipv6(make_cluster: MakeCluster) -> None:
    """An IPv6 VIP moves the same way: adverts of version 3, and neighbour solicitation as the proof."""
    cluster = make_cluster(2, vip="fd00::10", ha_proxy={"bind": ":::80 v4v6"})
    first, second = cluster.nodes
    with Load(cluster.client, cluster.vip, keep_alive=0) as load:
        (run,) = first.agent.drain()
    assert (run.exit_code, run.stdout) == (0, "0\n")
    assert cluster.holders() == [second]
    assert "02:00:00:00:00:02 answers for fd00::10" in first.log()
    assert load.found.refused() == []

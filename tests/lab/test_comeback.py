"""An instance that a start or a stop has left half way takes part again by itself, and says meanwhile what it waits for."""

import time

import pytest

from lab.clients.load import Load
from lab.conftest import MakeCluster
from lab.fabric.agent import Agent, ScriptFailed
from lab.fabric.cluster import Cluster
from lab.fabric.node import Node
from lab.fabric.wait import until

pytestmark = pytest.mark.long

JOBS = ("keepalived", "vrrp-drain", "haproxy-with-drain")
PROMOTE_AFTER = 3


def leave_half_way(make_cluster: MakeCluster, drain: str) -> tuple[Cluster, Node, Node]:
    """Give a group whose first instance's haproxy job has this drain."""
    cluster = make_cluster(2, watched=True, jobs=JOBS, vrrp_drain={"promote_after": PROMOTE_AFTER, "drain_timeout": 5})
    first, second = cluster.nodes
    (first.vcap / "jobs/haproxy/bin/drain").write_text(f"#!/bin/bash\n{drain}\nexit 1\n")
    return cluster, first, second


@pytest.mark.thorough
def test_a_deploy_that_another_jobs_drain_fails(make_cluster: MakeCluster) -> None:
    """While that drain runs the instance stays draining, and status names it; once it has failed the instance serves again."""
    cluster, first, second = leave_half_way(make_cluster, f"sleep {3 * PROMOTE_AFTER}")
    with Load(cluster.client, cluster.vip, rate=100, keep_alive=10) as load:
        until(lambda: load.answered > 100, "clients to be served")
        first.agent.run_script("pre-stop")
        second.wait_for(cluster.vip)
        theirs = Agent(first.machine, first.vcap).start_drain("haproxy")
        assert first.agent.start_drain().result().stdout == "0\n"
        found = first.status()
        assert (found["band"], found["asked_by"]) == ("draining", "drain")
        assert found["waits_for"].startswith("the drain of the job haproxy (pid ")
        assert theirs.result().exit_code == 1
        failed = time.monotonic()
        assert (first.band(), cluster.holders()) == ("-155", [second]), "BOSH was still at work here"
        assert first.status()["waits_for"] == "the watcher, which promotes it when no lifecycle script has run for 3 s"
        first.wait_for(cluster.vip, seconds=PROMOTE_AFTER + 10)
        assert time.monotonic() - failed > PROMOTE_AFTER - 0.2, "so long nobody must have been at work"
    assert load.found.failed("new") == []
    assert load.found.failed("established") == []
    until(lambda: first.status()["asked_by"] == "promote", "the promotion to end")
    assert first.status()["waits_for"] == ""
    assert "nobody drains it any more, and haproxy answers: it is promoted" in first.log()


def test_a_haproxy_that_the_failed_drain_has_ended(make_cluster: MakeCluster) -> None:
    """Nobody starts it again, since BOSH has told monit to look away: status says so, and who brings it back has the instance promoted."""
    cluster, first, second = leave_half_way(make_cluster, "pkill -KILL -x haproxy")
    with pytest.raises(ScriptFailed, match="haproxy/drain exited 1"):
        first.agent.drain()
    until(lambda: first.status()["waits_for"] == "haproxy, which does not run: monit restart haproxy, or deploy again", "status to say so")
    assert (
        "waits for   haproxy, which does not run: monit restart haproxy, or deploy again (draining since drain at 20"
        in (first.vrrpctl("status")[1])
    )
    assert cluster.holders() == [second]
    first.monit.stop("haproxy")
    first.monit.start("haproxy")
    first.wait_for(cluster.vip)
    assert first.band() == "0"


@pytest.mark.thorough
def test_an_operators_demotion_is_not_undone(make_cluster: MakeCluster) -> None:
    """Neither by the watcher alone nor because a stop failed in between: it lasts until vrrpctl promote."""
    cluster, first, second = leave_half_way(make_cluster, "true # haproxy")
    assert first.vrrpctl("demote")[0] == 0
    with pytest.raises(ScriptFailed):
        first.agent.drain()
    time.sleep(3 * PROMOTE_AFTER)  # nothing must happen
    assert (first.band(), cluster.holders()) == ("-155", [second])
    found = first.status()
    assert (found["asked_by"], found["waits_for"]) == ("demote", "vrrpctl promote: it is left to whoever took it out")
    assert first.vrrpctl("promote")[0] == 0
    assert first.status()["asked_by"] == "promote"


def test_a_start_without_post_start(make_cluster: MakeCluster) -> None:
    """cck and the resurrector may start an instance whose post-start never comes: it is promoted, and the MASTER's drain finds it."""
    cluster = make_cluster(2, watched=True, create=False)
    first, second = cluster.nodes
    first.start()
    first.wait_for(cluster.vip)
    second.agent.run_script("pre-start")
    second.monit.start()
    assert second.status()["waits_for"] == "the watcher, which promotes it when no lifecycle script has run for 10 s"
    until(lambda: second.band() == "0", "the second one to be promoted", 25)
    (run,) = first.agent.drain()
    assert run.stdout == "0\n"
    assert cluster.holders() == [second]
    assert "no successor" not in first.log()

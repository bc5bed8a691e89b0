"""haproxy-boshrelease's keepalived job: beside vrrp-drain, and a group on its way from that job to ours."""

from collections.abc import Callable, Sequence

import pytest

from lab.clients.load import Load
from lab.conftest import MakeCluster
from lab.fabric.cluster import ALL_JOBS, Cluster, update
from lab.fabric.node import Node
from lab.fabric.wait import until
from lab.scenarios.recorder import Recorder

pytestmark = pytest.mark.long

UPSTREAM = ("upstream-keepalived", "haproxy")
BESIDE = ("upstream-keepalived", "vrrp-drain", "haproxy")
PATIENCE = {"post_start_timeout": 20, "drain_timeout": 10}
ADVERT_INT = 1.0  # that job has no property for it


def with_jobs(cluster: Cluster, node: Node, jobs: Sequence[str]) -> Callable[[], None]:
    """Return what the agent does with ``node`` when the deployment has ``jobs``."""
    return lambda: node.apply(jobs, cluster.group, cluster.properties, cluster.package)


def priority_line(node: Node, name: str) -> str:
    text = (node.vcap / "jobs/keepalived/config" / name).read_text()
    return next(line.strip() for line in text.splitlines() if line.strip().startswith("priority"))


@pytest.mark.thorough
def test_rolling_upgrade_beside_it(make_cluster: MakeCluster) -> None:
    """The drain moves the VIP through that job's configuration, no connection fails, and what was lowered is put back."""
    cluster = make_cluster(2, fast=False, vrrp_drain=PATIENCE, jobs=BESIDE)
    first, second = cluster.nodes
    with Recorder(cluster.nodes, cluster.vip) as recorder, Load(cluster.client, cluster.vip, keep_alive=10) as load:
        until(lambda: load.answered > 0, "the first answer", 20)
        runs = update(first) + update(second)
        until(lambda: cluster.holders() == [first], "the VIP to be back on the bootstrap instance")
    assert [(run.exit_code, run.stdout) for run in runs] == [(0, "0\n")] * 2
    assert load.found.refused() + load.found.lost_syns() == []
    assert load.found.failed("established") == []
    assert [(move.source, move.target) for move in recorder.moves()] == [(first.name, second.name), (second.name, first.name)]
    assert recorder.vacant_seconds() < 0.2
    assert [priority_line(first, name) for name in ("keepalived.config", "keepalived.config.template")] == ["priority 101"] * 2
    assert [priority_line(second, name) for name in ("keepalived.config", "keepalived.config.template")] == ["priority 100"] * 2


@pytest.mark.thorough
def test_an_operator_beside_it(make_cluster: MakeCluster) -> None:
    """demote, status and promote work as with our job; a demoted instance says so in that job's own file."""
    cluster = make_cluster(2, fast=False, vrrp_drain=PATIENCE, jobs=BESIDE)
    first, second = cluster.nodes
    assert first.vrrpctl("demote")[0] == 0
    assert cluster.holders() == [second]
    assert priority_line(first, "keepalived.config") == "priority 81 # vrrp-drain lowered it from 101"
    status = first.status()
    assert (status["band"], status["priority"], status["master"], status["master_priority"]) == ("draining", 83, "10.0.0.2", 102)
    assert first.vrrpctl("promote")[0] == 0
    first.wait_for(cluster.vip)
    assert first.status()["priority"] == 103


def test_from_it_to_ours_with_vrrp_drain_beside_it_first(make_cluster: MakeCluster) -> None:
    """Node by node from that job to ours: never two masters for longer than an advert interval, never none, nobody refused."""
    cluster = make_cluster(3, fast=False, vrrp_drain=PATIENCE, jobs=BESIDE)
    with Recorder(cluster.nodes, cluster.vip) as recorder, Load(cluster.client, cluster.vip, keep_alive=0) as load:
        until(lambda: load.answered > 0, "the first answer", 20)
        for node in cluster.nodes:
            update(node, apply=with_jobs(cluster, node, ALL_JOBS))
            assert len(cluster.holders()) == 1
    assert cluster.holders() == [cluster.nodes[0]]
    assert recorder.overlap_seconds() <= ADVERT_INT
    assert recorder.vacant_seconds() < 0.2
    assert load.found.refused() + load.found.lost_syns() == []


@pytest.mark.thorough
def test_from_it_to_ours_in_one_deploy(make_cluster: MakeCluster) -> None:
    """Without vrrp-drain beforehand the first stop is not protected: the gap is the skew of its successor; never two masters."""
    cluster = make_cluster(2, fast=False, vrrp_drain=PATIENCE, jobs=UPSTREAM)
    first, second = cluster.nodes
    with Recorder(cluster.nodes, cluster.vip) as recorder:
        for node in (first, second):
            update(node, apply=with_jobs(cluster, node, ALL_JOBS))
            assert len(cluster.holders()) == 1
    assert cluster.holders() == [first]
    assert recorder.overlap_seconds() <= ADVERT_INT
    assert recorder.vacant_seconds() < 1.5


@pytest.mark.thorough
def test_an_unhealthy_new_instance_takes_nothing_from_the_old_job(make_cluster: MakeCluster) -> None:
    """While the group is mixed, an instance with our job and a dead haproxy leaves the VIP at a healthy one with the old job."""
    cluster = make_cluster(2, fast=False, vrrp_drain=PATIENCE, jobs=BESIDE)
    first, second = cluster.nodes
    update(first, apply=with_jobs(cluster, first, ALL_JOBS))
    first.wait_for(cluster.vip)
    first.monit.stop("haproxy")
    second.wait_for(cluster.vip)
    first.wait_for(cluster.vip, here=False)
    assert cluster.holders() == [second]

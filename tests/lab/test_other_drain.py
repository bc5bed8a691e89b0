"""Another job's drain beside ours: haproxy-boshrelease's own, with ha_proxy.drain_enable."""

from typing import Any

import pytest

from lab.clients.load import Load
from lab.conftest import MakeCluster
from lab.fabric.cluster import update
from lab.fabric.wait import until

pytestmark = pytest.mark.long

JOBS = ("keepalived", "vrrp-drain", "haproxy-with-drain")
GRACE = {"enable_health_check_http": True, "drain_frontend_grace_time": 3}


@pytest.mark.samples("theirs is done first")
@pytest.mark.parametrize(
    "ha_proxy",
    [
        pytest.param(GRACE, id="ours is done first"),
        pytest.param(GRACE | {"syslog_server": "/dev/log"}, id="ours is done first, haproxy is a daemon"),
        pytest.param({}, id="theirs is done first"),
    ],
)
def test_both_drains_succeed(make_cluster: MakeCluster, ha_proxy: dict[str, Any]) -> None:
    """A deploy over both instances under load: every drain says 0, no request fails, and haproxy was ended by its own job alone."""
    cluster = make_cluster(2, jobs=JOBS, ha_proxy={"drain_enable": True, "keepalive_timeout": 2, **ha_proxy})
    with Load(cluster.client, cluster.vip, rate=100, keep_alive=20) as load:
        until(lambda: load.answered > 100, "clients to be served")
        runs = [run for node in cluster.nodes for run in update(node)]
    assert [(run.job, run.exit_code, run.stdout) for run in runs] == [("haproxy", 0, "0\n"), ("vrrp-drain", 0, "0\n")] * 2
    assert load.found.failed("new") == []
    assert load.found.failed("established") == []
    for node in cluster.nodes:
        assert "was told to finish" in node.log("haproxy", "drain.log")
        assert "was told to finish" not in node.log()
        assert "haproxy is left to the drain of the job haproxy" in node.log()


def test_a_drain_that_is_switched_off_is_no_reason(make_cluster: MakeCluster) -> None:
    """haproxy-boshrelease's default: its drain does nothing, so ours has haproxy finish."""
    cluster = make_cluster(2, jobs=JOBS)
    first, _ = cluster.nodes
    assert [run.stdout for run in first.agent.drain()] == ["0\n", "0\n"]
    assert "was told to finish its connections" in first.log()

"""The instances of a group are updated one after the other, as BOSH does, and no client notices."""

import pytest

from lab.clients.load import Load
from lab.conftest import MakeCluster
from lab.fabric.cluster import update
from lab.fabric.wait import until

RATE = 20  # new connections per second: what a guest without KVM has time for


@pytest.mark.kernel("rolling upgrade", short=True)
@pytest.mark.timeout(240)
def test_one_instance_after_the_other(make_cluster: MakeCluster) -> None:
    """The VIP moves off the MASTER and back; every drain goes well, no connection fails, no SYN is lost."""
    cluster = make_cluster(2, ha_proxy={"keepalive_timeout": 2})
    with Load(cluster.client, cluster.vip, rate=RATE, keep_alive=5) as load:
        until(lambda: load.answered > 20, "clients to be served")
        drains = [(node.name, run) for node in cluster.nodes for run in update(node)]
        until(lambda: cluster.holders() == cluster.nodes[:1], "the VIP to be back")
    assert [(name, run.exit_code, run.stdout) for name, run in drains if run.job == "vrrp-drain"] == [
        (node.name, 0, "0\n") for node in cluster.nodes
    ]
    assert load.found.failed("new") == []
    assert load.found.failed("established") == []
    assert load.found.lost_syns() == []
    assert {each.node for each in load.found.of("new")} > {cluster.nodes[0].name}

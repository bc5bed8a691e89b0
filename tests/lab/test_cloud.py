"""A network in which nobody answers for the VIP: it is sent by a table, which a hook changes."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from lab.clients.load import Load
from lab.conftest import MakeCluster
from lab.fabric.agent import ScriptFailed
from lab.fabric.cloud import COMMAND, NOTIFY, Cloud, carries_no_arp
from lab.fabric.cluster import Cluster, update

BY_COMMAND = {"takeover_proof": "command", "takeover_command": COMMAND, "handover_timeout": 10}
BY_ADVERTS = {"takeover_proof": "adverts"}
MakeCloud = Callable[..., tuple[Cluster, Cloud]]


@pytest.fixture
def make_cloud(make_cluster: MakeCluster) -> Iterator[MakeCloud]:
    """Give a function that deploys a group in such a network, its client behind the table."""
    with ExitStack() as stack:

        def make(vrrp_drain: dict[str, Any], delay: float = 0.0, **options: Any) -> tuple[Cluster, Cloud]:
            keepalived = {"unicast": True, "extra_instance_config": NOTIFY}
            cluster = make_cluster(2, create=False, keepalived=keepalived, vrrp_drain={"on_no_successor": "fail", **vrrp_drain}, **options)
            carries_no_arp(cluster.switch, cluster.vip)
            cloud = stack.enter_context(Cloud(cluster.client, "10.0.0.200", cluster.vip, delay))
            for node in cluster.nodes:
                cloud.install(node, node.spec.address)
                node.start()
            cluster.nodes[0].wait_for(cluster.vip)
            return cluster, cloud

        yield make


@pytest.mark.samples("adverts")
@pytest.mark.parametrize(
    ("proof", "delay"), [pytest.param(BY_ADVERTS, 0.0, id="adverts"), pytest.param(BY_COMMAND, 1.5, id="command, an API that takes 1.5 s")]
)
def test_an_update_there(make_cloud: MakeCloud, proof: dict[str, Any], delay: float) -> None:
    """The MASTER is updated: drain succeeds once the network agrees, and waits for connections; clients feel nothing, and it comes back."""
    cluster, cloud = make_cloud(proof, delay)
    first, second = cluster.nodes
    with Load(cluster.client, cluster.vip, rate=50, keep_alive=10) as load:
        drains = update(first)
    assert [(each.exit_code, each.stdout) for each in drains] == [(0, "0\n")]
    log = first.log()
    assert ("says that the network sends 10.0.0.10 to 10.0.0.2" if delay else "10.0.0.2 adverts priority 253") + ": handed over" in log
    assert "no connection of a client is left here" in log
    assert "no successor" not in log
    assert cluster.holders() == [first]
    assert cloud.told == ["10.0.0.1", "10.0.0.2", "10.0.0.1"]
    assert load.found.refused() == []
    assert load.found.failed("established") == []
    assert second.vrrpctl("doctor")[0] == 0


def test_by_arp_no_deploy_succeeds_there(make_cloud: MakeCloud) -> None:
    """What the other proofs are for: the successor has the VIP, and the drain takes it back because nobody answers for it."""
    cluster, _ = make_cloud({})
    first = cluster.nodes[0]
    with pytest.raises(ScriptFailed, match=r"that it has 10\.0\.0\.10 is not proven \(nobody answered for 10\.0\.0\.10 on eth0"):
        first.agent.run_script("pre-stop")
    first.wait_for(cluster.vip)


def test_a_network_that_does_not_follow(make_cloud: MakeCloud) -> None:
    """The hook fails: adverts alone are no proof where the program is asked, the VIP is taken back, and BOSH stops."""
    cluster, cloud = make_cloud(BY_COMMAND | {"handover_timeout": 4})
    first, second = cluster.nodes
    (second.vcap / "jobs/cloud/bin/moved").write_text("#!/bin/bash\nexit 1\n")
    with (
        Load(cluster.client, cluster.vip, rate=50, keep_alive=5) as load,
        pytest.raises(ScriptFailed, match=r"did not say that the network"),
    ):
        first.agent.run_script("pre-stop")
    first.wait_for(cluster.vip)
    assert "vip-is-at-master ended with status 1, having said: 10.0.0.10 is at 10.0.0.1; it is run again" in first.log()
    assert load.found.refused() == []
    assert load.found.failed("established") == []
    assert cloud.at == first.spec.address


def test_nobody_complains_that_nobody_answers(make_cloud: MakeCloud) -> None:
    """doctor on a BACKUP knows that silence says nothing there, and a drill is refused with what to do instead."""
    cluster, _ = make_cloud(BY_ADVERTS)
    first, second = cluster.nodes
    code, _, stderr = first.vrrpctl("rehearse")
    assert (code, "vrrp_drain.takeover_proof is adverts" in stderr) == (8, True)
    assert second.vrrpctl("doctor")[0] == 0

"""A broken instance can be stopped, so that it can be mended; where the operator wants that a stop fails then, it does."""

import pytest

from lab.conftest import MakeCluster
from lab.fabric.agent import ScriptFailed
from lab.fabric.node import Node

ENVIRONMENT = {"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"}
BREAKS = {
    "no address": "ip addr flush dev eth0",
    "no interface": "ip link set eth0 down; ip link set eth0 name gone0",
    "no configuration": "echo '{' > /var/vcap/jobs/vrrp-drain/config/vrrp-drain.json",
}
NEXT_STATES = ("VM", "INSTANCE", "DEPLOYMENT")


def breaks(node: Node, how: str) -> None:
    done = node.machine.run(["sh", "-ec", BREAKS[how]], ENVIRONMENT)
    assert done.returncode == 0, done.stderr


def told(deleted: str) -> dict[str, str]:
    """Return what the director says where ``deleted`` and what is in it goes."""
    keeps = NEXT_STATES[NEXT_STATES.index(deleted) + 1 :] if deleted else NEXT_STATES
    return {f"BOSH_{each}_NEXT_STATE": "keep" if each in keeps else "delete" for each in NEXT_STATES}


def stop(node: Node, environment: dict[str, str]) -> None:
    node.agent.run_script("pre-stop", environment)
    assert [run.stdout for run in node.agent.drain("job_shutdown") if run.job == "vrrp-drain"] == ["0\n"]
    node.monit.stop()
    node.agent.run_script("post-stop")


@pytest.mark.samples("no interface")
@pytest.mark.parametrize("how", BREAKS)
def test_it_can_be_stopped(make_cluster: MakeCluster, how: str) -> None:
    """pre-stop and drain warn that nothing is handed over, and the other one has the VIP."""
    cluster = make_cluster(2)
    first, second = cluster.nodes
    breaks(first, how)
    stop(first, told(""))
    assert "nothing was handed over; stopping this instance moves the VIP" in first.log()
    second.wait_for(cluster.vip)


@pytest.mark.parametrize("deleted", ["", "VM"])
def test_it_is_kept_where_the_operator_wants_that(make_cluster: MakeCluster, deleted: str) -> None:
    """With on_no_successor fail both scripts fail, and name what is broken."""
    (only,) = make_cluster(1, vrrp_drain={"on_no_successor": "fail"}).nodes
    breaks(only, "no address")
    with pytest.raises(ScriptFailed, match="name the interface"):
        only.agent.run_script("pre-stop", told(deleted))
    with pytest.raises(ScriptFailed, match="name the interface"):
        only.agent.drain()


@pytest.mark.parametrize("deleted", ["INSTANCE", "DEPLOYMENT"])
def test_what_is_deleted_is_let_go(make_cluster: MakeCluster, deleted: str) -> None:
    """Nobody has to mend what goes."""
    (only,) = make_cluster(1, vrrp_drain={"on_no_successor": "fail"}).nodes
    breaks(only, "no address")
    stop(only, told(deleted))

"""What an operator says: an instance stays out, the last one is let go, a machine is rebooted without BOSH."""

import pytest

from lab.clients.load import Load
from lab.conftest import MakeCluster
from lab.fabric.agent import ScriptFailed
from lab.fabric.cluster import update
from lab.fabric.node import Node
from lab.fabric.wait import until

pytestmark = pytest.mark.long

KEEP = {"BOSH_VM_NEXT_STATE": "keep", "BOSH_INSTANCE_NEXT_STATE": "keep", "BOSH_DEPLOYMENT_NEXT_STATE": "keep"}
DELETE = {"BOSH_VM_NEXT_STATE": "delete", "BOSH_INSTANCE_NEXT_STATE": "delete", "BOSH_DEPLOYMENT_NEXT_STATE": "keep"}


def stop(node: Node, environment: dict[str, str]) -> None:
    """`bosh stop`, or a deletion, up to where the agent is done."""
    node.agent.run_script("pre-stop", environment)
    node.agent.drain("job_shutdown")
    node.monit.stop()
    node.agent.run_script("post-stop")


def metric(node: Node, name: str) -> str:
    answer = node.machine.run(["/usr/bin/curl", "-s", "http://127.0.0.1:9922/metrics"]).stdout
    return next((line.split()[-1] for line in answer.splitlines() if line.startswith(f"{name} ")), "")


@pytest.mark.thorough
def test_an_instance_that_stays_out(make_cluster: MakeCluster) -> None:
    """A deploy and a reboot leave it out, and neither fails; status, history and the metrics say who wanted it. A promotion ends it."""
    cluster = make_cluster(2, watched=True)
    first, second = cluster.nodes
    with Load(cluster.client, cluster.vip, rate=50) as load:
        assert first.vrrpctl("demote", "--until-promoted", "--by", "alice\n")[0] == 0
        second.wait_for(cluster.vip)
        update(first)
        assert (first.band(), cluster.holders()) == ("-155", [second]), "a deploy promoted it"
    assert load.found.failed("new") == []
    assert "stays out of the election until vrrpctl promote: said by alice at 20" in first.log()
    first.power_off()
    first.power_on()
    assert first.band() is None, "the run directory must not outlive a reboot here"
    first.monit.start()
    until(lambda: metric(first, "vrrp_drain_taken_out") == "1.0", "the watcher to know of it after the reboot")
    until(lambda: metric(first, "vrrp_drain_haproxy_up") == "1.0", "haproxy to answer: an instance that may be promoted is promoted now")
    found = first.status()
    assert (found["band"], found["asked_by"], found["taken_out_by"]) == ("draining", "demote", "alice")
    assert found["waits_for"].startswith("vrrpctl promote, and for nothing else: said by alice at 20")
    assert any("stays out until vrrpctl promote" in each for each in found["conditions"])
    assert cluster.holders() == [second]
    assert first.vrrpctl("promote")[0] == 0
    first.wait_for(cluster.vip)
    until(lambda: metric(first, "vrrp_drain_taken_out") == "0.0", "the condition to end")
    story = first.vrrpctl("history", "-n", "30")[1]
    assert "taken_out off -> on, condition: this instance stays out until vrrpctl promote" in story
    assert "taken_out on -> off" in story


def test_the_last_of_a_group_is_stopped(make_cluster: MakeCluster) -> None:
    """on_no_successor: fail keeps it, and names the way; the operator goes it, and clients are served until its end."""
    cluster = make_cluster(2, watched=True, vrrp_drain={"on_no_successor": "fail", "successor_timeout": 0})
    first, second = cluster.nodes
    with Load(cluster.client, cluster.vip, rate=50) as load:
        stop(first, KEEP)
        with pytest.raises(ScriptFailed, match="vrrpctl let-go on this instance, then the same bosh command again"):
            stop(second, KEEP)
        assert (second.band(), cluster.holders()) == ("0", [second])
        assert second.vrrpctl("let-go", "--by", "alice")[0] == 0
        assert second.status()["let_go_by"] == "alice"
        until(lambda: metric(second, "vrrp_drain_let_go") == "1.0", "the watcher to know of it")
        second.agent.run_script("pre-stop", KEEP)
    assert load.found.failed("new") == []
    assert "(vrrpctl let-go, said by alice at 20" in second.log()
    second.agent.drain("job_shutdown")
    second.monit.stop()
    second.agent.run_script("post-stop")
    second.start()
    assert second.status()["let_go_by"] is None


def test_deleted_instances_are_not_kept(make_cluster: MakeCluster) -> None:
    """A group that is removed from the manifest goes, whatever on_no_successor says."""
    cluster = make_cluster(2, vrrp_drain={"on_no_successor": "fail", "successor_timeout": 0})
    for node in cluster.nodes:
        stop(node, DELETE)
    assert cluster.holders() == []
    assert "back (the instance is deleted)" in cluster.nodes[1].log()


def test_a_planned_reboot(make_cluster: MakeCluster) -> None:
    """`vrrpctl leave`, then the power is cut: no connection fails, and the instance takes its VIP again by itself after it."""
    cluster = make_cluster(2, watched=True)
    first, second = cluster.nodes
    with Load(cluster.client, cluster.vip, rate=100, keep_alive=10) as load:
        until(lambda: load.answered > 100, "clients to be served")
        code, _, stderr = first.vrrpctl("leave")
        assert (code, cluster.holders()) == (0, [second])
        assert stderr.splitlines()[-1] == "haproxy/0 may be rebooted or stopped now, by shutdown -r now or monit stop all"
        found = first.status()
        assert (found["asked_by"], found["connections"]) == ("leave", 0)
        assert found["waits_for"] == "a reboot, a start of keepalived (monit stop all, monit start all), or vrrpctl promote"
        assert ", by vrrpctl leave" in first.vrrpctl("history")[1]
        first.power_off()
        first.power_on()
        first.monit.start()
        first.wait_for(cluster.vip)
    assert load.found.failed("new") == []
    assert load.found.failed("established") == []


def test_a_stop_by_monit(make_cluster: MakeCluster) -> None:
    """`vrrpctl leave`, monit stop all, monit start all: the same without a reboot."""
    cluster = make_cluster(2, watched=True)
    first, second = cluster.nodes
    with Load(cluster.client, cluster.vip, rate=50) as load:
        assert first.vrrpctl("leave")[0] == 0
        first.monit.stop()
        assert cluster.holders() == [second]
        first.monit.start()
        until(lambda: first.band() == "0", "the watcher to promote it", 30)
        first.wait_for(cluster.vip)
    assert load.found.failed("new") == []


def test_nobody_leaves_whom_nobody_follows(make_cluster: MakeCluster) -> None:
    """The only peer's haproxy is down: `vrrpctl leave` fails and says what a reboot would mean, and clients notice nothing."""
    cluster = make_cluster(2, watched=True)
    first, second = cluster.nodes
    second.monit.stop("haproxy")
    second.wait_until_logged("Changing effective priority from 253 to 65")
    with Load(cluster.client, cluster.vip, rate=50) as load:
        code, _, stderr = first.vrrpctl("leave", "--timeout", "2")
    assert code == 3
    assert "the priority of haproxy/0 is back at 254, and it serves. To reboot or stop it now takes 10.0.0.10 away from clients" in stderr
    assert (first.band(), cluster.holders()) == ("0", [first])
    assert load.found.failed("new") == []

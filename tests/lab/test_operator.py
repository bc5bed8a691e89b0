"""vrrpctl for people: demote, promote, status, and what they tell the shell."""

import json

from lab.conftest import MakeCluster


def test_demote_and_promote(make_cluster: MakeCluster) -> None:
    """demote moves the VIP away and keeps it away, promote brings it back; both prove it in plain words."""
    cluster = make_cluster(2)
    first, second = cluster.nodes
    code, stdout, stderr = first.vrrpctl("demote")
    assert (code, stdout) == (0, "")
    assert stderr.splitlines()[-1] == "02:00:00:00:00:02 answers for 10.0.0.10: handed over"
    assert cluster.holders() == [second]
    code, _, stderr = first.vrrpctl("promote")
    assert code == 0
    assert stderr.splitlines()[-1] == "nobody else answers for 10.0.0.10: this node is MASTER"
    assert cluster.holders() == [first]


def test_demote_without_a_successor(make_cluster: MakeCluster) -> None:
    """It fails with its own exit code and puts the priority back, says so; --keep leaves it lowered and is content."""
    cluster = make_cluster(1)
    (only,) = cluster.nodes
    code, _, stderr = only.vrrpctl("demote", "--timeout", "1")
    assert code == 3
    assert "the priority of haproxy/0 is back at 254" in stderr
    assert only.band() == "0"
    assert only.vrrpctl("demote", "--timeout", "1", "--keep")[0] == 0
    assert only.band() == "-155"


def test_results_as_json(make_cluster: MakeCluster) -> None:
    """--json prints one object on stdout, whatever the end."""
    cluster = make_cluster(1)
    (only,) = cluster.nodes
    code, stdout, _ = only.vrrpctl("demote", "--json")
    assert code == 3
    found = json.loads(stdout)
    assert (found["instance"], found["vip"], found["state"]) == ("haproxy/0", "10.0.0.10", "no_successor")
    assert 0.0 <= found["seconds"] < 5.0, "there is nobody to wait for"


def test_no_wait(make_cluster: MakeCluster) -> None:
    """--no-wait changes the priority and returns; the VIP follows by itself."""
    cluster = make_cluster(2)
    first, second = cluster.nodes
    assert first.vrrpctl("demote", "--no-wait")[0] == 0
    second.wait_for(cluster.vip)
    assert first.vrrpctl("promote", "--no-wait")[0] == 0
    first.wait_for(cluster.vip)


def test_status_of_master_and_backup(make_cluster: MakeCluster) -> None:
    """Both sides tell the same story."""
    cluster = make_cluster(2)
    first, second = cluster.nodes
    master, backup = first.status(), second.status()
    assert (master["vip_here"], master["band"], master["priority"], master["master"]) == (True, "active", 254, None)
    assert (backup["vip_here"], backup["master"], backup["master_priority"]) == (False, "10.0.0.1", 254)
    assert backup["answering"] == ["02:00:00:00:00:01"]
    assert master["haproxy_healthy"] is backup["haproxy_healthy"] is True
    assert "this instance is MASTER" in first.vrrpctl("status")[1]
    assert "10.0.0.10 is at 10.0.0.1, which adverts priority 254 (active)" in second.vrrpctl("status")[1]


def test_status_of_two_machines_with_the_vip(make_cluster: MakeCluster) -> None:
    """A stale VIP is called by its name on the node that has it, and the real MASTER sees the other machine answer."""
    cluster = make_cluster(2)
    first, second = cluster.nodes
    first.crash_keepalived()
    second.wait_for(cluster.vip)
    assert "it is stale" in first.vrrpctl("status")[1]
    assert "02:00:00:00:00:01 also answers for 10.0.0.10" in second.vrrpctl("status")[1]

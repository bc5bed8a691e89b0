"""keepalived itself: it accepts what we write for every property, and does with it what the spec says."""

from lab.conftest import MakeCluster


def test_every_property_is_accepted(make_cluster: MakeCluster) -> None:
    """keepalived starts with a value other than the default for each, without a word of complaint about the file."""
    cluster = make_cluster(
        1,
        keepalived={
            "vip": "10.0.0.10/24",
            "interface": "eth0",
            "virtual_router_id": 51,
            "priority": 230,
            "healthcheck_name": "check_port",
            "healthcheck_command": "/bin/true",
            "healthcheck_interval": 3,
            "healthcheck_timeout": 2,
            "healthcheck_rise": 2,
            "healthcheck_fall": 3,
            "healthcheck_weight": 0,
            "garp_master_refresh": 30,
            "garp_master_delay": 6,
            "dont_track_primary": True,
        },
        vip="10.0.0.10",
    )
    (only,) = cluster.nodes
    said = only.log("keepalived", "keepalived.log")
    assert "Entering MASTER STATE" in said
    complaints = ("Unknown keyword", "invalid", "deprecated", "Unable", "(Line")
    assert [line for line in said.splitlines() if any(word in line for word in complaints)] == []


def test_fault_when_the_check_fails(make_cluster: MakeCluster) -> None:
    """With healthcheck_weight 0 an unhealthy MASTER gives the VIP up; when all are unhealthy the VIP is nowhere."""
    cluster = make_cluster(2, keepalived={"healthcheck_weight": 0})
    first, second = cluster.nodes
    first.monit.stop("haproxy")
    second.wait_for(cluster.vip)
    first.wait_for(cluster.vip, here=False)
    second.monit.stop("haproxy")
    second.wait_for(cluster.vip, here=False)
    assert cluster.holders() == []


def test_an_unhealthy_master_keeps_the_vip_when_all_are_unhealthy(make_cluster: MakeCluster) -> None:
    """With the default weight the VIP goes to a healthy peer, and stays somewhere when none is left."""
    cluster = make_cluster(2)
    first, second = cluster.nodes
    first.monit.stop("haproxy")
    second.wait_for(cluster.vip)
    first.wait_for(cluster.vip, here=False)
    second.monit.stop("haproxy")
    first.wait_for(cluster.vip)
    second.wait_for(cluster.vip, here=False)
    assert cluster.holders() == [first]

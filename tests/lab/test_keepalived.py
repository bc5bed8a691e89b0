"""keepalived itself: it accepts what we write for every property, and does with it what the spec says."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from lab.clients.load import Load
from lab.clients.mail import MailServer
from lab.conftest import MakeCluster
from lab.fabric.cluster import update
from lab.fabric.node import Node
from lab.fabric.wait import until
from lab.scenarios.recorder import Recorder

COMPLAINTS = ("Unknown keyword", "invalid", "Invalid", "deprecated", "Unable", "(Line", "WARNING", "disabling", "Cannot", "cannot")
EVERYTHING: dict[str, Any] = {
    "vip": "10.0.0.10/24",
    "vips": ["10.0.0.11", "fd00::11/64"],
    "interface": "eth0",
    "virtual_router_id": 51,
    "priority": 230,
    "preempt_delay": 0.1,
    "startup_delay": 0.1,
    "healthcheck_name": "check_port",
    "healthcheck_command": "/bin/true",
    "healthcheck_interval": 3,
    "healthcheck_timeout": 2,
    "healthcheck_rise": 2,
    "healthcheck_fall": 3,
    "healthcheck_weight": 0,
    "track_process": "haproxy",
    "track_interfaces": ["eth0", "lo"],
    "garp_master_refresh": 30,
    "garp_master_delay": 6,
    "notification_email": ["one@example.org", "two@example.org"],
    "notification_email_from": "keepalived@example.org",
    "smtp_server": "10.0.0.200:2525",
    "smtp_connect_timeout": 1,
    "extra_global_config": "vrrp_garp_interval 0.01",
    "extra_instance_config": "track_src_ip",
}


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({"dont_track_primary": True, "mcast_src_ip": "10.0.0.0/24"}, id="multicast"),
        pytest.param({"unicast": True, "unicast_src_ip": "10.0.0.0/24", "unicast_peers": ["10.0.0.1", "10.0.0.2"]}, id="unicast"),
        pytest.param({"vrrp_version": 2, "advert_int": 1, "auth_pass": "cf-lb-1", "preempt_delay": 1}, id="version 2 with a password"),
    ],
)
def test_every_property_is_accepted(make_cluster: MakeCluster, given: dict[str, Any]) -> None:
    """keepalived starts with a value other than the default for each, without a word of complaint about the file."""
    cluster = make_cluster(1, keepalived={**EVERYTHING, **given}, vip="10.0.0.10", vrrp_drain={"handover_timeout": 20})
    (only,) = cluster.nodes
    said = only.log("keepalived", "keepalived.log")
    assert "Entering MASTER STATE" in said
    assert [line for line in said.splitlines() if any(word in line for word in COMPLAINTS)] == []
    conf = only.machine.root / "var/vcap/sys/run/keepalived/keepalived.conf"
    assert conf.stat().st_mode & 0o777 == 0o600
    assert "does not report here which processes end" in only.log("keepalived", "vrrpctl.log")


def test_all_vips_move_together(make_cluster: MakeCluster) -> None:
    """A dual-stack pair and a further address are one virtual router: they go, come and are cleared as one."""
    more = ["10.0.0.11", "fd00::10"]
    cluster = make_cluster(2, keepalived={"vips": more}, ha_proxy={"bind": ":::80 v4v6"})
    first, second = cluster.nodes
    addresses = [cluster.vip, *more]
    for vip in addresses:
        first.wait_for(vip)
    loads = [Load(cluster.client, vip, rate=50, keep_alive=0, lane=lane) for lane, vip in enumerate(addresses, 1)]
    with ExitStack() as stack:
        for load in loads:
            stack.enter_context(load)
        until(lambda: all(load.answered for load in loads), "an answer from every VIP", 20)
        assert first.vrrpctl("demote")[0] == 0
        for vip in addresses:
            second.wait_for(vip)
            first.wait_for(vip, here=False)
        assert first.vrrpctl("promote")[0] == 0
        for vip in addresses:
            first.wait_for(vip)
    assert [load.found.refused() + load.found.lost_syns() for load in loads] == [[], [], []]
    first.crash_keepalived()
    first.agent.run_script("post-stop")
    assert not any(first.has(vip) for vip in addresses)


@pytest.mark.thorough
def test_a_further_vip_in_a_rolling_deploy(make_cluster: MakeCluster) -> None:
    """keepalived.vips may differ between instances for a while: there is one MASTER all the time."""
    cluster = make_cluster(2)
    first, second = cluster.nodes
    cluster.properties["keepalived"]["vips"] = ["10.0.0.11"]

    def apply(node: Node) -> Callable[[], None]:
        return lambda: node.apply(cluster.jobs, cluster.group, cluster.properties, cluster.package)

    with Recorder(cluster.nodes, cluster.vip) as recorder:
        for node in (first, second):
            update(node, apply=apply(node))
            assert len(cluster.holders()) == 1
    assert first.has("10.0.0.11")
    assert recorder.overlap_seconds() < 0.2
    assert [(move.source, move.target) for move in recorder.moves()] == [(first.name, second.name), (second.name, first.name)]


@pytest.mark.thorough
def test_without_preemption(make_cluster: MakeCluster) -> None:
    """An instance that comes back leaves the VIP where it is, and a drain moves it all the same, with nobody refused."""
    cluster = make_cluster(2, keepalived={"preempt": False})
    first, second = cluster.nodes
    with Load(cluster.client, cluster.vip, keep_alive=0) as load:
        until(lambda: load.answered > 0, "the first answer", 20)
        update(first)
        assert cluster.holders() == [second]
        assert second.status()["vip_here"]
        update(second)
        assert cluster.holders() == [first]
    assert load.found.refused() + load.found.lost_syns() == []


def test_unicast_needs_no_multicast(make_cluster: MakeCluster) -> None:
    """With keepalived.unicast not one advert goes to the multicast group, and drain, promote and status work."""
    cluster = make_cluster(2, keepalived={"unicast": True})
    first, second = cluster.nodes
    with cluster.client.capture("224.0.0.18") as multicast:
        assert first.vrrpctl("demote")[0] == 0
        second.wait_for(cluster.vip)
        assert first.status()["master"] == "10.0.0.2"
        assert first.vrrpctl("promote")[0] == 0
        first.wait_for(cluster.vip)
    assert multicast.packets == 0


def test_e_mail(make_cluster: MakeCluster) -> None:
    """A transition is reported to every recipient, from the sender, through the server."""
    cluster = make_cluster(1, create=False, keepalived={
        "notification_email": ["one@example.org", "two@example.org"],
        "notification_email_from": "keepalived@example.org",
        "smtp_server": "10.0.0.200:2525",
    })  # fmt: skip
    (only,) = cluster.nodes
    with MailServer(cluster.client, "10.0.0.200", 2525) as server:
        only.start()
        only.wait_for(cluster.vip)
        until(lambda: any("MASTER" in mail for mail in server.mails), "an e-mail about the MASTER", 20)
    (about_master, *_) = [mail for mail in server.mails if "MASTER" in mail]
    assert "MAIL FROM:<keepalived@example.org>" in about_master
    assert all(f"RCPT TO:<{who}@example.org>" in about_master for who in ("one", "two"))


def test_track_process_where_the_kernel_does_not_tell(make_cluster: MakeCluster) -> None:
    """The process is looked for every second instead, and its end moves the VIP although the health check is content."""
    cluster = make_cluster(2, keepalived={"track_process": "haproxy", "healthcheck_command": "/bin/true", "healthcheck_interval": 60})
    first, second = cluster.nodes
    first.monit.stop("haproxy")
    second.wait_for(cluster.vip)
    first.wait_for(cluster.vip, here=False)


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

"""pre-start and post-start: a node takes part again only when it can serve, and a reboot needs no script."""

import json
import time

import pytest
from scapy.compat import raw
from scapy.layers.inet import IP
from scapy.layers.l2 import Ether
from scapy.layers.vrrp import VRRPv3

from lab.conftest import MakeCluster, PlugIn, start_keepalived
from lab.fabric import kernel_rules
from lab.fabric.agent import ScriptFailed
from lab.fabric.cluster import update
from lab.strangers.forger import Forger


def test_haproxy_never_comes_up(make_cluster: MakeCluster) -> None:
    """post-start fails in bounded time with the reason, the node stays in the draining band, the VIP stays away."""
    cluster = make_cluster(2, vrrp_drain={"post_start_timeout": 2})
    first, second = cluster.nodes

    def break_haproxy() -> None:
        cluster.properties["ha_proxy"] = {"answers": False}
        first.apply(cluster.jobs, cluster.group, cluster.properties, cluster.package)

    started = time.monotonic()
    why = r"haproxy \(pid \d+\) listens at 127\.0\.0\.1:81 alone, where no client of the VIP comes.*post_start_timeout"
    with pytest.raises(ScriptFailed, match=why):
        update(first, apply=break_haproxy)
    assert time.monotonic() - started < 30
    assert first.band() == "-155"
    assert cluster.holders() == [second]


def test_vrid_of_somebody_else(make_cluster: MakeCluster, stranger: PlugIn) -> None:
    """Another cluster with our VRID on the segment fails the canary and is named, with what to change."""
    cluster = make_cluster(1, create=False)
    (only,) = cluster.nodes
    start_keepalived(stranger(cluster), vip="10.0.0.99", version=3, advert_int=0.1)
    with pytest.raises(ScriptFailed, match=r"10\.0\.0\.66 uses VRID 1 .* for 10\.0\.0\.99.*keepalived\.virtual_router_id"):
        only.start()
    assert only.machine.pids().keys() == {1}, "nothing was started"


@pytest.mark.parametrize(
    ("ip", "mac"), [("224.0.0.18", "01:00:5e:00:00:12"), ("10.0.0.1", "02:00:00:00:00:01")], ids=["multicast", "unicast"]
)
def test_vrid_of_somebody_else_who_came_later(make_cluster: MakeCluster, stranger: PlugIn, ip: str, mac: str) -> None:
    """Heard only after keepalived has started, by multicast or unicast, the other cluster disturbs nobody: its adverts are kept out."""
    cluster = make_cluster(1, create=False)
    (only,) = cluster.nodes
    only.agent.run_script("pre-start")
    only.monit.start()
    advert = Ether(dst=mac) / IP(src="10.0.0.66", dst=ip, ttl=255) / VRRPv3(vrid=1, priority=250, adv=10, addrlist=["10.0.0.99"])
    with Forger(stranger(cluster), [raw(advert)]):
        only.agent.run_script("post-start")
        only.wait_for(cluster.vip)
    assert kernel_rules.situation(only.machine).refused > 0
    assert "10.0.0.99" not in only.log("keepalived", "keepalived.log")


def test_mixed_vrrp_versions(make_cluster: MakeCluster, stranger: PlugIn) -> None:
    """A peer that speaks the other VRRP version would be a second MASTER: the canary fails and says so."""
    cluster = make_cluster(1, create=False)
    (only,) = cluster.nodes
    start_keepalived(stranger(cluster), vip=cluster.vip, version=2, advert_int=1)
    with pytest.raises(ScriptFailed, match=r"10\.0\.0\.66 speaks VRRP version 2 .* we speak 3"):
        only.start()


def test_reboot(make_cluster: MakeCluster) -> None:
    """After a reboot only monit starts things: the watcher promotes the node, and it takes its VIP again."""
    cluster = make_cluster(2, watched=True)
    first, second = cluster.nodes
    assert first.vrrpctl("demote")[0] == 0
    first.power_off()
    second.wait_for(cluster.vip)
    first.power_on()
    assert first.band() is None
    first.monit.start()
    first.wait_for(cluster.vip)
    second.wait_for(cluster.vip, here=False)
    assert first.band() == "0"


def test_a_booting_node_without_haproxy_does_not_take_the_vip(make_cluster: MakeCluster) -> None:
    """keepalived's check starts as failed, so a node whose haproxy is not up yet takes nothing from a healthy peer."""
    cluster = make_cluster(2)
    first, second = cluster.nodes
    first.power_off()
    second.wait_for(cluster.vip)
    first.power_on()
    first.monit.start("keepalived")
    first.wait_until_logged("Entering BACKUP STATE", count=2)
    time.sleep(5 * 0.64)  # five times Master_Down_Interval: nothing must happen
    assert cluster.holders() == [second]


def test_stop_leaves_no_trace(make_cluster: MakeCluster) -> None:
    """After post-stop, addresses and ARP settings are what they were before pre-start; in between the VIP is on lo."""
    cluster = make_cluster(1, create=False)
    (only,) = cluster.nodes

    def found() -> tuple[str, str]:
        settings = [f"/proc/sys/net/ipv4/conf/{where}/{name}" for where in ("eth0", "all") for name in ("arp_ignore", "arp_announce")]
        return only.machine.run(["/sbin/ip", "-oneline", "address"]).stdout, only.machine.run(["/bin/cat", *settings]).stdout

    before = found()
    only.start()
    only.wait_for(cluster.vip)
    addresses, settings = found()
    assert f"lo    inet {cluster.vip}/32 scope host" in addresses
    assert settings.split() == ["1", "2", "1", "2"]
    only.monit.stop()
    only.agent.run_script("post-stop")
    assert found() == before


def test_stop_leaves_no_vip_behind(make_cluster: MakeCluster) -> None:
    """monit stop of keepalived, and post-stop after a killed one, leave no VIP on the interface."""
    cluster = make_cluster(1)
    (only,) = cluster.nodes
    only.monit.stop("keepalived")
    assert cluster.holders() == []
    only.monit.start("keepalived")
    only.wait_for(cluster.vip)
    only.crash_keepalived()
    only.agent.run_script("post-stop")
    assert cluster.holders() == []


def test_wrong_property_is_named(make_cluster: MakeCluster) -> None:
    """What the templates would have refused fails every script with the property's name, and drain's stdout stays empty."""
    cluster = make_cluster(1)
    (only,) = cluster.nodes
    file = only.vcap / "jobs/vrrp-drain/config/vrrp-drain.json"
    rendered = json.loads(file.read_text())
    rendered["vrrp_drain"].update(handover_timeout=0.2, on_no_successor="fail")
    file.write_text(json.dumps(rendered))
    with pytest.raises(ScriptFailed, match=r"vrrp_drain\.handover_timeout is 0\.2: must be longer than Master_Down_Interval"):
        only.agent.run_script("pre-start")
    with pytest.raises(ScriptFailed) as failed:
        only.agent.drain()
    assert [(run.exit_code, run.stdout) for run in failed.value.runs] == [(1, "")]

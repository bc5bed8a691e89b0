"""IPv6 is switched off, as BOSH's stemcells have it, and the manifest has an IPv6 VIP beside the IPv4 one."""

import pytest

from lab.conftest import MakeCluster
from lab.fabric.cluster import VIP6, Cluster
from lab.fabric.node import Node


def switch_off(node: Node, *interfaces: str) -> None:
    names = [f"net.ipv6.conf.{each}.disable_ipv6=1" for each in interfaces]
    assert node.machine.run(["/sbin/sysctl", "-q", *names]).returncode == 0


def started(cluster: Cluster) -> str:
    """Start the instance; return what its pre-start said before keepalived was there."""
    (only,) = cluster.nodes
    (run,) = (each for each in only.agent.run_script("pre-start") if each.job == "vrrp-drain")
    assert "keepalived" not in only.machine.pids().values()
    only.monit.start()
    only.agent.run_script("post-start")
    only.wait_for(cluster.vip)
    return run.stderr


@pytest.mark.samples("everywhere")
@pytest.mark.parametrize("interfaces", [("all", "default"), ("eth0",)], ids=["everywhere", "on-the-interface"])
def test_it_is_said_where_the_vip_will_not_be(make_cluster: MakeCluster, interfaces: tuple[str, ...]) -> None:
    """By pre-start before anything runs, by doctor and by status, with the setting to change; IPv4 is as good as ever."""
    cluster = make_cluster(1, create=False, keepalived={"vips": [VIP6]})
    (only,) = cluster.nodes
    switch_off(only, *interfaces)
    what = f"{VIP6} cannot be on eth0, which has IPv6 switched off (disable_ipv6 is 1)"
    said = started(cluster)
    assert f"vips: {what}" in said
    assert "net.ipv6.conf.eth0.disable_ipv6=0" in said
    code, told, _ = only.vrrpctl("doctor")
    assert (code, f"PROBLEM vips: {what}" in " ".join(told.split())) == (8, True), told
    assert only.status()["unserved"] == [what]
    assert what in only.vrrpctl("status")[1]
    lo = only.machine.run(["/sbin/ip", "-oneline", "address", "show", "lo"]).stdout
    assert f"inet {cluster.vip}/32" in lo, "the IPv4 VIP overlaps all the same"


def test_with_ipv6_nothing_is_said(make_cluster: MakeCluster) -> None:
    """The VIP is served, and neither pre-start nor status nor doctor has anything to say of it."""
    cluster = make_cluster(1, create=False, keepalived={"vips": [VIP6]})
    (only,) = cluster.nodes
    assert "vips:" not in started(cluster)
    assert only.has(VIP6)
    assert only.status()["unserved"] == []
    assert "vips:" not in only.vrrpctl("doctor")[1]


def test_switched_on_when_it_is_too_late(make_cluster: MakeCluster) -> None:
    """keepalived puts VIPs in place when it becomes MASTER, and not later: until then the one that is missing is named."""
    cluster = make_cluster(1, create=False, keepalived={"vips": [VIP6]})
    (only,) = cluster.nodes
    switch_off(only, "all", "default")
    started(cluster)
    assert only.machine.run(["/sbin/sysctl", "-q", "net.ipv6.conf.all.disable_ipv6=0"]).returncode == 0
    assert only.status()["unserved"] == [f"{VIP6} is not on eth0, though this instance is MASTER"]
    assert f"vips: {VIP6} is not on eth0" in " ".join(only.vrrpctl("doctor")[1].split())
    only.monit.stop("keepalived")
    only.monit.start("keepalived")
    only.wait_for(VIP6)
    assert only.status()["unserved"] == []


@pytest.mark.kernel("IPv6")
def test_the_only_vip_is_ipv6(make_cluster: MakeCluster) -> None:
    """pre-start says what is wrong, be it that nothing else can be done then."""
    cluster = make_cluster(1, create=False, vip=VIP6, keepalived={"interface": "eth0"})
    (only,) = cluster.nodes
    switch_off(only, "all", "default")
    code, _, told = only.vrrpctl("pre-start")
    assert f"vips: {VIP6} cannot be on eth0, which has IPv6 switched off" in told, (code, told)

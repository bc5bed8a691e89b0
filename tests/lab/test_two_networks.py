"""BOSH knows the instances by addresses of one network, the VIP and the adverts are on another: all is as with one."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from lab.clients.load import Load
from lab.conftest import MakeCluster
from lab.fabric.cluster import VIP, Cluster, update
from lab.fabric.wait import until

OTHER_VIP = "10.0.0.11"


def clean(cluster: Cluster) -> None:
    """Have status and doctor find nothing wrong on any instance."""
    with ThreadPoolExecutor(len(cluster.nodes)) as pool:  # each doctor listens for three seconds
        reports = [*pool.map(lambda node: node.vrrpctl("doctor", "--json"), cluster.nodes)]
    for node, (code, stdout, stderr) in zip(cluster.nodes, reports, strict=True):
        found = [each for each in json.loads(stdout)["findings"] if each["severity"] in ("problem", "warning")]
        assert (code, found) == (0, []), (node.name, stderr)
        status = node.status()
        assert status["obstacles"] == []
        assert status["answering"] == ([] if status["vip_here"] else [cluster.holders()[0].mac])


@pytest.mark.thorough
@pytest.mark.parametrize("same_segment", [False, True], ids=["apart", "same-segment"])
def test_doctor_and_status_take_nobody_for_somebody_else(make_cluster: MakeCluster, same_segment: bool) -> None:
    """A peer that speaks from another address than the link gives it is that peer, on MASTER and BACKUP, whichever was updated last."""
    cluster = make_cluster(3, two_networks=True, same_segment=same_segment, watched=True)
    until(lambda: all(node.status()["successors"] for node in cluster.nodes), "everybody to have peers")
    clean(cluster)
    update(cluster.nodes[0])
    cluster.nodes[0].wait_for(cluster.vip)
    clean(cluster)


@pytest.mark.thorough
@pytest.mark.long
@pytest.mark.timeout(300)  # two updates
@pytest.mark.parametrize("advert_int", [0.1, 1])
def test_the_vip_is_changed_in_a_rolling_deploy(make_cluster: MakeCluster, advert_int: float) -> None:
    """Instance by instance, as the docs say: pre-start takes no peer that still has the old VIP for another cluster.

    However soon it adverts; and it takes no longer for that.
    """
    cluster = make_cluster(2, two_networks=True, watched=True, keepalived={"advert_int": advert_int})
    first, second = cluster.nodes
    cluster.properties["keepalived"]["vip"] = OTHER_VIP
    for node in cluster.nodes:
        update(node, apply=lambda node=node: node.apply(cluster.jobs, cluster.group, cluster.properties, cluster.package))  # type: ignore[misc]
    first.wait_for(OTHER_VIP)
    second.wait_for(OTHER_VIP, here=False)
    assert cluster.holders() == []


@pytest.mark.thorough
def test_unicast_where_the_link_is_of_the_vips_network(make_cluster: MakeCluster) -> None:
    """`network` on the link gives the peers' addresses there, and the instance's own as well: adverts come from that one."""
    cluster = make_cluster(2, create=False, two_networks=True, watched=True, keepalived={"unicast": True})
    cluster.group = [replace(each, ip=each.address, address=f"10.0.0.{each.index + 1}") for each in cluster.group]
    for node, spec in zip(cluster.nodes, cluster.group, strict=True):
        node.spec = spec
    cluster.create()
    first = cluster.nodes[0]
    first.wait_for(VIP)
    clean(cluster)
    conf = (first.machine.root / "var/vcap/sys/run/keepalived/keepalived.conf").read_text()
    assert "unicast_src_ip 10.0.0.1" in conf
    with Load(cluster.client, cluster.vip, rate=50) as load:
        update(first)
        first.wait_for(VIP)
    assert load.found.failed("new") == []

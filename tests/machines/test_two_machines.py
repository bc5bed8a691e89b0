"""Two virtual machines as a group: each with its own kernel, its keepalived and haproxy in its initial namespaces."""

import time
from typing import Any

import pytest

from lab.clients.load import Load
from lab.clients.transfers import BACKEND, Transfers
from lab.fabric.cluster import VIP, VIP6, update

from .claims import in_order, served, unharmed
from .conftest import Deploy
from .instances import WAIT

pytestmark = pytest.mark.timeout(900)

AFTER = 3.0  # seconds in which what an update left behind would be felt


@pytest.mark.parametrize(
    ("keepalived", "vrrp_drain"),
    [({}, {}), ({"use_vmac": True}, {}), pytest.param({}, {"handoff_transport": "tunnel"}, marks=pytest.mark.needs("vxlan"))],
    ids=["own MACs", "virtual MAC", "tunnel"],
)
def test_a_rolling_upgrade(deploy: Deploy, keepalived: dict[str, Any], vrrp_drain: dict[str, Any]) -> None:
    """Of both machines, one after the other, while clients come to VIPs of both families: nobody fails, nothing open is cut, no first
    packet is lost, and what is downloaded and uploaded meanwhile, in packets as large as the card takes, arrives as it was sent.

    The kernel looks for duplicates of IPv6 addresses as it does by default, and the virtual MAC is its macvlan.
    """
    ha_proxy = {"bind": ":::80 v4v6", "backend": ":".join(map(str, BACKEND))}
    cluster = deploy(guests=(0, 1), keepalived={"vips": [VIP6], **keepalived}, vrrp_drain=vrrp_drain, ha_proxy=ha_proxy)
    names = {node.name for node in cluster.nodes}
    assert cluster.guest().machine.read("/proc/sys/net/ipv6/conf/eth0/accept_dad").strip() == "1"
    with (
        Load(cluster.client, VIP, rate=20, keep_alive=5, lane=1) as four,
        Load(cluster.client, VIP6, rate=20, keep_alive=5, lane=2) as six,
        Transfers(cluster.client, VIP, downloads=1, uploads=1, slow=1, patience=WAIT) as transfers,
    ):
        served(four, six)
        drains = [run for node in cluster.nodes for run in update(node) if run.job == "vrrp-drain"]
        served(four, six)
        time.sleep(AFTER)
    assert [(run.exit_code, run.stdout) for run in drains] == [(0, "0\n")] * 2
    unharmed(four, six)
    assert transfers.broken == []
    assert {each.kind for each in transfers.ended} == {"download", "upload", "slow"}
    for load in (four, six):
        assert {each.node for each in load.found.requests} == names
    assert cluster.holders() == cluster.nodes[:1]
    in_order(cluster.nodes[0])

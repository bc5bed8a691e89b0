"""VRRP has no authentication worth the name: what a hostile machine on the segment says is never taken as proof."""

import pytest
from scapy.compat import raw
from scapy.layers.inet import IP
from scapy.layers.l2 import Ether
from scapy.layers.vrrp import VRRP, VRRPv3

from lab.conftest import MakeCluster, PlugIn
from lab.fabric.agent import ScriptFailed
from lab.strangers.forger import Forger

WAITS = {"on_no_successor": "fail", "successor_timeout": 6}  # for a peer that does not come, while somebody forges
PRIORITY = 250  # would outrank the drained node's 99, were it valid


def frame(*, source: str = "10.0.0.66", ttl: int = 255, cut: int = 0, **fields: object) -> bytes:
    """Return an advert for the lab's VIP, made by scapy, with something wrong."""
    values = {"vrid": 1, "priority": PRIORITY, "adv": 10, "addrlist": ["10.0.0.10"], **fields}
    packet = IP(src=source, dst="224.0.0.18", ttl=ttl, proto=112) / VRRPv3(**values)
    whole = raw(packet)
    if cut:
        payload = raw(packet[VRRPv3])[:-cut]
        whole = raw(IP(src=source, dst="224.0.0.18", ttl=ttl, proto=112) / payload)
    return bytes(raw(Ether(src="02:00:00:00:00:42", dst="01:00:5e:00:00:12", type=0x0800) / whole))


def version_2() -> bytes:
    advert = VRRP(vrid=1, priority=PRIORITY, adv=1, addrlist=["10.0.0.10"])
    return bytes(raw(Ether(src="02:00:00:00:00:42", dst="01:00:5e:00:00:12") / IP(src="10.0.0.66", dst="224.0.0.18", ttl=255) / advert))


FORGED = {
    "TTL": frame(ttl=254),
    "checksum": frame(chksum=0x1234),
    "VRID": frame(vrid=2),
    "version": version_2(),
    "length": frame(cut=2),
    "our own source": frame(source="10.0.0.1"),
    "lower priority": frame(priority=98),
    "resignation": frame(priority=0),
}


def test_forged_and_damaged_adverts_are_no_proof(make_cluster: MakeCluster, stranger: PlugIn) -> None:
    """Under a rain of adverts that are each wrong in one field, a node that waits for its peer finds no successor and keeps the VIP."""
    cluster = make_cluster(2, vrrp_drain=WAITS)
    only, gone = cluster.nodes
    gone.power_off()
    machine = stranger(cluster)
    with Forger(machine, list(FORGED.values())) as forger, pytest.raises(ScriptFailed, match="no active peer adverted"):
        only.agent.drain()
    assert forger.rounds > 20
    assert cluster.holders() == [only]


def test_a_forged_master_without_the_vip_is_no_successor(make_cluster: MakeCluster, stranger: PlugIn) -> None:
    """Even a well-formed advert in a peer's name proves nothing by itself: nobody answers for the VIP, so drain reports no success."""
    cluster = make_cluster(2, vrrp_drain=WAITS)
    only, gone = cluster.nodes
    gone.power_off()
    forged = frame(source=gone.spec.address)
    with Forger(stranger(cluster), [forged]) as forger, pytest.raises(ScriptFailed, match=r"nobody answered for 10\.0\.0\.10"):
        only.agent.drain()
    assert forger.rounds > 20
    only.wait_for(cluster.vip)


def test_a_master_who_is_no_member_is_none(make_cluster: MakeCluster, stranger: PlugIn) -> None:
    """In a group whose addresses are known, whoever adverts better from another one is not even heard: the VIP does not move."""
    cluster = make_cluster(2, vrrp_drain=WAITS)
    only, gone = cluster.nodes
    gone.power_off()
    with Forger(stranger(cluster), [frame()]) as forger, pytest.raises(ScriptFailed, match="no active peer adverted"):
        only.agent.drain()
    assert forger.rounds > 20
    assert cluster.holders() == [only]
    assert only.log("keepalived", "keepalived.log").count("Entering MASTER STATE") == 1

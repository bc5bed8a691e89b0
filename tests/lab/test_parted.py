"""The segment is parted, each side has a MASTER, and is joined again: clients whose cache names the one that yields are reached at once."""

import time
from functools import partial

from lab.conftest import MakeCluster
from lab.fabric.cluster import VIP6
from lab.fabric.wait import until

IP = "/usr/sbin/ip"


def test_whoever_stays_master_announces_itself(make_cluster: MakeCluster) -> None:
    """The one with the lower priority announced itself last, and says nothing when it yields: its MAC is in a cache for long, as a
    router's. The other one corrects that within a second or two, for all VIPs; the two are never MASTER beside each other for long."""
    cluster = make_cluster(2, watched=True, keepalived={"vips": [f"{VIP6}/64"]})
    first, second = cluster.nodes
    vips = (cluster.vip, VIP6)
    cluster.switch.part(first.port, second.port)
    second.wait_for(cluster.vip)
    assert first.has(cluster.vip)
    for vip in vips:
        entry = [vip, "dev", "eth0", "lladdr", second.mac, "nud", "reachable"]
        assert cluster.client.run([IP, "neighbour", "replace", *entry]).returncode == 0
    time.sleep(1.5)  # a cache keeps what it has just learnt for a second (arp(7), locktime), whatever it hears
    cluster.switch.part(first.port, second.port, apart=False)
    second.wait_for(cluster.vip, here=False)

    def is_at(vip: str) -> bool:
        return f"lladdr {first.mac} " in cluster.client.run([IP, "neighbour", "show", vip, "dev", "eth0"]).stdout

    for vip in vips:
        until(partial(is_at, vip), f"the client's cache to have {vip} at {first.name}", 5)
    assert cluster.holders() == [first]

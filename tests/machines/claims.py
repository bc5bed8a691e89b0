"""What is claimed of clients and instances, and waited for."""

from lab.clients.load import Load
from lab.fabric.node import Node
from lab.fabric.wait import until

from .instances import WAIT, GuestCluster


def served(*loads: Load) -> None:
    """Wait until clients have been answered for a while."""
    before = [load.answered for load in loads]
    until(lambda: all(load.answered > each + 60 for load, each in zip(loads, before, strict=True)), "clients to be served", WAIT)


def unharmed(*loads: Load) -> None:
    """No client failed, and no first packet of one was lost."""
    for load in loads:
        assert load.found.failed("new") + load.found.failed("established") == []
        assert load.found.lost_syns() == []


def in_order(node: Node) -> None:
    """doctor and status find no problem on the MASTER; what the kernel lacks, doctor warns of there as anywhere."""
    code, told, _ = node.vrrpctl("doctor")
    assert code == 0, told
    assert "PROBLEM" not in told, told
    found = node.status()
    assert (found["vip_here"], found["band"], found["handoff"], found["obstacles"]) == (True, "active", True, [])
    assert found["conditions"] == found["unserved"] == []


def settled(cluster: GuestCluster, node: Node) -> None:
    """Wait until ``node`` alone has the VIP."""
    until(lambda: cluster.holders() == [node], f"{node.name} alone to have {cluster.vip}", WAIT)

"""Instances in two availability zones, a router between them: their adverts arrive with a TTL of 254, and the VIP is routed."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from lab.clients.load import Load
from lab.conftest import show
from lab.fabric.cloud import COMMAND, NOTIFY, Cloud
from lab.fabric.cluster import FAST, VIP, VIP6, update
from lab.fabric.wait import until
from lab.fabric.zones import Zones

DUAL_STACK = {"bind": ":::80 v4v6"}
DEPLOYED: dict[str, dict[str, Any]] = {
    VIP: {"interface": "eth0"},
    VIP6: {"interface": "eth0", "unicast_peers": ["fd00:0::1", "fd00:1::1"]},
}
ADDRESSES = {VIP: ("10.0.0.1", "10.0.1.1"), VIP6: ("fd00::1", "fd00:1::1")}
MakeZones = Callable[..., tuple[Zones, Cloud]]


@pytest.fixture
def make_zones(package: Path) -> Iterator[MakeZones]:
    """Give a function that deploys an instance in each of two zones, with a router that the new MASTER tells to route the VIP to it."""
    made: list[Zones] = []
    with ExitStack() as stack:

        def make(vip: str, hops: int, *, start: bool = True, **vrrp_drain: Any) -> tuple[Zones, Cloud]:
            keepalived = {**FAST, **DEPLOYED[vip], "unicast": True, "unicast_hops": hops, "extra_instance_config": NOTIFY}
            drain = {"takeover_proof": "adverts", "on_no_successor": "fail", **vrrp_drain}
            zones = stack.enter_context(
                Zones(package, 2, vip=vip, watched=False, keepalived=keepalived, vrrp_drain=drain, ha_proxy=DUAL_STACK)
            )
            made.append(zones)
            cloud = stack.enter_context(Cloud(zones.router, "10.0.0.254", vip))
            zones.apply()
            for node, address in zip(zones.nodes, ADDRESSES[vip], strict=True):
                cloud.install(node, address)
            if start:
                for node in zones.nodes:
                    node.start()
                zones.nodes[0].wait_for(vip)
            return zones, cloud

        yield make
        for each in made:
            show(each)


@pytest.mark.parametrize("vip", [VIP, VIP6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("proof", ["adverts", "command"])
def test_an_update_across_a_router(make_zones: MakeZones, vip: str, proof: str) -> None:
    """With unicast_hops 1 they elect one MASTER, drain and post-start prove what they did, and no new connection is refused."""
    command = {"takeover_command": COMMAND, "handover_timeout": 8} if proof == "command" else {}
    zones, cloud = make_zones(vip, 1, takeover_proof=proof, **command)
    first, second = zones.nodes
    assert zones.holders() == [first]
    with Load(zones.client, vip, rate=50, keep_alive=0) as load:
        drains = update(first)
        first.wait_for(vip)
        update(second)
    assert [(each.exit_code, each.stdout) for each in drains] == [(0, "0\n")]
    assert zones.holders() == [first]
    us, peer = ADDRESSES[vip]
    assert cloud.told == [us, peer, us]
    assert ": handed over" in first.log()
    assert "this node is its backup" in second.log()
    assert load.found.refused() == []
    for node in zones.nodes:
        assert node.vrrpctl("doctor")[0] == 0


@pytest.mark.parametrize("vip", [VIP, VIP6], ids=["IPv4", "IPv6"])
def test_by_default_nothing_crosses_a_router(make_zones: MakeZones, vip: str) -> None:
    """Such adverts are dropped before keepalived hears them; pre-start and doctor say so, and which property allows them."""
    zones, _ = make_zones(vip, 0, start=False)
    first, second = zones.nodes
    first.start()
    second.agent.run_script("pre-start")
    second.monit.start()
    until(lambda: second.has(vip), "the second to be MASTER beside the first")
    assert first.has(vip)
    us, _ = ADDRESSES[vip]
    assert f"adverts of {us} have crossed routers (1), more than keepalived.unicast_hops allows" in second.log()
    code, stdout, _ = second.vrrpctl("doctor")
    assert (code, f"adverts of {us} have crossed routers (1) and are dropped: keepalived.unicast_hops is 0" in stdout) == (8, True)

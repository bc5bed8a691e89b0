"""The VIP on this machine, and when it is taken away."""

import pytest

from unit.support.fakes import VIP, FakeIPR, address, link, rendered
from unit.support.machine import FakeMachine
from unit.support.services import FakeServices
from vrrp_drain.config.model import Config
from vrrp_drain.handover.vip import Vip
from vrrp_drain.keepalived.instance import Instance
from vrrp_drain.runtime.paths import Paths


@pytest.mark.parametrize(
    ("pid", "on_interface", "removed"), [(None, 2, True), (None, 1, False), (4711, 2, False)], ids=["stale", "on lo", "keepalived runs"]
)
def test_only_a_stale_vip_is_removed(services: FakeServices, ipr: FakeIPR, pid: int | None, on_interface: int, removed: bool) -> None:
    """The VIP is taken away where keepalived is dead, never under a living one."""
    services.machine.pid = pid
    before = list(ipr.addresses)
    vip = address(on_interface, f"{VIP}/32")
    ipr.addresses = [*before, vip]
    assert services.vip.remove_stale() is removed
    assert ipr.addresses == (before if removed else [*before, vip])


@pytest.mark.parametrize(("vmac", "interface"), [(False, 2), (True, 4)], ids=["on eth0", "on vrrp.1"])
def test_every_stale_vip_is_removed(machine: FakeMachine, ipr: FakeIPR, paths: Paths, vmac: bool, interface: int) -> None:
    """All VIPs go together, from where keepalived had put them."""
    machine.pid = None
    ipr.links.append(link(4, "vrrp.1", "00:00:5e:00:01:01"))
    before = list(ipr.addresses)
    ipr.addresses = [*before, *(address(interface, each) for each in (f"{VIP}/32", "10.0.0.11/24", "2001:db8::10/64"))]
    config = Config.parse(rendered(keepalived={"vips": ["10.0.0.11/24", "2001:db8::10/64"], "use_vmac": vmac}))
    assert Vip(Instance.find(config, paths, machine.netlink), machine).remove_stale()
    assert ipr.addresses == before


def test_an_interface_that_is_gone_has_no_number(services: FakeServices, ipr: FakeIPR) -> None:
    """None instead of an error: the watcher asks while it flaps."""
    assert services.vip.interface_index() == 2
    ipr.links = ipr.links[:1]
    assert services.vip.interface_index() is None

"""The VIP on this machine, and when it is taken away."""

import shutil
from ipaddress import ip_address

import pytest

from unit.support.fakes import VIP, FakeIPR, Message, address, link, rendered
from unit.support.machine import FakeMachine
from unit.support.services import FakeServices
from vrrp_drain.config.model import Config
from vrrp_drain.handover.vip import Unserved, Vip
from vrrp_drain.keepalived.instance import Instance
from vrrp_drain.linux.ipv6 import Ipv6Obstacle
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
    ipr.addresses = [*before, *(address(interface, each) for each in (f"{VIP}/32", "10.0.0.11/24")), address(2, "2001:db8::10/64")]
    config = Config.parse(rendered(keepalived={"vips": ["10.0.0.11/24", "2001:db8::10/64"], "use_vmac": vmac}))
    assert Vip(Instance.find(config, paths, machine.netlink), machine).remove_stale()
    assert ipr.addresses == before


def set_ipv6(paths: Paths, interface: str, off: str | None) -> None:
    """Have IPv6 switched on (0) or off (1) for an interface, or the interface without it (None)."""
    setting = paths.ipv6_settings / interface / "disable_ipv6"
    setting.write_text(f"{off}\n") if off is not None else setting.unlink()


@pytest.mark.parametrize(
    ("off", "obstacle"), [("0", None), ("1", Ipv6Obstacle.SWITCHED_OFF), (None, Ipv6Obstacle.NOT_OFFERED)], ids=["on", "off", "without"]
)
def test_an_ipv6_vip_needs_ipv6(services: FakeServices, paths: Paths, off: str | None, obstacle: Ipv6Obstacle | None) -> None:
    """On the VIP's interface: what lo has, or an interface of nobody's interest, is another matter. The IPv4 ones are served."""
    services.configure(Config.parse(rendered(keepalived={"vips": ["10.0.0.11/24", "2001:db8::10/64"]})))
    set_ipv6(paths, "eth0", off)
    set_ipv6(paths, "lo", "1")
    expected = [Unserved(ip_address("2001:db8::10"), "eth0", obstacle)] if obstacle else []
    assert services.vip.unserved() == expected


def test_a_kernel_without_ipv6(services: FakeServices, paths: Paths) -> None:
    """It has no directory of settings at all; IPv4 alone does not care."""
    shutil.rmtree(paths.ipv6_settings.parent)
    assert services.vip.unserved() == []
    services.configure(Config.parse(rendered(keepalived={"vips": ["2001:db8::10/64"]})))
    (found,) = services.vip.unserved()
    assert found.obstacle is Ipv6Obstacle.NO_KERNEL
    assert "2001:db8::10 cannot be on eth0, which has no IPv6, as nothing here has" in str(found)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (0x80, []),
        (0x82, []),
        (0x44, []),
        (0xC0, ["looks for another machine that has it, and does not answer for it (tentative)"]),
        (0xC8, ["has found another machine that has it, and does not answer for it (dadfailed)"]),
        (0x08, ["has found another machine that has it, and does not answer for it (dadfailed)"]),
    ],
    ids=["permanent", "nodad, as keepalived", "optimistic", "tentative", "tentative and failed", "failed"],
)
def test_an_ipv6_vip_that_the_kernel_does_not_use(services: FakeServices, ipr: FakeIPR, flags: int, said: list[str]) -> None:
    """Whether keepalived runs or not; that of lo, where nobody looks for duplicates, is another."""
    services.configure(Config.parse(rendered(keepalived={"vips": ["2001:db8::10/64"]})))
    for pid in (4711, None):
        services.machine.pid = pid
        flagged = Message({"IFA_ADDRESS": "2001:db8::10", "IFA_FLAGS": flags}, index=2, prefixlen=64, family=10)
        ipr.addresses = [address(2, f"{VIP}/32"), flagged]
        found = [str(each) for each in services.vip.unserved()]
        assert [each.partition("the kernel ")[2].removeprefix("still ") for each in found] == said
        assert all(each.startswith("2001:db8::10 is on eth0, but") for each in found)


@pytest.mark.parametrize(("pid", "said"), [(4711, ["10.0.0.11 is not on eth0, though this instance is MASTER"]), (None, [])])
def test_all_vips_are_where_the_first_one_is(services: FakeServices, ipr: FakeIPR, pid: int | None, said: list[str]) -> None:
    """While keepalived runs: what a dead one left behind is another finding's. A backup has none of them."""
    services.configure(Config.parse(rendered(keepalived={"vips": ["10.0.0.11/24", "2001:db8::10/64"]})))
    services.machine.pid = pid
    assert services.vip.unserved() == []
    ipr.addresses += [address(2, f"{VIP}/32"), address(2, "2001:db8::10/64"), address(1, "10.0.0.11/32")]
    assert [*map(str, services.vip.unserved())] == said


def test_an_interface_that_is_gone_has_no_number(services: FakeServices, ipr: FakeIPR) -> None:
    """None instead of an error: the watcher asks while it flaps."""
    assert services.vip.interface_index() == 2
    ipr.links = ipr.links[:1]
    assert services.vip.interface_index() is None

"""An IPv6 address that the kernel still looks for is waited for, by its word. Time is frozen."""

import time

import pytest

from unit.support.fakes import FakeIPR, Message, rendered
from unit.support.services import FakeServices
from vrrp_drain.config.model import Config
from vrrp_drain.handover import speaking
from vrrp_drain.keepalived.instance import Instance

pytestmark = pytest.mark.usefixtures("clock")
TENTATIVE, PERMANENT, FAILED = 0xC0, 0x80, 0xC8


def our_address(ipr: FakeIPR, flags: int) -> None:
    others = [each for each in ipr.addresses if each.get_attr("IFA_ADDRESS") != "fe80::1"]
    ipr.addresses = [*others, Message({"IFA_ADDRESS": "fe80::1", "IFA_FLAGS": flags}, index=2, prefixlen=64, family=10)]


@pytest.fixture
def instance(services: FakeServices, ipr: FakeIPR) -> Instance:
    """Give an instance with VIPs of both families, whose link-local address is looked for."""
    our_address(ipr, TENTATIVE)
    config = Config.parse(rendered(keepalived={"vips": ["2001:db8::10/64"]}))
    return Instance.find(config, services.instance.paths, services.machine.netlink)


def becomes(services: FakeServices, ipr: FakeIPR, flags: int, *, after: float) -> None:
    """Have the kernel find out, and tell that an address has changed."""

    def change() -> None:
        our_address(ipr, flags)
        for watch in services.machine.watches:
            watch.changed = True

    services.machine.world.after(after, change)


@pytest.mark.parametrize("found", [PERMANENT, FAILED], ids=["nobody else has it", "somebody has, which others tell"])
def test_until_the_kernel_knows(
    services: FakeServices, instance: Instance, ipr: FakeIPR, log: pytest.LogCaptureFixture, found: int
) -> None:
    """No longer than that, whatever else changes meanwhile."""
    becomes(services, ipr, TENTATIVE, after=0.3)
    becomes(services, ipr, found, after=1.4)
    began = time.monotonic()
    speaking.wait(instance, services.machine)
    assert time.monotonic() - began == pytest.approx(1.4, abs=0.01)
    assert log.messages == ["waited 1.4 s until the kernel had looked for another machine with fe80::1 (duplicate address detection)"]


def test_it_has_an_end(services: FakeServices, instance: Instance, log: pytest.LogCaptureFixture) -> None:
    """A kernel that sends more questions than usual holds nothing up for long."""
    began = time.monotonic()
    speaking.wait(instance, services.machine)
    assert time.monotonic() - began == pytest.approx(speaking.LONGEST, abs=0.01)
    assert "still looks for another machine with fe80::1: nothing can be sent from it, so peers may not hear haproxy/0" in log.text


def test_where_all_is_known_nothing_is_waited_for(services: FakeServices, instance: Instance, ipr: FakeIPR) -> None:
    """Nor with IPv4 alone."""
    our_address(ipr, PERMANENT)
    began = time.monotonic()
    speaking.wait(instance, services.machine)
    our_address(ipr, TENTATIVE)
    speaking.wait(services.instance, services.machine)
    assert (time.monotonic(), services.machine.watches) == (began, [])

"""What a smooth handover needs, put in place and taken away."""

from ipaddress import ip_address

import pytest

from unit.support.fakes import VIP, FakeIPR, address, rendered
from unit.support.services import FakeServices
from vrrp_drain.config.model import Config
from vrrp_drain.handoff.vip_on_lo import VipOnLo
from vrrp_drain.handover.installation import Installation
from vrrp_drain.runtime.errors import SystemFault

FORMER = ip_address("10.0.0.99")


@pytest.mark.parametrize(("pid", "removed"), [(None, True), (4711, False)], ids=["keepalived was killed", "keepalived runs"])
def test_a_vip_of_an_earlier_deployment_is_removed(
    services: FakeServices, ipr: FakeIPR, log: pytest.LogCaptureFixture, pid: int | None, removed: bool
) -> None:
    """Before the new VIP is held, the one that was held last goes from the interface, never under a keepalived that runs."""
    paths, services.machine.pid = services.instance.paths, pid
    for name in ("arp_ignore", "arp_announce"):
        for interface in ("eth0", "all"):
            file = paths.interface_settings / interface / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("0\n")
    VipOnLo(paths.drain_run, services.machine.netlink, paths.interface_settings).hold([FORMER], "eth0")
    ipr.addresses.append(address(2, f"{FORMER}/32"))
    Installation(services.instance, services.machine, services.membership).hold_vips()
    found = {(each["index"], each.get_attr("IFA_ADDRESS")) for each in ipr.addresses}
    assert ((2, str(FORMER)) not in found) is removed
    assert (1, str(FORMER)) not in found
    assert (1, VIP) in found
    assert log.messages == ([f"{FORMER} was still on eth0, left by a keepalived that was killed: taken off"] if removed else [])


def test_without_ipv6_the_ipv4_vips_are_held(services: FakeServices) -> None:
    """lo takes no IPv6 address where it is switched off there: that is no reason for moves of the others to be less smooth."""
    services.configure(Config.parse(rendered(keepalived={"vips": ["2001:db8::10/64"]})))
    services.installation.hold_vips()
    (services.instance.paths.ipv6_settings / "lo/disable_ipv6").write_text("1\n")
    services.installation.hold_vips()
    assert services.installation.vip_on_lo.holds == [([VIP, "2001:db8::10"], "eth0"), ([VIP], "eth0")]
    services.installation.mend()
    assert services.installation.vip_on_lo.holds[-1] == ([VIP], "eth0"), "what somebody took away comes back in the same way"


def test_what_cannot_be_held_is_done_without(services: FakeServices, log: pytest.LogCaptureFixture) -> None:
    """Each part is tried, each fault is said, none is raised."""
    services.machine.rules.fault = SystemFault("nftables refuses")
    services.installation.vip_on_lo.fault = SystemFault("sysctl refuses")
    services.installation.hold()
    assert log.messages == ["sysctl refuses", "nftables refuses"]

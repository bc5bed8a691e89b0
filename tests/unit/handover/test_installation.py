"""What a smooth handover needs, put in place and taken away."""

import errno
from ipaddress import ip_address
from pathlib import Path

import pytest

from unit.support.fakes import OWN, PEER, VIP, FakeIPR, address, rendered
from unit.support.machine import FakeVxlan
from unit.support.services import FakeServices
from vrrp_drain.config.model import Config, Transport
from vrrp_drain.handoff.situation import Situation
from vrrp_drain.handoff.sockets import MOST_OLDER
from vrrp_drain.handoff.tunnel import Tunnel
from vrrp_drain.handoff.vip_on_lo import VipOnLo
from vrrp_drain.handover.installation import Installation
from vrrp_drain.linux.sock_diag import End
from vrrp_drain.linux.vxlan import Device
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


CLIENT: End = (ip_address("10.0.0.200"), 40_000)
BOUND: End = (ip_address(VIP), 80)
LATER: End = (ip_address(VIP), 81)
OURS = 1 << 28


@pytest.fixture
def setting(services: FakeServices) -> Path:
    """Give the file of net.ipv4.tcp_fwmark_accept, which is off."""
    found = services.instance.paths.tcp_settings / "tcp_fwmark_accept"
    found.parent.mkdir(parents=True, exist_ok=True)
    found.write_text("0\n")
    return found


def test_where_nobody_binds_to_a_vip_nothing_is_marked(services: FakeServices, setting: Path) -> None:
    """The rules are installed; no mark, no sysctl, and nothing to put back."""
    services.installation.hold()
    services.installation.tell_frontends()
    assert (services.machine.rules.marks, setting.read_text()) == ([], "0\n")
    services.installation.let_go()
    assert setting.read_text() == "0\n"


def test_frontends_that_are_bound_to_a_vip(services: FakeServices, setting: Path) -> None:
    """First the mark, then who is older than it, then all is told; once, until there is another one. post-stop puts the sysctl back."""
    machine, installation = services.machine, services.installation
    machine.binds((VIP, 80))
    machine.unmarked = [(CLIENT, BOUND)]
    assert installation.bound_to_vip() == [f"{VIP}:80"]
    for _ in range(2):
        installation.tell_frontends()
    assert (machine.rules.marks, machine.rules.known, machine.rules.older) == ([(OURS, {BOUND})], {BOUND}, [(CLIENT, BOUND)])
    assert (setting.read_text(), installation.bound_to_vip()) == ("1\n", [])
    machine.binds((VIP, 81))
    installation.tell_frontends()
    assert (machine.rules.marks[1:], machine.rules.known) == ([(OURS, {BOUND, LATER})], {BOUND, LATER})
    machine.bound = []
    installation.tell_frontends()
    assert len(machine.rules.marks) == 2, "a listener that is away for a moment is not forgotten"
    installation.let_go()
    assert setting.read_text() == "0\n"


def test_rules_that_are_made_anew_know_the_frontends(services: FakeServices, setting: Path) -> None:
    services.machine.binds((VIP, 80))
    services.installation.mend()
    assert services.machine.rules.known == {BOUND}


def test_who_switches_inheritance_off(services: FakeServices, setting: Path, log: pytest.LogCaptureFixture) -> None:
    """It is on again, and said; connections that came meanwhile are told as older ones. Until then a move would cut, and status says so."""
    machine, installation = services.machine, services.installation
    machine.binds((VIP, 80))
    installation.tell_frontends()
    setting.write_text("0\n")
    machine.unmarked = [(CLIENT, BOUND)]
    assert installation.bound_to_vip() == [f"{VIP}:80"]
    installation.tell_frontends()
    assert log.messages == [
        "net.ipv4.tcp_fwmark_accept was switched off by somebody: switched on again, for frontends that are bound to a VIP"
    ]
    assert (setting.read_text(), machine.rules.older, installation.bound_to_vip()) == ("1\n", [(CLIENT, BOUND)], [])
    installation.let_go()
    assert setting.read_text() == "0\n"


def test_inheritance_that_was_on_stays_on(services: FakeServices, setting: Path) -> None:
    setting.write_text("1\n")
    services.machine.binds((VIP, 80))
    services.installation.tell_frontends()
    services.installation.let_go()
    assert setting.read_text() == "1\n"


def test_what_cannot_be_told_apart(services: FakeServices, setting: Path) -> None:
    """A listener with a mark of its own, a property of 0, more old connections than there is room for, rules that the kernel refuses, a
    kernel without the sysctl: nobody is told to be a listener then, and each is named."""
    machine, installation = services.machine, services.installation
    machine.binds((VIP, 80), mark=7)
    installation.tell_frontends()
    assert (machine.rules.marks, installation.bound_to_vip()) == ([], [f"{VIP}:80"])
    machine.bound = []
    machine.binds((VIP, 80))
    services.set_drain(handoff_mark=0)
    installation.tell_frontends()
    assert (machine.rules.marks, installation.bound_to_vip()) == ([], [f"{VIP}:80"])
    services.set_drain(handoff_mark=OURS)
    machine.unmarked = [(CLIENT, BOUND)] * (MOST_OLDER + 1)
    with pytest.raises(SystemFault, match=rf"^{MOST_OLDER + 1} connections to {VIP}:80 are older than our rules, which keep {MOST_OLDER}"):
        installation.tell_frontends()
    assert (machine.rules.known, installation.bound_to_vip()) == (set(), [f"{VIP}:80"])
    machine.unmarked.clear()
    installation.let_go()
    setting.unlink()
    setting.mkdir()
    with pytest.raises(SystemFault, match=r"^net\.ipv4\.tcp_fwmark_accept cannot be set \(.*\): accepted connections inherit no mark$"):
        installation.tell_frontends()
    assert machine.rules.known == set()
    machine.rules.fault = SystemFault("the kernel refuses")
    assert installation.bound_to_vip() == [f"{VIP}:80"]


TUNNEL = {"handoff_transport": Transport.TUNNEL}


def with_a_tunnel(services: FakeServices) -> FakeVxlan:
    """Have packets handed on through a tunnel, whose settings are there as soon as it is."""
    paths, links = services.instance.paths, services.machine.vxlan

    def appear(device: Device) -> None:
        setting = paths.interface_settings / device.name / "rp_filter"
        setting.parent.mkdir(parents=True, exist_ok=True)
        setting.write_text("0\n")

    links.on_create = appear
    services.set_drain(**TUNNEL)
    return links


def test_a_tunnel_from_pre_start_to_post_stop(services: FakeServices) -> None:
    """From our own address, with a way to each peer; a deploy that does without one leaves nothing of it."""
    links = with_a_tunnel(services)
    services.installation.hold()
    (held,) = services.machine.rules.held
    assert held.tunnel == Tunnel(9923, 1, "eth0", (ip_address(OWN),))
    assert {name: [*map(str, to)] for name, to in links.to.items()} == {"vrrp-drain4": [PEER]}
    services.set_drain(handoff_transport=Transport.DIRECT)
    services.installation.hold()
    assert (links.devices, services.machine.rules.held[-1].tunnel) == ({}, None)
    services.set_drain(**TUNNEL)
    services.installation.hold()
    services.installation.let_go()
    assert links.devices == {}


def test_without_its_tunnel_nothing_is_handed_on(services: FakeServices, log: pytest.LogCaptureFixture) -> None:
    """Packets that are sent as they are would get lost: a reset is better than to hang."""
    links = with_a_tunnel(services)
    links.fault = OSError(errno.EOPNOTSUPP, "Operation not supported")
    services.installation.hold()
    first, second = services.machine.rules.held
    assert (first.window > 0, second.window) == (True, 0.0)
    assert log.messages == [
        "the tunnel for packets of open connections cannot be made (this kernel has no VXLAN: module vxlan): "
        f"a move of {VIP} cuts the connections that are open (vrrp_drain.handoff_transport)"
    ]


def test_without_rules_there_is_no_tunnel(services: FakeServices) -> None:
    """Everybody would get into it."""
    links = with_a_tunnel(services)
    services.installation.hold()
    services.machine.rules.fault = SystemFault("nftables refuses")
    services.installation.hold()
    assert links.devices == {}


def test_a_tunnel_that_is_taken_away_is_put_back_alone(services: FakeServices, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules that are whole stay as they are: made anew they would have forgotten who left."""
    links = with_a_tunnel(services)
    services.installation.hold()
    monkeypatch.setattr(services.machine.rules, "lacks", lambda group: [])
    links.remove(4, "vrrp-drain4", 0)
    assert "the tunnel vrrp-drain4" in services.installation.lacks_of_tunnel()
    services.installation.mend()
    assert (len(services.machine.rules.held), services.installation.lacks_of_tunnel()) == (1, [])
    monkeypatch.setattr(services.machine.rules, "lacks", lambda group: ["rules"])
    services.installation.mend()
    assert len(services.machine.rules.held) == 2


def test_who_says_hello_gets_a_way(services: FakeServices) -> None:
    """Its address is known by its hello alone."""
    links = with_a_tunnel(services)
    services.installation.hold()
    new = ip_address("10.0.0.9")
    services.machine.rules.situation = Situation((4,), tables=(4,), members=(new,))
    services.installation.meet()
    assert new in links.to["vrrp-drain4"]
    services.set_drain(handoff_transport=Transport.DIRECT)
    links.to["vrrp-drain4"].clear()
    services.installation.meet()
    assert links.to["vrrp-drain4"] == {}

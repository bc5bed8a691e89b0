"""What somebody takes away of ours: seen when the kernel tells, put back at once, told with who did it."""

import logging
import time
from ipaddress import ip_address

import pytest

from unit.support.fakes import VIP
from unit.support.services import FakeInstallation, FakeServices
from unit.support.theatre import Theatre, when
from vrrp_drain.notify.notice import Kind
from vrrp_drain.runtime.errors import SystemFault

TABLE = "the nftables table ip vrrp_drain"


class Taken(FakeInstallation):
    """An installation of which ``missing`` is gone until it is mended, which may fail."""

    def begin(self) -> "Taken":
        self.missing: list[str] = []
        self.mended: list[float] = []
        self.mending_fault: SystemFault | None = None
        self.looking_fault: SystemFault | None = None
        self.meeting_fault: SystemFault | None = None
        self.looks = self.meetings = 0
        return self

    def meet(self) -> None:
        self.meetings += 1
        if self.meeting_fault is not None:
            raise self.meeting_fault

    def lacks(self) -> list[str]:
        self.looks += 1
        if self.looking_fault is not None:
            raise self.looking_fault
        return [*self.missing]

    def mend(self) -> None:
        if self.mending_fault is not None:
            raise self.mending_fault
        self.mended.append(round(time.monotonic(), 2))
        self.missing.clear()


@pytest.fixture
def taken(services: FakeServices) -> Taken:
    found = Taken.of(services.installation)
    assert isinstance(found, Taken)
    object.__setattr__(services, "installation", found.begin())
    return found


def take(stage: Theatre, taken: Taken, *missing: str, by: str | None = "") -> None:
    """Have somebody take ``missing`` away, of which the kernel tells."""
    taken.missing[:] = missing
    for each in stage.machine.watches_of_rules:
        each.changed, each.by = True, by


def test_what_is_taken_away_is_put_back_at_once(stage: Theatre, taken: Taken) -> None:
    """In that moment, and both the loss and its end are told; the metric counts one."""
    stage.adverts(0.1, 9.0)
    stage.at(3.0, lambda: take(stage, taken, TABLE, by="nft (pid 7)"))
    on, off = stage.run(8.0)
    assert taken.mended == [round(stage.start + 3.0, 2)]
    assert (on.kind, on.state, when(on), on.severity) == (Kind.LOST, "on", 3.0, "warning")
    assert on.reason == f"{TABLE} is gone, since a change by nft (pid 7): a move would have cut open connections"
    assert (off.kind, off.state) == (Kind.LOST, "off")
    assert when(off) <= 4.0
    assert stage.sample("rules_losses_total") == 1
    assert stage.sample("rules_lost") == 0


def test_what_the_kernel_did_not_tell(stage: Theatre, taken: Taken) -> None:
    """A lost message costs ten seconds; who it was is not known then."""
    stage.adverts(0.1, 20.0)
    stage.at(3.0, lambda: taken.missing.extend(["10.0.0.10 on lo", "arp_ignore of eth0"]))
    (on, _) = stage.run(20.0)
    assert when(on) <= 13.0
    assert on.reason == "10.0.0.10 on lo, arp_ignore of eth0 are gone: a move would have cut open connections"


def test_addresses_that_change_may_be_ours(stage: Theatre, taken: Taken) -> None:
    """A VIP that went from lo is told by the kernel as an address that changed."""
    stage.adverts(0.1, 9.0)
    stage.at(3.0, lambda: taken.missing.append("10.0.0.10 on lo"))
    stage.at(3.0, stage.addresses_change)
    on, _ = stage.run(8.0)
    assert when(on) == 3.0


def test_a_change_that_is_not_over(stage: Theatre, taken: Taken) -> None:
    """Kernels 5.10 and 6.1 wake us up before they say who it was: that is waited for, since by then all would be back already."""
    stage.adverts(0.1, 9.0)
    stage.at(3.0, lambda: take(stage, taken, TABLE, by=None))
    stage.at(3.01, lambda: take(stage, taken, TABLE, by="nft (pid 7)"))
    on, _ = stage.run(8.0)
    assert on.reason == f"{TABLE} is gone, since a change by nft (pid 7): a move would have cut open connections"


def test_what_else_changes_meanwhile(stage: Theatre, taken: Taken) -> None:
    """Who took the rules is told although an address changes in the same moment; who takes a VIP later is somebody else."""
    stage.adverts(0.1, 9.0)
    stage.at(2.8, lambda: take(stage, taken))  # looked at now, and then not for half a second
    stage.at(3.0, lambda: take(stage, taken, TABLE, by="nft (pid 7)"))
    stage.at(3.1, stage.addresses_change)
    stage.at(6.0, lambda: taken.missing.append("10.0.0.10 on lo"))
    stage.at(6.0, stage.addresses_change)
    rules, _, vip, _ = stage.run(8.0)
    assert rules.reason == f"{TABLE} is gone, since a change by nft (pid 7): a move would have cut open connections"
    assert vip.reason == "10.0.0.10 on lo is gone: a move would have cut open connections"


def test_somebody_who_never_stops(stage: Theatre, taken: Taken) -> None:
    """Rules that change a hundred times a second, none of them ours: they are looked at twice a second, no more."""
    stage.adverts(0.1, 11.0)
    for n in range(1000):
        stage.at(0.5 + n / 100, lambda: take(stage, taken))
    assert stage.run(10.0) == []
    assert taken.looks <= 22


def test_what_was_never_there_is_not_lost(stage: Theatre, taken: Taken) -> None:
    """A kernel that refuses a part of the rules: pre-start said so, and nobody is told again."""
    taken.missing.append("rules of chain send of ip vrrp_drain")
    taken.mending_fault = SystemFault("the kernel refuses the rules")
    stage.adverts(0.1, 70.0)
    assert stage.run(70.0) == []
    assert taken.looks <= 4


def test_what_cannot_be_put_back(stage: Theatre, taken: Taken, log: pytest.LogCaptureFixture) -> None:
    """It is said once, the condition lasts, and it is tried again until it can."""
    taken.mending_fault = SystemFault("the kernel refuses the rules")
    stage.adverts(0.1, 70.0)
    stage.at(3.0, lambda: take(stage, taken, TABLE))
    stage.at(40.0, lambda: setattr(taken, "mending_fault", None))
    on, off = stage.run(70.0)
    assert (when(on), off.state) == (3.0, "off")
    assert 40.0 < when(off) < 66.0
    said = "what was taken away cannot be put back (the kernel refuses the rules): it is tried again"
    assert log.messages.count(said) == 1


def test_nobody_can_be_asked(stage: Theatre, taken: Taken) -> None:
    """Without nftables, or while the interface is away, nothing is known to be lost."""
    taken.looking_fault = SystemFault("interface eth0 does not exist (any more)")
    stage.adverts(0.1, 9.0)
    stage.at(3.0, lambda: take(stage, taken, TABLE))
    assert stage.run(8.0) == []
    assert taken.mended == []


def test_a_frontend_on_the_vip_that_appears(stage: Theatre, services: FakeServices) -> None:
    """haproxy is reloaded and listens on the VIP: within two seconds the rules tell its connections from it."""
    setting = services.instance.paths.tcp_settings / "tcp_fwmark_accept"
    setting.parent.mkdir(parents=True, exist_ok=True)
    setting.write_text("0\n")
    seen: list[bool] = []
    stage.adverts(0.1, 9.0)
    stage.at(3.0, lambda: services.machine.binds((VIP, 80)))
    stage.at(5.5, lambda: seen.append((ip_address(VIP), 80) in services.machine.rules.known))
    assert stage.run(8.0) == []
    assert (seen, setting.read_text()) == ([True], "1\n")


def test_a_frontend_on_the_vip_that_cannot_be_told(stage: Theatre, services: FakeServices, log: pytest.LogCaptureFixture) -> None:
    """It is said once, and tried again: here there is no such sysctl at first."""
    setting = services.instance.paths.tcp_settings / "tcp_fwmark_accept"
    setting.mkdir(parents=True)
    services.machine.binds((VIP, 80))
    stage.adverts(0.1, 30.0)
    stage.at(20.0, setting.rmdir)
    stage.at(20.0, lambda: setting.write_text("0\n"))
    stage.run(30.0)
    (warning,) = (each for each in log.records if each.levelno == logging.WARNING)
    assert warning.getMessage().endswith("accepted connections inherit no mark; it is tried again")
    assert services.machine.rules.known == {(ip_address(VIP), 80)}


def test_who_becomes_a_member_is_met(stage: Theatre, taken: Taken, log: pytest.LogCaptureFixture) -> None:
    """Every second: whoever leaves then has a way through the tunnel. What cannot be done is said once."""
    taken.meeting_fault = SystemFault("the tunnel has no way to 10.0.0.2 (Operation not permitted)")
    stage.adverts(0.1, 9.0)
    assert stage.run(8.0) == []
    assert 7 <= taken.meetings <= 9
    said = f"{taken.meeting_fault}: their clients hang when the VIP moves; it is tried again"
    assert log.messages.count(said) == 1

"""Whole handovers of one instance on a machine of which the test says everything. simulation has two of them on one segment."""

from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from unit.support.fakes import OWN, PEER, PEER_MAC, VIP, Clock, FakeIPR, address, carries, rendered
from unit.support.machine import FakeMachine
from vrrp_drain.config.model import Config
from vrrp_drain.handover.demote import Demote
from vrrp_drain.handover.promote import Promote
from vrrp_drain.handover.services import Services, assemble
from vrrp_drain.haproxy.health import Health
from vrrp_drain.linux.rtnetlink import Netlink
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import ALL_HOSTS_V4, GROUP_V4, IPAddress
from vrrp_drain.runtime.paths import Paths
from vrrp_drain.runtime.signals import Cancellation
from vrrp_drain.vrrp.advert import Advert
from vrrp_drain.vrrp.bands import Band

ADVERT = Advert(2, 1, 253, 1.0, (ip_address(VIP),))
SUCCESSOR = carries(ADVERT, PEER)
NOBODY = 5.1  # seconds, longer than any of these waits


class Stage:
    """One instance and its machine; the world changes at times after the beginning."""

    def __init__(self, machine: FakeMachine, ipr: FakeIPR, paths: Paths, cancellation: Cancellation) -> None:
        self.machine, self._ipr, self._paths, self._cancellation = machine, ipr, paths, cancellation
        self.services = self.build()

    def build(self, **sections: Any) -> Services:
        """Return the services of a manifest with these properties."""
        self.services = assemble(Config.parse(rendered(**sections)), self._paths, self.machine, self._cancellation)
        return self.services

    def vip_comes(self) -> None:
        self._ipr.addresses.append(address(2, f"{VIP}/32"))

    def vip_leaves(self) -> None:
        self._ipr.addresses = [each for each in self._ipr.addresses if each.get_attr("IFA_ADDRESS") != VIP]

    def a_successor_takes_over(self) -> None:
        """It adverts, the VIP leaves, and it answers for it."""
        self.machine.hears(SUCCESSOR, after=0.1)
        self.machine.addresses_change(self.vip_leaves, after=0.2)
        self.machine.answers[VIP] = [PEER_MAC]

    def is_cancelled(self, after: float) -> None:
        self.machine.world.after(after, self._cancellation.cancel)

    @property
    def band(self) -> Band | None:
        return self.services.control.read()


@pytest.fixture
def stage(clock: Clock, netlink: Netlink, ipr: FakeIPR, paths: Paths, cancellation: Cancellation) -> Stage:
    return Stage(FakeMachine(clock, netlink), ipr, paths, cancellation)


def warnings(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in log.records if record.levelname == "WARNING"]


def test_demote_lowers_and_proves(stage: Stage, log: pytest.LogCaptureFixture) -> None:
    """A demotion leaves the draining band written, has asked the segment, and has logged its steps."""
    stage.vip_comes()
    stage.a_successor_takes_over()
    assert stage.services.handover.demote(NOBODY).state is Demote.DONE
    assert stage.band is Band.DRAINING
    assert [target for target, _ in stage.machine.inquiries] == [ip_address(VIP)]
    assert log.messages == [
        "no peer's haproxy answers us, so none is hurried: the handover takes three advert intervals",
        f"{VIP} is on eth0 here: priority lowered to 99; serving until a successor has it",
        f"{PEER} adverts priority 253, above our 99: it takes over",
        f"{VIP} left eth0: asking the segment who answers for it",
        f"{PEER_MAC} answers for {VIP}: handed over",
    ]


@pytest.mark.parametrize("promoted", [False, True], ids=["demote", "promote"])
def test_with_a_virtual_mac_the_vip_is_where_it_is(stage: Stage, log: pytest.LogCaptureFixture, promoted: bool) -> None:
    """The VIP is on vrrp.1 then, and that is what is said; the adverts are on eth0."""
    services = stage.build(keepalived={"use_vmac": True})
    (services.handover.promote if promoted else services.handover.demote)(NOBODY)
    said = [each for each in log.messages if VIP in each]
    assert said
    assert not [each for each in said if "eth0" in each and "adverted VRID" not in each]


@pytest.mark.parametrize(("problem", "sufficient"), [("", 99), ("haproxy does not answer", 1)])
def test_demote_knows_its_priority(stage: Stage, log: pytest.LogCaptureFixture, problem: str, sufficient: int) -> None:
    """The priority to beat is that of the draining band; without a healthy haproxy, which is a warning, that of both bands."""
    stage.machine.health = Health(problem)
    for priority, state in ((sufficient - 1, Demote.NO_SUCCESSOR), (sufficient, Demote.DONE)):
        if priority:
            stage.machine.hears(carries(Advert(2, 1, priority, 1.0, ADVERT.addresses), PEER), after=0.1)
        assert stage.services.handover.demote(NOBODY).state is state
    assert {warning.partition(":")[0] for warning in warnings(log)} == ({problem} if problem else set())


def test_a_cancelled_demotion_restores_the_priority(stage: Stage) -> None:
    """After a signal the active band is back."""
    stage.vip_comes()
    stage.is_cancelled(after=0.5)
    assert stage.services.handover.demote(NOBODY).state is Demote.CANCELLED
    assert stage.band is Band.ACTIVE


def test_a_demotion_without_a_successor_leaves_the_policy_to_the_caller(stage: Stage) -> None:
    """With nobody there the priority stays lowered."""
    stage.vip_comes()
    assert stage.services.handover.demote(NOBODY).state is Demote.NO_SUCCESSOR
    assert stage.band is Band.DRAINING


def test_a_fault_of_ours_does_not_demote(stage: Stage) -> None:
    """When the handover breaks on our side, the node goes on as it was and the fault is told."""
    stage.vip_comes()
    stage.a_successor_takes_over()
    stage.machine.inquiring_fault = SystemFault("interface eth0 does not exist")
    with pytest.raises(SystemFault, match="interface eth0"):
        stage.services.handover.demote(NOBODY)
    assert stage.band is Band.ACTIVE


def test_promote_raises_and_proves(stage: Stage) -> None:
    """A promotion leaves the active band written and has made sure that nobody else answers."""
    stage.services.control.write(Band.DRAINING)
    stage.machine.addresses_change(stage.vip_comes, after=3.0)
    assert stage.services.handover.promote(NOBODY).state is Promote.MASTER
    assert stage.band is Band.ACTIVE
    assert [target for target, _ in stage.machine.inquiries] == [ip_address(VIP)]


@pytest.mark.parametrize(("preempt", "state"), [(True, Promote.FAILED), (False, Promote.BACKUP)])
def test_without_preemption_any_active_master_is_a_good_end(stage: Stage, preempt: bool, state: Promote) -> None:
    """With keepalived.preempt a MASTER below us gives way; without it he stays, and we are his backup."""
    for second in range(10):
        stage.machine.hears(carries(Advert(2, 1, 240, 1.0, ADVERT.addresses), PEER), after=second + 0.1)
    assert stage.build(keepalived={"preempt": preempt}).handover.promote(NOBODY).state is state


@pytest.mark.parametrize(
    ("preempt", "fast", "peers", "resigned"),
    [(True, True, [PEER], True), (True, True, [], False), (True, False, [PEER], False), (False, False, [], True)],
    ids=["a healthy peer", "no healthy peer", "not wanted", "peers that do not preempt"],
)
def test_whom_a_demotion_hurries(stage: Stage, preempt: bool, fast: bool, peers: list[str], resigned: bool) -> None:
    """After the band is written we say that we leave, and once more to the successor.

    We resign as well if a healthy peer is there, and always where a lower priority moves nothing.
    """
    services = stage.build(keepalived={"preempt": preempt}, vrrp_drain={"fast_handover": fast})
    stage.machine.healthy_peers = peers
    stage.vip_comes()
    stage.a_successor_takes_over()
    bands: list[Band | None] = []
    stage.machine.on_say = lambda said: bands.append(stage.band) if said.advert else None
    assert services.handover.demote(NOBODY).state is Demote.DONE
    said = [(each.packet.destination, each.advert.priority) for each in stage.machine.said if each.advert]
    draining = [(where, 99) for where in (GROUP_V4, ALL_HOSTS_V4)] * 3
    after = [(GROUP_V4, 0), *[(ALL_HOSTS_V4, 99)] * 3] if resigned else []
    assert said == [*draining, *after, (ALL_HOSTS_V4, 99)]
    assert {*bands} == {Band.DRAINING}


def test_our_own_haproxy_is_no_peers(stage: Stage) -> None:
    """Our own address among keepalived.unicast_peers is not asked: it would always answer."""
    services = stage.build(keepalived={"unicast": True, "unicast_peers": [OWN, PEER]})
    stage.vip_comes()
    services.handover.demote(NOBODY)
    assert {*map(tuple, stage.machine.asked_peers)} == {(PEER,)}


def test_a_farewell_that_cannot_be_sent_is_a_warning(stage: Stage, log: pytest.LogCaptureFixture) -> None:
    """The demotion goes on: peers may take over all the same, and if they do not, the deadline says so."""
    services = stage.build(keepalived={"preempt": False})
    stage.vip_comes()
    stage.a_successor_takes_over()
    stage.machine.sending_fault = SystemFault("cannot send an advert on eth0: Network is down")
    assert services.handover.demote(NOBODY).state is Demote.DONE
    assert {each.partition(": peers that ")[0] for each in warnings(log)} == {"cannot send an advert on eth0: Network is down"}
    assert any("peers that do not preempt take the VIP over only after they were told" in each for each in warnings(log))


@pytest.fixture
def beside(tmp_path: Path) -> dict[str, str]:
    """The properties of an instance beside another release's keepalived job."""
    config = tmp_path / "keepalived.config"
    config.write_text("vrrp_instance one {\npriority 101\n}\n")
    return {"keepalived_config": str(config), "keepalived_pid_file": f"{tmp_path}/keepalived.pid"}


def test_another_jobs_keepalived_is_moved_through_its_configuration(stage: Stage, beside: dict[str, str], paths: Paths) -> None:
    """Its priority is the control, there and back; our own band file is not written."""
    services, config = stage.build(vrrp_drain=beside), Path(beside["keepalived_config"])
    for move, priority, text in ((services.handover.demote, 102, "priority 81 "), (services.handover.promote, 253, "priority 101\n")):
        stage.machine.hears(carries(Advert(2, 51, priority, 1.0, ADVERT.addresses), PEER), after=3.0)
        assert move(NOBODY).state in (Demote.DONE, Promote.BACKUP)
        assert text in config.read_text()
    assert not paths.keepalived_run.exists()


@pytest.mark.parametrize(
    ("before", "after"),
    [(Band.DRAINING, Band.DRAINING), (Band.ACTIVE, Band.ACTIVE), (None, Band.ACTIVE)],
    ids=["draining", "active", "none"],
)
@pytest.mark.parametrize("fault", [None, SystemFault("the interface went")], ids=["fails", "breaks"])
def test_a_promotion_that_fails_puts_the_band_back(stage: Stage, before: Band | None, after: Band, fault: SystemFault | None) -> None:
    """Whether it fails or breaks, the band afterwards is the one before; without a file keepalived had counted us as active."""
    if before:
        stage.services.control.write(before)
    if fault:
        stage.machine.inquiring_fault = fault
        stage.machine.addresses_change(stage.vip_comes, after=3.0)
        with pytest.raises(SystemFault):
            stage.services.handover.promote(NOBODY)
    else:
        assert stage.services.handover.promote(NOBODY).state is Promote.FAILED
    assert stage.band is after


def test_a_damaged_band_does_not_stop_a_promotion(stage: Stage, log: pytest.LogCaptureFixture) -> None:
    """What keepalived cannot read counts as active, with a warning, also when it is put back."""
    stage.services.control.write(Band.DRAINING)
    stage.services.control.path.write_text("?")
    assert stage.services.handover.promote(NOBODY).state is Promote.FAILED
    assert log.messages[0].endswith("; taken as active")
    assert stage.band is Band.ACTIVE


def test_a_demotion_removes_a_stale_vip(stage: Stage) -> None:
    """The table's action reaches the interface, once a peer is MASTER."""
    stage.machine.pid = None
    stage.vip_comes()
    stage.machine.hears(SUCCESSOR, after=0.1)
    stage.machine.addresses_change(after=0.2)
    stage.machine.answers[VIP] = [PEER_MAC]
    assert stage.services.handover.demote(NOBODY).state is Demote.DONE
    assert not stage.services.vip.is_here()


@pytest.mark.parametrize("promoted", [True, False], ids=["promote", "demote"])
def test_peers_are_told_who_we_are_before_anything_moves(stage: Stage, log: pytest.LogCaptureFixture, promoted: bool) -> None:
    """A peer that does not know our address would not hear us, nor leave us our connections; where it cannot be told, the move goes on."""
    move: Callable[[float], object] = stage.services.handover.promote if promoted else stage.services.handover.demote
    written: list[IPAddress] = []
    stage.machine.on_say = lambda said: written.append(said.packet.source) if stage.band is None else None
    move(NOBODY)
    assert written == [ip_address(OWN)] * 4, "a hello for each ID, twice, before the band is written"
    stage.machine.sending_fault = SystemFault("cannot send an advert on eth0: Network is down")
    move(NOBODY)
    assert any(each.startswith("cannot send an advert on eth0: Network is down: peers that ") for each in log.messages)

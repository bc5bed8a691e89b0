"""What proves a takeover where nobody answers for the VIP: whole handovers in frozen time, and nothing patched."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unit.support.fakes import OWN, PEER, VIP, Clock, carries, rendered
from unit.support.machine import FakeMachine
from unit.support.services import FakeServices
from unit.support.simulation import Segment, settled
from vrrp_drain.config.model import Config, Proof
from vrrp_drain.handover import proof
from vrrp_drain.handover.demote import Demote
from vrrp_drain.handover.event_source import EventSource
from vrrp_drain.handover.promote import Promote
from vrrp_drain.handover.prospects import Prospects
from vrrp_drain.handover.transitions import Event, Sign
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.signals import Cancellation
from vrrp_drain.vrrp.advert import Advert
from vrrp_drain.vrrp.bands import Band

COMMAND = "/var/vcap/jobs/cloud/bin/vip-is-at-master"
BY_ADVERTS = {"takeover_proof": "adverts"}
BY_COMMAND = {"takeover_proof": "command", "takeover_command": [COMMAND, "--verbose"]}
TIMEOUT = 10.0
NewSegment = Callable[..., Segment]


@pytest.fixture
def cloud(clock: Clock, tmp_path: Path, cancellation: Cancellation) -> NewSegment:
    """Give a group in a network in which nobody answers for the VIP."""

    def make(drain: dict[str, Any], instances: int = 2, **keepalived: Any) -> Segment:
        segment = Segment(clock, tmp_path, cancellation, instances, drain, unicast=True, **keepalived)
        segment.carries_arp = False
        settled(segment)
        return segment

    return make


def test_by_arp_nothing_is_proven_there(cloud: NewSegment) -> None:
    """The VIP moves, and whoever left cannot know it: that is what the other proofs are for."""
    segment = cloud({})
    ending = segment.machines[0].services.handover.demote(TIMEOUT)
    assert (ending.state, segment.holders) == (Demote.NO_SUCCESSOR, (1,))
    assert f"that it has {VIP} is not proven (nobody answered for {VIP} on eth0 within 10.0 s)" in ending.reason


@pytest.mark.parametrize("keepalived", [{}, {"advert_int": 0.1, "vrrp_version": 3}, {"preempt": False}])
def test_a_further_advert_is_proof(cloud: NewSegment, keepalived: dict[str, Any], log: pytest.LogCaptureFixture) -> None:
    """The successor is heard once when it takes over, and again an interval later: it has stayed MASTER, and has the VIP by then."""
    segment = cloud(BY_ADVERTS, **keepalived)
    first = segment.machines[0]
    began = time.monotonic()
    assert first.services.handover.demote(TIMEOUT).state is Demote.DONE
    assert segment.holders == (1,)
    assert log.messages[-1] == f"{PEER} adverts priority 253: handed over"
    interval = first.config.keepalived.advert_int
    moved = next(at for at, holders in segment.since(began) if holders == (1,))
    assert time.monotonic() - began == pytest.approx(moved + interval, abs=0.01)


def test_a_promotion_is_proven_by_the_silence_of_the_others(cloud: NewSegment, log: pytest.LogCaptureFixture) -> None:
    """The VIP comes back, and nobody adverts beside us for an interval."""
    segment = cloud(BY_ADVERTS)
    handover = segment.machines[0].services.handover
    handover.demote(TIMEOUT)
    assert handover.promote(TIMEOUT).state is Promote.MASTER
    assert segment.holders == (0,)
    assert log.messages[-1] == "no peer adverts as MASTER: this node is MASTER"


def test_a_successor_that_dies_at_once_is_none(cloud: NewSegment) -> None:
    """One advert took the VIP away from us; without a second one nothing is handed over, and the VIP is served from here again."""
    segment = cloud(BY_ADVERTS)
    first, second = segment.machines

    def dies() -> None:
        if segment.holders == (1,):
            segment.deaf.add(1)
            second.health = second.health.__class__(problem="gone")

    segment.world.syncs.append(dies)
    ending = first.services.handover.demote(TIMEOUT)
    assert ending.state is Demote.NO_SUCCESSOR
    assert first.has_vip


def test_the_command_is_asked_until_the_network_agrees(cloud: NewSegment, log: pytest.LogCaptureFixture) -> None:
    """Adverts alone are not enough then: it is run every second with the VIP and the successor, and its success ends the handover."""
    segment = cloud(BY_COMMAND)
    segment.network = OWN
    began = time.monotonic()
    segment.world.after(3.5, lambda: setattr(segment, "network", PEER))
    assert segment.machines[0].services.handover.demote(TIMEOUT).state is Demote.DONE
    assert 3.5 < time.monotonic() - began < 5
    assert log.messages[-1] == f"{COMMAND} says that the network sends {VIP} to {PEER}: handed over"
    wanted = {"VRRP_DRAIN_VIP": VIP, "VRRP_DRAIN_MASTER": PEER, "VRRP_DRAIN_INSTANCE": "haproxy/0"}
    assert 4 <= len(segment.ran) <= 5
    assert all(number == 0 and wanted.items() <= environment.items() for number, environment in segment.ran)
    complaints = [each for each in log.messages if each.startswith("vrrp_drain.takeover_command: not there; it is run again")]
    assert len(complaints) == 1, "a reason that repeats is told once"


def test_a_network_that_never_agrees(cloud: NewSegment) -> None:
    """Nothing is handed over, and the reason names the program."""
    segment = cloud(BY_COMMAND)
    segment.network = OWN
    ending = segment.machines[0].services.handover.demote(TIMEOUT)
    assert ending.state is Demote.NO_SUCCESSOR
    assert f"({COMMAND} did not say that the network sends {VIP} there within 10.0 s)" in ending.reason


def test_a_promotion_waits_for_the_network(cloud: NewSegment, log: pytest.LogCaptureFixture) -> None:
    """Whoever has the VIP on its interface is MASTER for clients once the network sends it there."""
    segment = cloud(BY_COMMAND)
    first = segment.machines[0]
    segment.network = PEER
    first.services.handover.demote(TIMEOUT)
    segment.ran.clear()
    began = time.monotonic()
    segment.world.after(6.0, lambda: setattr(segment, "network", OWN))
    assert first.services.handover.promote(TIMEOUT).state is Promote.MASTER
    assert time.monotonic() - began > 6.0
    assert {environment["VRRP_DRAIN_MASTER"] for _, environment in segment.ran} == {OWN}
    assert log.messages[-1] == f"{COMMAND} says that the network sends {VIP} here: this node is MASTER"


def test_a_promotion_without_the_network_fails(cloud: NewSegment) -> None:
    """The band goes back, and the reason says what was not proven."""
    segment = cloud(BY_COMMAND)
    first = segment.machines[0]
    segment.network = PEER
    first.services.handover.demote(TIMEOUT)
    ending = first.services.handover.promote(TIMEOUT)
    assert (ending.state, first.services.control.read()) == (Promote.FAILED, Band.DRAINING)
    assert "that nobody else has it was not proven within 10.0 s" in ending.reason


@pytest.fixture
def hearing(services: FakeServices, machine: FakeMachine, cancellation: Cancellation, request: pytest.FixtureRequest) -> EventSource:
    """An event source of a promotion, or of a demotion, by the proof that the test is given."""
    drain, leaves = request.param
    services.configure(Config.parse(_rendered(drain)))
    prospects = Prospects(services.instance, services.membership) if leaves else None
    return EventSource(services.instance, machine, services.membership.register(), 99 if leaves else 254, cancellation, prospects)


def _rendered(drain: dict[str, Any]) -> dict[str, Any]:
    return rendered(3, vrrp_drain=drain)


def says(priority: int) -> Any:
    return carries(Advert(2, 1, priority, 1.0, (Config.parse(_rendered({})).vip,)), PEER)


def answers(events: list[Event]) -> list[object]:
    return [each.facts["proof"] for each in events if each.sign is Sign.PEER_ANSWERS]


@pytest.mark.parametrize("hearing", [(BY_ADVERTS, False)], indirect=True)
@pytest.mark.parametrize(("priority", "counts"), [(253, True), (222, True), (66, True), (1, True), (99, False), (67, False), (0, False)])
def test_who_adverts_beside_us(clock: Clock, hearing: EventSource, machine: FakeMachine, priority: int, counts: bool) -> None:
    """Any MASTER does that has not said that it gives the VIP up, however low it is: it does not hear us."""
    with hearing:
        machine.hears(says(priority))
        assert answers(hearing.wait(0.1)) == [], "before that is asked it proves nothing"
        hearing.begin()
        machine.hears(says(priority))
        assert answers(hearing.wait(0.1)) == ([f"{PEER} adverts priority {priority}"] if counts else [])


@pytest.mark.parametrize("hearing", [(BY_COMMAND, True)], indirect=True)
def test_a_program_that_runs_ends_with_the_handover(clock: Clock, hearing: EventSource, machine: FakeMachine) -> None:
    """Whoever is asked when the handover ends is not left behind; nor is it asked before there is a MASTER."""
    with hearing:
        hearing.begin()
        assert hearing.ask() is False
        assert machine.programs == []
        machine.hears(says(253))
        hearing.wait(0.01)
        assert hearing.ask() is False
        ((command, _, running),) = machine.programs
        hearing.ask()
        assert (command, running.expirations, running.closed) == ((COMMAND, "--verbose"), 1, False)
    assert running.closed


@pytest.mark.parametrize("hearing", [(BY_COMMAND, True)], indirect=True)
def test_another_master_is_asked_for_anew(clock: Clock, hearing: EventSource, machine: FakeMachine) -> None:
    """What the program says of one that was MASTER before proves nothing."""
    with hearing:
        hearing.begin()
        machine.hears(says(253))
        hearing.wait(0.01)
        hearing.ask()
        machine.hears(carries(Advert(2, 1, 252, 1.0, (Config.parse(_rendered({})).vip,)), "10.0.0.3"))
        assert answers(hearing.wait(0.05)) == []
        hearing.ask()
        assert answers(hearing.wait(0.2)) == [f"{COMMAND} says that the network sends {VIP} to 10.0.0.3"]
        first, second = machine.programs
        assert (first[2].closed, second[1]["VRRP_DRAIN_MASTER"]) == (True, "10.0.0.3")


@pytest.mark.parametrize("hearing", [(BY_COMMAND, False)], indirect=True)
def test_a_program_that_cannot_be_started(clock: Clock, hearing: EventSource, machine: FakeMachine, log: pytest.LogCaptureFixture) -> None:
    """It is a warning, and it is tried again."""
    machine.program_fault = SystemFault(f"{COMMAND} could not be started: No such file or directory")
    with hearing:
        hearing.begin()
        assert hearing.ask() is False
        machine.program_fault = None
        clock.sleep(1.0)
        assert hearing.ask() is False
        hearing.wait(0.2)
        assert hearing.ask() is True
    said = f"{COMMAND} could not be started: No such file or directory"
    assert log.messages == [f"vrrp_drain.takeover_command: {said}; it is run again until it ends with status 0"]


def test_every_proof_has_its_words(services: FakeServices) -> None:
    """The same keys for each: the tables' reasons are filled from them."""
    drains: dict[Proof, dict[str, Any]] = {Proof.ARP: {}, Proof.ADVERTS: BY_ADVERTS, Proof.COMMAND: BY_COMMAND}
    for drain in drains.values():
        services.configure(Config.parse(_rendered(drain)))
        assert proof.words(services.instance).keys() == {"asked", "nobody", "unproven"}

"""What the watcher does: mark, resign, arm; ask who answers. Time is frozen, nothing leaves this machine."""

import errno
import logging
import time
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from unit.support.fakes import MAC, OWN, PEER, PEER_MAC, VIP, Clock, FakeIPR, address, rendered
from unit.support.machine import FakeMachine, Said
from unit.support.services import FakeServices
from vrrp_drain.config.model import Config
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import ALL_HOSTS_V4
from vrrp_drain.runtime.logs import Complaints
from vrrp_drain.vrrp import hello
from vrrp_drain.vrrp.bands import Band
from vrrp_drain.vrrp.hello import Open
from vrrp_drain.vrrp.peer_table import Peer
from vrrp_drain.watcher.actions import Introduction, Question, Unhealthiness

FAREWELL = 10  # adverts of one that ends with priority 0: three times to the group and past keepalived, 0, and three times past it
MASTER = Peer(ip_address(PEER), 253, began=0.0, heard=0.0)


class Wire:
    """The adverts of our own that were sent: each time the priority before the 0."""

    def __init__(self, machine: FakeMachine) -> None:
        self.machine = machine
        self._at: list[tuple[float, int]] = []
        machine.on_say = self._note

    def _note(self, said: Said) -> None:
        if said.advert is not None:
            self._at.append((time.monotonic(), said.advert.priority))

    @property
    def sent(self) -> list[tuple[float, int]]:
        """Return when a farewell began, and its first priority; each ends with what follows its 0."""
        return [each for n, each in enumerate(self._at) if n % FAREWELL == 0]

    def clear(self) -> None:
        self._at.clear()


@pytest.fixture
def wire(services: FakeServices, clock: Clock) -> Wire:
    return Wire(services.machine)


def here(ipr: FakeIPR) -> None:
    """Put the VIP on eth0."""
    ipr.addresses.append(address(2, f"{VIP}/32"))


def health(services: FakeServices) -> Unhealthiness:
    return Unhealthiness(services, Complaints(logging.getLogger("vrrp_drain")))


def run(found: Unhealthiness, clock: Clock, seconds: float) -> None:
    """Tick when it is due, as the watcher does, or every 0.25 s."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        clock.sleep(max(0.0, min(found.tick() - time.monotonic(), 0.25)))


def test_a_death_of_the_master_marks_and_resigns(services: FakeServices, wire: Wire, clock: Clock, ipr: FakeIPR) -> None:
    """keepalived is told, and the peers at once; the priority in the advert is unhealthy, so that no handoff is armed."""
    here(ipr)
    found = health(services)
    found.died()
    assert services.control.unhealthy()
    assert wire.sent == [(time.monotonic(), 66)]


@pytest.mark.parametrize(("band", "priority"), [(Band.ACTIVE, 66), (Band.DRAINING, 1)])
def test_the_priority_of_the_resignation(services: FakeServices, wire: Wire, clock: Clock, ipr: FakeIPR, band: Band, priority: int) -> None:
    """It is what keepalived adverts with both marks, never one of the draining band."""
    here(ipr)
    services.control.write(band)
    health(services).died()
    assert [each for _, each in wire.sent] == [priority]


@pytest.mark.parametrize("band", Band)
def test_a_haproxy_that_lives_keeps_its_connections(services: FakeServices, wire: Wire, clock: Clock, ipr: FakeIPR, band: Band) -> None:
    """Where it hangs, the advert before the 0 is of the draining band: peers leave it what is open. A death after that is one again."""
    here(ipr)
    services.control.write(band)
    found = health(services)
    found.died(lives=True)
    assert services.control.unhealthy()
    assert [each for _, each in wire.sent] == [99]
    found.back(None)
    found.died()
    assert [each for _, each in wire.sent] == [99, 66 if band is Band.ACTIVE else 1]


def test_resignations_are_repeated_and_end(services: FakeServices, wire: Wire, clock: Clock, ipr: FakeIPR) -> None:
    """A regular advert may undo one; five of them, 0.7 advert intervals apart, are enough: where nobody takes it, the VIP stays."""
    here(ipr)
    found, began = health(services), time.monotonic()
    found.died()
    run(found, clock, 20.0)
    assert [at - began for at, _ in wire.sent] == pytest.approx([0.0, 0.7, 1.4, 2.1, 2.8], abs=0.001)
    assert found.tick() == float("inf")
    assert services.vip.is_here()


def test_resignations_end_when_the_vip_has_left(services: FakeServices, wire: Wire, clock: Clock, ipr: FakeIPR) -> None:
    """Nothing is sent that could hurt the successor."""
    here(ipr)
    found = health(services)
    found.died()
    ipr.addresses.pop()
    run(found, clock, 20.0)
    assert len(wire.sent) == 1


@pytest.mark.parametrize("kind", ["BACKUP", "keepalived stopped"])
def test_who_is_not_master_never_resigns(services: FakeServices, wire: Wire, clock: Clock, ipr: FakeIPR, kind: str) -> None:
    """A BACKUP is marked only: an advert of priority 0 from it would make its peers elect again. A stale VIP is nobody's to give."""
    if kind == "keepalived stopped":
        here(ipr)
        services.machine.pid = None
    found = health(services)
    found.died()
    run(found, clock, 5.0)
    assert services.control.unhealthy()
    assert wire.sent == []


def test_back_before_a_successor_was_found(services: FakeServices, wire: Wire, clock: Clock, ipr: FakeIPR) -> None:
    """haproxy is back: the mark goes, and no further resignation gives the VIP away."""
    here(ipr)
    found = health(services)
    found.died()
    clock.sleep(0.1)
    found.back(None)
    run(found, clock, 5.0)
    assert not services.control.unhealthy()
    assert len(wire.sent) == 1
    assert services.machine.rules.arms == []


def test_back_leaves_the_masters_connections_with_it(services: FakeServices, wire: Wire, clock: Clock) -> None:
    """Before the priority rises: the healthy MASTER that we take the VIP over from goes on serving what it has."""
    found = health(services)
    found.died()
    marked: list[bool] = []
    arm = services.machine.rules.arm

    def look_and_arm(*arguments: Any) -> None:
        marked.append(services.control.unhealthy())
        arm(*arguments)

    services.machine.rules.arm = look_and_arm  # type: ignore[method-assign, assignment]
    found.back(MASTER)
    assert services.machine.rules.arms == [([VIP], PEER)]
    assert marked == [True]
    assert not services.control.unhealthy()


@pytest.mark.parametrize("priority", [99, 66, 254])
def test_nothing_is_armed_towards_a_master_that_is_ill_or_stays(services: FakeServices, wire: Wire, clock: Clock, priority: int) -> None:
    """One that is leaving arms by its own adverts, one that is unhealthy serves nobody, one that outranks us keeps the VIP."""
    found = health(services)
    found.died()
    found.back(replace(MASTER, priority=priority))
    assert services.machine.rules.arms == []


def test_a_polite_end_takes_the_mark_away(services: FakeServices, wire: Wire, clock: Clock, ipr: FakeIPR) -> None:
    """Nobody would see haproxy come back: keepalived's own check decides alone from then on."""
    here(ipr)
    found = health(services)
    found.died()
    found.leave()
    run(found, clock, 5.0)
    assert not services.control.unhealthy()
    assert len(wire.sent) == 1


def test_a_watcher_that_was_killed_leaves_a_mark_that_the_next_one_knows(
    services: FakeServices, wire: Wire, clock: Clock, ipr: FakeIPR
) -> None:
    """The mark stays while haproxy is dead, without a resignation for a death that is old, and goes when it is back."""
    here(ipr)
    health(services).died()
    wire.clear()
    found = health(services)
    assert found.unhealthy
    run(found, clock, 5.0)
    assert services.control.unhealthy()
    assert wire.sent == []
    found.back(None)
    assert not services.control.unhealthy()


def test_somebody_else_takes_the_mark_away(services: FakeServices, wire: Wire, clock: Clock) -> None:
    """keepalived's start begins healthy: the watcher, who knows better, marks again."""
    found = health(services)
    found.died()
    services.control.mark(unhealthy=False)
    run(found, clock, 0.3)
    assert services.control.unhealthy()


def test_a_run_directory_that_cannot_be_written(
    services: FakeServices, wire: Wire, clock: Clock, ipr: FakeIPR, log: pytest.LogCaptureFixture
) -> None:
    """It is said once, with what it means; nobody resigns, since our own next advert would take the VIP back; then it works."""
    here(ipr)
    services.instance.paths.keepalived_run.parent.mkdir(parents=True)
    services.instance.paths.keepalived_run.write_text("a file where the directory should be")
    found = health(services)
    log.clear()
    found.died()
    run(found, clock, 3.0)
    (said,) = log.messages
    assert said.endswith("keepalived's own check has to see to haproxy alone")
    assert wire.sent == []
    services.instance.paths.keepalived_run.unlink()
    run(found, clock, 0.3)
    assert services.control.unhealthy()
    assert log.messages[1:] == [f"no longer so: {said}"]
    assert wire.sent != []


def test_what_cannot_be_done_is_not_tried_without_a_pause(services: FakeServices, wire: Wire, clock: Clock, ipr: FakeIPR) -> None:
    """The watcher's next look tries again: nothing is due before, or it would spin."""
    here(ipr)
    services.instance.paths.keepalived_run.parent.mkdir(parents=True)
    services.instance.paths.keepalived_run.write_text("a file where the directory should be")
    found = health(services)
    found.died()
    assert found.tick() == float("inf")


def test_a_resignation_that_cannot_be_sent(
    services: FakeServices, wire: Wire, clock: Clock, ipr: FakeIPR, log: pytest.LogCaptureFixture
) -> None:
    """It is said once, and the next ones are tried; the mark stands."""
    here(ipr)
    wire.machine.sending_fault = SystemFault("cannot send an advert on eth0: Network is down")
    found = health(services)
    found.died()
    run(found, clock, 1.0)
    said = "cannot send an advert on eth0: Network is down: a peer takes over after three advert intervals, not at once"
    assert log.messages == [said]
    wire.machine.sending_fault = None
    run(found, clock, 1.5)
    assert log.messages[1:] == [f"no longer so: {said}"]
    assert len(wire.sent) == 2
    assert services.control.unhealthy()


# Who answers.


def ask(question: Question, clock: Clock, seconds: float, *, vip_here: bool = False) -> list[bool | None]:
    """Tick every 0.25 s; return what was known after each tick."""
    found = []
    for _ in range(round(seconds / 0.25)):
        question.tick(time.monotonic(), vip_here=vip_here)
        found.append(question.answered)
        clock.sleep(0.25)
    return found


def test_somebody_answers(services: FakeServices, clock: Clock) -> None:
    """One answer is enough until the next question, five seconds later."""
    services.machine.answers[VIP] = [PEER_MAC]
    question = Question(services.instance, services.machine)
    assert ask(question, clock, 4.75) == [None, *[True] * 18]
    assert [(str(target), each.interface, len(each.asked)) for target, each in services.machine.inquiries] == [(VIP, "eth0", 1)]
    assert services.machine.inquiries[0][1].closed
    ask(question, clock, 1.0)
    assert len(services.machine.inquiries) == 2


def test_silence_is_believed_after_a_second_of_questions(services: FakeServices, clock: Clock) -> None:
    """One packet may be lost: at least three are asked before nobody counts as answering (RFC 5227, PROBE_NUM)."""
    question = Question(services.instance, services.machine)
    found = ask(question, clock, 2.0)
    assert found[:5] == [None] * 5
    assert found[5:] == [False] * 3
    assert len(services.machine.inquiries[0][1].asked) >= 3


def test_our_own_answer_is_none(services: FakeServices, clock: Clock) -> None:
    """Another interface of this machine on the same segment is not somebody else."""
    services.machine.answers[VIP] = [MAC, "02:00:00:00:01:01"]
    assert ask(Question(services.instance, services.machine), clock, 2.0)[-1] is False


def test_nobody_is_asked_while_the_vip_is_here(services: FakeServices, clock: Clock) -> None:
    """What was known is forgotten, and a peer gets five seconds to take over before it is asked about."""
    question = Question(services.instance, services.machine)
    ask(question, clock, 2.0)
    assert set(ask(question, clock, 10.0, vip_here=True)) == {None}
    assert len(services.machine.inquiries) == 1
    assert services.machine.inquiries[0][1].closed
    assert ask(question, clock, 5.0) == [None] * 20


def test_nobody_is_asked_where_nobody_answers(services: FakeServices, clock: Clock) -> None:
    """With another vrrp_drain.takeover_proof than arp silence says nothing: no MASTER is silent there."""
    services.configure(Config.parse(rendered(vrrp_drain={"takeover_proof": "adverts"})))
    assert set(ask(Question(services.instance, services.machine), clock, 20.0)) == {None}
    assert services.machine.inquiries == []


@pytest.mark.parametrize("when", ["opening", "asking", "asking again"])
def test_an_interface_that_went(services: FakeServices, clock: Clock, when: str) -> None:
    """Nothing is known, nothing is raised, no socket stays open, and later it is asked again."""
    question = Question(services.instance, services.machine)
    if when == "opening":
        services.machine.inquiring_fault = SystemFault("interface eth0 does not exist (any more)")
    elif when == "asking":
        services.machine.asking_fault = OSError(errno.ENETDOWN, "Network is down")
    else:
        ask(question, clock, 0.25)
        services.machine.asking_fault = OSError(errno.ENXIO, "No such device or address")
    assert set(ask(question, clock, 4.0)) == {None}
    assert all(each.closed for _, each in services.machine.inquiries)
    services.machine.inquiring_fault = services.machine.asking_fault = None
    services.machine.answers[VIP] = [PEER_MAC]
    assert ask(question, clock, 6.0)[-1] is True


def introduction(services: FakeServices, open_here: Open = Open.UNTOLD) -> Introduction:
    return Introduction(services.announcements, Complaints(logging.getLogger("vrrp_drain")), lambda: open_here)


def hellos(services: FakeServices) -> int:
    """Return how often hello was said: each time twice, since one may be lost, for both IDs of the group."""
    said = services.machine.said
    assert {(each.interface, str(each.packet.source), each.packet.destination, each.advert) for each in said} <= {
        ("eth0", OWN, ALL_HOSTS_V4, None)
    }
    times, odd = divmod(len(said), 4)
    assert not odd
    return times


def test_the_watcher_introduces_itself_now_and_then(services: FakeServices, clock: Clock) -> None:
    """At its beginning and every ten seconds: peers that were started meanwhile have forgotten us."""
    ours = introduction(services)
    for _ in range(84):
        ours.tick(time.monotonic())
        clock.sleep(0.25)
    assert hellos(services) == 3


def test_whoever_is_new_is_answered_at_once(services: FakeServices, clock: Clock) -> None:
    """Two watchers that hear each other for the first time say hello once more each, and then no more than ever."""
    ours = introduction(services)
    ours.tick(time.monotonic())
    clock.sleep(1.0)
    for n in range(20):
        ours.hear(ip_address(PEER), time.monotonic())
        ours.tick(time.monotonic())
        assert hellos(services) == 2, n
        clock.sleep(0.25)
    clock.sleep(31.0)
    ours.tick(time.monotonic())
    ours.hear(ip_address(PEER), time.monotonic())
    ours.tick(time.monotonic())
    assert hellos(services) == 4, "after three hellos that did not come it is new again"


def test_whoever_starts_again_is_answered_at_once(services: FakeServices, clock: Clock) -> None:
    """It has forgotten us, however recently it was heard; but nobody has us say hello more than once a second."""
    ours = introduction(services, Open.SOME)
    ours.hear(ip_address(PEER), time.monotonic())
    ours.tick(time.monotonic())
    for _ in range(20):  # five seconds
        clock.sleep(0.25)
        ours.hear(ip_address(PEER), time.monotonic(), starts=True)
        ours.tick(time.monotonic())
    assert hellos(services) == 6
    assert {hello.found(each.packet) for each in services.machine.said} == {Open.SOME}


def test_a_hello_that_cannot_be_said_is_said_once(services: FakeServices, clock: Clock, log: pytest.LogCaptureFixture) -> None:
    """And that it is over."""
    ours = introduction(services)
    services.machine.sending_fault = SystemFault("cannot send an advert on eth0: Network is down")
    for _ in range(3):
        ours.tick(time.monotonic())
        clock.sleep(10.1)
    services.machine.sending_fault = None
    ours.tick(time.monotonic())
    assert [each.partition(":")[0] for each in log.messages] == ["cannot send an advert on eth0", "no longer so"]
    assert hellos(services) == 1

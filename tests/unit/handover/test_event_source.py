"""What a handover hears: sockets become signs, on a frozen clock and a segment that is not there."""

import errno
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from unit.support.fakes import MAC, OWN, PEER, PEER_MAC, VIP, Clock, FakeIPR, address, carries, link, rendered
from unit.support.machine import FakeMachine
from vrrp_drain.config.model import Config
from vrrp_drain.handover.event_source import EventSource
from vrrp_drain.handover.transitions import Event, Sign
from vrrp_drain.keepalived.attachment import Attachment
from vrrp_drain.keepalived.instance import Instance
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import TTL, IPAddress
from vrrp_drain.runtime.paths import Paths
from vrrp_drain.runtime.signals import Cancellation
from vrrp_drain.vrrp.advert import Advert
from vrrp_drain.vrrp.election import Electorate, Register

ELECTORATE = Electorate(1, 2, 1.0, ip_address(VIP), frozenset({ip_address(OWN)}), frozenset({ip_address(PEER)}))
ADVERT = Advert(2, 1, 253, 1.0, (ip_address(VIP),))
PLACE = Attachment("eth0", "eth0", None, ())
SUCCESSOR = Event(Sign.SUCCESSOR, {"peer": ip_address(PEER), "priority": 253})
ANSWER = Event(Sign.PEER_ANSWERS, {"proof": f"{PEER_MAC} answers for {VIP}"})


class Stage:
    """An EventSource with everything around it under the control of a test."""

    def __init__(self, machine: FakeMachine, ipr: FakeIPR, cancellation: Cancellation) -> None:
        self.machine, self.ipr, self.cancellation = machine, ipr, cancellation
        self.started = time.monotonic()

    def event_source(self, electorate: Electorate = ELECTORATE, attachment: Attachment = PLACE, **keepalived: object) -> EventSource:
        instance = Instance(Config.parse(rendered(keepalived=keepalived)), attachment, Paths())
        return EventSource(instance, self.machine, Register(lambda: electorate), 99, self.cancellation)

    @property
    def elapsed(self) -> float:
        return round(time.monotonic() - self.started, 6)

    @property
    def inquired(self) -> list[IPAddress]:
        return [target for target, _ in self.machine.inquiries]

    def advert(self, advert: Advert = ADVERT, *, source: str = PEER, ttl: int = TTL, after: float = 0.0) -> None:
        self.machine.hears(carries(advert, source, ttl=ttl), after=after)

    def vip_comes(self, interface: int = 2) -> None:
        self.ipr.addresses.append(address(interface, f"{VIP}/32"))

    def vip_leaves(self) -> None:
        self.ipr.addresses = [each for each in self.ipr.addresses if each.get_attr("IFA_ADDRESS") != VIP]


@pytest.fixture
def stage(clock: Clock, machine: FakeMachine, ipr: FakeIPR, cancellation: Cancellation) -> Stage:
    return Stage(machine, ipr, cancellation)


@pytest.fixture
def hearing(stage: Stage) -> Iterator[EventSource]:
    with stage.event_source() as entered:
        yield entered


@pytest.mark.parametrize(
    ("runs", "interface", "sign"),
    [
        (True, 2, Sign.VIP_HERE),
        (True, None, Sign.VIP_GONE),
        (True, 1, Sign.VIP_GONE),
        (False, 2, Sign.VIP_STALE),
        (False, None, Sign.KEEPALIVED_GONE),
    ],
)
def test_the_first_look(stage: Stage, runs: bool, interface: int | None, sign: Sign) -> None:
    """Whether keepalived runs and whether the VIP is on our interface (lo does not count) make the four beginnings."""
    if not runs:
        stage.machine.pid = None
    if interface:
        stage.vip_comes(interface)
    with stage.event_source() as entered:
        assert entered.look() == Event(sign)


def test_the_vip_is_looked_for_where_it_belongs(stage: Stage) -> None:
    """With a virtual MAC the VIP has an interface of its own; on the one with the adverts it would be out of place."""
    with stage.event_source(attachment=replace(PLACE, vip_interface="eth1")) as entered:
        stage.vip_comes(2)
        assert entered.look() == Event(Sign.VIP_GONE)
        stage.vip_comes(3)
        assert entered.look() == Event(Sign.VIP_HERE)
        stage.machine.addresses_change(stage.ipr.links.pop, after=0.1)
        assert entered.wait(1) == [Event(Sign.VIP_GONE)]


def test_an_early_signal_is_seen_first(stage: Stage, hearing: EventSource) -> None:
    """A signal that came before the first look wins over everything else."""
    stage.cancellation.requested = True
    assert hearing.look() == Event(Sign.CANCEL)


@pytest.mark.parametrize("seconds", [0.0, 0.05, 5.1])
def test_silence_ends_in_time(stage: Stage, hearing: EventSource, seconds: float) -> None:
    """When nothing happens, wait returns nothing, exactly at the end."""
    assert hearing.wait(seconds) == []
    assert stage.elapsed == pytest.approx(seconds, abs=1e-6)


def test_an_advert_is_judged(stage: Stage, hearing: EventSource) -> None:
    """A peer's advert arrives as the sign that it is, at once."""
    stage.advert(after=0.5)
    assert hearing.wait(3) == [SUCCESSOR]
    assert stage.elapsed == 0.5


@pytest.mark.parametrize(
    ("priority", "sign"),
    [
        (254, Sign.SUCCESSOR),
        (222, Sign.SUCCESSOR),
        (102, Sign.SUCCESSOR),
        (101, Sign.LEAVER),
        (99, Sign.LEAVER),
        (98, None),
        (1, None),
        (0, None),
    ],
)
def test_only_an_active_peer_is_a_successor(stage: Stage, hearing: EventSource, priority: int, sign: Sign | None) -> None:
    """From 102 on, the lowest of haproxy-boshrelease's healthy ones, a priority that is not below ours is a successor's.

    Below it is a leaver's; one that is below ours, or 0, changes nothing.
    """
    stage.advert(replace(ADVERT, priority=priority), after=0.1)
    facts = {"peer": ip_address(PEER), "priority": priority}
    assert hearing.wait(1) == ([Event(sign, facts)] if sign else [])


def test_who_has_no_standing_is_no_sign(stage: Stage, hearing: EventSource) -> None:
    """A known peer that still has another VIP, and whoever a closed group keeps out, also where he differs in the version."""
    stage.advert(replace(ADVERT, addresses=(ip_address("10.0.0.20"),)), after=0.1)
    assert hearing.wait(1) == []
    closed = replace(ELECTORATE, members=ELECTORATE.peers, closed=True)
    with stage.event_source(closed) as entered:
        for second in range(3):
            for each in (ADVERT, replace(ADVERT, version=3)):
                stage.advert(each, source="10.0.0.77", after=second + 0.1)
        assert entered.wait(4) == []


def test_a_stranger_is_a_sign_when_he_is_heard_again(stage: Stage, hearing: EventSource) -> None:
    """One packet, and its copies, do not fail a promotion; the next advert half an interval later does."""
    for after in (0.1, 0.11, 0.12, 0.59, 0.62):
        stage.advert(replace(ADVERT, version=3), after=after)
    (event,) = hearing.wait(3)
    assert event.sign is Sign.FOREIGN
    assert stage.elapsed == pytest.approx(0.62, abs=0.001)


def test_what_proves_nothing_does_not_end_a_wait(stage: Stage, hearing: EventSource) -> None:
    """Invalid adverts, outranked adverts and needless wake-ups are slept through."""
    stage.advert(ttl=254, after=0.1)
    stage.advert(replace(ADVERT, priority=98), after=0.2)
    stage.machine.addresses_change(after=0.3)
    assert hearing.wait(3) == []
    assert stage.elapsed == pytest.approx(3)


def test_what_happens_together_is_told_together(stage: Stage, hearing: EventSource) -> None:
    """Two things that a single wake-up finds are both told."""

    def both() -> None:
        stage.vip_comes()
        stage.machine.watches[0].changed = True
        stage.machine.listeners[0].packets.append(carries(ADVERT, PEER))

    stage.machine.world.after(0.5, both)
    assert {event.sign for event in hearing.wait(3)} == {Sign.VIP_HERE, Sign.SUCCESSOR}


def test_the_vip_is_told_when_it_changes(stage: Stage, hearing: EventSource) -> None:
    """Each coming and going of the VIP is one sign; a wake-up without a change is none."""
    hearing.look()
    for change, sign in ((stage.vip_comes, Sign.VIP_HERE), (stage.vip_leaves, Sign.VIP_GONE)):
        stage.machine.addresses_change(change, after=0.1)
        stage.machine.addresses_change(after=0.2)
        assert hearing.wait(1) == [Event(sign)]
        assert hearing.wait(1) == []
    assert stage.machine.watches[0].drained == 4


def test_the_end_of_keepalived_is_told_once(stage: Stage, hearing: EventSource) -> None:
    """Its descriptor stays readable, but the sign comes once; from then on a VIP here is stale."""
    stage.machine.keepalived_ends(after=0.2)
    assert hearing.wait(3) == [Event(Sign.KEEPALIVED_GONE)]
    assert hearing.wait(1) == []
    stage.vip_comes()
    assert hearing.look() == Event(Sign.VIP_STALE)


def test_a_signal_ends_a_wait(stage: Stage, hearing: EventSource) -> None:
    """SIGTERM arrives through its descriptor, once."""
    stage.machine.world.after(0.4, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert hearing.wait(3) == [Event(Sign.CANCEL)]
    assert stage.elapsed == 0.4
    assert hearing.wait(1) == []


def test_who_answers_is_told_once_per_wake_up(stage: Stage, hearing: EventSource) -> None:
    """Several answers to one question are one sign; the segment is asked on the interface of the adverts, with one socket."""
    stage.machine.answers[VIP] = [PEER_MAC, PEER_MAC]
    for _ in range(2):
        assert hearing.ask()
        assert hearing.wait(3) == [ANSWER]
    assert stage.inquired == [ip_address(VIP)]
    assert stage.elapsed == 0


@pytest.mark.parametrize(
    ("vmac", "interface", "announced"),
    [(True, 4, [(VIP, "vrrp.1")] * 2), (True, 3, []), (False, 4, [])],
    ids=["ours", "not ours yet", "no virtual MAC"],
)
def test_who_answers_from_the_virtual_mac_has_drawn_it_away(
    stage: Stage, ipr: FakeIPR, vmac: bool, interface: int, announced: list[tuple[str, str]]
) -> None:
    """The switch sends to whoever sent from that MAC last: where the VIP is here it is announced after each such answer."""
    ipr.links.append(link(4, "vrrp.1", "00:00:5e:00:01:01"))
    stage.vip_comes(interface)
    stage.machine.answers[VIP] = ["00:00:5e:00:01:01"]
    with stage.event_source(attachment=Attachment("eth0", "vrrp.1", None, ()), use_vmac=vmac) as hearing:
        for _ in range(2):
            hearing.ask()
            assert [each.sign for each in hearing.wait(3)] == [Sign.PEER_ANSWERS]
    assert stage.machine.announced == announced


@pytest.mark.parametrize("own", [MAC, "02:00:00:00:01:01"])
def test_our_own_answers_do_not_count(stage: Stage, hearing: EventSource, own: str) -> None:
    """An answer from any of our interfaces is no other machine's."""
    stage.machine.answers[VIP] = [own]
    hearing.ask()
    assert hearing.wait(1) == []


def test_a_question_that_cannot_be_asked_is_told(stage: Stage, hearing: EventSource) -> None:
    """While the interface is down nobody can answer: that is no silence."""
    stage.machine.asking_fault = OSError(errno.ENETDOWN, "Network is down")
    assert not hearing.ask()
    stage.machine.asking_fault = None
    assert hearing.ask()


def test_everything_is_closed(stage: Stage) -> None:
    """After a handover no socket and no descriptor stays open."""
    machine = stage.machine
    with stage.event_source() as entered:
        entered.ask()
        opened: list[Any] = [*machine.listeners, *machine.watches, *machine.selectors, machine.inquiries[0][1]]
        assert [each.closed for each in opened] == [False] * 4
    assert [each.closed for each in opened] == [True] * 4
    assert machine.closed == machine.pidfds != []


def test_what_cannot_be_heard_leaves_nothing_open(stage: Stage) -> None:
    """Neither when the first socket cannot be had."""
    stage.machine.listening_fault = SystemFault("cannot hear VRRP adverts on eth0")
    with pytest.raises(SystemFault, match="cannot hear"), stage.event_source():
        pass
    assert all(each.closed for each in stage.machine.selectors)

"""What a handover hears: sockets become signs, on a frozen clock and a segment that is not there."""

import errno
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from itertools import islice
from pathlib import Path

import pytest

from unit.support.fakes import MAC, OWN, PEER, PEER_MAC, VIP, Clock, FakeInquiry, FakeIPR, FakeListener, FakeSelector, address, carries
from vrrp_drain.handover import event_source
from vrrp_drain.handover.event_source import EventSource
from vrrp_drain.handover.transitions import Event, Sign
from vrrp_drain.keepalived.attachment import Attachment
from vrrp_drain.linux import process
from vrrp_drain.linux.rtnetlink import Netlink
from vrrp_drain.runtime.ip import GROUP_V4, TTL, Packet
from vrrp_drain.runtime.signals import Cancellation
from vrrp_drain.vrrp.advert import Advert, build
from vrrp_drain.vrrp.election import Electorate, Register

ELECTORATE = Electorate(1, 2, 1.0, ip_address(VIP), frozenset({ip_address(OWN)}), frozenset({ip_address(PEER)}))
ADVERT = Advert(2, 1, 253, 1.0, (ip_address(VIP),))
PLACE = Attachment("eth0", "eth0", None, ())
SUCCESSOR = Event(Sign.SUCCESSOR, {"peer": ip_address(PEER), "priority": 253})
ANSWER = Event(Sign.PEER_ANSWERS, {"mac": PEER_MAC})


class FakeWatch:
    """An AddressWatch that only wakes up."""

    closed = False
    drained = 0

    def fileno(self) -> int:
        return 102

    def drain(self) -> None:
        self.drained += 1

    def close(self) -> None:
        self.closed = True


class Stage:
    """Senses with everything around them under the control of a test."""

    def __init__(self, clock: Clock, ipr: FakeIPR, cancellation: Cancellation) -> None:
        self.clock = clock
        self.ipr = ipr
        self.cancellation = cancellation
        self.listener = FakeListener()
        self.watch = FakeWatch()
        self.inquiry = FakeInquiry(time.monotonic)
        self.inquired: list[tuple[object, ...]] = []
        self.selector = FakeSelector(clock, time.monotonic)
        self.pidfd: int | None = os.open(os.devnull, os.O_RDONLY)
        self.started = time.monotonic()

    def event_source(self, electorate: Electorate = ELECTORATE, attachment: Attachment = PLACE) -> EventSource:
        return EventSource(Register(lambda: electorate), 99, attachment, Netlink(self.ipr), Path("pid"), self.cancellation, self.selector)

    def inquire(self, *about: object) -> FakeInquiry:
        self.inquired.append(about)
        return self.inquiry

    def keepalived_is_dead(self) -> None:
        assert self.pidfd is not None
        os.close(self.pidfd)
        self.pidfd = None

    @property
    def elapsed(self) -> float:
        return round(time.monotonic() - self.started, 6)

    def advert(self, advert: Advert = ADVERT, *, source: str = PEER, ttl: int = TTL, after: float = 0.0) -> None:
        sender = ip_address(source)
        self.listener.packets.append(Packet(sender, GROUP_V4, ttl, build(advert, sender, GROUP_V4)))
        self.selector.readable(self.listener.fileno(), after=after)

    def addresses_change(self, *, after: float = 0.0) -> None:
        self.selector.readable(self.watch.fileno(), after=after)

    def vip_comes(self, interface: int = 2) -> None:
        self.ipr.addresses.append(address(interface, f"{VIP}/32"))

    def vip_leaves(self) -> None:
        self.ipr.addresses = [each for each in self.ipr.addresses if each.get_attr("IFA_ADDRESS") != VIP]

    def answer(self, *macs: str, after: float = 0.0) -> None:
        self.inquiry.macs += macs
        self.selector.readable(self.inquiry.fileno(), after=after)


@pytest.fixture
def stage(clock: Clock, ipr: FakeIPR, cancellation: Cancellation, monkeypatch: pytest.MonkeyPatch) -> Stage:
    created = Stage(clock, ipr, cancellation)
    monkeypatch.setattr(event_source, "AdvertListener", lambda interface, family: created.listener)
    monkeypatch.setattr(event_source, "AddressWatch", lambda: created.watch)
    monkeypatch.setattr(event_source, "inquire", created.inquire)
    monkeypatch.setattr(process, "pidfd", lambda pid_file: created.pidfd)
    return created


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
        stage.keepalived_is_dead()
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
        stage.ipr.links.pop()
        stage.addresses_change(after=0.1)
        assert entered.wait(1) == [Event(Sign.VIP_GONE)]
        entered.probe()
        assert stage.inquired == [("eth0", MAC, ip_address(VIP))]


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


def test_a_stranger_is_a_sign_when_he_is_heard_again(stage: Stage, hearing: EventSource) -> None:
    """One packet, and its copies, do not fail a promotion; the next advert half an interval later does."""
    foreign = replace(ADVERT, version=3)
    for after in (0.1, 0.11, 0.12, 0.59, 0.62):
        stage.selector.readable(stage.listener.fileno(), after=after)
    taken = iter([foreign] * 5)
    stage.listener.receive = lambda: [carries(each, PEER) for each in islice(taken, 1)]  # type: ignore[method-assign]
    (event,) = hearing.wait(3)
    assert event.sign is Sign.FOREIGN
    assert stage.elapsed == pytest.approx(0.62, abs=0.001)


def test_what_proves_nothing_does_not_end_a_wait(stage: Stage, hearing: EventSource) -> None:
    """Invalid adverts, outranked adverts and needless wake-ups are slept through."""
    stage.advert(ttl=254, after=0.1)
    stage.advert(replace(ADVERT, priority=98), after=0.2)
    stage.addresses_change(after=0.3)
    assert hearing.wait(3) == []
    assert stage.elapsed == pytest.approx(3)


def test_what_happens_together_is_told_together(stage: Stage, hearing: EventSource) -> None:
    """Two things that a single wake-up finds are both told."""
    stage.vip_comes()
    stage.addresses_change(after=0.5)
    stage.advert(after=0.5)
    assert {event.sign for event in hearing.wait(3)} == {Sign.VIP_HERE, Sign.SUCCESSOR}


def test_the_vip_is_told_when_it_changes(stage: Stage, hearing: EventSource) -> None:
    """Each coming and going of the VIP is one sign; a wake-up without a change is none."""
    hearing.look()
    for change, sign in ((stage.vip_comes, Sign.VIP_HERE), (stage.vip_leaves, Sign.VIP_GONE)):
        change()
        stage.addresses_change(after=0.1)
        stage.addresses_change(after=0.2)
        assert hearing.wait(1) == [Event(sign)]
        assert hearing.wait(1) == []
    assert stage.watch.drained == 4


def test_the_end_of_keepalived_is_told_once(stage: Stage, hearing: EventSource) -> None:
    """Its descriptor stays readable, but the sign comes once; from then on a VIP here is stale."""
    assert stage.pidfd is not None
    stage.selector.readable(stage.pidfd, after=0.2)
    stage.selector.readable(stage.pidfd, after=0.3)
    assert hearing.wait(3) == [Event(Sign.KEEPALIVED_GONE)]
    assert hearing.wait(1) == []
    stage.vip_comes()
    assert hearing.look() == Event(Sign.VIP_STALE)


def test_a_signal_ends_a_wait(stage: Stage, hearing: EventSource) -> None:
    """SIGTERM arrives through its descriptor, once."""
    for after in (0.4, 0.5):
        stage.selector.readable(stage.cancellation.fileno(), after=after)
    assert hearing.wait(3) == [Event(Sign.CANCEL)]
    assert stage.elapsed == 0.4
    assert hearing.wait(1) == []


def test_nobody_is_asked_before_a_probe(stage: Stage, hearing: EventSource) -> None:
    """A handover that does not need to know asks nothing."""
    hearing.wait(2)
    assert stage.inquired == []


@pytest.mark.parametrize(
    ("version", "advert_int", "quiet"),
    [(2, 1.0, 1.1), (3, 0.5, 0.55), (3, 0.1, 0.3), (3, 0.01, 0.3)],
)
def test_silence_is_proven_after_an_advert_interval(stage: Stage, version: int, advert_int: float, quiet: float) -> None:
    """The segment is asked every 0.1 s for 1.1 advert intervals, at least three times; then nobody answers, and that is said once."""
    with stage.event_source(replace(ELECTORATE, version=version, advert_int=advert_int)) as entered:
        entered.probe()
        assert entered.wait(3) == [Event(Sign.NOBODY_ANSWERS)]
        assert stage.elapsed == pytest.approx(quiet, abs=0.001)
        asked = [at - stage.started for at in stage.inquiry.asked]
        assert asked == pytest.approx([0.1 * n for n in range(len(asked))], abs=0.001)
        assert len(asked) >= 3
        assert entered.wait(1) == []
    assert stage.inquired == [("eth0", MAC, ip_address(VIP))]


def test_an_answer_is_told_once_per_wake_up(stage: Stage, hearing: EventSource) -> None:
    """Several answers to one question are one sign."""
    hearing.probe()
    stage.answer(PEER_MAC, PEER_MAC, after=0.05)
    assert hearing.wait(3) == [ANSWER]
    assert stage.elapsed == 0.05


@pytest.mark.parametrize("own", [MAC, "02:00:00:00:01:01"])
def test_our_own_answers_do_not_count(stage: Stage, hearing: EventSource, own: str) -> None:
    """An answer from any of our interfaces is no other machine's."""
    hearing.probe()
    stage.answer(own, after=0.05)
    assert hearing.wait(3) == [Event(Sign.NOBODY_ANSWERS)]


def test_an_answer_begins_the_silence_anew(stage: Stage, hearing: EventSource) -> None:
    """Asked again after an answer, a whole interval of silence is needed once more."""
    hearing.probe()
    stage.answer(PEER_MAC, after=0.95)
    assert hearing.wait(3) == [ANSWER]
    hearing.probe()
    assert hearing.wait(3) == [Event(Sign.NOBODY_ANSWERS)]
    assert stage.elapsed == pytest.approx(0.95 + 1.1, abs=0.001)
    assert len(stage.inquired) == 1


def test_answers_do_not_make_us_ask_faster(stage: Stage, hearing: EventSource) -> None:
    """A machine that answers within a millisecond, and a probe for each answer as the table asks, flood no segment."""
    stage.inquiry.on_ask = lambda: stage.answer(PEER_MAC, after=0.001)
    hearing.probe()
    while stage.elapsed < 1:
        if hearing.wait(1 - stage.elapsed):
            hearing.probe()
    assert len(stage.inquiry.asked) <= 11


def test_questions_that_could_not_be_sent_prove_nothing(stage: Stage, hearing: EventSource) -> None:
    """While the interface is down nobody can answer: silence is proven by unanswered questions only."""

    def down() -> None:
        raise OSError(errno.ENETDOWN, "Network is down")

    stage.inquiry.on_ask = down
    hearing.probe()
    assert hearing.wait(3) == []
    stage.inquiry.on_ask = lambda: None
    assert hearing.wait(3) == [Event(Sign.NOBODY_ANSWERS)]


def test_an_answer_outweighs_the_end_of_the_silence(stage: Stage, hearing: EventSource) -> None:
    """When this process was held up for seconds, an answer that waits to be read still counts."""
    hearing.probe()
    hearing.wait(0.05)
    stage.answer(PEER_MAC)
    stage.clock.sleep(5)
    assert hearing.wait(3) == [ANSWER]


@pytest.mark.parametrize(("version", "advert_int", "every"), [(2, 1.0, 0.7), (2, 2.0, 1.4), (3, 0.2, 0.14), (3, 0.1, 0.1), (3, 0.01, 0.1)])
def test_a_resignation_is_sent_at_once_and_again(stage: Stage, version: int, advert_int: float, every: float) -> None:
    """The first goes out with the next wait, the others every 0.7 advert intervals, but never more than ten a second."""
    sent: list[float] = []
    with stage.event_source(replace(ELECTORATE, version=version, advert_int=advert_int)) as entered:
        entered.resign(lambda successor: sent.append(stage.elapsed))
        assert entered.wait(4.5 * every) == []
    assert stage.elapsed == pytest.approx(4.5 * every, abs=0.001)
    assert sent == pytest.approx([every * n for n in range(5)], abs=0.001)


def test_what_happens_meanwhile_does_not_hurry_a_resignation(stage: Stage, hearing: EventSource) -> None:
    """Waits that end early leave the interval as it is."""
    sent: list[float] = []
    hearing.resign(lambda successor: sent.append(stage.elapsed))
    for change in (stage.vip_comes, stage.vip_leaves) * 4:
        change()
        stage.addresses_change(after=0.1)
        hearing.wait(1)
    assert stage.elapsed == pytest.approx(0.8, abs=0.001)
    assert sent == pytest.approx([0, 0.7], abs=0.001)


@pytest.mark.parametrize("priority", [253, 99], ids=["a successor", "a leaver"])
def test_a_resignation_ends_when_a_peer_takes_over(stage: Stage, hearing: EventSource, priority: int) -> None:
    """Whoever adverts above us is MASTER: he is told no more to take over, but that we left, again only when he is heard again."""
    sent: list[tuple[float, object]] = []
    hearing.resign(lambda successor: sent.append((round(stage.elapsed, 3), successor)))
    for after in (0.5, 0.1, 0.7):
        stage.advert(replace(ADVERT, priority=priority), after=after)
        assert [event.facts["priority"] for event in hearing.wait(3)] == [priority]
    hearing.wait(3)
    assert sent == [(0, None), (0.5, ip_address(PEER)), (1.3, ip_address(PEER))], "not twice within 0.7 advert intervals"


@pytest.mark.parametrize(
    ("advert", "source"),
    [(replace(ADVERT, priority=98), PEER), (ADVERT, OWN), (replace(ADVERT, addresses=(ip_address("10.0.0.20"),)), "10.0.0.77")],
    ids=["outranked", "our own", "foreign"],
)
def test_other_adverts_do_not_end_a_resignation(stage: Stage, hearing: EventSource, advert: Advert, source: str) -> None:
    """Nobody has taken over yet: the next resignation goes out when it is due."""
    sent: list[float] = []
    hearing.resign(lambda successor: sent.append(stage.elapsed))
    stage.advert(advert, source=source, after=0.5)
    while stage.elapsed < 0.8:
        hearing.wait(0.8 - stage.elapsed)
    assert sent == pytest.approx([0, 0.7], abs=0.001)


def test_a_resignation_can_begin_again(stage: Stage, hearing: EventSource) -> None:
    """When the successor dies and the VIP is back, the next round begins at once."""
    sent: list[float] = []
    hearing.resign(lambda successor: sent.append(stage.elapsed))
    stage.advert(after=0.1)
    hearing.wait(3)
    hearing.resign(lambda successor: sent.append(stage.elapsed))
    hearing.wait(0.5)
    assert sent == pytest.approx([0, 0.1, 0.1], abs=0.001), "to the successor, and then as at first"


def test_everything_is_closed(stage: Stage) -> None:
    """After a handover no socket and no descriptor stays open."""
    with stage.event_source() as entered:
        entered.probe()
    assert stage.listener.closed
    assert stage.watch.closed
    assert stage.inquiry.closed
    assert stage.selector.closed
    assert stage.pidfd is not None
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(stage.pidfd)

"""What the watcher tells of what it sees: every cause, and every condition from its beginning to its end."""

import re
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unit.support.fakes import OWN, PEER, STRANGER, VIP, carries, rendered
from vrrp_drain.config.model import Config
from vrrp_drain.haproxy.monitor import Verdict
from vrrp_drain.notify.notice import CAUSES, CONDITIONS, Cause, Kind, Notice
from vrrp_drain.runtime.standing_order import Order
from vrrp_drain.vrrp.advert import Advert
from vrrp_drain.vrrp.bands import Band
from vrrp_drain.vrrp.election import Electorate
from vrrp_drain.vrrp.peer_table import PeerTable
from vrrp_drain.watcher.diagnosis import Diagnosis
from vrrp_drain.watcher.reasons import Duration
from vrrp_drain.watcher.sight import Sight

THIRD = "10.0.0.3"
LONG_AGO = 3600.0
EPOCH = 1_000_000.0  # seconds since the epoch when the monotonic clock is at 0
BACKUP = Sight(keepalived_runs=True, vip_here=False, priority=254, band=Band.ACTIVE, band_age=LONG_AGO, unhealthy=False)
MASTER = replace(BACKUP, vip_here=True)
STOPPED = replace(BACKUP, keepalived_runs=False)
DRAINING = replace(BACKUP, band=Band.DRAINING, priority=99, band_age=0.05)
DIED, HUNG = Verdict(False, "connection refused", True), Verdict(False, "it hangs", False)
BACK = Verdict(True, "", False)
ENDED = "keepalived does not run (any more): see keepalived.log"
HANGS = "keepalived is there, but is stopped (SIGSTOP) or stuck: nobody hears it, and it hears nobody"


class View:
    """The observer of haproxy/0, the segment that it hears, and a clock."""

    def __init__(self, first: Sight = BACKUP) -> None:
        self.config = Config.parse(rendered(3))
        self.now = 100.0
        self.sight = first
        self.peer_table = PeerTable(1.0)
        self.diagnosis = Diagnosis(self.config, self.peer_table, first, self.now)
        peers = frozenset(map(ip_address, (PEER, THIRD)))
        self.electorate = Electorate(1, 2, 1.0, ip_address(VIP), frozenset({ip_address(OWN)}), peers)

    def hear(self, priority: int = 253, source: str = PEER, *, version: int = 2) -> None:
        advert = Advert(version, 1, priority, 1.0, (ip_address(VIP),))
        self.peer_table.hear(self.electorate.classify(carries(advert, source), self.now))

    def see(self, sight: Sight | None = None, *, after: float = 0.25) -> list[Notice]:
        """Look, ``after`` seconds later."""
        self.now += after
        self.sight = sight or self.sight
        return self.diagnosis.look(self.sight, self.now, EPOCH + self.now)

    def only(self, sight: Sight | None = None, *, after: float = 0.25) -> Notice:
        """Look; there is one notice."""
        (notice,) = self.see(sight, after=after)
        return notice

    def state(self, sight: Sight, *, after: float = 0.25) -> Notice:
        """Look; there is one notice of the state."""
        (notice,) = [each for each in self.see(sight, after=after) if each.kind is Kind.STATE]
        return notice

    def adverts(self, seconds: int, priority: int = 253, source: str = PEER, *, version: int = 2) -> list[Notice]:
        """Let adverts come every second, with a look after each."""
        found = []
        for _ in range(seconds):
            self.hear(priority, source, version=version)
            found += self.see(after=1.0)
        return found

    def verdict(self, verdict: Verdict) -> Notice:
        return self.diagnosis.haproxy(verdict, self.now, EPOCH + self.now)


def with_master(sight: Sight = BACKUP) -> View:
    """Return a view of a segment where PEER is MASTER and ``sight`` holds."""
    view = View(sight)
    assert view.adverts(3) == []
    return view


# Every way to become MASTER: what is heard of the peer before, and what the notice says.


def resigns(view: View) -> Notice:
    view.hear(0)
    return view.state(MASTER, after=0.012)


def drains(view: View) -> Notice:
    view.hear(98)
    view.hear(0)
    return view.state(MASTER, after=0.012)


def falls_ill(view: View) -> Notice:
    view.hear(65)
    return view.state(MASTER, after=0.5)


def is_of_no_band(view: View) -> Notice:
    view.hear(100)
    return view.state(MASTER, after=0.5)


def is_silent(view: View) -> Notice:
    return view.state(MASTER, after=2.0)


def yields_to_us_promoted(view: View) -> Notice:
    view.hear()
    view.see(replace(BACKUP, band=Band.DRAINING), after=0.1)
    return view.state(replace(MASTER, band_age=0.3), after=0.3)


def yields_to_us_recovered(view: View) -> Notice:
    view.hear()
    view.verdict(DIED)
    view.verdict(BACK)
    return view.state(MASTER, after=0.3)


def yields_to_us(view: View) -> Notice:
    view.hear()
    return view.state(MASTER, after=0.3)


@pytest.mark.parametrize(
    ("happens", "cause", "says", "seconds"),
    [
        (resigns, "peer_resigned", "10.0.0.2 stopped adverting: its keepalived was stopped, or its check failed", 0.012),
        (drains, "drain", "10.0.0.2 is leaving (priority 98)", 0.012),
        (falls_ill, "peer_unhealthy", "haproxy of 10.0.0.2 does not serve (priority 65)", 0.5),
        (is_of_no_band, "unknown", "10.0.0.2 adverts priority 100", 0.5),
        (is_silent, "peer_lost", "10.0.0.2 was not heard for 3.0 s: it is dead, or its adverts do not reach us", 3.0),
        (yields_to_us_promoted, "promote", "this instance was promoted and outranks 10.0.0.2 (priority 253)", 0.3),
        (yields_to_us_recovered, "haproxy_back", "haproxy serves here again, and this instance outranks 10.0.0.2 (priority 253)", None),
        (yields_to_us, "preempt", "this instance outranks 10.0.0.2 (priority 253)", None),
    ],
)
def test_why_the_vip_came(happens: Callable[[View], Notice], cause: str, says: str, seconds: float | None) -> None:
    """Each cause has its sentence, which names the peer, and the seconds since it began, where that is known."""
    notice = happens(with_master())
    assert (notice.kind, notice.previous, notice.state) == (Kind.STATE, "backup", "master")
    assert (notice.cause, notice.reason, notice.seconds) == (cause, says, pytest.approx(seconds) if seconds is not None else None)
    assert (notice.master, notice.priority, notice.instance, notice.vip) == (OWN, 254, "haproxy/0", VIP)


def test_the_first_one_finds_nobody() -> None:
    """Without any peer there is nothing that the VIP came from."""
    notice = View().only(MASTER)
    assert (notice.cause, notice.reason, notice.seconds) == ("start", f"no peer adverts {VIP}", None)


# Every way to lose it.


@pytest.mark.parametrize(
    ("before", "sight", "verdict", "priority", "cause", "says"),
    [
        (MASTER, BACKUP, DIED, 253, "haproxy_died", "haproxy does not serve here: 10.0.0.2 has it"),
        (MASTER, BACKUP, HUNG, 253, "haproxy_hung", "haproxy does not serve here: 10.0.0.2 has it"),
        (MASTER, DRAINING, None, 253, "drain", "this instance was told to leave: 10.0.0.2 has it"),
        (replace(MASTER, priority=230), replace(BACKUP, priority=230), None, 253, "preempt", "10.0.0.2 outranks us with priority 253"),
        (MASTER, BACKUP, None, 253, "fault", "keepalived gave it up (its check failed, or the interface is down): 10.0.0.2 has it"),
        (MASTER, BACKUP, None, None, "fault", "keepalived gave it up (its check failed, or the interface is down): nobody is heard yet"),
        (MASTER, STOPPED, None, None, "keepalived_stopped", ENDED),
        (MASTER, STOPPED, None, 253, "keepalived_stopped", f"{ENDED}; 10.0.0.2 has the VIP"),
        (MASTER, replace(BACKUP, died=True), None, 253, "keepalived_stopped", f"{ENDED}; 10.0.0.2 has the VIP"),
        (MASTER, replace(STOPPED, hangs=True), None, None, "keepalived_hung", HANGS),
        (MASTER, replace(STOPPED, hangs=True), None, 253, "keepalived_hung", f"{HANGS}; 10.0.0.2 has the VIP"),
        (
            MASTER,
            replace(DRAINING, keepalived_runs=False),
            None,
            253,
            "drain",
            "keepalived was stopped; this instance had been told to leave; 10.0.0.2 has the VIP",
        ),
    ],
    ids=[
        "haproxy died",
        "haproxy hung",
        "drained",
        "outranked",
        "fault",
        "fault alone",
        "keepalived stopped alone",
        "keepalived stopped",
        "keepalived back at once",
        "keepalived hung alone",
        "keepalived hung",
        "stopped when drained",
    ],
)
def test_why_the_vip_left(before: Sight, sight: Sight, verdict: Verdict | None, priority: int | None, cause: str, says: str) -> None:
    """Each cause has its sentence and names who has the VIP now, as far as he is heard."""
    view = View(before)
    if verdict:
        view.verdict(verdict)
    if priority:
        view.hear(priority)
    notice = view.state(sight, after=0.05)
    assert (notice.previous, notice.state, notice.cause) == ("master", sight.state, cause)
    assert notice.reason.startswith(says)
    assert (PEER in notice.reason) is (priority is not None)
    moved = [each.kind for each in (view.adverts(1) if priority is None else view.see())]
    assert (Kind.MASTER_MOVED in moved) is (priority is None), "who has it is told once: with the loss, or when he is heard"
    assert notice.seconds == (pytest.approx(0.05) if verdict or notice.reason.startswith("this instance was told") else None)


def test_keepalived_starts() -> None:
    """From stopped to backup; and to MASTER at once where nobody else is."""
    notice = View(STOPPED).only(BACKUP)
    assert (notice.previous, notice.state, notice.cause, notice.reason) == ("stopped", "backup", "keepalived_started", "keepalived runs")
    notice = View(STOPPED).only(MASTER)
    assert (notice.previous, notice.state, notice.cause) == ("stopped", "master", "start")


# haproxy, band, watcher.


@pytest.mark.parametrize(
    ("sight", "verdict", "cause", "says"),
    [
        (MASTER, DIED, "haproxy_died", "connection refused: clients of the VIP are not served from here"),
        (BACKUP, DIED, "haproxy_died", "connection refused: this instance could not take the VIP over"),
        (MASTER, HUNG, "haproxy_hung", "it hangs: clients of the VIP are not served from here"),
        (DRAINING, DIED, "drain", "connection refused: this instance is leaving, as it was told to"),
    ],
    ids=["MASTER", "BACKUP", "a hang", "leaving"],
)
def test_haproxy_down_and_up(sight: Sight, verdict: Verdict, cause: str, says: str) -> None:
    """What it means for clients when it goes, and how long it was away when it is back; that it ends when told to is no warning."""
    view = View(sight)
    down = view.verdict(verdict)
    assert (down.kind, down.previous, down.state, down.cause, down.reason) == (Kind.HAPROXY, "up", "down", cause, says)
    assert down.severity == ("info" if cause == "drain" else "warning")
    view.see(after=4.0)
    up = view.verdict(BACK)
    assert (up.previous, up.state, up.cause, up.seconds, up.severity) == ("down", "up", "haproxy_back", 4.0, "info")


def test_haproxy_back_after_a_watcher_that_was_killed() -> None:
    """A watcher that found haproxy marked as dead does not know since when."""
    up = View().verdict(BACK)
    assert (up.previous, up.state, up.cause, up.seconds) == ("", "up", "start", None)


def test_the_band() -> None:
    """It changed when it was written, not when it was seen."""
    view = View()
    notice = view.only(replace(DRAINING, band_age=0.2))
    assert (notice.kind, notice.previous, notice.state, notice.cause) == (Kind.BAND, "active", "draining", "drain")
    assert notice.reason == "the priority of this instance is 99 now"
    assert notice.at == pytest.approx(EPOCH + view.now - 0.2)
    notice = view.only(replace(BACKUP, band_age=0.1))
    assert (notice.previous, notice.state, notice.cause) == ("draining", "active", "promote")
    notice = view.only(replace(DRAINING, demoted_by="vrrpctl leave"))
    assert notice.reason == "the priority of this instance is 99 now, by vrrpctl leave"


@pytest.mark.parametrize(("rebooted", "cause"), [(False, "start"), (True, "reboot")])
def test_the_watcher_begins(rebooted: bool, cause: str) -> None:
    """It says in which state it finds this instance; that is no move."""
    notice = View(MASTER).diagnosis.started(EPOCH, rebooted=rebooted)
    assert (notice.kind, notice.previous, notice.state, notice.cause, notice.at) == (Kind.WATCHER, "", "master", cause, EPOCH)
    assert notice.severity == "info"


def test_after_a_reboot_it_says_what_becomes_of_the_instance() -> None:
    """It is promoted when haproxy answers, or stays out where an operator wants it so."""
    out = replace(DRAINING, order=Order("alice", 86400.0))
    assert "is promoted when haproxy answers" in View(DRAINING).diagnosis.started(EPOCH, rebooted=True).reason
    assert "stays out, as an operator wants it" in View(out).diagnosis.started(EPOCH, rebooted=True).reason


def test_nothing_new_is_no_notice() -> None:
    """A cluster that is well says nothing, as MASTER or as BACKUP."""
    assert with_master().adverts(20) == []
    view = View(MASTER)
    assert [view.see(after=1.0) for _ in range(20)] == [[]] * 20


# Moves between peers.


@pytest.mark.parametrize(
    ("last_words", "silence", "cause", "why", "seconds"),
    [
        ([98, 0], 0.02, "drain", "10.0.0.3 is leaving (priority 98)", 0.02),
        ([65], 0.5, "peer_unhealthy", "haproxy of 10.0.0.3 does not serve (priority 65)", 0.5),
        ([0], 0.02, "peer_resigned", "10.0.0.3 stopped adverting: its keepalived was stopped, or its check failed", 0.02),
        ([], 2.6, "peer_lost", "10.0.0.3 was not heard for 2.6 s: it is dead, or its adverts do not reach us", 2.6),
        ([], 0.4, "preempt", "it outranks 10.0.0.3", None),
    ],
    ids=["drain", "unhealthy", "resigned", "lost", "preempt"],
)
def test_the_vip_moves_between_peers(last_words: list[int], silence: float, cause: str, why: str, seconds: float | None) -> None:
    """A BACKUP tells from whom to whom, why, and how long it took, by what it heard of both."""
    view = View()
    view.adverts(3, 252, THIRD)
    view.hear(252, THIRD)
    for priority in last_words:
        view.hear(priority, THIRD)
    view.now += silence
    view.hear(253, PEER)
    if cause == "peer_unhealthy":  # it adverts until it hears the other one
        assert view.peer_table.master(view.now) is not None
    notice = view.only(after=0.0)
    assert (notice.kind, notice.previous, notice.state) == (Kind.MASTER_MOVED, THIRD, PEER)
    assert (notice.cause, notice.reason) == (cause, f"10.0.0.2 has the VIP now, with priority 253: {why}")
    assert notice.seconds == (pytest.approx(seconds) if seconds else None)
    assert notice.master == PEER
    assert view.adverts(5) == []


def test_a_move_to_us_and_back_is_no_move_between_peers() -> None:
    """What we had in between counts as ours."""
    view = View()
    view.adverts(2, 252, THIRD)
    view.hear(0, THIRD)
    assert [each.kind for each in view.see(MASTER)] == [Kind.STATE]
    view.hear(253, PEER)
    assert [each.kind for each in view.see(BACKUP)] == [Kind.STATE]
    assert view.adverts(3) == []


# Conditions.


def two_masters(view: View) -> list[Notice]:
    view.see(MASTER)
    return view.adverts(4)


def one_master(view: View) -> list[Notice]:
    return view.see(after=4.0)


def foreigner(view: View) -> list[Notice]:
    view.hear(version=3, source=STRANGER)
    assert view.see(after=1.0) == [], "one packet is nobody"
    view.hear(version=3, source=STRANGER)
    return view.see()


def no_foreigner(view: View) -> list[Notice]:
    view.hear()
    return [each for _ in range(12) for each in view.adverts(1)]


def stale(view: View) -> list[Notice]:
    return [*view.see(replace(STOPPED, vip_here=True)), *view.see(after=0.6)]


def not_stale(view: View) -> list[Notice]:
    view.hear()
    return view.see(STOPPED)


def silent(view: View) -> list[Notice]:
    view.hear()
    return view.see(replace(BACKUP, answered=False))


def answered(view: View) -> list[Notice]:
    view.hear()
    return view.see(replace(BACKUP, answered=True))


def full(view: View) -> list[Notice]:
    view.hear()
    return view.see(replace(BACKUP, full="20 of 20 connections"))


def not_full(view: View) -> list[Notice]:
    view.hear()
    return view.see(BACKUP)


def stopped(**what: str | Order) -> Callable[[View], list[Notice]]:
    def happens(view: View) -> list[Notice]:
        view.hear()
        return view.see(replace(BACKUP, **what))  # type: ignore[arg-type]

    return happens


def refuses(view: View) -> list[Notice]:
    view.hear()
    assert view.see(replace(BACKUP, refused="4 VRRP packets")) == [], "their sender may be named in a moment"
    return [each for _ in range(6) for each in view.adverts(1)]


def unserved(view: View) -> list[Notice]:
    assert view.see(replace(BACKUP, unserved="fd00::10 is on eth0, but"), after=0.5) == []
    assert view.see(after=1.5) == [], "in a move the VIPs come one after the other"
    return view.see(after=1.0)


def nobody(view: View) -> list[Notice]:
    return view.see(after=6.0)


def somebody(view: View) -> list[Notice]:
    view.hear()
    return view.see()


@pytest.mark.parametrize(
    ("kind", "begins", "ends", "seconds", "says"),
    [
        (Kind.TWO_MASTERS, two_masters, one_master, None, "10.0.0.2 (priority 253) adverts as MASTER, and so do we (priority 254)"),
        (Kind.FOREIGN, foreigner, no_foreigner, 10.0, "10.0.0.77 speaks VRRP version 3 for VRID 1, we speak 2"),
        (Kind.STALE_VIP, stale, not_stale, 0.25, "10.0.0.10 is still on the interface here although keepalived has ended"),
        (Kind.SILENT_MASTER, silent, answered, 0.25, "10.0.0.2 adverts as MASTER, but nobody answers for 10.0.0.10"),
        (Kind.NO_MASTER, nobody, somebody, 0.25, "nobody adverts 10.0.0.10, and it is not here (we are backup)"),
        (Kind.SATURATED, full, not_full, 0.25, "20 of 20 connections: it has no VIP now"),
        (Kind.CIRCLED, stopped(circled="3 packets"), not_full, 0.25, "3 packets"),
        (Kind.REFUSED, refuses, not_full, 0.25, "4 VRRP packets"),
        (Kind.LET_GO, stopped(let_go=Order("alice", 86400.0, 90000.0)), not_full, 0.25, "BOSH may stop this instance although nobody"),
        (Kind.LOST, stopped(lost="the nftables table ip vrrp_drain is gone"), not_full, 0.25, "the nftables table ip vrrp_drain is gone"),
        (Kind.UNSERVED, unserved, not_full, 0.25, "fd00::10 is on eth0, but: clients of it get no answer, as soon as this instance is"),
        (Kind.TAKEN_OUT, stopped(order=Order("alice", 86400.0)), not_full, 0.25, "this instance stays out until vrrpctl promote, after a"),
    ],
    ids=lambda value: value.value if isinstance(value, Kind) else None,
)
def test_a_condition_begins_and_ends(
    kind: Kind, begins: Callable[[View], list[Notice]], ends: Callable[[View], list[Notice]], seconds: float | None, says: str
) -> None:
    """Each is told once when it begins, as a warning, holds meanwhile, and is told once when it is over, with how long it lasted."""
    view = with_master()
    (on,) = [each for each in begins(view) if each.kind in CONDITIONS]
    assert (on.kind, on.previous, on.state, on.cause, on.severity) == (kind, "off", "on", "condition", "warning")
    assert on.reason.startswith(says)
    assert view.diagnosis.is_on(kind)
    began = view.now
    (off,) = [each for each in ends(view) if each.kind in CONDITIONS]
    assert (off.kind, off.previous, off.state, off.reason, off.severity) == (kind, "on", "off", "it is over", "info")
    assert off.seconds is not None
    assert 0 < off.seconds <= view.now - began + 4.0
    if seconds is not None:
        assert off.seconds == pytest.approx(seconds, abs=1.0)
    assert not view.diagnosis.is_on(kind)


def test_every_condition_is_in_the_table() -> None:
    """The table above forgets none."""
    (mark,) = test_a_condition_begins_and_ends.pytestmark  # type: ignore[attr-defined]
    assert {row[0] for row in mark.args[1]} == CONDITIONS


def test_one_last_advert_of_a_peer_that_yields_is_no_second_master() -> None:
    """It may already be on the wire when we take over, and one more before it hears us."""
    view = with_master()
    view.hear()
    view.see(MASTER)
    view.hear()
    assert view.see(after=0.5) == []


def test_a_vip_that_goes_with_its_keepalived_is_not_stale() -> None:
    """keepalived takes the VIP away a moment before or after it ends."""
    view = View(MASTER)
    kinds = [each.kind for each in (*view.see(replace(STOPPED, vip_here=True)), *view.see(after=0.4), *view.see(STOPPED))]
    assert Kind.STALE_VIP not in kinds
    assert Kind.STALE_VIP not in [each.kind for each in (*view.see(replace(STOPPED, vip_here=True)), *view.see(after=0.4))]


@pytest.mark.parametrize("sight", [MASTER, STOPPED], ids=["here", "keepalived stopped"])
def test_silence_is_judged_by_a_backup_alone(sight: Sight) -> None:
    """Nobody else answers while the VIP is here; an instance that is stopped does not judge."""
    view = with_master()
    view.hear()
    assert Kind.SILENT_MASTER not in [each.kind for each in view.see(replace(sight, answered=False))]


def test_nobody_is_master_only_after_the_longest_election() -> None:
    """Master_Down_Interval of the lowest priority, 3.996 s, and 1.5 s: whoever is slow has taken over by then."""
    view = with_master()
    view.hear()
    assert view.see(after=5.4) == []
    assert [each.kind for each in view.see(after=0.2)] == [Kind.NO_MASTER]


def test_a_restarted_watcher_waits_before_it_says_that_nobody_is_master() -> None:
    """It has heard nothing yet."""
    assert View().see(after=5.4) == []


def loses_its_master(silent: float) -> View:
    """Return a view in which PEER fell silent, and we took over that many seconds after its last advert."""
    view = with_master()
    view.hear(254)
    assert view.state(MASTER, after=silent).cause is Cause.PEER_LOST
    return view


@pytest.mark.parametrize(("silent", "pause"), [(2.6, 0.2), (2.6, 0.9), (3.2, 2.0), (30.0, 5.0)])
def test_the_master_that_fell_silent_is_heard_again(silent: float, pause: float) -> None:
    """What is told is the time from its last advert to its first one after that, be it longer or shorter than counts as a new beginning."""
    view = loses_its_master(silent)
    view.now += pause
    view.hear(254)
    view.now += 0.9
    view.hear(254)
    notice = view.state(replace(BACKUP, priority=253))
    assert (notice.cause, notice.seconds) == ("preempt", None)
    assert notice.reason.startswith(f"{PEER} is heard again, {silent + pause:.1f} s after it fell silent, and outranks us (priority 254)")


def test_a_master_that_fell_silent_and_stays_so_is_not_heard_again() -> None:
    """The VIP may leave here while the peer's last advert is not long ago."""
    notice = loses_its_master(2.6).state(replace(BACKUP, priority=253), after=0.1)
    assert "heard again" not in notice.reason


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_no_duration_is_less_than_none(since: float, until: float) -> None:
    """Whichever of the two was seen first."""
    assert Duration(since, until) == max(0.0, until - since)


def negative(notice: Notice) -> bool:
    """Tell whether a notice has a number below 0 in it."""
    return re.search(r"-\d", f"{notice.seconds} {notice.reason}") is not None


STEP = st.tuples(
    st.sampled_from([0.0, 0.1, 0.4, 0.9, 2.6, 3.2, 6.0]),
    st.sampled_from([None, (254, PEER), (254, PEER), (98, PEER), (0, PEER), (253, THIRD), (0, THIRD)]),
    st.sampled_from([MASTER, BACKUP, replace(BACKUP, priority=230), DRAINING, STOPPED, replace(MASTER, band_age=0.0)]),
    st.sampled_from([None, None, None, DIED, BACK]),
    st.booleans(),
)


@settings(max_examples=300)
@given(st.sampled_from([with_master, lambda: loses_its_master(2.6), lambda: View(MASTER)]), st.lists(STEP, min_size=1, max_size=8))
def test_no_order_of_events_makes_a_time_negative(
    begins: Callable[[], View], steps: list[tuple[float, tuple[int, str] | None, Sight, Verdict | None, bool]]
) -> None:
    """Adverts late or early, before the look that they explain or after it, a VIP that goes and comes: no text and no number is below 0."""
    view = begins()
    for pause, advert, sight, verdict, heard_first in steps:
        view.now += pause
        if advert and heard_first:
            view.hear(*advert)
        told = [view.verdict(verdict)] if verdict else []
        told += view.see(sight, after=0.0)
        if advert and not heard_first:
            view.hear(*advert)
        assert not [each for each in told if negative(each)]


SIGHTS = st.builds(
    Sight,
    keepalived_runs=st.booleans(),
    vip_here=st.booleans(),
    priority=st.integers(1, 254),
    band=st.sampled_from(Band),
    band_age=st.floats(0, 3600),
    unhealthy=st.booleans(),
    answered=st.sampled_from([True, False, None]),
)
HEARD = st.tuples(st.integers(0, 255), st.sampled_from([PEER, THIRD, STRANGER]), st.sampled_from([2, 3]))


@given(SIGHTS, st.lists(st.tuples(SIGHTS, st.lists(HEARD, max_size=4), st.floats(0, 8), st.sampled_from([None, DIED, HUNG, BACK]))))
def test_whatever_happens(first: Sight, steps: list[tuple[Sight, list[tuple[int, str, int]], float, Verdict | None]]) -> None:
    """Causes are known ones, states follow each other without a gap, conditions begin before they end, nothing took a negative time."""
    view, state, on = View(first), first.state, set[Kind]()
    for sight, heard, after, verdict in steps:
        for priority, source, version in heard:
            view.hear(priority, source, version=version)
        told = [view.verdict(verdict)] if verdict else []
        for notice in (*told, *view.see(sight, after=after)):
            assert notice.cause in CAUSES
            assert not negative(notice)
            assert notice.line()
            if notice.kind is Kind.STATE:
                assert (notice.previous, notice.state) == (state, sight.state)
            if notice.kind in CONDITIONS:
                assert (notice.state == "on") is (notice.kind not in on)
                on ^= {notice.kind}
        state = sight.state


def test_what_a_stranger_sends_is_told_once() -> None:
    """While he is known by name, and what is counted may still be his, the condition of his name is all."""
    view = with_master()
    view.sight = replace(BACKUP, refused="4 VRRP packets")
    told: list[Notice] = []
    for _ in range(20):
        view.hear(version=3, source=STRANGER)
        view.hear()
        told += view.see(after=1.0)
    for _ in range(60):
        view.hear()
        told += view.see(after=1.0)
    assert [(each.kind, each.state) for each in told] == [(Kind.FOREIGN, "on"), (Kind.FOREIGN, "off")]

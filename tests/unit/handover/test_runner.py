"""Running a table: events in, actions out, one line for every transition, and always an end. No waiting: time is frozen."""

import time
from ipaddress import ip_address
from typing import Any

import pytest

from unit.support.fakes import PEER, PEER_MAC, Clock
from vrrp_drain.handover import demote, promote
from vrrp_drain.handover.demote import Demote
from vrrp_drain.handover.promote import Promote
from vrrp_drain.handover.runner import Ending, Farewell, Runner
from vrrp_drain.handover.transitions import Action, Event, Sign, Table
from vrrp_drain.runtime.ip import IPAddress

FACTS = {"vip": "10.0.0.10", "interface": "eth0", "vip_interface": "eth0", "vrid": 1, "active": 254, "lowered": 99}
FACTS |= {
    "asked": "asking the segment who answers for it",
    "nobody": "nobody else answers for 10.0.0.10",
    "unproven": "nobody answered for 10.0.0.10 on eth0",
}
TIMEOUT = 5.1

SUCCESSOR = Event(Sign.SUCCESSOR, {"peer": ip_address(PEER), "priority": 253})
LEAVER = Event(Sign.LEAVER, {"peer": ip_address(PEER), "priority": 99})
ANSWER = Event(Sign.PEER_ANSWERS, {"proof": f"{PEER_MAC} answers for 10.0.0.10"})
HERE, GONE, CANCEL = Event(Sign.VIP_HERE), Event(Sign.VIP_GONE), Event(Sign.CANCEL)


class Story:
    """A Hearing that tells each event of a script after its pause, in seconds."""

    def __init__(self, clock: Clock, first: Event, script: list[tuple[float, Event]]) -> None:
        self._clock = clock
        self._first = first
        self._script = script
        self._rest = 0.0
        self.asked: list[float] = []
        self.begun: list[float] = []
        self.looked: list[float] = []
        self.around, self.hopeful = Event(Sign.ABLE, {"able": "haproxy/1"}), True
        self.reachable = True
        self.held_up = 0.0  # seconds before an event is told that has happened

    def look(self) -> Event:
        return self._first

    def wait(self, seconds: float) -> list[Event]:
        if not self._script or self._script[0][0] - self._rest > seconds:
            self._clock.sleep(seconds)
            self._rest += seconds
            return []
        pause, event = self._script.pop(0)
        self._clock.sleep(pause - self._rest + self.held_up)
        self._rest = 0.0
        return [event]

    def look_around(self) -> Event:
        self.looked.append(time.monotonic())
        return self.around

    def begin(self) -> None:
        self.begun.append(time.monotonic())

    def ask(self) -> bool:
        self.asked.append(time.monotonic())
        return self.reachable


class Play:
    """Runs one story as the actor of it, and keeps what was done, asked and said."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.advert_int = 1.0
        self.actions: list[Action] = []
        self.lines: list[str] = []
        self.farewells: list[tuple[float, IPAddress | None]] = []  # when, counted from the beginning, and to whom
        self.reachable, self.held_up = True, 0.0
        self.around, self.hopeful, self.patience = Event(Sign.ABLE, {"able": "haproxy/1"}), True, 0.0

    def __call__(self, table: Table[Any], first: Event, *script: tuple[float, Event]) -> Ending[Any]:
        self.story = Story(self._clock, first, list(script))
        self.story.reachable, self.story.held_up = self.reachable, self.held_up
        self.story.around, self.story.hopeful = self.around, self.hopeful
        self.began = time.monotonic()
        return Runner(self.story, self, self.advert_int, self.lines.append).run(table, TIMEOUT, FACTS, self.patience)

    @property
    def asked(self) -> list[float]:
        return [round(at - self.began, 3) for at in self.story.asked]

    def perform(self, action: Action) -> None:
        self.actions.append(action)

    def farewell(self) -> Farewell:
        self.actions.append(Action.RESIGN)
        return lambda successor: self.farewells.append((round(time.monotonic() - self.began, 3), successor))


@pytest.fixture
def play(clock: Clock) -> Play:
    return Play(clock)


def test_demote_as_it_should_be(play: Play) -> None:
    """A successor adverts, the VIP leaves, the successor answers: done, with one line for each step."""
    ending = play(demote.TABLE, HERE, (3.0, SUCCESSOR), (0.1, GONE), (0.2, ANSWER))
    assert ending.state is Demote.DONE
    assert ending.seconds == pytest.approx(3.3, abs=1e-6)
    assert play.actions == [Action.LOWER, Action.RESIGN]
    assert play.lines == [
        "10.0.0.10 is on eth0 here: priority lowered to 99; serving until a successor has it",
        "10.0.0.2 adverts priority 253, above our 99: it takes over",
        "10.0.0.10 left eth0: asking the segment who answers for it",
        "02:00:00:00:00:02 answers for 10.0.0.10: handed over",
    ]
    assert ending.reason == play.lines[-1]


def test_the_vip_may_leave_before_the_advert_is_heard(play: Play) -> None:
    """netlink can be faster than the segment: the proof is the same in the other order."""
    ending = play(demote.TABLE, HERE, (3.0, GONE), (0.1, SUCCESSOR), (0.1, ANSWER))
    assert ending.state is Demote.DONE
    assert play.actions == [Action.LOWER, Action.RESIGN]


def test_a_successor_that_dies_is_no_proof(play: Play) -> None:
    """When the VIP comes back before anybody answered for it, the whole proof begins again with the next successor."""
    second_try = ((0.5, SUCCESSOR), (0.1, GONE), (0.1, ANSWER))
    ending = play(demote.TABLE, HERE, (1.0, SUCCESSOR), (0.1, GONE), (1.0, HERE), (0.1, ANSWER), *second_try)
    assert ending.state is Demote.DONE
    assert ending.seconds == pytest.approx(2.9, abs=1e-3)
    assert play.actions == [Action.LOWER, Action.RESIGN, Action.RESIGN]
    assert play.asked
    assert "the successor is gone and 10.0.0.10 is back on eth0: serving until another successor has it" in play.lines


def test_a_backup_needs_one_advert(play: Play) -> None:
    """Without the VIP here, one advert of the MASTER is all that a demotion waits for."""
    ending = play(demote.TABLE, GONE, (0.7, SUCCESSOR))
    assert (ending.state, play.actions) == (Demote.DONE, [Action.LOWER])
    assert ending.seconds == pytest.approx(0.7, abs=1e-6)


def test_a_stale_vip_goes_when_a_peer_is_master(play: Play) -> None:
    """A VIP that a dead keepalived left behind stays until a peer adverts, and is then taken off by us."""
    ending = play(demote.TABLE, Event(Sign.VIP_STALE), (1.0, SUCCESSOR), (0.0, GONE), (0.1, ANSWER))
    assert ending.state is Demote.DONE
    assert play.actions == [Action.LOWER, Action.REMOVE_STALE_VIP]
    assert play.asked


def test_promote_as_it_should_be(play: Play) -> None:
    """The VIP comes and nobody else answers for it: MASTER."""
    ending = play(promote.TABLE, GONE, (3.0, HERE), (1.1, Event(Sign.NOBODY_ANSWERS)))
    assert (ending.state, play.actions) == (Promote.MASTER, [Action.RAISE])


def test_a_foreign_master_fails_a_promotion_at_once(play: Play) -> None:
    """Somebody else's adverts on our VRID end the promotion with the reason given, and the band goes back."""
    ending = play(promote.TABLE, GONE, (0.3, Event(Sign.FOREIGN, {"peer": ip_address(PEER), "why": "another cluster uses VRID 1"})))
    assert (ending.state, ending.reason) == (Promote.FAILED, "another cluster uses VRID 1")
    assert play.actions == [Action.RAISE, Action.PUT_BACK]


@pytest.mark.parametrize(
    ("table", "first", "script", "state"),
    [
        pytest.param(demote.TABLE, HERE, [], Demote.NO_SUCCESSOR, id="demote, silence"),
        pytest.param(demote.TABLE, HERE, [(0.1, LEAVER)] * 100, Demote.NO_SUCCESSOR, id="demote, events all the time"),
        pytest.param(demote.TABLE, GONE, [(5.0, HERE)], Demote.NO_SUCCESSOR, id="demote, the VIP comes late"),
        pytest.param(promote.TABLE, GONE, [], Promote.FAILED, id="promote, silence"),
        pytest.param(promote.TABLE, HERE, [(0.1, ANSWER)] * 100, Promote.FAILED, id="promote, a second master"),
    ],
)
def test_the_deadline_is_honoured(play: Play, table: Table[Any], first: Event, script: list[tuple[float, Event]], state: Any) -> None:
    """Whatever is heard meanwhile, a handover without proof ends when its time is over, not before and not after."""
    ending = play(table, first, *script)
    assert ending.state is state
    assert ending.seconds == pytest.approx(TIMEOUT, abs=1e-5)


@pytest.mark.parametrize(
    ("first", "script", "said"),
    [(HERE, [], "no active peer adverted a higher priority within 5.1 s"), (GONE, [], "no peer adverted VRID 1 on eth0 within 5.1 s")],
)
def test_the_deadline_says_what_was_missing(play: Play, first: Event, script: list[tuple[float, Event]], said: str) -> None:
    """The reason of a failed demotion tells which proof did not come, and for how long it was waited."""
    assert said in play(demote.TABLE, first, *script).reason


def test_a_late_vip_accuses_nobody(play: Play) -> None:
    """When the time ends before silence is proven, and nobody answered, the reason does not claim that somebody did."""
    ending = play(promote.TABLE, GONE, (5.0, HERE))
    assert ending.state is Promote.FAILED
    assert "still answers" not in ending.reason


def test_a_second_master_is_accused(play: Play) -> None:
    """When somebody did answer until the end, the reason says so, and the log has the MAC."""
    ending = play(promote.TABLE, HERE, *[(1.0, ANSWER)] * 10)
    assert ending.state is Promote.FAILED
    assert "another machine still has 10.0.0.10" in ending.reason
    assert f"{PEER_MAC} answers for 10.0.0.10 as well: waiting for it to stop" in play.lines


def test_a_second_master_may_give_way(play: Play) -> None:
    """When the other one falls silent in time, the promotion succeeds."""
    ending = play(promote.TABLE, HERE, (0.1, ANSWER), (0.1, ANSWER), (1.1, Event(Sign.NOBODY_ANSWERS)))
    assert (ending.state, play.actions) == (Promote.MASTER, [Action.RAISE])


def test_a_repeated_reason_is_logged_once(play: Play) -> None:
    """A leaver that adverts every second fills no log."""
    play(demote.TABLE, HERE, (1.0, LEAVER), (1.0, LEAVER), (1.0, LEAVER))
    assert sum("is leaving itself" in line for line in play.lines) == 1


@pytest.mark.parametrize(("table", "restored"), [(demote.TABLE, Action.RAISE), (promote.TABLE, Action.PUT_BACK)], ids=["demote", "promote"])
def test_a_signal_ends_a_handover_and_restores_the_band(play: Play, table: Table[Any], restored: Action) -> None:
    """SIGTERM in the middle of a wait ends it at once, with the band put back."""
    ending = play(table, GONE, (0.5, CANCEL))
    assert ending.state.name == "CANCELLED"
    assert ending.seconds == pytest.approx(0.5, abs=1e-6)
    assert play.actions[-1] is restored


@pytest.mark.parametrize("table", [demote.TABLE, promote.TABLE], ids=["demote", "promote"])
def test_an_early_signal_changes_nothing(play: Play, table: Table[Any]) -> None:
    """A signal that came before the first look leaves the band alone."""
    assert play(table, CANCEL).state.name == "CANCELLED"
    assert play.actions == []


def test_a_failing_action_ends_the_handover(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an action raises reaches the caller: nothing goes on as if it had been done."""

    def fail(action: Action) -> None:
        raise OSError(f"cannot {action.value}")

    monkeypatch.setattr(play, "perform", fail)
    with pytest.raises(OSError, match="cannot write the draining band"):
        play(demote.TABLE, HERE)


# asking who answers for the VIP


def test_nobody_is_asked_before_there_is_a_reason(play: Play) -> None:
    """A handover that does not need to know asks nothing."""
    play(demote.TABLE, HERE, (3.0, SUCCESSOR))
    assert play.asked == []


@pytest.mark.parametrize(("advert_int", "quiet"), [(1.0, 1.1), (0.5, 0.55), (0.1, 0.3), (0.01, 0.3)])
def test_silence_is_proven_after_an_advert_interval(play: Play, advert_int: float, quiet: float) -> None:
    """The segment is asked every 0.1 s for 1.1 advert intervals, at least three times; then nobody answers, and that is the proof."""
    play.advert_int = advert_int
    ending = play(promote.TABLE, HERE)
    assert ending.state is Promote.MASTER
    assert ending.seconds == pytest.approx(quiet, abs=0.001)
    assert play.asked == pytest.approx([0.1 * n for n in range(len(play.asked))], abs=0.001)
    assert len(play.asked) >= 3


def test_an_answer_begins_the_silence_anew(play: Play) -> None:
    """After an answer, a whole interval of silence is needed once more."""
    ending = play(promote.TABLE, HERE, (0.95, ANSWER))
    assert ending.state is Promote.MASTER
    assert ending.seconds == pytest.approx(0.95 + 1.1, abs=0.001)


def test_answers_do_not_make_us_ask_faster(play: Play) -> None:
    """A machine that answers within a millisecond, and is asked again for each answer as the table says, floods no segment."""
    play(promote.TABLE, HERE, *[(0.001, ANSWER)] * 1000, (0.001, CANCEL))
    assert len(play.asked) <= 11


def test_questions_that_could_not_be_sent_prove_nothing(play: Play) -> None:
    """While the interface is down nobody can answer: silence is proven by unanswered questions only."""
    play.reachable = False
    assert play(promote.TABLE, HERE).state is Promote.FAILED


def test_an_answer_outweighs_the_end_of_the_silence(play: Play) -> None:
    """When this process was held up for seconds, an answer that waits to be read still counts."""
    play.held_up = 3.0
    assert play(promote.TABLE, HERE, (0.05, ANSWER), (0.1, CANCEL)).state is Promote.CANCELLED
    assert f"{PEER_MAC} answers for 10.0.0.10 as well: waiting for it to stop" in play.lines


# saying that we leave


@pytest.mark.parametrize(("advert_int", "every"), [(1.0, 0.7), (2.0, 1.4), (0.2, 0.14), (0.1, 0.1), (0.01, 0.1)])
def test_a_farewell_is_said_at_once_and_again(play: Play, advert_int: float, every: float) -> None:
    """The first goes out at once, the others every 0.7 advert intervals, but never more than ten a second."""
    play.advert_int = advert_int
    play(demote.TABLE, HERE, (2.9 * every, CANCEL))
    assert [at for at, _ in play.farewells] == pytest.approx([every * n for n in range(3)], abs=0.001)
    assert {successor for _, successor in play.farewells} == {None}


def test_what_happens_meanwhile_hurries_no_farewell(play: Play) -> None:
    """Waits that end early leave the interval as it is."""
    play(demote.TABLE, HERE, *[(0.1, Event(Sign.PEER_ANSWERS, {"proof": f"{PEER_MAC} answers for 10.0.0.10"}))] * 8, (0.01, CANCEL))
    assert play.farewells == [(0, None), (pytest.approx(0.7, abs=0.001), None)]


@pytest.mark.parametrize("heard", [SUCCESSOR, LEAVER], ids=["a successor", "a leaver"])
def test_farewells_end_when_a_peer_takes_over(play: Play, heard: Event) -> None:
    """Whoever adverts above us is MASTER: he is told no more to take over, but that we left, again only when he is heard again."""
    play(demote.TABLE, HERE, (0.5, heard), (0.1, heard), (0.7, heard), (1.0, CANCEL))
    assert play.farewells == [(0, None), (0.5, ip_address(PEER)), (1.3, ip_address(PEER))], "not twice within 0.7 advert intervals"


def test_another_successor_is_told_at_once(play: Play) -> None:
    """Whoever has the VIP now must know it, whoever had it a moment ago."""
    other = Event(Sign.SUCCESSOR, {"peer": ip_address("10.0.0.3"), "priority": 254})
    play(demote.TABLE, HERE, (0.5, SUCCESSOR), (0.1, other), (0.1, CANCEL))
    assert play.farewells == [(0, None), (0.5, ip_address(PEER)), (0.6, ip_address("10.0.0.3"))]


def test_a_stranger_ends_no_farewells(play: Play) -> None:
    """Nobody has taken over yet: the next one goes out when it is due."""
    play(demote.TABLE, HERE, (0.5, Event(Sign.FOREIGN, {"peer": ip_address("10.0.0.77"), "why": "he is"})), (0.3, CANCEL))
    assert play.farewells == [(0, None), (pytest.approx(0.7, abs=0.001), None)]


def test_farewells_can_begin_again(play: Play) -> None:
    """When the successor dies and the VIP is back, the next round begins at once."""
    play(demote.TABLE, HERE, (0.1, SUCCESSOR), (0.1, GONE), (0.1, HERE), (0.1, CANCEL))
    assert play.farewells == [(0, None), (0.1, ip_address(PEER)), (pytest.approx(0.3), None)], "to the successor, and then as at first"


ALONE = Event(Sign.ALONE, {"able": "", "whom": "haproxy/1 said 2 s ago that it is being stopped or started"})
ABLE = Event(Sign.ABLE, {"able": "haproxy/1", "whom": ""})


def test_whoever_is_alone_waits_with_its_priority_up(play: Play) -> None:
    """Nothing is lowered before somebody can take over; then the handover has its whole time, however long was waited."""
    play.patience, play.around = 300.0, ALONE
    ending = play(demote.TABLE, ALONE, (100.0, ABLE), (0.1, SUCCESSOR), (3.0, GONE), (2.0, ANSWER))
    assert (ending.state, play.actions) == (Demote.DONE, [Action.LOWER, Action.RESIGN])
    assert ending.seconds == pytest.approx(105.1, abs=1e-3)


def test_who_is_waited_for_is_told_every_few_seconds(play: Play) -> None:
    """Somebody who reads the log knows whom the script waits for; a peer is looked for every second."""
    play.patience, play.around = 21.5, ALONE
    ending = play(demote.TABLE, ALONE)
    assert ending.state is Demote.NO_SUCCESSOR
    assert [round(at - play.began) for at in play.story.looked] == [*range(1, 22)]
    assert ending.reason == f"nobody to take 10.0.0.10 over after 21.5 s: it is still here and served ({ALONE.facts['whom']})"
    assert len(set(play.lines)) == 3, "that it waits, that it still does, and that it gave up"
    assert play.actions == [Action.LOWER]


def test_where_nobody_comes_nobody_waits(play: Play) -> None:
    """Without hope the end is there at once."""
    play.patience, play.hopeful = 300.0, False
    assert play(demote.TABLE, ALONE).seconds == pytest.approx(0.0, abs=1e-3)


def test_a_look_finds_who_said_nothing(play: Play) -> None:
    """A peer whose word was lost is found by its haproxy, a second later."""
    play.patience = 300.0
    ending = play(demote.TABLE, ALONE, (2.0, SUCCESSOR), (0.1, GONE), (0.1, ANSWER))
    assert ending.state is Demote.DONE
    assert play.story.looked[0] - play.began == pytest.approx(1.0, abs=1e-3)
    assert "haproxy/1 can take 10.0.0.10 over: priority lowered to 99" in play.lines


def test_all_others_leave_in_the_middle_of_a_handover(play: Play) -> None:
    """The priority goes up again, and nobody is told any more that we leave."""
    play.patience, play.around = 20.0, ALONE
    ending = play(demote.TABLE, HERE, (0.1, ALONE), (15.0, ABLE), (0.1, SUCCESSOR), (0.1, GONE), (0.1, ANSWER))
    assert (ending.state, play.actions) == (Demote.DONE, [Action.LOWER, Action.RESIGN, Action.RAISE, Action.LOWER, Action.RESIGN])
    assert [at for at, _ in play.farewells if 0.2 < at < 15.0] == []


def test_a_wait_can_be_called_off(play: Play) -> None:
    """SIGTERM ends it at once."""
    play.patience, play.around = 300.0, ALONE
    ending = play(demote.TABLE, ALONE, (7.0, CANCEL))
    assert ending.state is Demote.CANCELLED
    assert ending.seconds == pytest.approx(7.0, abs=1e-3)

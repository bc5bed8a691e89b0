"""Running a table: events in, actions out, one line for every transition, and always an end. No waiting: time is frozen."""

from typing import Any

import pytest

from unit.support.fakes import PEER, PEER_MAC, Clock
from vrrp_drain.handover import demote, promote
from vrrp_drain.handover.demote import Demote
from vrrp_drain.handover.promote import Promote
from vrrp_drain.handover.runner import Ending, run
from vrrp_drain.handover.transitions import Action, Event, Sign, Table

FACTS = {"vip": "10.0.0.10", "interface": "eth0", "vrid": 1, "active": 254, "lowered": 99}
TIMEOUT = 5.1

SUCCESSOR = Event(Sign.SUCCESSOR, {"peer": PEER, "priority": 253})
LEAVER = Event(Sign.LEAVER, {"peer": PEER, "priority": 99})
ANSWER = Event(Sign.PEER_ANSWERS, {"mac": PEER_MAC})
HERE, GONE, CANCEL = Event(Sign.VIP_HERE), Event(Sign.VIP_GONE), Event(Sign.CANCEL)


class Story:
    """A Hearing that tells each event of a script after its pause, in seconds."""

    def __init__(self, clock: Clock, first: Event, script: list[tuple[float, Event]]) -> None:
        self._clock = clock
        self._first = first
        self._script = script
        self._rest = 0.0

    def look(self) -> Event:
        return self._first

    def wait(self, seconds: float) -> list[Event]:
        if not self._script or self._script[0][0] - self._rest > seconds:
            self._clock.sleep(seconds)
            self._rest += seconds
            return []
        pause, event = self._script.pop(0)
        self._clock.sleep(pause - self._rest)
        self._rest = 0.0
        return [event]


class Play:
    """Runs one story and keeps what was done and said."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.actions: list[Action] = []
        self.lines: list[str] = []

    def __call__(self, table: Table[Any], first: Event, *script: tuple[float, Event]) -> Ending[Any]:
        return run(table, Story(self._clock, first, list(script)), self.actions.append, TIMEOUT, FACTS, self.lines.append)


@pytest.fixture
def play(clock: Clock) -> Play:
    return Play(clock)


def test_demote_as_it_should_be(play: Play) -> None:
    """A successor adverts, the VIP leaves, the successor answers: done, with one line for each step."""
    ending = play(demote.TABLE, HERE, (3.0, SUCCESSOR), (0.1, GONE), (0.2, ANSWER))
    assert ending.state is Demote.DONE
    assert ending.seconds == pytest.approx(3.3, abs=1e-6)
    assert play.actions == [Action.LOWER, Action.RESIGN, Action.PROBE]
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
    assert play.actions == [Action.LOWER, Action.RESIGN, Action.PROBE]


def test_a_successor_that_dies_is_no_proof(play: Play) -> None:
    """When the VIP comes back before anybody answered for it, the whole proof begins again with the next successor."""
    second_try = ((0.5, SUCCESSOR), (0.1, GONE), (0.1, ANSWER))
    ending = play(demote.TABLE, HERE, (1.0, SUCCESSOR), (0.1, GONE), (1.0, HERE), (0.1, ANSWER), *second_try)
    assert ending.state is Demote.DONE
    assert ending.seconds == pytest.approx(2.9, abs=1e-6)
    assert play.actions == [Action.LOWER, Action.RESIGN, Action.PROBE, Action.RESIGN, Action.PROBE]
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
    assert play.actions == [Action.LOWER, Action.REMOVE_STALE_VIP, Action.PROBE]


def test_promote_as_it_should_be(play: Play) -> None:
    """The VIP comes and nobody else answers for it: MASTER."""
    ending = play(promote.TABLE, GONE, (3.0, HERE), (1.1, Event(Sign.NOBODY_ANSWERS)))
    assert (ending.state, play.actions) == (Promote.MASTER, [Action.RAISE, Action.PROBE])


def test_a_foreign_master_fails_a_promotion_at_once(play: Play) -> None:
    """Somebody else's adverts on our VRID end the promotion with the reason given, and the band goes back."""
    ending = play(promote.TABLE, GONE, (0.3, Event(Sign.FOREIGN, {"peer": PEER, "why": "another cluster uses VRID 1"})))
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
    assert "another machine still answers for 10.0.0.10" in ending.reason
    assert f"{PEER_MAC} answers for 10.0.0.10 as well: waiting for it to stop" in play.lines


def test_a_second_master_may_give_way(play: Play) -> None:
    """When the other one falls silent in time, the promotion succeeds."""
    ending = play(promote.TABLE, HERE, (0.1, ANSWER), (0.1, ANSWER), (1.1, Event(Sign.NOBODY_ANSWERS)))
    assert (ending.state, play.actions) == (Promote.MASTER, [Action.RAISE, Action.PROBE, Action.PROBE, Action.PROBE])


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


def test_a_failing_action_ends_the_handover(clock: Clock) -> None:
    """What an action raises reaches the caller: nothing goes on as if it had been done."""

    def fail(action: Action) -> None:
        raise OSError(f"cannot {action.value}")

    with pytest.raises(OSError, match="cannot write the draining band"):
        run(demote.TABLE, Story(clock, HERE, []), fail, TIMEOUT, FACTS, print)

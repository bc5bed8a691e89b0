"""Runs a transition table: events in, actions out, one log line for every transition, and always an end.

What has to be done again and again until something happens (ask who has the VIP, say that we leave, look for a peer that can
take over) is timed here.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol

from vrrp_drain.runtime.ip import IPAddress

from .transitions import Action, Event, Sign, State, Table

ASK_EVERY = 0.1  # seconds between two questions who has the VIP
QUIET_ASKS = 3  # unanswered questions that prove silence, at least (RFC 5227 section 1.1, PROBE_NUM)
SAY_EVERY = 0.7  # advert intervals between two times that we say that we leave
LOOK_EVERY = 1.0  # seconds between two looks for a peer that can take over
TELL_EVERY = 5.0  # seconds between two times that whoever reads the log is told what is waited for

WHOM = "whom"  # the fact that is remembered: who cannot take over, and why

Farewell = Callable[[IPAddress | None], None]  # says that we leave, to all, or once more to the successor


class Source(Protocol):
    """Where events come from (event_source.EventSource)."""

    def look(self) -> Event: ...
    def wait(self, seconds: float) -> list[Event]: ...
    def begin(self) -> None: ...
    def ask(self) -> bool: ...
    def look_around(self) -> Event: ...

    @property
    def hopeful(self) -> bool: ...


class Actor(Protocol):
    """Who does what an action says (handover.Handover)."""

    def perform(self, action: Action) -> None: ...
    def farewell(self) -> Farewell: ...


@dataclass(frozen=True)
class Ending(Generic[State]):
    """How a handover ended: the final state, the reason of its last transition, and how long it took."""

    state: State
    reason: str
    seconds: float


class Runner:
    """One handover. ``advert_int`` is the virtual router's, in seconds; ``log`` gets the reasons, repeated ones once."""

    def __init__(self, source: Source, actor: Actor, advert_int: float, log: Callable[[str], None]) -> None:
        self._source, self._actor, self._log = source, actor, log
        self._questions = _Questions(source, max(QUIET_ASKS * ASK_EVERY, 1.1 * advert_int))
        self._farewells = _Farewells(max(ASK_EVERY, SAY_EVERY * advert_int))
        self._lookout = _Lookout(source)

    def run(self, table: Table[State], timeout: float, facts: Mapping[str, object], patience: float = 0.0) -> Ending[State]:
        """Step through ``table`` until a final state, at most ``timeout`` seconds; then its DEADLINE row decides.

        In a patient state it is ``patience`` seconds where they are more, and none where nobody can come. What is to follow then has
        ``timeout`` seconds again. ``facts`` fill the reasons, with those of the event on top.
        """
        started = moves_from = time.monotonic()
        everything: dict[str, Any] = {**facts}
        state, said = table.start, ""
        events = [self._source.look()]
        while True:
            for event in events:
                everything.update({name: value for name, value in event.facts.items() if name == WHOM})
                self._farewells.hear(event)
                row = table.step(state, event.sign)
                if row is None:
                    continue
                state = row.next
                for action in row.actions:
                    self._perform(action)
                reason = row.reason.format_map({**everything, **event.facts})
                if reason != said:
                    self._log(reason)
                    said = reason
                if state in table.final:
                    return Ending(state, reason, time.monotonic() - started)
            if state in table.patient:
                events = self._next(started, max(timeout, patience) if self._source.hopeful else 0.0, look_out=True)
                moves_from = time.monotonic() if patience > timeout else started
            else:
                events = self._next(moves_from, timeout, look_out=False)

    def _perform(self, action: Action) -> None:
        match action:
            case Action.PROBE:
                self._questions.begin()
            case Action.RESIGN:
                self._farewells.begin(self._actor.farewell())
            case Action.LOOK_OUT:
                self._lookout.begin()
            case Action.RAISE:
                self._farewells.end()
                self._actor.perform(action)
            case _:
                self._actor.perform(action)

    def _next(self, started: float, seconds: float, *, look_out: bool) -> list[Event]:
        """Do what is due, and return what happens next; with nothing in the list only time has passed."""
        if time.monotonic() >= started + seconds:
            return [Event(Sign.DEADLINE, {"seconds": f"{seconds:.1f}"})]
        self._questions.do_what_is_due()
        self._farewells.do_what_is_due()
        if look_out and (found := self._lookout.do_what_is_due()):
            return found
        until = min(started + seconds, self._questions.due, self._farewells.due, self._lookout.due if look_out else float("inf"))
        return self._source.wait(until - time.monotonic()) or self._questions.silence()


class _Questions:
    """Who has the VIP, asked every ASK_EVERY from the first time on; that nobody else has is proven after ``quiet`` seconds of silence."""

    def __init__(self, source: Source, quiet: float) -> None:
        self._source, self._quiet = source, quiet
        self._ask_at = self._quiet_at = float("inf")

    @property
    def due(self) -> float:
        return min(self._ask_at, self._quiet_at)

    def begin(self) -> None:
        """Ask, or begin anew to listen for silence. Raises SystemFault."""
        self._source.begin()
        self._quiet_at = time.monotonic() + self._quiet
        if self._ask_at == float("inf"):
            self._ask()

    def do_what_is_due(self) -> None:
        if time.monotonic() >= self._ask_at:
            self._ask()

    def silence(self) -> list[Event]:
        """Return that nobody answers, once, if that is proven."""
        if time.monotonic() < self._quiet_at:
            return []
        self._quiet_at = float("inf")
        return [Event(Sign.NOBODY_ANSWERS)]

    def _ask(self) -> None:
        self._ask_at = time.monotonic() + ASK_EVERY
        if not self._source.ask() and self._quiet_at != float("inf"):  # silence proves nothing yet
            self._quiet_at = time.monotonic() + self._quiet


class _Lookout:
    """Who can take the VIP over, looked for every LOOK_EVERY; what has not changed is told again every TELL_EVERY."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._told: Sign | None = None
        self._tell_at = 0.0
        self.due = float("inf")

    def begin(self) -> None:
        self.due = time.monotonic() + LOOK_EVERY
        self._told, self._tell_at = None, time.monotonic() + TELL_EVERY

    def do_what_is_due(self) -> list[Event]:
        if time.monotonic() < self.due:
            return []
        found = self._source.look_around()
        self.due = time.monotonic() + LOOK_EVERY
        if found.sign is self._told and time.monotonic() < self._tell_at:
            return []
        self._told, self._tell_at = found.sign, time.monotonic() + TELL_EVERY
        return [found]


class _Farewells:
    """That we leave, said every ``every`` seconds until a peer takes over: a regular advert of our own may undo one resignation.

    From then on it is said to that peer whenever it is heard, but not more often: what was said before may have been lost.
    """

    def __init__(self, every: float) -> None:
        self._every = every
        self._say: Farewell | None = None
        self._successor: IPAddress | None = None
        self._say_at = float("inf")

    @property
    def due(self) -> float:
        return self._say_at if self._say and self._successor is None else float("inf")

    def begin(self, say: Farewell) -> None:
        self._say, self._successor, self._say_at = say, None, time.monotonic()

    def end(self) -> None:
        """We stay."""
        self._say = None

    def do_what_is_due(self) -> None:
        if time.monotonic() >= self.due:
            self._speak()

    def hear(self, event: Event) -> None:
        """Take in who adverts a priority that is not below ours."""
        peer = event.facts.get("peer")
        if event.sign not in (Sign.SUCCESSOR, Sign.LEAVER) or not isinstance(peer, IPAddress):
            return
        is_new, self._successor = peer != self._successor, peer
        if is_new or time.monotonic() >= self._say_at:
            self._speak()

    def _speak(self) -> None:
        if self._say is not None:
            self._say_at = time.monotonic() + self._every
            self._say(self._successor)

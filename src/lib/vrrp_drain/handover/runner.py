"""Runs a transition table: events in, actions out, one log line for every transition, and always an end."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol

from .transitions import Action, Event, Sign, State, Table


class Hearing(Protocol):
    """Where events come from (senses.Senses)."""

    def look(self) -> Event: ...
    def wait(self, seconds: float) -> list[Event]: ...


@dataclass(frozen=True)
class Ending(Generic[State]):
    """How a handover ended: the final state, the reason of its last transition, and how long it took."""

    state: State
    reason: str
    seconds: float


def run(
    table: Table[State],
    hearing: Hearing,
    perform: Callable[[Action], None],
    timeout: float,
    facts: Mapping[str, object],
    log: Callable[[str], None],
) -> Ending[State]:
    """Step through ``table`` until a final state, at most ``timeout`` seconds; then its DEADLINE row decides.

    ``facts`` fill the reasons, with those of the event on top. Repeated reasons are logged once.
    """
    started = time.monotonic()
    everything: dict[str, Any] = {**facts, "seconds": f"{timeout:.1f}"}
    state, said = table.start, ""
    events = [hearing.look()]
    while True:
        for event in events:
            row = table.step(state, event.sign)
            if row is None:
                continue
            state = row.next
            for action in row.actions:
                perform(action)
            reason = row.reason.format_map({**everything, **event.facts})
            if reason != said:
                log(reason)
                said = reason
            if state in table.final:
                return Ending(state, reason, time.monotonic() - started)
        left = started + timeout - time.monotonic()
        events = hearing.wait(left) if left > 0 else [Event(Sign.DEADLINE)]

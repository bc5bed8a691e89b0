"""Keeps a storm of notices from history, log and receivers. Pure; times are monotonic seconds.

Somebody on the segment can make things happen many times a second: ever-new MASTERs, a condition that comes and goes. The first notices of
a kind go out at once, more than any update makes. After that the kind is damped: now and then goes out how many there were, and the
last of them, so that whoever is told knows how things stand in the end.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from .notice import Cause, Kind, Notice

BURST = 12  # notices of one kind at once
EVERY = 10.0  # seconds in which one more may follow


@dataclass
class _Flow:
    """Of one kind: how many may go out now, and what was held back."""

    allowance: float
    counted: float
    held: int = 0
    last: Notice | None = None
    since: float = 0.0


class Damper:
    """``take`` every notice, and ``due`` now and then; both yield what is to be told."""

    def __init__(self) -> None:
        self._flows: dict[Kind, _Flow] = {}

    def take(self, notice: Notice, now: float) -> Iterator[Notice]:
        flow = self._flow(notice.kind, now)
        if flow.held == 0 and flow.allowance >= 1:
            flow.allowance -= 1
            yield notice
            return
        if flow.held == 0:
            flow.since = now
        flow.held += 1
        flow.last = notice

    def due(self, now: float) -> Iterator[Notice]:
        """Yield what was held back and may go out."""
        for kind in [*self._flows]:
            flow = self._flow(kind, now)
            if flow.last is not None and flow.allowance >= 1:
                flow.allowance -= 1
                yield from _summed_up(flow, flow.last, now)

    def rest(self, now: float) -> Iterator[Notice]:
        """Yield what is still held back, because nobody will ask for it any more."""
        for flow in self._flows.values():
            if flow.last is not None:
                yield from _summed_up(flow, flow.last, now)

    def _flow(self, kind: Kind, now: float) -> _Flow:
        flow = self._flows.setdefault(kind, _Flow(BURST, now))
        flow.allowance = min(BURST, flow.allowance + (now - flow.counted) / EVERY)
        flow.counted = now
        return flow


def _summed_up(flow: _Flow, last: Notice, now: float) -> Iterator[Notice]:
    """Say how many were held back, unless the last one is all of it."""
    if flow.held > 1:
        yield replace(
            last,
            kind=Kind.WATCHER,
            previous="",
            state=last.kind.value,
            cause=Cause.DAMPED,
            reason=(
                f"{flow.held} notices of the kind {last.kind.value} within {now - flow.since:.0f} s: the last one follows, "
                "the others are counted in the metrics alone; vrrpctl status and keepalived.log say what changes all the time"
            ),
            seconds=None,
        )
    flow.held, flow.last = 0, None
    yield last

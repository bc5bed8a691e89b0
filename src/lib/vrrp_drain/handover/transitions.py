"""What a transition table is made of: signs come in, rows say what follows and why. Pure.

A row's ``reason`` is the log line; ``{...}`` in it is filled from the event's facts. Every pair of a state that
is not final and a sign is either a row or in the table's ``ignored`` set, so nothing is forgotten silently:
``step`` refuses any other pair and leaves the state as it was.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar


class Sign(Enum):
    """What the world can tell a handover."""

    VIP_HERE = "the VIP is on our interface and keepalived runs"
    VIP_STALE = "the VIP is on our interface but keepalived does not run"
    VIP_GONE = "the VIP is not on our interface"
    KEEPALIVED_GONE = "keepalived does not run here"
    SUCCESSOR = "an active peer adverts a priority that is not below ours"
    LEAVER = "a peer that is itself draining adverts a priority that is not below ours"
    ABLE = "a peer can take the VIP over"
    ALONE = "no peer can take the VIP over, and one that is leaving too must not get it"
    UNSEEN = "no peer's haproxy answers, and nobody said why"
    FOREIGN = "somebody who is not of our cluster adverts our VRID"
    PEER_ANSWERS = "it is proven that a peer has the VIP"
    NOBODY_ANSWERS = "it is proven that nobody else has the VIP"
    DEADLINE = "the time is over"
    CANCEL = "SIGTERM or SIGINT"


class Action(Enum):
    """What a handover can do to the world."""

    LOWER = "write the draining band"
    RAISE = "write the active band"
    PUT_BACK = "write the band that was there before"
    RESIGN = "say that we leave until a peer takes over, and advert priority 0 if a healthy one is there or peers do not preempt"
    PROBE = "ask who has the VIP"
    LOOK_OUT = "look for a peer that can take over, until the VIP has left"
    REMOVE_STALE_VIP = "take the VIP off our interface, because keepalived is not there to do it"


@dataclass(frozen=True, slots=True)
class Event:
    """A sign, with what is known about it."""

    sign: Sign
    facts: Mapping[str, object] = field(default_factory=dict)


State = TypeVar("State", bound=Enum)


@dataclass(frozen=True)
class Row(Generic[State]):
    """In ``state``, ``sign`` leads to ``next``; ``actions`` are done in order."""

    state: State
    sign: Sign
    next: State
    reason: str
    actions: tuple[Action, ...] = ()


class IllegalTransition(Exception):
    """A state met a sign that its table does not know: a fault in the table."""


@dataclass(frozen=True)
class Table(Generic[State]):
    """The rows of one handover, its first state, and the pairs that change nothing."""

    start: State
    final: frozenset[State]
    rows: tuple[Row[State], ...]
    ignored: Mapping[State, frozenset[Sign]]
    patient: frozenset[State] = frozenset()  # in which the deadline is put off while somebody may yet come

    def step(self, state: State, sign: Sign) -> Row[State] | None:
        """Return the row for this pair, or None where it changes nothing.

        Raises IllegalTransition for a final state and for a pair that is neither a row nor ignored.
        """
        if state not in self.final:
            for row in self.rows:
                if row.state is state and row.sign is sign:
                    return row
            if sign in self.ignored.get(state, frozenset()):
                return None
        raise IllegalTransition(f"{state.name} does not know {sign.name}")

    def mermaid(self) -> str:
        """Return the table as a Mermaid state diagram, for the documentation."""
        lines = ["stateDiagram-v2", f"    [*] --> {self.start.name}"]
        lines += [f"    {r.state.name} --> {r.next.name}: {r.sign.name}" for r in self.rows]
        lines += [f"    {s.name} --> [*]" for s in sorted(self.final, key=lambda s: s.name)]
        return "\n".join(lines) + "\n"

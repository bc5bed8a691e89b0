"""Who had the VIP when, and why it went: what follows from the marks of a recorder. Pure; times in seconds on the monotonic clock."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

_CAUSE_SECONDS = 20.0  # a move later than this after what was done to an instance has another cause
_ANNOUNCED_SECONDS = 1.0  # keepalived announces the VIP as it takes it; what comes later is a repetition
_EARLY_SECONDS = 0.1  # an IPv6 address is used, and announced, before the kernel tells of it


@dataclass(frozen=True)
class Mark:
    """At ``t`` ``what`` became true of ``node``.

    The kernel's word: vip, no-vip. On the wire: advert N (its priority, where it differs from the last one), announced (a gratuitous
    ARP or an unsolicited neighbour advertisement for the VIP). What was done to it: band N, or a step of the director.
    """

    t: float
    node: str
    what: str


class Why(Enum):
    """Why the VIP went from one instance to another, as the adverts of both tell it."""

    HANDOVER = "handover"  # who had it had said that it leaves: by a priority below the other's, or by priority 0
    WAY_BACK = "way back"  # who had it had not: somebody with a higher priority came, who waits for its turn while the other serves
    TAKEOVER = "takeover"  # who had it said nothing any more, and somebody with a lower priority took it


@dataclass(frozen=True)
class Move:
    """The VIP went from ``source`` to ``target``, where it was at ``t``.

    ``ms`` is how long that took since its cause: the last thing that was done to the instance that moved it (``Why``); where that one was
    left alone its own word that it leaves, or what was done to others. ``announced_ms`` is how much later the segment was told; None where
    it was not.
    """

    t: float
    source: str
    target: str
    ms: float
    why: Why = Why.HANDOVER
    nobody_ms: float = 0.0
    two_ms: float = 0.0
    announced_ms: float | None = None


@dataclass(frozen=True)
class Owners:
    """From ``start`` to ``end`` the VIP was on the interfaces of ``nodes``."""

    start: float
    end: float
    nodes: frozenset[str]

    @property
    def ms(self) -> float:
        return (self.end - self.start) * 1000


def owners(marks: Sequence[Mark], end: float) -> Iterator[Owners]:
    """Yield who had the VIP from the first time that anybody had it, without a gap, until ``end``."""
    since, nodes = None, frozenset[str]()
    for mark in marks:
        if mark.what not in ("vip", "no-vip"):
            continue
        if since is not None and mark.t > since:
            yield Owners(since, mark.t, nodes)
        nodes = nodes | {mark.node} if mark.what == "vip" else nodes - {mark.node}
        since = mark.t if since is not None or nodes else None
    if since is not None and end > since:
        yield Owners(since, end, nodes)


def moves(marks: Sequence[Mark], end: float) -> list[Move]:
    """Return the moves of the VIP until ``end``, in order."""
    found, holder = [], ""
    spans = list(owners(marks, end))
    for n, mark in enumerate(marks):
        if mark.what != "vip":
            continue
        if holder and holder != mark.node:
            found.append(_move(marks, n, holder, spans))
        holder = mark.node
    return found


def _move(marks: Sequence[Mark], n: int, source: str, spans: Sequence[Owners]) -> Move:
    arrived, before = marks[n], marks[: n + 1]
    why = _why(before, source, arrived.node)
    mover = arrived.node if why is Why.WAY_BACK else source
    everybody = {mark.node for mark in before}
    since = _last_cause(before, {mover}) or _leaves(before, source) or _last_cause(before, everybody) or arrived
    told = [mark.t for mark in marks if mark.node == arrived.node and mark.what == "announced" and mark.t > arrived.t - _EARLY_SECONDS]
    announced = max(0.0, told[0] - arrived.t) * 1000 if told and told[0] < arrived.t + _ANNOUNCED_SECONDS else None
    nobody = sum(each.ms for each in spans if each.end == arrived.t and not each.nodes)
    two = sum(each.ms for each in spans if each.start == arrived.t and len(each.nodes) > 1)
    return Move(arrived.t, source, arrived.node, (arrived.t - since.t) * 1000, why, nobody, two, announced)


def _why(before: Sequence[Mark], source: str, target: str) -> Why:
    if _leaves(before, source):
        return Why.HANDOVER
    had, has = _priority(before, source), _priority(before, target)
    if had is None or has is None:  # one of them was not heard: to whom something was done has to do
        cause = _last_cause(before, {source, target})
        return Why.WAY_BACK if cause and cause.node == target else Why.HANDOVER
    return Why.WAY_BACK if has > had else Why.TAKEOVER


def _leaves(before: Sequence[Mark], source: str) -> Mark | None:
    """Return the advert by which ``source`` said that it leaves, since it had the VIP: the first below what it had said until then."""
    highest = -1
    got = max((mark.t for mark in before if mark.node == source and mark.what == "vip"), default=0.0)
    for mark in before:
        if mark.node == source and mark.what.startswith("advert "):
            if mark.t >= got and _said(mark) < highest:
                return mark
            highest = _said(mark) if mark.t < got else max(highest, _said(mark))
    return None


def _priority(before: Sequence[Mark], node: str) -> int | None:
    """Return what ``node`` adverted last."""
    return next((_said(mark) for mark in reversed(before) if mark.node == node and mark.what.startswith("advert ")), None)


def _said(mark: Mark) -> int:
    return int(mark.what.split()[1])


def _last_cause(before: Sequence[Mark], nodes: set[str]) -> Mark | None:
    """Return the last thing that was done to one of ``nodes``: its band was written, or its keepalived stopped or started."""
    last = before[-1].t - _CAUSE_SECONDS
    return next((mark for mark in reversed(before) if mark.node in nodes and mark.t > last and _is_cause(mark.what)), None)


def _is_cause(what: str) -> bool:
    return what.startswith("band ") or what in ("stop", "start")

"""Who uses our virtual router ID and is not of the group. Pure; times are monotonic seconds.

One packet is no cluster: a stranger is believed when he is heard again as much later as a router's next advert comes. What came
once (a damaged switch's echo, a probe, a burst of copies of one packet) stops nothing.
"""

from dataclasses import dataclass
from typing import Protocol, TypeVar

from vrrp_drain.runtime.ip import IPAddress

SILENCE = 3.3  # advert intervals after which a MASTER that is not heard counts as gone: Master_Down_Interval is 3 and the skew
MOST = 40  # peers, and strangers, that are remembered: more than an instance group can have
_REMEMBERED = 10.0  # seconds, at least, after which who is heard again begins anew
_LEAST_SPAN = 0.05  # seconds between two packets that are not one and its copy, whatever interval a packet claims


class Heard(Protocol):
    heard: float


AnyHeard = TypeVar("AnyHeard", bound=Heard)


@dataclass
class Stranger:
    """Somebody who is not of the group, and why; ``confirmed`` when it was not one packet alone."""

    source: IPAddress
    why: str
    began: float
    heard: float
    confirmed: bool = False


class Strangers:
    """Remembers a bounded number of them, whoever invents how many addresses."""

    def __init__(self, advert_int: float) -> None:
        """``advert_int`` is our own, in seconds."""
        self._interval = advert_int
        self._known: dict[IPAddress, Stranger] = {}

    def hear(self, source: IPAddress, why: str, advert_int: float, now: float) -> Stranger:
        """Take in an advert of ``source``, which says that its next one comes ``advert_int`` seconds later."""
        known = self._known.get(source)
        if known is None or now - known.heard > self._remembered:
            self._known[source] = known = Stranger(source, why, began=now, heard=now)
        known.why, known.heard = why, now
        known.confirmed = known.confirmed or now - known.began >= span(self._interval, advert_int)
        forget_the_oldest(self._known, {each.source for each in self._known.values() if each.confirmed})
        return known

    def heard(self, now: float) -> list[Stranger]:
        """Return who was heard lately, be it once."""
        return [each for each in self._known.values() if now - each.heard < self._remembered]

    def confirmed(self, now: float) -> list[Stranger]:
        """Return who uses our virtual router ID now."""
        return [each for each in self.heard(now) if each.confirmed]

    @property
    def _remembered(self) -> float:
        return max(_REMEMBERED, SILENCE * self._interval)


def span(ours: float, theirs: float) -> float:
    """Return how many seconds must lie between two packets that make a stranger: half of the shorter advert interval."""
    return max(_LEAST_SPAN, min(ours, theirs) / 2)


def forget_the_oldest(known: dict[IPAddress, AnyHeard], but: "set[IPAddress] | frozenset[IPAddress]") -> None:
    """Where there are too many, forget who was not heard for longest, one of ``but`` only where all are."""
    if len(known) > MOST:
        del known[min(known.keys() - but or known, key=lambda source: known[source].heard)]

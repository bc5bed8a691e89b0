"""Who uses our virtual router ID and is not of the group. Pure; times are monotonic seconds.

One packet is no cluster: a stranger is believed when he is heard again as much later as a router's next advert comes. What came
once (a damaged switch's echo, a probe, a burst of copies of one packet) stops nothing.
"""

from dataclasses import dataclass
from typing import Protocol, TypeVar

from vrrp_drain.runtime.ip import IPAddress

from .election import Heard

SILENCE = 3.3  # advert intervals after which a MASTER that is not heard counts as gone: Master_Down_Interval is 3 and the skew
MOST = 40  # peers, and strangers, that are remembered: more than an instance group can have
_REMEMBERED = 10.0  # seconds, at least, after which who is heard again begins anew
_LEAST_SPAN = 0.05  # seconds between two packets that are not one and its copy, whatever interval a packet claims


class Remembered(Protocol):
    @property
    def heard(self) -> float: ...


Anybody = TypeVar("Anybody", bound=Remembered)


@dataclass
class Stranger:
    """Somebody who is not of the group, as ``last`` heard; ``confirmed`` when it was not one packet alone."""

    last: Heard
    began: float
    confirmed: bool = False

    @property
    def source(self) -> IPAddress:
        return self.last.source

    @property
    def heard(self) -> float:
        return self.last.at

    @property
    def why(self) -> str:
        return self.last.why


class Strangers:
    """Remembers a bounded number of them, whoever invents how many addresses."""

    def __init__(self, advert_int: float) -> None:
        """``advert_int`` is our own, in seconds."""
        self._interval = advert_int
        self._known: dict[IPAddress, Stranger] = {}

    def hear(self, heard: Heard) -> Stranger:
        """Take in an advert of a stranger; it says when the next one comes."""
        known = self._known.get(heard.source)
        if known is None or heard.at - known.heard > self._remembered:
            self._known[heard.source] = known = Stranger(heard, began=heard.at)
        known.last = heard
        theirs = heard.advert.advert_int if heard.advert else self._interval
        known.confirmed = known.confirmed or heard.at - known.began >= span(self._interval, theirs)
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


def forget_the_oldest(known: dict[IPAddress, Anybody], but: "set[IPAddress] | frozenset[IPAddress]") -> None:
    """Where there are too many, forget who was not heard for longest, one of ``but`` only where all are."""
    if len(known) > MOST:
        del known[min(known.keys() - but or known, key=lambda source: known[source].heard)]

"""What was heard on the segment: which peers advert our virtual router, and who else does. Pure; times are monotonic seconds.

It never grows: a flood of adverts from invented addresses pushes out the oldest of its kind, and never a peer that the link names.
"""

from dataclasses import dataclass
from enum import Enum, auto

from vrrp_drain.runtime.ip import IPAddress
from vrrp_drain.runtime.str_enum import StrEnum

from . import bands
from .advert import RESIGN
from .bands import Claim
from .election import Heard, Standing
from .strangers import SILENCE, Stranger, Strangers, forget_the_oldest

PAUSE = 2.5  # advert intervals of silence that no delay explains: Master_Down_Interval is three


class AdvertVerdict(StrEnum):
    """What a packet that was heard counts as. The value stands in metrics."""

    VALID = "valid"  # of a peer
    DAMAGED = "damaged"
    FOREIGN = "foreign"  # of somebody who is not of the group


_VERDICTS = {
    Standing.PEER: AdvertVerdict.VALID,
    Standing.CHANGING: AdvertVerdict.VALID,
    Standing.STRANGER: AdvertVerdict.FOREIGN,
    Standing.FAR: AdvertVerdict.DAMAGED,
    Standing.DAMAGED: AdvertVerdict.DAMAGED,
}


class Leaving(Enum):
    """Why a peer is, or is about to be, MASTER no more, by what it adverts."""

    DRAINING = auto()
    UNHEALTHY = auto()
    RESIGNED = auto()
    UNKNOWN = auto()


_SAID = {Claim.DRAINING: Leaving.DRAINING, Claim.UNHEALTHY: Leaving.UNHEALTHY, Claim.BOTH: Leaving.UNHEALTHY}


@dataclass
class Peer:
    """A peer that adverts. ``priority`` is its last one above 0; ``began`` is when it began to advert without a pause.

    ``resumed`` is when it was heard again after the last time that it was silent for PAUSE, None where it never was.
    """

    source: IPAddress
    priority: int
    began: float
    heard: float
    adverts: int = 1
    leaving: float | None = None  # when it first said that it leaves, by a draining or unhealthy priority or by 0
    resigned: bool = False
    resumed: float | None = None

    @property
    def why(self) -> Leaving:
        """Return the cause of its leaving."""
        return _SAID.get(bands.describe(self.priority), Leaving.RESIGNED if self.resigned else Leaving.UNKNOWN)


class PeerTable:
    """Takes adverts in, and answers questions."""

    def __init__(self, advert_int: float) -> None:
        self._interval = advert_int
        self._peers: dict[IPAddress, Peer] = {}
        self._strangers = Strangers(advert_int)

    def hear(self, heard: Heard) -> AdvertVerdict | None:
        """Take in what was heard, whatever it is; return what it counts as, None where it is none of our business."""
        if heard.standing is Standing.STRANGER:
            self._strangers.hear(heard)
        elif heard.advert is not None and heard.standing in (Standing.PEER, Standing.CHANGING):
            self._hear_peer(heard.source, heard.advert.priority, heard.at)
            forget_the_oldest(self._peers, heard.by.peers | heard.by.members)
        return _VERDICTS.get(heard.standing)

    def master(self, now: float) -> Peer | None:
        """Return the peer that is MASTER now: of those that advert, the one with the highest priority."""
        there = [each for each in self._peers.values() if not each.resigned and now - each.heard < SILENCE * self._interval]
        return max(there, key=lambda each: (each.priority, each.source.packed), default=None)

    def last(self) -> Peer | None:
        """Return the peer that was heard last, be it gone."""
        return max(self._peers.values(), key=lambda each: each.heard, default=None)

    def strangers(self, now: float) -> list[Stranger]:
        """Return who else uses our virtual router ID now, and was heard more than once."""
        return self._strangers.confirmed(now)

    @property
    def sources(self) -> frozenset[IPAddress]:
        """Return where the peers' adverts come from."""
        return frozenset(self._peers)

    def _hear_peer(self, source: IPAddress, priority: int, now: float) -> None:
        peer = self._peers.get(source)
        if peer is None or now - peer.heard > SILENCE * self._interval or (peer.resigned and priority != RESIGN):
            if priority == RESIGN:
                return
            self._peers[source] = peer = Peer(source, priority, began=now, heard=now, adverts=0, resumed=now if peer else None)
        if now - peer.heard > PAUSE * self._interval:
            peer.resumed = now
        peer.heard = now
        peer.adverts += 1
        peer.resigned = priority == RESIGN
        if priority != RESIGN:
            peer.priority = priority
        leaves = peer.resigned or not bands.is_active(priority)
        peer.leaving = (peer.leaving or now) if leaves else None

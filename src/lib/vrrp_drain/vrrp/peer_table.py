"""What was heard on the segment: which peers advert our virtual router, and who else does. Pure; times are monotonic seconds.

It never grows: a flood of adverts from invented addresses pushes out the oldest of its kind, and never a peer that the link names.
"""

from dataclasses import dataclass

from vrrp_drain.runtime.ip import IPAddress

from . import bands
from .advert import RESIGN
from .election import Heard, Standing
from .strangers import SILENCE, Stranger, Strangers, forget_the_oldest


@dataclass
class Peer:
    """A peer that adverts. ``priority`` is its last one above 0; ``began`` is when it began to advert without a pause."""

    source: IPAddress
    priority: int
    began: float
    heard: float
    adverts: int = 1
    leaving: float | None = None  # when it first said that it leaves, by a draining or unhealthy priority or by 0
    resigned: bool = False

    @property
    def why(self) -> str:
        """Return the cause of its leaving."""
        band = bands.describe(self.priority)
        if band == "draining":
            return "drain"
        if "unhealthy" in band:
            return "peer_unhealthy"
        return "peer_resigned" if self.resigned else "unknown"


class PeerTable:
    """Takes adverts in, and answers questions."""

    def __init__(self, advert_int: float) -> None:
        self._interval = advert_int
        self._peers: dict[IPAddress, Peer] = {}
        self._strangers = Strangers(advert_int)

    def hear(self, heard: Heard) -> None:
        """Take in what was heard, whatever it is."""
        if heard.standing is Standing.STRANGER:
            self._strangers.hear(heard)
        elif heard.advert is not None and heard.standing in (Standing.PEER, Standing.CHANGING):
            self._hear_peer(heard.source, heard.advert.priority, heard.at)
            forget_the_oldest(self._peers, heard.by.peers | heard.by.members)

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
            self._peers[source] = peer = Peer(source, priority, began=now, heard=now, adverts=0)
        peer.heard = now
        peer.adverts += 1
        peer.resigned = priority == RESIGN
        if priority != RESIGN:
            peer.priority = priority
        leaves = peer.resigned or not bands.is_active(priority)
        peer.leaving = (peer.leaving or now) if leaves else None

"""What moved: this instance's VRRP state and band, the VIP between the peers, and why. Pure; times are monotonic seconds."""

from collections.abc import Iterator
from dataclasses import dataclass

from vrrp_drain.config.model import Config
from vrrp_drain.notify.notice import Cause, Kind
from vrrp_drain.runtime.ip import IPAddress
from vrrp_drain.vrrp.bands import Band
from vrrp_drain.vrrp.peer_table import PAUSE, Leaving, Peer, PeerTable
from vrrp_drain.vrrp.state import VrrpState

from . import reasons
from .change import Change
from .reasons import Duration, Reason
from .sight import Sight

_RECENT = 10.0  # seconds, on top of what keepalived waits, within which a promotion explains that the VIP came
_CAUSES = {
    Leaving.DRAINING: Cause.DRAIN,
    Leaving.UNHEALTHY: Cause.PEER_UNHEALTHY,
    Leaving.RESIGNED: Cause.PEER_RESIGNED,
    Leaving.UNKNOWN: Cause.UNKNOWN,
}

_DIED = {False: Cause.KEEPALIVED_STOPPED, True: Cause.KEEPALIVED_HUNG}


@dataclass(frozen=True)
class _Why:
    """Why the VIP came or left, and since when that was so, where it took a time."""

    cause: Cause
    reason: Reason
    since: float | None = None


@dataclass(frozen=True)
class _Lost:
    """The MASTER that fell silent before we took over, and when it was heard last."""

    source: IPAddress
    heard: float

    def again(self, peer: Peer) -> Duration | None:
        """Return how long it was silent, if it is ``peer`` and is heard again."""
        if peer.source != self.source or peer.heard <= self.heard:
            return None
        return Duration(self.heard, peer.began if peer.began > self.heard or peer.resumed is None else peer.resumed)


class Moves:
    """``look`` tells what moved since the last look."""

    def __init__(self, config: Config, peer_table: PeerTable, sight: Sight, now: float) -> None:
        """``sight`` is the first look: there is nothing to compare it with."""
        self._config, self._peer_table, self._sight = config, peer_table, sight
        self.since = now  # when our VRRP state changed last
        self.master: Peer | None = None  # the last peer that was, None while it is us
        self._down: tuple[float, Cause] | None = None  # when haproxy went down, and the cause
        self._back = self._started = float("-inf")  # when haproxy was back, and keepalived was started
        self.reunited: IPAddress | None = None  # the MASTER beside whom we were MASTER until the last look, and to whom we have yielded
        self._lost: _Lost | None = None
        self._gone: tuple[Cause, float] | None = None  # why and when we yielded, while nobody is heard who has the VIP
        ours = config.keepalived
        self._recent = _RECENT + ours.preempt_delay + ours.healthcheck_rise * ours.healthcheck_interval

    def haproxy_went_down(self, cause: Cause, now: float) -> None:
        """A move that follows has this cause."""
        self._down = now, cause

    def haproxy_is_back(self, now: float) -> Duration | None:
        """Return how long it was away, None where that is not known."""
        down, self._down, self._back = self._down, None, now
        return Duration(down[0], now) if down else None

    def look(self, sight: Sight, now: float) -> Iterator[Change]:
        """Compare ``sight`` and the segment with the last look; yield what happened since."""
        before, self._sight, self.reunited = self._sight, sight, None
        if before.band is not sight.band:
            cause = Cause.PROMOTE if sight.band is not Band.DRAINING else _DIED[sight.hangs] if sight.died else Cause.DRAIN
            reason = reasons.BandWritten(sight.priority, "" if sight.died else sight.demoted_by)
            yield Change(Kind.BAND, str(before.band), str(sight.band), cause, reason, age=sight.band_age)
        if before.state is not sight.state:
            yield self._state(before, sight, now)
        yield from self._between_peers(sight, now)

    def _state(self, before: Sight, sight: Sight, now: float) -> Change:
        if sight.state is VrrpState.MASTER:
            why = self._taken_over(sight, now)
        elif sight.state is VrrpState.STOPPED:
            cause, how = _silenced(sight)
            peer = self._peer_table.master(now) if before.state is VrrpState.MASTER else None
            why = _Why(cause, reasons.Silenced(how, peer.source if peer else None))
        elif before.state is VrrpState.STOPPED:
            why = _Why(Cause.KEEPALIVED_STARTED, reasons.KEEPALIVED_RUNS)
            self._started = now
        else:
            why = self._yielded(sight, now)
        if before.state is VrrpState.MASTER:
            self._lost = None
            self._gone = (why.cause, now) if self._peer_table.master(now) is None else None
        self.since = now
        took = None if why.since is None else Duration(why.since, now)
        return Change(Kind.STATE, before.state, sight.state, why.cause, why.reason, took)

    def _taken_over(self, sight: Sight, now: float) -> _Why:
        """Return why the VIP came here."""
        peer = self.master or self._peer_table.last()
        if peer is None:
            return _Why(Cause.START, reasons.NoPeer(self._config.vip))
        if (left := self._left(peer, Duration(peer.heard, now))) is not None:
            self._lost = _Lost(peer.source, peer.heard) if left.cause is Cause.PEER_LOST else None
            return left
        promoted = now - sight.band_age if sight.band is Band.ACTIVE else float("-inf")
        since, cause = max((self._back, Cause.HAPROXY_BACK), (self._started, Cause.KEEPALIVED_STARTED), (promoted, Cause.PROMOTE))
        if since < self.since or now - since >= self._recent:  # we were MASTER since, or it is long ago
            cause = Cause.PREEMPT
        reason = reasons.Outranks(cause, peer.source, peer.priority)
        return _Why(cause, reason, promoted if cause is Cause.PROMOTE else None)

    def _left(self, peer: Peer, silent: Duration) -> _Why | None:
        """Return why ``peer`` is MASTER no more, if that is its own doing.

        ``silent`` is for how many seconds it was not heard before it had a successor.
        """
        if silent > PAUSE * self._config.keepalived.advert_int and not peer.resigned:
            return _Why(Cause.PEER_LOST, reasons.PeerSilent(peer.source, silent), peer.heard)
        if peer.leaving is None:
            return None
        return _Why(_CAUSES[peer.why], reasons.PeerLeft(peer.source, peer.priority, peer.why), peer.leaving)

    def _yielded(self, sight: Sight, now: float) -> _Why:
        """Return why the VIP left."""
        peer = self._peer_table.master(now)
        to = peer.source if peer else None
        if self._down is not None:
            since, cause = self._down
            return _Why(cause, reasons.NotServing(to), since)
        if sight.died:
            return _Why(Cause.KEEPALIVED_STOPPED, reasons.Silenced(reasons.KEEPALIVED_ENDED, to))
        if sight.band is Band.DRAINING:
            return _Why(Cause.DRAIN, reasons.ToldToLeave(to), now - sight.band_age)
        if peer is not None and self._lost is not None and (silent := self._lost.again(peer)) is not None:
            self.reunited = peer.source
            return _Why(Cause.PREEMPT, reasons.HeardAgain(peer.source, peer.priority, silent))
        if peer is not None and peer.priority > sight.priority:
            return _Why(Cause.PREEMPT, reasons.Outranked(peer.source, peer.priority))
        return _Why(Cause.FAULT, reasons.Obstacle(sight.obstacle) if sight.obstacle else reasons.GivenUp(to))

    def _between_peers(self, sight: Sight, now: float) -> Iterator[Change]:
        """What moved between peers, as a BACKUP sees it."""
        master = self._peer_table.master(now)
        before, self.master = self.master, master or self.master
        if sight.state is VrrpState.MASTER:
            self.master = None
        elif master is not None and self._gone is not None:
            (cause, when), self._gone = self._gone, None
            reason = reasons.PeerHasIt(master.source, master.priority, None)
            yield Change(Kind.MASTER_MOVED, str(self._config.me.address), str(master.source), cause, reason, Duration(when, now))
        elif master is not None and before is not None and master.source != before.source:
            why = self._left(before, Duration(before.heard, master.began)) or _Why(Cause.PREEMPT, reasons.PeerOutranks(before.source))
            took = None if why.since is None else Duration(why.since, master.began)  # none: the successor was there before
            reason = reasons.PeerHasIt(master.source, master.priority, why.reason)
            yield Change(Kind.MASTER_MOVED, str(before.source), str(master.source), why.cause, reason, took)


def _silenced(sight: Sight) -> tuple[Cause, reasons.Said]:
    """Return why keepalived does not speak, and how that is said."""
    if sight.hangs:
        return Cause.KEEPALIVED_HUNG, reasons.KEEPALIVED_HANGS
    if sight.band is Band.DRAINING and not sight.died:
        return Cause.DRAIN, reasons.STOPPED_AS_TOLD
    return Cause.KEEPALIVED_STOPPED, reasons.KEEPALIVED_ENDED

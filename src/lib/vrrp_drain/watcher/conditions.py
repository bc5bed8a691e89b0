"""The conditions of a virtual router that should not last: which of them hold, and since when. Pure; times are monotonic seconds."""

from collections.abc import Iterator

from vrrp_drain.config.model import Config
from vrrp_drain.notify.notice import Cause, Kind, Switch
from vrrp_drain.vrrp import bands
from vrrp_drain.vrrp.peer_table import PeerTable
from vrrp_drain.vrrp.state import VrrpState
from vrrp_drain.vrrp.timing import master_down_interval

from .change import Change
from .reasons import OVER, Duration, LetGo, NoMaster, Reason, Said, Saturated, SilentMaster, Stale, TakenOut, TwoMasters, Unserved
from .sight import Sight

_NAMED = 90.0  # seconds after a stranger was heard in which what the kernel refused was his: the condition of his name tells of it
_NAMELESS = 5.0  # seconds in which a stranger becomes known by name
_STALE_SECONDS = 0.5  # keepalived takes its VIP away a moment before or after it ends
_UNSERVED_SECONDS = 2.0  # in a move the VIPs come and go one after the other; a search for duplicates takes a second or two
_GRACE = 1.5  # seconds on top of Master_Down_Interval until nobody counts as MASTER


class Conditions:
    """``look`` tells which of them began, or are over, since the last look."""

    def __init__(self, config: Config, peer_table: PeerTable, now: float) -> None:
        self._config, self._peer_table, self._began = config, peer_table, now
        self._on: dict[Kind, float] = {}
        self._stale_since: float | None = None
        self._unserved_since: float | None = None
        self._named = float("-inf")  # when a stranger was heard last
        self._nameless_since: float | None = None

    def is_on(self, kind: Kind) -> bool:
        """Tell whether a condition holds."""
        return kind in self._on

    def look(self, sight: Sight, now: float, since: float) -> Iterator[Change]:
        """Yield what changed; ``since`` is when our VRRP state changed last."""
        yield from self._condition(Kind.TWO_MASTERS, self._two_masters(sight, now, since), now)
        yield from self._condition(Kind.FOREIGN, self._foreign(now), now)
        yield from self._condition(Kind.STALE_VIP, self._stale(sight, now), now)
        yield from self._condition(Kind.SILENT_MASTER, self._silent(sight, now), now)
        yield from self._condition(Kind.NO_MASTER, self._nobody(sight, now, since), now)
        yield from self._condition(Kind.SATURATED, Saturated(sight.full, sight.vip_here) if sight.full else None, now)
        yield from self._condition(Kind.CIRCLED, Said(sight.circled) if sight.circled else None, now)
        yield from self._condition(Kind.LOST, Said(sight.lost) if sight.lost else None, now)
        yield from self._condition(Kind.UNSERVED, self._unserved(sight, now), now)
        yield from self._condition(Kind.REFUSED, self._nameless(sight, now), now)
        yield from self._condition(Kind.TAKEN_OUT, TakenOut(sight.order) if sight.order else None, now)
        yield from self._condition(Kind.LET_GO, LetGo(sight.let_go) if sight.let_go else None, now)

    def _condition(self, kind: Kind, why: Reason | None, now: float) -> Iterator[Change]:
        since = self._on.get(kind)
        if why is not None and since is None:
            self._on[kind] = now
            yield Change(kind, Switch.OFF, Switch.ON, Cause.CONDITION, why)
        elif why is None and since is not None:
            del self._on[kind]
            yield Change(kind, Switch.ON, Switch.OFF, Cause.CONDITION, OVER, Duration(since, now))

    def _two_masters(self, sight: Sight, now: float, since: float) -> Reason | None:
        """A peer that yields adverts once more at most: two adverts, an interval apart, while we have the VIP, are one too many."""
        peer, interval = self._peer_table.master(now), self._config.keepalived.advert_int
        if sight.state is not VrrpState.MASTER or peer is None or peer.adverts < 2:
            return None
        if peer.heard - max(peer.began, since) < 0.9 * interval:
            return None
        return TwoMasters(peer.source, peer.priority, sight.priority)

    def _foreign(self, now: float) -> Reason | None:
        strangers = self._peer_table.strangers(now)
        self._named = now if strangers else self._named
        return Said(strangers[0].why) if strangers else None

    def _nameless(self, sight: Sight, now: float) -> Reason | None:
        """What the kernel refused, unless it is of a stranger who is known by name, or may be in a moment."""
        if not sight.refused or now - self._named < _NAMED:
            self._nameless_since = None
            return None
        self._nameless_since = now if self._nameless_since is None else self._nameless_since
        return Said(sight.refused) if now - self._nameless_since >= _NAMELESS else None

    def _stale(self, sight: Sight, now: float) -> Reason | None:
        if sight.keepalived_runs or not sight.vip_here:
            self._stale_since = None
            return None
        self._stale_since = now if self._stale_since is None else self._stale_since
        if now - self._stale_since < _STALE_SECONDS:
            return None
        peer = self._peer_table.master(now)
        return Stale(self._config.vip, peer.source if peer else None, sight.hangs)

    def _unserved(self, sight: Sight, now: float) -> Reason | None:
        if not sight.unserved:
            self._unserved_since = None
            return None
        self._unserved_since = now if self._unserved_since is None else self._unserved_since
        return Unserved(sight.unserved, sight.state) if now - self._unserved_since >= _UNSERVED_SECONDS else None

    def _silent(self, sight: Sight, now: float) -> Reason | None:
        peer = self._peer_table.master(now)
        if sight.state is not VrrpState.BACKUP or peer is None or sight.answered is not False:
            return None
        return SilentMaster(peer.source, self._config.vip)

    def _nobody(self, sight: Sight, now: float, since: float) -> Reason | None:
        ours, last = self._config.keepalived, self._peer_table.last()
        longest = master_down_interval(bands.LOWEST, ours.advert_int, ours.vrrp_version) + ours.preempt_delay + _GRACE
        heard = max(last.heard if last else 0.0, self._began, since)
        if sight.vip_here or self._peer_table.master(now) is not None or now - heard < longest:
            return None
        return NoMaster(self._config.vip, sight.state)

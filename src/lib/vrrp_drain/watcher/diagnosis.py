"""Makes notices of what the watcher sees: what changed, since when, and why. Pure; ``now`` is monotonic, ``at`` since the epoch."""

from vrrp_drain.config.model import Config
from vrrp_drain.haproxy.monitor import Verdict
from vrrp_drain.notify.notice import Cause, Kind, Notice, Service
from vrrp_drain.runtime.ip import IPAddress
from vrrp_drain.vrrp.bands import Band
from vrrp_drain.vrrp.peer_table import PeerTable
from vrrp_drain.vrrp.state import VrrpState

from . import reasons
from .change import Change
from .conditions import Conditions
from .moves import Moves
from .sight import Sight


class Diagnosis:
    """One instance's view of one virtual router."""

    def __init__(self, config: Config, peer_table: PeerTable, sight: Sight, now: float) -> None:
        """``sight`` is the first look: there is nothing to compare it with."""
        self._config, self._sight = config, sight
        self._moves = Moves(config, peer_table, sight, now)
        self._conditions = Conditions(config, peer_table, now)

    def is_on(self, kind: Kind) -> bool:
        """Tell whether a condition holds."""
        return self._conditions.is_on(kind)

    @property
    def reunited(self) -> IPAddress | None:
        """Return the peer to whom we have yielded at the last look, having been MASTER beside it while the segment was parted."""
        return self._moves.reunited

    def yields(self, sight: Sight) -> bool:
        """Tell whether we were MASTER at the last look, and are not in ``sight``."""
        return self._sight.state is VrrpState.MASTER and sight.state is not VrrpState.MASTER

    def started(self, at: float, *, rebooted: bool) -> Notice:
        """Tell that there is a watcher now."""
        after_reboot = reasons.REBOOTED_AND_OUT if self._sight.order else reasons.REBOOTED
        cause, reason = (Cause.REBOOT, after_reboot) if rebooted else (Cause.START, reasons.BEGINS)
        return self._notice(Change(Kind.WATCHER, "", self._sight.state, cause, reason), at)

    def look(self, sight: Sight, now: float, at: float) -> list[Notice]:
        """Compare ``sight`` and the segment with the last look; return what happened since."""
        self._sight = sight
        found = [self._notice(change, at) for change in self._moves.look(sight, now)]  # one by one: who is MASTER changes meanwhile
        return [*found, *(self._notice(change, at) for change in self._conditions.look(sight, now, self._moves.since))]

    def haproxy(self, verdict: Verdict, now: float, at: float) -> Notice:
        """haproxy is dead, or alive again."""
        if verdict.alive:
            away = self._moves.haproxy_is_back(now)
            before, cause = ("", Cause.START) if away is None else (Service.DOWN, Cause.HAPROXY_BACK)
            return self._notice(Change(Kind.HAPROXY, before, Service.UP, cause, reasons.HAPROXY_ANSWERS, away), at)
        leaving = self._sight.band is Band.DRAINING
        cause = Cause.DRAIN if leaving else Cause.HAPROXY_DIED if verdict.died else Cause.HAPROXY_HUNG
        self._moves.haproxy_went_down(cause, now)
        reason = reasons.HaproxyDown(verdict.problem, leaving, self._sight.vip_here)
        return self._notice(Change(Kind.HAPROXY, Service.UP, Service.DOWN, cause, reason), at)

    def _notice(self, change: Change, at: float) -> Notice:
        sight, peer = self._sight, self._moves.master
        master = self._config.me.address if sight.state is VrrpState.MASTER else peer.source if peer else None
        return Notice(
            at=at - change.age,
            instance=str(self._config.me),
            vip=str(self._config.vip),
            kind=change.kind,
            previous=str(change.previous),
            state=str(change.state),
            cause=change.cause,
            reason=str(change.reason),
            master=str(master) if master else None,
            priority=sight.priority,
            seconds=None if change.took is None else round(change.took, 4),
        )

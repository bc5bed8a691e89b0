"""Makes notices of what the watcher sees: what changed, since when, and why. Pure; ``now`` is monotonic, ``at`` since the epoch."""

from collections.abc import Iterator
from dataclasses import dataclass

from vrrp_drain.config.model import Config
from vrrp_drain.haproxy.monitor import Verdict
from vrrp_drain.notify.notice import Kind, Notice
from vrrp_drain.runtime.ip import IPAddress
from vrrp_drain.vrrp import bands
from vrrp_drain.vrrp.bands import Band
from vrrp_drain.vrrp.peer_table import Peer, PeerTable
from vrrp_drain.vrrp.timing import master_down_interval

MASTER, BACKUP, STOPPED = "master", "backup", "stopped"
_LOST = 2.5  # advert intervals of silence that no delay explains: Master_Down_Interval is three
_NAMED = 90.0  # seconds after a stranger was heard in which what the kernel refused was his: the condition of his name tells of it
_NAMELESS = 5.0  # seconds in which a stranger becomes known by name
_STALE_SECONDS = 0.5  # keepalived takes its VIP away a moment before or after it ends
_GRACE = 1.5  # seconds on top of Master_Down_Interval until nobody counts as MASTER
_RECENT = 10.0  # seconds, on top of what keepalived waits, within which a promotion explains that the VIP came


@dataclass(frozen=True)
class Sight:
    """This instance at one moment.

    ``priority`` is what it adverts as MASTER, as far as we decide it; ``band_age`` is how many seconds ago the band was written;
    ``answered`` tells whether anybody else answers for the VIP, None where that is not known; ``obstacle`` is what is wrong with the
    interface, asked when the VIP has just left it; ``full`` is why haproxy takes nobody new;
    ``circled`` and ``refused`` are what the kernel's rules stopped lately (strays.py).
    """

    keepalived_runs: bool
    vip_here: bool
    priority: int
    band: Band
    band_age: float
    unhealthy: bool
    answered: bool | None = None
    obstacle: str = ""
    circled: str = ""
    refused: str = ""
    full: str = ""

    @property
    def state(self) -> str:
        if not self.keepalived_runs:
            return STOPPED
        return MASTER if self.vip_here else BACKUP


class Diagnosis:
    """One instance's view of one virtual router."""

    def __init__(self, config: Config, peer_table: PeerTable, sight: Sight, now: float) -> None:
        """``sight`` is the first look: there is nothing to compare it with."""
        self._config = config
        self._peer_table = peer_table
        self._sight = sight
        self._since = self._began = now
        self._master: Peer | None = None
        self._stale_since: float | None = None
        self._on: dict[Kind, float] = {}
        self._down: tuple[float, str] | None = None  # when haproxy went down, and the cause
        self._back = self._started = float("-inf")  # when haproxy was back, and keepalived was started
        self._lost: tuple[IPAddress, float] | None = None  # the MASTER that fell silent before we took over, and when it was heard last
        self._named = float("-inf")  # when a stranger was heard last
        self._nameless_since: float | None = None
        self._gone: tuple[str, float] | None = None  # why and when we yielded, while nobody is heard who has the VIP
        ours = config.keepalived
        self._recent = _RECENT + ours.preempt_delay + ours.healthcheck_rise * ours.healthcheck_interval

    def is_on(self, kind: Kind) -> bool:
        """Tell whether a condition holds."""
        return kind in self._on

    def yields(self, sight: Sight) -> bool:
        """Tell whether we were MASTER at the last look, and are not in ``sight``."""
        return self._sight.state == MASTER and sight.state != MASTER

    def started(self, at: float, *, rebooted: bool) -> Notice:
        """Tell that there is a watcher now."""
        cause, reason = (
            ("reboot", "the machine was started anew, and no lifecycle script ran: this instance is promoted when haproxy answers")
            if rebooted
            else ("start", "it begins to watch")
        )
        return self._notice(at, Kind.WATCHER, "", self._sight.state, cause, reason)

    def look(self, sight: Sight, now: float, at: float) -> list[Notice]:
        """Compare ``sight`` and the segment with the last look; return what happened since."""
        before, self._sight = self._sight, sight
        found = [*self._band(before, sight, at), *self._state(before, sight, now, at), *self._moved(sight, now, at)]
        return [*found, *self._conditions(sight, now, at)]

    def haproxy(self, verdict: Verdict, now: float, at: float) -> Notice:
        """haproxy is dead, or alive again."""
        if not verdict.alive:
            if self._sight.band is Band.DRAINING:
                cause, means = "drain", "this instance is leaving, as it was told to"
            else:
                cause = "haproxy_died" if verdict.died else "haproxy_hung"
                means = (
                    "clients of the VIP are not served from here" if self._sight.vip_here else "this instance could not take the VIP over"
                )
            self._down = (now, cause)
            return self._notice(at, Kind.HAPROXY, "up", "down", cause, f"{verdict.problem}: {means}")
        down, self._down = self._down, None
        self._back = now
        before, seconds = ("down", now - down[0]) if down else ("", None)
        return self._notice(at, Kind.HAPROXY, before, "up", "haproxy_back" if down else "start", "haproxy answers", seconds)

    def _band(self, before: Sight, sight: Sight, at: float) -> Iterator[Notice]:
        if before.band is sight.band:
            return
        cause = "drain" if sight.band is Band.DRAINING else "promote"
        reason = f"the priority of this instance is {sight.priority} now"
        yield self._notice(at - sight.band_age, Kind.BAND, str(before.band), str(sight.band), cause, reason)

    def _state(self, before: Sight, sight: Sight, now: float, at: float) -> Iterator[Notice]:
        if before.state == sight.state:
            return
        if sight.state == MASTER:
            cause, reason, seconds = self._taken_over(sight, now)
        elif sight.state == STOPPED:
            cause, seconds = "keepalived_stopped", None
            reason = "keepalived does not run (any more): see keepalived.log"
            if sight.band is Band.DRAINING:
                cause, reason = "drain", "keepalived was stopped; this instance had been told to leave"
        elif before.state == STOPPED:
            cause, reason, seconds = "keepalived_started", "keepalived runs", None
            self._started = now
        else:
            cause, reason, seconds = self._yielded(sight, now)
        if before.state == MASTER:
            self._lost = None
            self._gone = (cause, now) if self._peer_table.master(now) is None else None
        self._since = now
        yield self._notice(at, Kind.STATE, before.state, sight.state, cause, reason, seconds)

    def _taken_over(self, sight: Sight, now: float) -> tuple[str, str, float | None]:
        """Return why the VIP came here: cause, reason, and the seconds since the reason began."""
        peer, vip = self._master or self._peer_table.last(), self._config.vip
        if peer is None:
            return "start", f"no peer adverts {vip}", None
        if (left := self._left(peer, now - peer.heard)) is not None:
            cause, reason, since = left
            self._lost = (peer.source, peer.heard) if cause == "peer_lost" else None
            return cause, reason, now - since
        outranks = f"outranks {peer.source} (priority {peer.priority})"
        promoted = now - sight.band_age if sight.band is Band.ACTIVE else float("-inf")
        since, cause, what, seconds = max(
            (self._back, "haproxy_back", "haproxy serves here again, and this instance", None),
            (self._started, "keepalived_started", "keepalived was started here, and this instance", None),
            (promoted, "promote", "this instance was promoted and", sight.band_age),
        )
        if since >= self._since and now - since < self._recent:  # we were not MASTER since
            return cause, f"{what} {outranks}", seconds
        return "preempt", f"this instance {outranks}", None

    def _left(self, peer: Peer, silent: float) -> tuple[str, str, float] | None:
        """Return why ``peer`` is MASTER no more, if that is its own doing: cause, reason, and since when.

        ``silent`` is for how many seconds it was not heard before it had a successor.
        """
        if silent > _LOST * self._config.keepalived.advert_int and not peer.resigned:
            return "peer_lost", f"{peer.source} was not heard for {silent:.1f} s: it is dead, or its adverts do not reach us", peer.heard
        if peer.leaving is None:
            return None
        reasons = {
            "drain": f"{peer.source} is leaving (priority {peer.priority})",
            "peer_unhealthy": f"haproxy of {peer.source} does not serve (priority {peer.priority})",
            "peer_resigned": f"{peer.source} stopped adverting: its keepalived was stopped, or its check failed",
            "unknown": f"{peer.source} adverts priority {peer.priority}",
        }
        return peer.why, reasons[peer.why], peer.leaving

    def _yielded(self, sight: Sight, now: float) -> tuple[str, str, float | None]:
        """Return why the VIP left: cause, reason, and the seconds since the reason began."""
        peer = self._peer_table.master(now)
        to = f"{peer.source} has it" if peer else "nobody is heard yet who has it"
        if self._down is not None:
            since, cause = self._down
            return cause, f"haproxy does not serve here: {to}", now - since
        if sight.band is Band.DRAINING:
            return "drain", f"this instance was told to leave: {to}", sight.band_age
        if peer is not None and self._lost is not None and self._lost[0] == peer.source:
            return (
                "preempt",
                f"{peer.source} is heard again, {peer.began - self._lost[1]:.1f} s after it fell silent, and outranks us (priority "
                f"{peer.priority}): if it ran all the time, both of us were MASTER, and clients reached one or the other",
                None,
            )
        if peer is not None and peer.priority > sight.priority:
            return "preempt", f"{peer.source} outranks us with priority {peer.priority}", None
        if sight.obstacle:
            return "fault", f"{sight.obstacle}: keepalived gave the VIP up, and clients are not served from here until that is mended", None
        return "fault", f"keepalived gave it up (its check failed, or the interface is down): {to}; see keepalived.log", None

    def _moved(self, sight: Sight, now: float, at: float) -> Iterator[Notice]:
        """Between peers, as a BACKUP sees it."""
        master = self._peer_table.master(now)
        before, self._master = self._master, master or self._master
        if sight.state == MASTER:
            self._master = None
        elif master is not None and self._gone is not None:
            cause, when = self._gone
            self._gone = None
            reason = f"{master.source} has the VIP now, with priority {master.priority}; until then nobody was heard who has it"
            yield self._notice(at, Kind.MASTER_MOVED, str(self._config.me.address), str(master.source), cause, reason, now - when)
        elif master is not None and before is not None and master.source != before.source:
            cause, why, since = self._left(before, master.began - before.heard) or ("preempt", f"it outranks {before.source}", None)
            seconds = max(0.0, master.began - since) if since is not None else None  # the successor may have been there before
            reason = f"{master.source} has the VIP now, with priority {master.priority}: {why}"
            yield self._notice(at, Kind.MASTER_MOVED, str(before.source), str(master.source), cause, reason, seconds)

    def _conditions(self, sight: Sight, now: float, at: float) -> Iterator[Notice]:
        yield from self._condition(Kind.TWO_MASTERS, self._two_masters(sight, now), now, at)
        strangers = self._peer_table.strangers(now)
        self._named = now if strangers else self._named
        yield from self._condition(Kind.FOREIGN, strangers[0].why if strangers else "", now, at)
        yield from self._condition(Kind.STALE_VIP, self._stale(sight, now), now, at)
        yield from self._condition(Kind.SILENT_MASTER, self._silent(sight, now), now, at)
        yield from self._condition(Kind.NO_MASTER, self._nobody(sight, now), now, at)
        yield from self._condition(Kind.SATURATED, self._saturated(sight), now, at)
        yield from self._condition(Kind.CIRCLED, sight.circled, now, at)
        yield from self._condition(Kind.REFUSED, self._nameless(sight, now), now, at)

    def _condition(self, kind: Kind, why: str, now: float, at: float) -> Iterator[Notice]:
        since = self._on.get(kind)
        if why and since is None:
            self._on[kind] = now
            yield self._notice(at, kind, "off", "on", "condition", why)
        elif not why and since is not None:
            del self._on[kind]
            yield self._notice(at, kind, "on", "off", "condition", "it is over", now - since)

    def _nameless(self, sight: Sight, now: float) -> str:
        """What the kernel refused, unless it is of a stranger who is known by name, or may be in a moment."""
        if not sight.refused or now - self._named < _NAMED:
            self._nameless_since = None
            return ""
        self._nameless_since = now if self._nameless_since is None else self._nameless_since
        return sight.refused if now - self._nameless_since >= _NAMELESS else ""

    def _two_masters(self, sight: Sight, now: float) -> str:
        """A peer that yields adverts once more at most: two adverts, an interval apart, while we have the VIP, are one too many."""
        peer, interval = self._peer_table.master(now), self._config.keepalived.advert_int
        if sight.state != MASTER or peer is None or peer.adverts < 2 or peer.heard - max(peer.began, self._since) < 0.9 * interval:
            return ""
        return (
            f"{peer.source} (priority {peer.priority}) adverts as MASTER, and so do we (priority {sight.priority}): clients reach "
            "one or the other; our adverts do not reach it"
        )

    def _stale(self, sight: Sight, now: float) -> str:
        if sight.keepalived_runs or not sight.vip_here:
            self._stale_since = None
            return ""
        self._stale_since = self._stale_since if self._stale_since is not None else now
        if now - self._stale_since < _STALE_SECONDS:
            return ""
        peer = self._peer_table.master(now)
        means = (
            f"clients reach this instance or {peer.source}, which has it" if peer else "clients are served from here until a peer has it"
        )
        return f"{self._config.vip} is still on the interface here although keepalived has ended: {means}"

    def _silent(self, sight: Sight, now: float) -> str:
        peer = self._peer_table.master(now)
        if sight.state != BACKUP or peer is None or sight.answered is not False:
            return ""
        return (
            f"{peer.source} adverts as MASTER, but nobody answers for {self._config.vip}: clients that do not know its MAC are without it"
        )

    def _nobody(self, sight: Sight, now: float) -> str:
        ours, last = self._config.keepalived, self._peer_table.last()
        longest = master_down_interval(bands.LOWEST, ours.advert_int, ours.vrrp_version) + ours.preempt_delay + _GRACE
        heard = max(last.heard if last else 0.0, self._began, self._since)
        if sight.vip_here or self._peer_table.master(now) is not None or now - heard < longest:
            return ""
        return (
            f"nobody adverts {ours.vip.ip}, and it is not here (we are {sight.state}): clients are without it, or adverts do not reach us"
        )

    def _saturated(self, sight: Sight) -> str:
        if not sight.full:
            return ""
        means = "clients that are connected are served, new ones wait until one of them leaves" if sight.vip_here else "it has no VIP now"
        return f"{sight.full}: {means}"

    def _notice(self, at: float, kind: Kind, previous: str, state: str, cause: str, reason: str, seconds: float | None = None) -> Notice:
        sight = self._sight
        master = self._config.me.address if sight.state == MASTER else self._master.source if self._master else None
        return Notice(
            at=at,
            instance=str(self._config.me),
            vip=str(self._config.vip),
            kind=kind,
            previous=previous,
            state=state,
            cause=cause,
            reason=reason,
            master=str(master) if master else None,
            priority=sight.priority,
            seconds=round(seconds, 4) if seconds is not None else None,
        )

"""What the watcher saw, as one record: the log, the history, the metrics, hooks and webhooks all tell the same.

Pure: it knows no clock, no file and no socket.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from typing import Any

from vrrp_drain.runtime.plain import plain
from vrrp_drain.runtime.str_enum import StrEnum


class Severity(StrEnum):
    """Whether somebody should look."""

    INFO = "info"
    WARNING = "warning"


class Cause(StrEnum):
    """Why it happened. The value stands in JSON, metrics and alerts."""

    DRAIN = "drain"
    PROMOTE = "promote"
    PREEMPT = "preempt"
    HAPROXY_DIED = "haproxy_died"
    HAPROXY_HUNG = "haproxy_hung"
    HAPROXY_BACK = "haproxy_back"
    PEER_LOST = "peer_lost"
    PEER_RESIGNED = "peer_resigned"
    PEER_UNHEALTHY = "peer_unhealthy"
    FAULT = "fault"
    KEEPALIVED_STOPPED = "keepalived_stopped"
    KEEPALIVED_HUNG = "keepalived_hung"
    KEEPALIVED_STARTED = "keepalived_started"
    REBOOT = "reboot"
    START = "start"
    CONDITION = "condition"
    DAMPED = "damped"
    UNKNOWN = "unknown"


CAUSES = {
    Cause.DRAIN: "an instance was told to leave: an update, an errand, an operator",
    Cause.PROMOTE: "this instance was told to take part again",
    Cause.PREEMPT: "an instance with a higher priority took the VIP",
    Cause.HAPROXY_DIED: "a process of haproxy ended, and the health check failed",
    Cause.HAPROXY_HUNG: "the health check failed health_fall times",
    Cause.HAPROXY_BACK: "the health check succeeded again",
    Cause.PEER_LOST: "the MASTER was not heard any more: its VM, its keepalived or the network is gone",
    Cause.PEER_RESIGNED: "the MASTER's keepalived was stopped, or gave the VIP up",
    Cause.PEER_UNHEALTHY: "the MASTER's haproxy does not serve",
    Cause.FAULT: "keepalived here gave the VIP up: its check failed, or the interface is down",
    Cause.KEEPALIVED_STOPPED: "keepalived does not run here any more, or a process of it ended",
    Cause.KEEPALIVED_HUNG: "keepalived is here, but stopped (SIGSTOP) or stuck",
    Cause.KEEPALIVED_STARTED: "keepalived runs here",
    Cause.REBOOT: "the machine was started anew",
    Cause.START: "the watcher begins, or nobody had the VIP",
    Cause.CONDITION: "a condition began, or is over",
    Cause.DAMPED: "so much happened that not all of it is told",
    Cause.UNKNOWN: "none of these can be told",
}
# Causes of a move, or of what the watcher says of itself, that somebody asked for, or that make things well again.
_EXPECTED = frozenset(
    {
        Cause.DRAIN,
        Cause.PROMOTE,
        Cause.PREEMPT,
        Cause.HAPROXY_BACK,
        Cause.PEER_RESIGNED,
        Cause.KEEPALIVED_STARTED,
        Cause.REBOOT,
        Cause.START,
    }
)

# What a field may be that is not text, as it comes from JSON.
_TYPES: Mapping[str, tuple[type, ...]] = {
    "at": (int, float),
    "seconds": (int, float, type(None)),
    "priority": (int, type(None)),
    "master": (str, type(None)),
}
_LATEST = 253402300800  # the year 10000, which RFC 3339 cannot write


class Kind(StrEnum):
    """What a notice is about. The value stands in JSON, metrics and alerts."""

    STATE = "state"  # the VRRP state of this instance changed
    MASTER_MOVED = "master_moved"  # seen by a BACKUP: another peer is MASTER now
    HAPROXY = "haproxy"  # haproxy died, hung, or is back
    BAND = "band"  # demoted or promoted
    TWO_MASTERS = "two_masters"
    FOREIGN = "foreign"  # somebody else's adverts with our VRID
    STALE_VIP = "stale_vip"  # the VIP is on our interface, but keepalived does not run, or hangs
    SILENT_MASTER = "silent_master"  # a peer adverts as MASTER, but nobody answers for the VIP
    NO_MASTER = "no_master"
    SATURATED = "haproxy_saturated"  # haproxy serves whom it has, and takes nobody new
    CIRCLED = "packets_circled"  # packets of nobody's connection were handed on until they had no hop left
    REFUSED = "adverts_refused"  # somebody's adverts with our VRID were kept from keepalived
    LOST = "rules_lost"  # somebody took our rules away, or a VIP on lo
    UNSERVED = "vip_unserved"  # a VIP that no client reaches when this instance is MASTER
    TAKEN_OUT = "taken_out"  # an operator wants this instance out until it is promoted
    LET_GO = "let_go"  # BOSH may stop this instance without a successor, as an operator said
    WATCHER = "watcher"  # the watcher started, put things back after a reboot, or damps what happens too often


CONDITIONS = frozenset(
    {
        Kind.TWO_MASTERS,
        Kind.FOREIGN,
        Kind.STALE_VIP,
        Kind.SILENT_MASTER,
        Kind.NO_MASTER,
        Kind.SATURATED,
        Kind.CIRCLED,
        Kind.REFUSED,
        Kind.LOST,
        Kind.UNSERVED,
        Kind.TAKEN_OUT,
        Kind.LET_GO,
    }
)


class Service(StrEnum):
    """What haproxy is, in a notice of it."""

    UP = "up"
    DOWN = "down"


class Switch(StrEnum):
    """Whether a condition holds."""

    ON = "on"
    OFF = "off"


@dataclass(frozen=True)
class Notice:
    """One thing that happened.

    ``at`` is in seconds since the epoch; ``seconds`` is how long the handover took, or the condition that ended lasted.
    ``previous`` and ``state`` are values of VrrpState; of a MASTER its address, of haproxy a Service, of a band its name, of a
    condition a Switch. ``reason`` is the sentence for people. ``master`` is the address of the MASTER as known now, ``priority`` what
    this instance adverts.
    """

    at: float
    instance: str
    vip: str
    kind: Kind
    previous: str
    state: str
    cause: Cause
    reason: str
    master: str | None
    priority: int | None
    seconds: float | None = None

    @property
    def severity(self) -> Severity:
        """Return warning where somebody should look: a condition that begins, or a change that nobody asked for."""
        if self.kind in CONDITIONS:
            return Severity.INFO if self.state == Switch.OFF else Severity.WARNING
        return Severity.INFO if self.kind is Kind.BAND or self.cause in _EXPECTED else Severity.WARNING

    def as_json(self) -> dict[str, object]:
        """Return what a JSON document says of it: the same names, and ``time`` in UTC as RFC 3339 writes it."""
        when = datetime.fromtimestamp(self.at, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return {"time": when, **asdict(self), "kind": self.kind.value, "cause": self.cause.value}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Notice":
        """Return what as_json told of. Raises KeyError, TypeError or ValueError for anything else."""
        values = {each.name: found[each.name] for each in fields(cls)}
        for name, value in values.items():
            allowed = _TYPES.get(name, (str,))
            if not isinstance(value, allowed) or isinstance(value, bool):
                raise TypeError(f"{name} is {value!r}")
        if not (0 <= values["at"] < _LATEST and 0 <= (values["seconds"] or 0) < math.inf):
            raise ValueError(f"at is {values['at']!r}, seconds is {values['seconds']!r}")
        cause = Cause(values["cause"]) if values["cause"] in CAUSES else Cause.UNKNOWN  # of a later version, before a roll back
        return cls(**{**values, "kind": Kind(values["kind"]), "cause": cause, "at": float(values["at"])})

    def line(self) -> str:
        """Return one plain line for people."""
        moved = f"{self.previous} -> {self.state}" if self.previous else self.state
        lasted = f" ({self.seconds:.2f} s)" if self.seconds is not None else ""
        return plain(" ".join(f"{self.kind.value} {moved}, {self.cause}: {self.reason}{lasted}".split()))

"""How haproxy here is: it serves, it is full, or it does not serve. See docs/decisions/0013-full-is-not-hung.md.

A haproxy that is full takes no connection, and so does one that hangs. The first serves whom it has, and to move its VIP would
cut them, and fill up the next one; so where nobody takes the check's connection, the kernel is asked what haproxy's threads
do, and haproxy itself how full it is.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vrrp_drain.config.model import VrrpDrain
from vrrp_drain.linux import listeners
from vrrp_drain.runtime.errors import SystemFault

from . import health_check, progress
from .progress import Progress, Sample

_FOR_THE_CHECK = 2 / 3  # of the time; what is left is for haproxy's own word
_LIMITS = (
    ("CurrConns", "Maxconn", "connections (maxconn)"),
    ("CurrSslConns", "MaxSslConns", "TLS connections (maxsslconn)"),
    ("ConnRate", "ConnRateLimit", "connections a second (maxconnrate)"),
    ("SessRate", "SessRateLimit", "sessions a second (maxsessrate)"),
    ("SslRate", "SslRateLimit", "TLS handshakes a second (maxsslrate)"),
)


@dataclass(frozen=True)
class Health:
    """``problem`` says why haproxy does not serve; ``full`` why it takes nobody new, although it serves whom it has. Both may be empty."""

    problem: str = ""
    full: str = ""


def look(drain: VrrpDrain, timeout: float = 1.0) -> Health:
    """Ask haproxy here as vrrp_drain.health_check says; it takes ``timeout`` seconds at most."""
    deadline = time.monotonic() + timeout
    before = progress.sample(_workers(drain.haproxy_pid_file))
    try:
        info = health_check.check(drain.health_check, timeout * _FOR_THE_CHECK)
    except health_check.Silent as error:
        return _silent(drain, str(error), before, deadline)
    except SystemFault as error:
        return Health(problem=str(error))
    return Health(full=_full(drain, ", ".join(_reached(info)))) if _reached(info) else Health()


def problem(drain: VrrpDrain, timeout: float = 1.0) -> str:
    """Return why haproxy does not serve, or nothing, within ``timeout`` seconds."""
    return look(drain, timeout).problem


def _silent(drain: VrrpDrain, silence: str, before: Sample, deadline: float) -> Health:
    workers = _workers(drain.haproxy_pid_file)
    did = progress.between(before, progress.sample(workers))
    if did is Progress.STANDS:
        return Health(problem=f"{silence}: it hangs")
    info = _own_word(workers, deadline)
    if did is Progress.BUSY and not info:
        return Health(problem=f"{silence}: it hangs, and turns in a circle")
    return Health(full=_full(drain, ", ".join(_reached(info)) or "a limit is reached, as one frontend's or bind's maxconn is one"))


def _full(drain: VrrpDrain, why: str) -> str:
    return f"haproxy lives but takes no new connection ({drain.health_check.geturl()}): {why}"


def _workers(pid_file: Path) -> list[int]:
    """Return the processes of haproxy's that take connections: after a reload those that finish are none of them."""
    processes = health_check.processes(pid_file)
    workers = processes[1:] or processes
    if len(workers) < 2:
        return workers
    try:
        return [pid for pid in workers if listeners.listening(health_check.sockets(pid))] or workers
    except SystemFault:
        return workers


def _own_word(workers: Sequence[int], deadline: float) -> Mapping[str, str]:
    """Return what haproxy says of itself until ``deadline``, from the first of its stats sockets that answers; or nothing."""
    for path in (path for pid in workers for path in health_check.stats_sockets(pid)):
        try:
            info = health_check.show_info(path, max(deadline - time.monotonic(), 0.001))
        except OSError:
            continue
        if "CurrConns" in info:
            return info
    return {}


def _reached(info: Mapping[str, str]) -> list[str]:
    """Return the limits of the whole haproxy that are reached; 0 is none."""
    given = [(info.get(now, ""), info.get(most, ""), what) for now, most, what in _LIMITS]
    known = [(int(now), int(most), what) for now, most, what in given if now.isdecimal() and most.isdecimal()]
    return [f"{now} of {most} {what}" for now, most, what in known if 0 < most <= now]

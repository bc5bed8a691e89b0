"""How haproxy here is: it serves, it is full, or it does not serve. See docs/decisions/0013-full-is-not-hung.md.

A haproxy that is full takes no connection, and so does one that hangs. The first serves whom it has, and to move its VIP would
cut them, and fill up the next one; so where nobody takes the check's connection, the kernel is asked what haproxy's threads
do, and haproxy itself how full it is.
"""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from vrrp_drain.config.model import Config, VrrpDrain
from vrrp_drain.linux import listeners
from vrrp_drain.linux.sock_diag import Socket
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import IPAddress

from . import health_check, progress, target
from .listening import Listening
from .progress import Progress, Sample

_FOR_THE_CHECK = 2 / 3  # of the time; what is left is for haproxy's own word
_LOOK_EVERY = 0.01  # seconds
_STARVED = "it gets hardly any processor time, other programs have it"
_MOST_NAMED = 4  # ports in a sentence
_LIMITS = (
    ("CurrConns", "Maxconn", "connections (maxconn)"),
    ("CurrSslConns", "MaxSslConns", "TLS connections (maxsslconn)"),
    ("ConnRate", "ConnRateLimit", "connections a second (maxconnrate)"),
    ("SessRate", "SessRateLimit", "sessions a second (maxsessrate)"),
    ("SslRate", "SslRateLimit", "TLS handshakes a second (maxsslrate)"),
)


@dataclass(frozen=True)
class Health:
    """``problem`` says why haproxy does not serve; ``full`` why it takes nobody new, although it serves whom it has. Both may be empty.

    ``asked`` is what was asked, as vrrp_drain.health_check writes it; empty where nobody knew what to ask.
    """

    problem: str = ""
    full: str = ""
    asked: str = ""


def look(drain: VrrpDrain, timeout: float = 1.0, listening: Listening | None = None) -> Health:
    """Ask haproxy here as vrrp_drain.health_check says, or where it listens; it takes ``timeout`` seconds at most."""
    deadline = time.monotonic() + timeout
    try:
        asked, found = target.here(drain, listening or Listening())
    except SystemFault as error:
        return Health(problem=str(error))
    before = progress.sample(_workers(drain.haproxy_pid_file))
    if asked is None:
        return _out_of_reach(drain, before, deadline)
    try:
        info = health_check.check(asked.url, timeout * _FOR_THE_CHECK, asked.header)
    except health_check.Silent as error:
        return _silent(drain, str(error), str(asked), before, deadline)
    except SystemFault as error:
        return Health(problem=str(error), asked=str(asked))
    reached = [*_reached(info), *_crowded(found.crowded)]
    return Health(full=_full(str(asked), reached) if reached else "", asked=str(asked))


def problem(drain: VrrpDrain, timeout: float = 1.0) -> str:
    """Return why haproxy does not serve, or nothing, within ``timeout`` seconds."""
    return look(drain, timeout).problem


def answering(
    config: Config, peers: Sequence[IPAddress], timeout: float = 0.3, listening: Listening | None = None
) -> list[IPAddress] | None:
    """Return the peers whose haproxy answers as ours is asked, within ``timeout`` seconds; None where they cannot be asked from here."""
    targets = target.of_peers(config, listening or Listening(), peers)
    if targets is None or not peers:
        return None if targets is None else []

    def answers(peer: IPAddress) -> bool:
        try:
            health_check.check(targets[peer].url, timeout, targets[peer].header)
        except SystemFault:
            return False
        return True

    with ThreadPoolExecutor(len(peers)) as pool:
        return [peer for peer, healthy in zip(peers, pool.map(answers, peers), strict=True) if healthy]


def _out_of_reach(drain: VrrpDrain, before: Sample, deadline: float) -> Health:
    """haproxy listens where a connection from here does not reach it: what it and the kernel say has to do."""
    workers, asked = _workers(drain.haproxy_pid_file), "its threads and its stats socket"
    if info := _own_word(workers, deadline):
        if info.get("Stopping", "0") != "0":
            return Health(problem="haproxy is finishing: it takes no connection any more", asked=asked)
        return Health(full=_full(asked, _reached(info)) if _reached(info) else "", asked=asked)
    while progress.between(before, progress.sample(workers)) is Progress.STANDS:
        if time.monotonic() >= deadline:
            return Health(problem="haproxy stands still: it hangs", asked=asked)
        time.sleep(_LOOK_EVERY)
    return Health(asked=asked)


def _silent(drain: VrrpDrain, silence: str, asked: str, before: Sample, deadline: float) -> Health:
    workers = _workers(drain.haproxy_pid_file)
    did = progress.between(before, progress.sample(workers))
    if did is Progress.STANDS:
        return Health(problem=f"{silence}: it hangs", asked=asked)
    info = _own_word(workers, deadline)
    if did is Progress.BUSY and not info:
        return Health(problem=f"{silence}: it hangs, and turns in a circle", asked=asked)
    otherwise = _STARVED if did is Progress.STARVES else "a limit is reached, as one frontend's or bind's maxconn is one"
    return Health(full=_full(asked, _reached(info) or [otherwise]), asked=asked)


def _full(asked: str, why: Sequence[str]) -> str:
    return f"haproxy lives but takes no new connection ({asked}): {', '.join(why)}"


def _crowded(found: Sequence[Socket]) -> list[str]:
    """Return the listeners whose queues are full: whoever comes there gets no answer, whatever becomes of the port that was asked."""
    more = [f"and at {len(found) - _MOST_NAMED} more ports"] if len(found) > _MOST_NAMED else []
    return [f"{each.waiting} wait at port {each.port}, as many as its queue holds" for each in found[:_MOST_NAMED]] + more


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

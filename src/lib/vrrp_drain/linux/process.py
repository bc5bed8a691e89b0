"""keepalived's processes by its pid file: the one that it names, and below it the one that speaks VRRP. Are they there, when do they end.

The VRRP process is a child of the other, which starts it anew when it dies, and which it does not outlive (PR_SET_PDEATHSIG). Whether it
makes progress is told by how often it gave a processor up: a MASTER does so for every advert.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vrrp_drain.runtime import files

_LONGEST = 20  # bytes of a pid
_PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """``stopped`` tells that a signal stopped it (SIGSTOP), ``turns`` how often it gave a processor up (proc_pid_status(5)).

    One that is ``ready`` waits for nothing but a processor: the machine keeps it from working, nothing is wrong with it.
    """

    pid: int
    stopped: bool
    turns: int
    ready: bool = False


@dataclass(frozen=True)
class Keepalived:
    """``main`` is the process that the pid file names, ``vrrp`` the one that speaks VRRP, None while there is none."""

    main: Process
    vrrp: Process | None

    @property
    def works(self) -> bool:
        """Tell whether adverts can be expected of it."""
        return self.vrrp is not None and not self.vrrp.stopped

    @property
    def all(self) -> tuple[Process, ...]:
        return (self.main,) if self.vrrp is None else (self.main, self.vrrp)


def running(pid_file: Path) -> int | None:
    """Return the pid of the keepalived that ``pid_file`` names, or None: no file, no process, or somebody else's pid."""
    main = _named(pid_file)
    return None if main is None else main.pid


def look(pid_file: Path) -> Keepalived | None:
    """Return the processes of the keepalived that ``pid_file`` names, None where it does not run."""
    main = _named(pid_file)
    if main is None:
        return None
    below = [found for pid in _children(main.pid) if (found := _process(pid)) is not None]
    named = _named(pid_file.with_name("vrrp.pid"))  # beside health checkers it is one of several
    return Keepalived(main, named if named in below else below[-1] if below else None)


def pidfd(pid_file: Path) -> int | None:
    """Return a file descriptor that becomes readable when that keepalived ends (pidfd_open(2)), or None."""
    pid = running(pid_file)
    return None if pid is None else fd(pid)


def fd(pid: int) -> int | None:
    """Return a file descriptor that becomes readable when process ``pid`` ends, None where it has."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def kill(keepalived: Keepalived) -> None:
    """End it where it stands, stopped or not: the VRRP process, and the other one if it is stopped and could not start it anew."""
    for each in (keepalived.vrrp, keepalived.main if keepalived.main.stopped else None):
        if each is not None:
            with suppress(ProcessLookupError):
                os.kill(each.pid, signal.SIGKILL)


def _named(pid_file: Path) -> Process | None:
    try:
        return _process(int(files.read_anyones(pid_file, _LONGEST)))  # haproxy-boshrelease's job gives its files to vcap
    except (OSError, ValueError):
        return None


def _process(pid: int) -> Process | None:
    """Return what the kernel says of a keepalived process, None where it ended or is somebody else's."""
    try:
        said = dict(line.split(":", 1) for line in (_PROC / f"{pid}/status").read_text().splitlines())
        name, state = said["Name"].strip(), said["State"].split()[0]
        turns = int(said["voluntary_ctxt_switches"]) + int(said["nonvoluntary_ctxt_switches"])
    except (OSError, ValueError, KeyError, IndexError):
        return None
    return Process(pid, state == "T", turns, state == "R") if name.startswith("keepalived") and state not in "ZX" else None


def _children(pid: int) -> Iterator[int]:
    """Yield the pids of the children, the youngest last."""
    try:
        yield from map(int, (_PROC / f"{pid}/task/{pid}/children").read_text().split())
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN, or it ended
        for each in sorted(int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()):
            with suppress(OSError, IndexError):
                if int((_PROC / f"{each}/stat").read_text().rpartition(")")[2].split()[1]) == pid:
                    yield each
    except OSError:
        return

"""Whether a process that takes no connection is alive all the same: what the kernel says of its threads (proc(5)).

A program with an event loop that does not want a connection, because it is full, waits for other events: the kernel shows its
threads in epoll_wait, poll or select. One that was stopped, or waits for a lock that nobody gives back, is shown elsewhere and
stays there. One that is busy makes system calls, or it only turns in a circle. See docs/decisions/0013-full-is-not-hung.md.
"""

import platform
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

# Numbers of the system calls that wait for events: (e)poll, (p)select and their further forms (asm/unistd.h).
_WAITING = {
    "x86_64": frozenset({7, 23, 232, 270, 271, 281, 441}),
    "aarch64": frozenset({22, 72, 73, 441}),
}.get(platform.machine(), frozenset[int]())
_PLACES = ("ep_poll", "do_epoll_wait", "do_poll", "do_sys_poll", "do_select", "poll_schedule_timeout")  # the same, as wchan names it
_STOPPED = "TtZXx"
_LEAST_TICKS = 2  # of time in the kernel, so that one that was rounded up is no proof
_SHARE = 0.1  # of its time that a program with an event loop spends in the kernel at least
_STARVES = 0.1  # of a processor: a thread that wants one and has less waits for other programs most of the time


class Progress(IntEnum):
    """What can be said of a program; of several threads the worst counts."""

    TURNS = 0  # it waits for events, or has handled some
    STARVES = 1  # it would go on, but the processors are with others
    BUSY = 2  # it computes; whether anything comes of it cannot be told from here
    STANDS = 3  # it was stopped, or waits for something that does not come


@dataclass(frozen=True)
class Thread:
    """A thread at one moment, ``at`` so many monotonic seconds.

    ``user`` and ``system`` are in ticks of the clock, ``switches`` counts the times that it waited, ``ran`` are the seconds that it had a
    processor; None where the kernel does not tell.
    """

    name: str
    state: str
    waits_for_events: bool
    user: int
    system: int
    switches: int
    at: float = field(default=0.0, compare=False)
    ran: float | None = None

    def since(self, before: "Thread | None") -> Progress:
        """Return what it did since it was ``before``; None where it was not there."""
        if self.state in _STOPPED:
            return Progress.STANDS
        if self.waits_for_events:
            return Progress.TURNS
        if before is not None and self.switches > before.switches:
            return Progress.TURNS
        if self.state == "R":
            return Progress.BUSY if before is None else self._computed(before)
        return Progress.STANDS

    def _computed(self, before: "Thread") -> Progress:
        if self._works(before):
            return Progress.TURNS
        if self.ran is None or before.ran is None:
            return Progress.BUSY
        return Progress.STARVES if self.ran - before.ran < _STARVES * (self.at - before.at) else Progress.BUSY

    def _works(self, before: "Thread") -> bool:
        user, system = self.user - before.user, self.system - before.system
        return system >= _LEAST_TICKS and system >= _SHARE * (user + system)


Sample = dict[int, Thread]


def sample(pids: Iterable[int]) -> Sample:
    """Return the threads of these processes that carry the process's name: a library's helpers have names of their own, and sleep."""
    found: Sample = {}
    for pid in pids:
        try:
            name = Path(f"/proc/{pid}/comm").read_text().rstrip("\n")
            threads = [int(each.name) for each in Path(f"/proc/{pid}/task").iterdir()]
        except OSError:  # it has ended
            continue
        for each in threads:
            if (thread := _thread(pid, each)) is not None and (thread.name == name or each == pid):
                found[each] = thread
    return found


def between(before: Sample, now: Sample) -> Progress:
    """Return what the program did; one that has no thread (any more) stands."""
    return max((thread.since(before.get(each)) for each, thread in now.items()), default=Progress.STANDS)


def _thread(pid: int, thread: int) -> Thread | None:
    place = Path(f"/proc/{pid}/task/{thread}")
    try:
        head, _, tail = (place / "stat").read_text().rpartition(")")
        status = (place / "status").read_text()
    except OSError:  # it has ended
        return None
    fields = tail.split()
    switches = next((int(line.split()[1]) for line in status.splitlines() if line.startswith("voluntary_ctxt_switches")), 0)
    return Thread(
        name=head.partition("(")[2],
        state=fields[0],
        waits_for_events=fields[0] == "S" and _waits_for_events(place),
        user=int(fields[11]),
        system=int(fields[12]),
        switches=switches,
        at=time.monotonic(),
        ran=_ran(place),
    )


def _ran(place: Path) -> float | None:
    """Return the seconds that the thread had a processor, None where the kernel does not count them (sched-stats.txt)."""
    try:
        return int((place / "schedstat").read_text().split()[0]) / 1e9
    except (OSError, ValueError, IndexError):
        return None


def _waits_for_events(place: Path) -> bool:
    """Ask for the system call, and where the kernel does not tell it (ptrace(2), Yama) for the function in which the thread sleeps."""
    try:
        number = (place / "syscall").read_text().split()[0]
        return number.isdigit() and int(number) in _WAITING if _WAITING else _sleeps_there(place)
    except (OSError, IndexError):
        return _sleeps_there(place)


def _sleeps_there(place: Path) -> bool:
    try:
        return (place / "wchan").read_text().startswith(_PLACES)
    except OSError:
        return False

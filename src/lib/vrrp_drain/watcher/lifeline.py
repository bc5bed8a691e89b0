"""Whether keepalived lives and makes progress, as far as /proc tells: its own word for it is the adverts, which only peers hear.

A process that is stopped (SIGSTOP), frozen or stuck is there, and neither keepalived's other process nor monit sees anything wrong with
it. A MASTER that is well gives a processor up for each advert; one that does not while it is asked to is none.
"""

from pathlib import Path

from vrrp_drain.handover.machine import Machine

_STOPPED_SECONDS = 0.1  # after which a process that a signal stopped is looked at again, and is stopped still
_INTERVALS = 2.2  # without a turn: less than the three that a peer waits, more than a busy machine takes
_AT_LEAST = 0.25  # seconds, however short an interval is
_OFTENEST, _LEAST_OFTEN = 0.1, 0.25  # seconds between two looks


class Lifeline:
    """``meet`` gives descriptors that tell of an end, ``look`` finds who makes no progress. Times are monotonic seconds."""

    def __init__(self, machine: Machine, pid_file: Path, advert_int: float) -> None:
        self._machine, self._pid_file = machine, pid_file
        self._patience = max(_AT_LEAST, _INTERVALS * advert_int)
        self._every = min(max(advert_int / 2, _OFTENEST), _LEAST_OFTEN)
        self._fds: dict[int, int] = {}  # pid: descriptor
        self._before: tuple[int, int, bool] | None = None  # pid, how often it had given a processor up, and whether it was stopped
        self._still = self._looked = 0.0
        self.due = 0.0
        self.hangs = False

    def meet(self) -> list[int]:
        """Return descriptors of the processes that are new, each readable when its process ends; give them to ``ended`` then."""
        found = self._machine.processes.look(self._pid_file)
        fresh = []
        for each in found.all if found else ():
            if each.pid not in self._fds and (fd := self._machine.processes.fd(each.pid)) is not None:
                self._fds[each.pid] = fd
                fresh.append(fd)
        return fresh

    def ended(self, fd: int) -> None:
        self._fds = {pid: each for pid, each in self._fds.items() if each != fd}
        self._machine.close(fd)
        self.hangs = False

    def look(self, now: float, *, vip_here: bool) -> None:
        """Look whether it makes progress, if it is time. Only a MASTER must; nobody may be stopped."""
        if now < self.due:
            return
        seconds = min(now - self._looked, 2 * self._every)  # while we did not run ourselves, nobody may have
        self._looked, self.due = now, now + self._every
        found = self._machine.processes.look(self._pid_file)
        vrrp = found.vrrp if found else None
        if vrrp is None or not (vip_here or vrrp.stopped):
            self._before, self._still, self.hangs = None, 0.0, False
            return
        before, self._before = self._before, (vrrp.pid, vrrp.turns, vrrp.stopped)
        self._still = self._still + seconds if before == self._before and not vrrp.ready else 0.0
        self.hangs = self._still > 0.0 if vrrp.stopped else self._still >= self._patience
        if vrrp.stopped and not self.hangs:
            self.due = now + _STOPPED_SECONDS

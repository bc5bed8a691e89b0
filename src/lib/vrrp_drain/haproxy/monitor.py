"""Watches haproxy for the watcher: the kernel tells of a process that ends, a thread of its own looks at the port."""

import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vrrp_drain.runtime.errors import what_happened

from . import health_check
from .health import Health
from .rise_fall import RiseFall

Look = Callable[[float], Health]  # found within so many seconds


@dataclass(frozen=True)
class Verdict:
    """haproxy is dead or alive (again); ``problem`` is what is wrong.

    ``died`` tells that a process of it ended just before, ``lives`` that none did and that there are some: its connections are still open.
    """

    alive: bool
    problem: str
    died: bool
    lives: bool = False


class Monitor:
    """``fileno()`` is readable when ``verdicts()`` has something new; nothing here ever blocks the caller."""

    def __init__(self, rise_fall: RiseFall, look: Look, pid_file: Path) -> None:
        self._rise_fall = rise_fall
        self._look = look
        self._pid_file = pid_file
        self._verdicts: queue.SimpleQueue[Verdict] = queue.SimpleQueue()
        self._eventfd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._look_now = threading.Event()
        self._stop = False
        self._watched: dict[int, int] = {}
        self._full = ""
        self._thread = threading.Thread(target=self._keep_looking, name="monitor", daemon=True)

    @property
    def alive(self) -> bool | None:
        """Tell whether haproxy serves; None before the first look."""
        return self._rise_fall.serves

    @property
    def full(self) -> str:
        """Return why haproxy takes nobody new, nothing while it does."""
        return self._full if self._rise_fall.full else ""

    def start(self) -> None:
        self._thread.start()

    def fileno(self) -> int:
        return self._eventfd

    def verdicts(self) -> list[Verdict]:
        """Return what changed since the last call."""
        os.eventfd_read(self._eventfd)
        found = []
        while not self._verdicts.empty():
            found.append(self._verdicts.get())
        return found

    def newcomers(self) -> list[int]:
        """Return a pidfd for each process of haproxy's that is not watched yet; the caller waits for it, and calls ``ended``."""
        fresh = []
        for pid in health_check.processes(self._pid_file):
            if pid not in self._watched.values():
                try:
                    pidfd = os.pidfd_open(pid)
                except OSError:  # it has ended already
                    continue
                self._watched[pidfd] = pid
                fresh.append(pidfd)
        return fresh

    def ended(self, pidfd: int) -> None:
        """A process has ended: look at once, and again, until it is plain whether the service has."""
        del self._watched[pidfd]
        os.close(pidfd)
        self._rise_fall.process_died(time.monotonic())
        self._look_now.set()

    def close(self) -> None:
        """Stop looking; a look that is under way ends by itself, in a thread that nobody waits for."""
        self._stop = True
        self._look_now.set()
        for pidfd in self._watched:
            os.close(pidfd)

    def _keep_looking(self) -> None:
        while not self._stop:
            began = time.monotonic()
            self._look_now.clear()
            found = self._guarded_look()
            self._full = found.full or self._full
            if self._rise_fall.looked(not found.problem, time.monotonic(), full=bool(found.full)):
                lives = not self._rise_fall.died and bool(health_check.processes(self._pid_file))
                self._verdicts.put(Verdict(bool(self._rise_fall.alive), found.problem, self._rise_fall.died, lives))
                os.eventfd_write(self._eventfd, 1)
            self._look_now.wait(max(0.0, began + self._rise_fall.pause(time.monotonic()) - time.monotonic()))

    def _guarded_look(self) -> Health:
        """Whatever goes wrong in a look, it must not end the looking."""
        try:
            return self._look(self._rise_fall.patience)
        except Exception as error:
            return Health(problem=f"haproxy could not be asked: {what_happened(error)}")

"""Stands in for monit: starts and stops the processes that the jobs' monit files name."""

import re
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .namespace import Namespace
from .wait import until

_ENVIRONMENT = {"PATH": "/bin:/usr/bin:/sbin:/usr/sbin"}  # monit gives its programs a spartan path
_FILE = re.compile(
    r'check process (?P<name>\S+)\s+with pidfile (?P<pidfile>\S+)\s+start program "(?P<start>[^"]+)".*?stop program "(?P<stop>[^"]+)"',
    re.DOTALL,
)


@dataclass(frozen=True)
class Process:
    """One ``check process`` of a monit file."""

    name: str
    pid_file: str
    start: tuple[str, ...]
    stop: tuple[str, ...]


def processes(jobs: Path) -> list[Process]:
    """Return what the monit files below ``jobs`` name, in the order of the jobs."""
    found = []
    for file in sorted(jobs.glob("*/monit")):
        for match in _FILE.finditer(file.read_text()):
            found.append(Process(match["name"], match["pidfile"], tuple(match["start"].split()), tuple(match["stop"].split())))
    return found


class Monit:
    """Of one machine; programs are started and stopped side by side, but for those that are not monitored."""

    patience = 20.0  # seconds for a program to have its pid file

    def __init__(self, machine: Namespace, jobs: Path, unmonitored: Collection[str] = ()) -> None:
        self._machine = machine
        self._processes = {process.name: process for process in processes(jobs) if process.name not in unmonitored}

    def start(self, *names: str) -> None:
        """Start the named processes, or all; wait until each has a process for its pid file."""
        self._together(self._start, names)

    def stop(self, *names: str) -> None:
        """Stop the named processes, or all."""
        self._together(lambda process: self._machine.run(process.stop, _ENVIRONMENT), names)

    def pid(self, name: str) -> int | None:
        """Return the pid (inside) of a process that runs."""
        try:
            pid = int(self._machine.read(self._processes[name].pid_file))
        except (OSError, ValueError):
            return None
        return pid if self._machine.has_process(pid) else None

    def _start(self, process: Process) -> None:
        done = self._machine.run(process.start, _ENVIRONMENT)
        if done.returncode != 0:
            raise RuntimeError(f"{self._machine.name}: {' '.join(process.start)} exited {done.returncode}: {done.stderr}")
        until(lambda: self.pid(process.name), f"{self._machine.name}: {process.name} to run", self.patience)

    def _together(self, act: Callable[[Process], object], names: tuple[str, ...]) -> None:
        chosen = [self._processes[name] for name in names] if names else list(self._processes.values())
        with ThreadPoolExecutor(max(1, len(chosen))) as pool:
            list(pool.map(act, chosen))

"""Ends a storm: packets that circle starve everything else on the machine, the test that would stop them too."""

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from .namespace import Namespace

_PRIORITY = 10  # of SCHED_FIFO (sched(7)): before whatever has none


@contextmanager
def watchdog(seconds: float, *machines: Namespace) -> Iterator[None]:
    """Cut the power of ``machines`` unless the block ends within ``seconds``, by a process that no load can hold up."""
    reading, writing = os.pipe()
    guard = os.fork()
    if guard == 0:
        os.close(writing)
        with suppress(BaseException):
            _guard(reading, seconds, [machine.pid for machine in machines])
        os._exit(0)
    os.close(reading)
    try:
        yield
    finally:
        os.close(writing)
        os.waitpid(guard, 0)


def _guard(reading: int, seconds: float, pids: list[int]) -> None:
    with suppress(PermissionError):  # root of a user namespace may not; the packets' own bound is then the only one
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_PRIORITY))
    if select.select([reading], [], [], seconds)[0]:
        return
    print(f"watchdog: not over after {seconds:g} s, the machines' power is cut", file=sys.stderr)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

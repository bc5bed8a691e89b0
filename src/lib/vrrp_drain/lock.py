"""One handover at a time on a node: flock(2), which no crash can leave behind."""

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from .errors import Busy, Cancelled, SystemFault
from .paths import private
from .signals import Cancellation

_LOOK_EVERY = 0.05  # seconds; flock(2) has no wait with a bound


class Lock:
    """Held while entered; whoever waits learns for whom."""

    def __init__(
        self,
        path: Path,
        holder: str,
        timeout: float,
        cancellation: Cancellation,
        log: Callable[[str], None],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._path = path
        self._holder = holder
        self._timeout = timeout
        self._cancellation = cancellation
        self._log = log
        self._sleep = sleep

    def __enter__(self) -> "Lock":
        """Raises Busy after the timeout, Cancelled on a signal, SystemFault when the file cannot be had."""
        try:
            private(self._path.parent)
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SystemFault(f"cannot open the lock {self._path}: {error.strerror}") from error
        try:
            self._acquire()
        except BaseException:
            os.close(self._fd)
            raise
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{self._holder} (pid {os.getpid()})".encode(), 0)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        os.ftruncate(self._fd, 0)
        os.close(self._fd)

    @classmethod
    def held_by(cls, path: Path) -> str:
        """Return who holds the lock, as it said itself; nothing where nobody does."""
        try:
            with path.open(errors="replace") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return file.read(200) or "another vrrpctl"
        except OSError:
            pass
        return ""

    def _acquire(self) -> None:
        deadline = time.monotonic() + self._timeout
        waiting_for = ""
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                pass
            other = os.pread(self._fd, 200, 0).decode(errors="replace") or "another vrrpctl"
            if other != waiting_for:
                self._log(f"waiting for {other} to finish, at most {self._timeout:.1f} s")
                waiting_for = other
            if self._cancellation.requested:
                raise Cancelled(f"told to stop while waiting for {other}: nothing was changed")
            if time.monotonic() >= deadline:
                raise Busy(f"{other} did not finish within {self._timeout:.1f} s: nothing was changed")
            self._sleep(_LOOK_EVERY)

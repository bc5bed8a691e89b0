"""One handover at a time on a node: flock(2), which no crash can leave behind.

Who holds it is written into the file for whoever waits, and is worth no more than that: a disk that is full or read-only stops no
handover. Where there is no file to be had the directory itself is locked; it is the second choice, because whoever had it open before
it was made private could hold that lock for ever.
"""

import fcntl
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from . import files
from .errors import Busy, Cancelled
from .signals import Cancellation

log = logging.getLogger(__name__)
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
        """Raises Busy after the timeout, Cancelled on a signal. Where nothing can be locked, that is said, and the work goes on."""
        self._fd = self._open()
        if self._fd is None:
            return self
        try:
            self._acquire(self._fd)
        except BaseException:
            os.close(self._fd)
            raise
        self._label(self._fd, f"{self._holder} (pid {os.getpid()})")
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._fd is not None:
            self._label(self._fd, "")
            os.close(self._fd)

    @classmethod
    def held_by(cls, path: Path) -> str:
        """Return who holds the lock, as it said itself; nothing where nobody does."""
        try:
            fd = files.open_to_lock(path)
        except OSError:
            return ""
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return cls._read_label(fd) or "another vrrpctl"
        except OSError:
            pass
        finally:
            os.close(fd)
        return ""

    def _open(self) -> int | None:
        try:
            return files.open_private(self._path)
        except OSError as error:
            with suppress(OSError):
                return files.open_to_lock(self._path)
            log.warning(
                "no lock is kept (%s: %s): run no other vrrpctl on this instance until this one has ended",
                error.filename or self._path,
                error.strerror,
            )
            return None

    @staticmethod
    def _label(fd: int, text: str) -> None:
        with suppress(OSError):  # full, read-only, or the directory
            os.ftruncate(fd, 0)
            os.pwrite(fd, text.encode(), 0)

    @staticmethod
    def _read_label(fd: int) -> str:
        with suppress(OSError):
            return os.pread(fd, 200, 0).decode(errors="replace")
        return ""

    def _acquire(self, fd: int) -> None:
        deadline = time.monotonic() + self._timeout
        waiting_for = ""
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                pass
            other = self._read_label(fd) or "another vrrpctl"
            if other != waiting_for:
                self._log(f"waiting for {other} to finish, at most {self._timeout:.1f} s")
                waiting_for = other
            if self._cancellation.requested:
                raise Cancelled(f"told to stop while waiting for {other}: nothing was changed")
            if time.monotonic() >= deadline:
                raise Busy(f"{other} did not finish within {self._timeout:.1f} s: nothing was changed")
            self._sleep(_LOOK_EVERY)

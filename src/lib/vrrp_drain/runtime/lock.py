"""One handover at a time on a node: flock(2), which no crash can leave behind.

Who holds it is written into the file for whoever waits, and is worth no more than that: a disk that is full or read-only stops no
handover. Where there is no file to be had the directory itself is locked; it is the second choice, because whoever had it open before
it was made private could hold that lock for ever.

Who makes way says so there too: a script of BOSH's then ends him (SIGTERM) instead of waiting.
"""

import fcntl
import logging
import os
import re
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from . import files
from .errors import Busy, Cancelled
from .signals import Cancellation

log = logging.getLogger(__name__)
_MAKES_WAY = "makes way for the scripts of a deploy"
_LABEL = re.compile(r"(.+) \(pid (\d+)\)")
_LOOK_EVERY = 0.05  # seconds; flock(2) has no wait with a bound


@dataclass(frozen=True)
class Holder:
    """What is written into the file: a line for people, and a second one where its holder makes way."""

    name: str = "another vrrpctl"
    pid: int = 0
    makes_way: bool = False

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})" if self.pid else self.name

    @property
    def label(self) -> str:
        return f"{self}\n{_MAKES_WAY}\n" if self.makes_way else str(self)

    @classmethod
    def read(cls, label: str) -> "Holder":
        """Return what ``label`` says, as far as its writer came."""
        line, _, rest = label.partition("\n")
        match = _LABEL.fullmatch(line)
        return cls(match[1], int(match[2]), rest.strip() == _MAKES_WAY) if match else cls(line or cls.name)


class Lock:
    """Held while entered; whoever waits learns for whom."""

    def __init__(
        self,
        path: Path,
        holder: str,
        timeout: float,
        cancellation: Cancellation,
        log: Callable[[str], None],
        *,
        makes_way: bool = False,
        outranks: bool = False,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """``makes_way`` tells that we are to be ended for whoever ``outranks`` us."""
        self._path = path
        self._holder = Holder(holder, os.getpid(), makes_way)
        self._timeout, self._outranks = timeout, outranks
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
        self._label(self._fd, self._holder.label)
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
            return str(cls._read_label(fd))
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
    def _read_label(fd: int) -> Holder:
        """Return what the holder has written, as far as it could write anything."""
        with suppress(OSError):
            return Holder.read(os.pread(fd, 200, 0).decode(errors="replace"))
        return Holder()

    def _acquire(self, fd: int) -> None:
        deadline = time.monotonic() + self._timeout
        waiting_for: Holder | None = None
        while not self._locked(fd):
            other = self._read_label(fd)
            if other != waiting_for:
                self._log(f"waiting for {other} to finish, at most {self._timeout:.1f} s")
                waiting_for = other
                if self._outranks and other.makes_way:
                    self._end(fd, other)
            if self._cancellation.requested:
                raise Cancelled(f"told to stop while waiting for {other}: nothing was changed")
            if time.monotonic() >= deadline:
                raise Busy(f"{other} did not finish within {self._timeout:.1f} s: nothing was changed")
            self._sleep(_LOOK_EVERY)

    @staticmethod
    def _locked(fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _end(self, fd: int, other: Holder) -> None:
        """Have ``other`` give up what it does; it puts back what it has changed."""
        with suppress(OSError):
            pidfd = os.pidfd_open(other.pid)
            try:
                if self._read_label(fd) == other:  # so the pid has not become another's before it was opened
                    signal.pidfd_send_signal(pidfd, signal.SIGTERM)
                    self._log(f"{other} was told to give way")
            finally:
                os.close(pidfd)

"""The watcher's pid file: who holds its lock runs, and a pid in it counts only while that process has the file open.

So neither a crash nor a pid that somebody else's process has got since deceives anybody, and whoever only looks needs no lock.
"""

import fcntl
import os
import select
import signal
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from . import files
from .errors import Busy, SystemFault

_STOP_SECONDS = 10.0
_BEGIN_SECONDS = 1.0  # that a watcher has between its lock and its pid in the file
_LOOK_EVERY = 0.01  # seconds
_LONGEST = 20  # bytes of a pid


class PidFile:
    """Entered, it is open; then either ``claim`` it for this process, or ``stop`` the one that has."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> "PidFile":
        try:
            self._fd = files.open_private(self._path, 0o644)
        except OSError as error:
            raise SystemFault(f"cannot open {self._path}: {error.strerror}") from error
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._fd)

    @classmethod
    def holder(cls, path: Path) -> int | None:
        """Return the pid of the process that has claimed ``path``, None where nobody has."""
        with suppress(OSError, ValueError):
            pid, file = int(files.read(path, _LONGEST)), path.stat()
            return pid if _has_open(pid, file) else None
        return None

    def claim(self) -> None:
        """Write our pid and keep the lock while the file is open. Raises Busy where another process has it, SystemFault."""
        if not self._lock():
            raise Busy(f"another watcher runs (pid {self._pid()}): this one ends, nothing was changed")
        try:
            os.ftruncate(self._fd, os.pwrite(self._fd, str(os.getpid()).encode(), 0))
        except OSError as error:
            raise SystemFault(f"cannot write {self._path}: {error.strerror}") from error

    def stop(self) -> None:
        """End the process that has the file, if there is one: by SIGTERM, and by SIGKILL where it does not end in time.

        The file stays, and is empty then: whoever opened one that was taken away would hold the lock of a file that nobody sees.
        """
        patience = time.monotonic() + _BEGIN_SECONDS
        while not self._lock():
            if self._end(self._pid()):
                patience = time.monotonic()
            elif time.monotonic() > patience:
                return  # another one has begun meanwhile
            else:
                time.sleep(_LOOK_EVERY)
        os.ftruncate(self._fd, 0)

    def _lock(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _pid(self) -> int:
        """Return the pid in the file, 0 where there is none (yet)."""
        with suppress(ValueError):
            return int(os.pread(self._fd, _LONGEST, 0))
        return 0

    def _end(self, pid: int) -> bool:
        """End the process, and tell whether it was the one that has the file."""
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:  # it has ended, or there is no pid yet
            return False
        try:
            if not _has_open(pid, os.fstat(self._fd)):  # asked once the pid can no longer become another's
                return False
            for number in (signal.SIGTERM, signal.SIGKILL):
                signal.pidfd_send_signal(pidfd, number)
                if select.select([pidfd], [], [], _STOP_SECONDS)[0]:
                    break
        except ProcessLookupError:
            pass
        finally:
            os.close(pidfd)
        return True


def _has_open(pid: int, file: os.stat_result) -> bool:
    """Tell whether the process has the file open: in a directory of root's alone, only a watcher does, or who ends it."""
    with suppress(OSError):
        for each in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if os.path.samestat(each.stat(), file):
                    return True
    return False

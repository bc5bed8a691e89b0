"""The watcher's pid file: who holds its lock runs, so that neither a crash nor a pid of somebody else's deceives anybody."""

import fcntl
import os
import select
import signal
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from .errors import Busy, SystemFault
from .paths import private

_STOP_SECONDS = 10.0


class PidFile:
    """Entered, it is open; then either ``claim`` it for this process, or ``stop`` the one that has."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> "PidFile":
        try:
            private(self._path.parent)
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise SystemFault(f"cannot open {self._path}: {error.strerror}") from error
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._fd)

    @classmethod
    def holder(cls, path: Path) -> int | None:
        """Return the pid of the process that has claimed ``path``, None where nobody has."""
        try:
            with path.open() as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return int(file.read())
        except (OSError, ValueError):
            pass
        return None

    def claim(self) -> None:
        """Write our pid and keep the lock while the file is open. Raises Busy where another process has it."""
        if not self._lock():
            raise Busy(f"another watcher runs (pid {self._pid()}): this one ends, nothing was changed")
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, str(os.getpid()).encode(), 0)

    def stop(self) -> None:
        """End the process that has the file, if there is one: by SIGTERM, and by SIGKILL where it does not end in time.

        The file stays, and is empty then: whoever opened one that was taken away would hold the lock of a file that nobody sees.
        """
        if not self._lock():
            _end(self._pid())
            if not self._lock():
                return  # another one has begun meanwhile
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
            return int(os.pread(self._fd, 20, 0))
        return 0


def _end(pid: int) -> None:
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:  # it has ended, or there is no pid yet
        return
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            signal.pidfd_send_signal(pidfd, number)
            if select.select([pidfd], [], [], _STOP_SECONDS)[0]:
                return
    except ProcessLookupError:
        pass
    finally:
        os.close(pidfd)

"""A program of the operator's that runs beside us: its end and what it said arrive at one file descriptor, and nothing waits for it."""

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence

from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.programs import KEPT, how_it_ended, last_lines


class Program:
    """Runs ``command`` in a session of its own, with nothing of ours but ``environment``; ``close`` kills it and its children."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], timeout: float) -> None:
        """It has ``timeout`` seconds. Raises SystemFault where it cannot be started."""
        self.name = command[0]
        self._timeout, self._deadline = timeout, time.monotonic() + timeout
        self._said = b""
        try:
            self._process = subprocess.Popen(
                [*command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise SystemFault(f"{self.name} could not be started: {error.strerror}") from error
        assert self._process.stdout is not None  # noqa: S101  # it is a pipe
        self._output = self._process.stdout.fileno()
        os.set_blocking(self._output, False)
        self._pidfd = os.pidfd_open(self._process.pid)
        self._selector = selectors.EpollSelector()  # its own descriptor is readable when one of these is
        self._selector.register(self._output, selectors.EVENT_READ)
        self._selector.register(self._pidfd, selectors.EVENT_READ)
        self._expired = self._is_closed = False

    def fileno(self) -> int:
        return self._selector.fileno()

    def expire(self) -> None:
        """Kill it, and whatever it started, where its time is over: its end is news like any other."""
        if time.monotonic() >= self._deadline and self._process.poll() is None:
            self._expired = True
            self._kill()

    def outcome(self) -> str | None:
        """Return None while it runs, nothing when it has succeeded, or else how it ended, and the last that it said."""
        self._read()
        code = self._process.poll()
        if code is None:
            return None
        self._read()  # what it said before it ended; a child that it leaves behind may keep its output open
        if code == 0:
            return ""
        how = f"was killed, because it took longer than {self._timeout:g} s" if self._expired else how_it_ended(code)
        return f"{self.name} {how}{last_lines(self._said)}"

    def close(self) -> None:
        """End it, if it has not, and whatever it started."""
        if self._is_closed:
            return
        self._is_closed = True
        self._kill()
        self._selector.close()
        os.close(self._pidfd)
        assert self._process.stdout is not None  # noqa: S101  # as above
        self._process.stdout.close()

    def _kill(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _read(self) -> None:
        """Take what it has said, at most a pipe full of it."""
        try:
            read = os.read(self._output, 65536)
        except BlockingIOError:
            return
        self._said = (self._said + read)[-KEPT:]
        if not read and self._output in self._selector.get_map():
            self._selector.unregister(self._output)  # it has closed its output

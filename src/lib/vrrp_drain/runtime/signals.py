"""SIGTERM and SIGINT as something that can be awaited."""

import os
import select
import signal
from types import FrameType, TracebackType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Cancellation:
    """While it is entered, a signal makes ``fileno()`` readable and ``requested`` true, and does nothing else."""

    def __init__(self) -> None:
        self._pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.requested = False

    def __enter__(self) -> "Cancellation":
        self._before = {number: signal.signal(number, self._arrived) for number in _SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        for fd in self._pipe:
            os.close(fd)

    def fileno(self) -> int:
        return self._pipe[0]

    def wait(self, seconds: float) -> bool:
        """Wait for a signal, at most ``seconds``; tell whether there was one."""
        if not self.requested:
            select.select([self.fileno()], [], [], seconds)
        return self.requested

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        self.cancel()

    def cancel(self) -> None:
        """Do what a signal does."""
        if not self.requested:
            self.requested = True
            os.write(self._pipe[1], b"x")

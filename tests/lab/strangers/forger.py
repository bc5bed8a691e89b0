"""Somebody on the segment who sends what he should not: frames at a fixed rate, from entry to exit."""

import socket
import threading
from collections.abc import Sequence
from types import TracebackType

from lab.fabric.namespace import Namespace

_EVERY = 0.05  # seconds between two rounds


class Forger:
    """Sends each of ``frames`` (whole Ethernet frames) again and again out of the machine's eth0."""

    def __init__(self, machine: Namespace, frames: Sequence[bytes], every: float = _EVERY) -> None:
        """``every`` are the seconds from one round of all frames to the next."""
        self._machine = machine
        self._every = every
        self._frames = list(frames)
        self._stop = threading.Event()
        self.rounds = 0

    def __enter__(self) -> "Forger":
        self._socket = self._machine.in_network(_open)
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def _send(self) -> None:
        while not self._stop.wait(self._every):
            for frame in self._frames:
                self._socket.send(frame)
            self.rounds += 1


def _open() -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    opened.bind(("eth0", 0))
    return opened

"""What clients of long transfers do and feel: downloads, uploads and slow answers, one after the other on a connection of its own each.

    python -m lab.clients.streams '{"vip": ..., "downloads": ..., "uploads": ..., "slow": ..., "patience": ..., "into": path}'

A transfer is whole when its checksum is right. Those under way at SIGTERM are given up and not counted. Each is one JSON line;
``pause_ms`` is the longest time between two pieces of it; after ``patience`` seconds without one the client gives up.
"""

import hashlib
import http.client
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from .backend import BLOCK, PAYLOAD, TICKS, paced

_SUM = hashlib.sha256(PAYLOAD).hexdigest()


class Broken(Exception):
    """The transfer ended, but not with what was sent."""


class Pauses:
    """The clock of one transfer."""

    def __init__(self) -> None:
        self.began = self._last = time.monotonic()
        self.longest_ms = 0.0

    def piece(self) -> None:
        """A piece came or went."""
        now = time.monotonic()
        self.longest_ms = max(self.longest_ms, (now - self._last) * 1000)
        self._last = now

    @property
    def seconds(self) -> float:
        return self._last - self.began


Transfer = Callable[[http.client.HTTPConnection, Pauses], None]


class Streams:
    """Runs until it is told to stop."""

    def __init__(self, vip: str, downloads: int, uploads: int, slow: int, patience: float) -> None:
        self._vip, self._patience = vip, patience
        self._stop = threading.Event()
        self._work: list[tuple[str, Transfer]] = [
            *[("download", _download)] * downloads,
            *[("upload", _upload)] * uploads,
            *[("slow", _slow)] * slow,
        ]
        self.lines: list[dict[str, Any]] = []

    def run(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        for kind, transfer in self._work:
            threading.Thread(target=self._repeat, args=(kind, transfer), daemon=True).start()
        self._stop.wait()

    def _repeat(self, kind: str, transfer: Transfer) -> None:
        while not self._stop.is_set():
            pauses = Pauses()
            outcome = "ok"
            connection = http.client.HTTPConnection(self._vip, 80, timeout=self._patience)
            try:
                transfer(connection, pauses)
            except (OSError, http.client.HTTPException, Broken) as error:
                outcome = f"{type(error).__name__}: {error}"
            finally:
                connection.close()
            if not self._stop.is_set():
                self.lines.append({"kind": kind, "t": pauses.began, "s": pauses.seconds, "pause_ms": pauses.longest_ms, "outcome": outcome})
            if outcome != "ok":
                time.sleep(0.1)  # nobody hammers a service that has just failed


def _download(connection: http.client.HTTPConnection, pauses: Pauses) -> None:
    connection.request("GET", "/through/download")
    found = hashlib.sha256()
    for block in _pieces(connection.getresponse()):
        found.update(block)
        pauses.piece()
    if found.hexdigest() != _SUM:
        raise Broken("the checksum differs")


def _upload(connection: http.client.HTTPConnection, pauses: Pauses) -> None:
    def blocks() -> Iterator[bytes]:
        for block in paced():
            yield block
            pauses.piece()

    connection.request("POST", "/through/upload", blocks(), {"Content-Length": str(len(PAYLOAD))})
    if connection.getresponse().read().decode() != _SUM:
        raise Broken("the checksum differs")
    pauses.piece()


def _slow(connection: http.client.HTTPConnection, pauses: Pauses) -> None:
    connection.request("GET", "/through/slow")
    found = b""
    for block in _pieces(connection.getresponse()):
        found += block
        pauses.piece()
    if found != b"".join(b"%d\n" % number for number in range(TICKS)):
        raise Broken("lines are missing")


def _pieces(response: http.client.HTTPResponse) -> Iterator[bytes]:
    if response.status != http.client.OK:
        raise Broken(f"status {response.status}")
    while block := response.read1(BLOCK):
        yield block


def main() -> None:
    settings = json.loads(sys.argv[1])
    with suppress(PermissionError):  # what it measures is the VIP, not the scheduler of a busy machine
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    into = Path(settings.pop("into"))
    streams = Streams(**settings)
    streams.run()
    into.write_text("".join(json.dumps(line) + "\n" for line in streams.lines))


if __name__ == "__main__":
    main()

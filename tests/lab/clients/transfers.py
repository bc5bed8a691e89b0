"""Long transfers under way: starts the backend and streams.py in the client's namespace, and reads what they found."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from lab.fabric.namespace import Namespace, terminate

from .program import ENVIRONMENT, Program

BACKEND = ("10.0.0.200", 8080)  # the client's address, for haproxy a server like any other


@dataclass(frozen=True)
class Transfer:
    """One that ended: ``kind`` download, upload or slow; ``t`` monotonic seconds when it began; ``pause_ms`` the longest without a byte."""

    kind: str
    t: float
    s: float
    pause_ms: float
    outcome: str

    @property
    def whole(self) -> bool:
        return self.outcome == "ok"


class Transfers(Program):
    """From entry to exit; then ``ended`` has those that ended, whole or not. Clients give up after ``patience`` seconds without a byte."""

    def __init__(
        self, client: Namespace, vip: str, *, downloads: int = 5, uploads: int = 5, slow: int = 10, patience: float = 10.0
    ) -> None:
        settings = {"vip": vip, "downloads": downloads, "uploads": uploads, "slow": slow, "patience": patience}
        super().__init__(client, "clients.streams", settings)
        self._at = client

    def __enter__(self) -> "Transfers":
        command = [sys.executable, "-m", "lab.clients.backend", BACKEND[0], str(BACKEND[1])]
        self._backend = self._at.popen(command, ENVIRONMENT, stdout=subprocess.PIPE)
        assert self._backend.stdout is not None
        self._backend.stdout.readline()  # it is ready
        return super().__enter__()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        try:
            super().__exit__(kind, value, trace)
        finally:
            terminate(self._backend)

    def finish(self, lines: Sequence[dict[str, Any]]) -> None:
        self.ended = [Transfer(**line) for line in lines]

    @property
    def broken(self) -> list[Transfer]:
        return [each for each in self.ended if not each.whole]

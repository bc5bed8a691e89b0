"""Clients that hold connections and say nothing, beside those of haproxy's: as many processes at both ends as their number needs."""

import subprocess
import sys
from contextlib import ExitStack
from types import TracebackType

from lab.fabric.namespace import Namespace

from .program import ENVIRONMENT

_FIRST_PORT = 9100


class Sleepers:
    """``size`` connections from ``client`` to ``vip``, at ``node``, which has it now; ``each`` process has so many. From entry to exit."""

    def __init__(self, client: Namespace, node: Namespace, vip: str, size: int, each: int) -> None:
        self._client, self._node, self._vip = client, node, vip
        self._counts = [min(each, size - done) for done in range(0, size, each)]

    def __enter__(self) -> "Sleepers":
        with ExitStack() as stack:
            numbered = [(str(port), str(count)) for port, count in enumerate(self._counts, _FIRST_PORT)]
            servers = [stack.enter_context(_Conversation(self._node, "serve", port)) for port, _ in numbered]
            for each in servers:
                each.hear()
            self._clients = [stack.enter_context(_Conversation(self._client, "connect", self._vip, *each)) for each in numbered]
            self.open = sum(int(each.hear()) for each in self._clients)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def ask(self) -> int:
        """Return on how many connections what was sent came back."""
        for each in self._clients:
            each.say()
        return sum(int(each.hear()) for each in self._clients)

    def leave(self) -> None:
        """Close all connections."""
        self._stack.close()


class _Conversation:
    """One program of idle.py, from entry to exit."""

    def __init__(self, machine: Namespace, *arguments: str) -> None:
        command = [sys.executable, "-m", "lab.clients.idle", *arguments]
        self._process = machine.popen(command, ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> "_Conversation":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        self._process.wait(30)

    def say(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()

    def hear(self) -> str:
        """Return its next line. Raises RuntimeError where it has ended instead."""
        assert self._process.stdout is not None
        if line := self._process.stdout.readline().decode():
            return line
        raise RuntimeError(f"{self._process.args!r} ended")

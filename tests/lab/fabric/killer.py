"""vrrpctl killed half way: runs lifecycle scripts in a node, and has them SIGKILL themselves at a given step.

A step is a call out of the interpreter that opens, writes, closes, renames or removes a file, or sends on a socket. The process
dies before that call is made; a file that it has open then holds what was flushed to it. Each run is a fork of one process
that has imported everything, so a run takes tens of milliseconds, and no import is a step: one that writes its bytecode takes
more of them than the next, which finds it. The one thing left out is pre-start's second of listening for strangers, which
changes nothing.
"""

import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, ModuleType, TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .namespace import Namespace

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_LIBRARY = Path(__file__).resolve().parents[3] / "lib"
_STEPS: Mapping[type, frozenset[str]] = {  # of whose calls which
    ModuleType: frozenset({"open", "write", "pwrite", "ftruncate", "fchown", "fchmod", "rename", "unlink", "rmdir", "mkdir"}),
    io.IOBase: frozenset({"write", "close", "__exit__"}),
    socket.socket: frozenset({"send", "sendto", "sendmsg"}),
}


@dataclass(frozen=True)
class Run:
    """How a script ended: ``killed_at`` names the call that it did not make any more, None where it ran to its end."""

    killed_at: str | None
    status: int


class Killer:
    """Runs vrrpctl in ``machine`` from entry to exit."""

    def __init__(self, machine: "Namespace") -> None:
        self._machine = machine

    def __enter__(self) -> "Killer":
        environment = {"PATH": _PATH, "PYTHONPATH": str(_LIBRARY), "PYTHONDONTWRITEBYTECODE": "1"}
        self._process = self._machine.popen(
            [sys.executable, __file__], environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._process.communicate(timeout=10)

    def run(self, script: str, step: int | None = None) -> Run:
        """Run ``script``, to its ``step``-th step if one is given."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([script, step]).encode() + b"\n")
        self._process.stdin.flush()
        return Run(**json.loads(self._process.stdout.readline()))


def _serve() -> None:
    for line in sys.stdin:
        script, step = json.loads(line)
        told, tell = os.pipe()
        child = os.fork()
        if child == 0:
            _run([script], step, tell)
        os.close(tell)
        _, status = os.waitpid(child, 0)
        with os.fdopen(told) as pipe:
            name = pipe.read()
        print(json.dumps({"killed_at": name or None, "status": os.waitstatus_to_exitcode(status)}), flush=True)


def _run(arguments: Sequence[str], step: int | None, tell: int) -> None:
    from vrrp_drain.commands import main

    left = step

    def count(frame: FrameType, event: str, function: Any) -> None:
        nonlocal left
        if event == "c_call" and left is not None and _is_step(function):
            left -= 1
            if left == 0:
                os.write(tell, function.__name__.encode())
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count if step is not None else None)
    code = main.main(list(arguments))
    sys.setprofile(None)
    os._exit(code)


def _is_step(function: Any) -> bool:
    return any(isinstance(function.__self__, kind) and function.__name__ in names for kind, names in _STEPS.items())


def _import_everything() -> None:
    """Import what vrrpctl imports only when a script needs it."""
    from vrrp_drain import doctor  # noqa: F401
    from vrrp_drain.commands import main, scripts  # noqa: F401


def _listen_to_nobody() -> None:
    from vrrp_drain.handover import joining

    joining.stranger = lambda instance, machine, register, seconds, ask: ""


if __name__ == "__main__":
    _listen_to_nobody()
    _import_everything()
    _serve()

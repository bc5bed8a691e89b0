"""A machine under another kernel, to run commands on: its root is this machine's, read-only, with memory on top of it.

Nothing that it does reaches this machine's disk, but for what it writes below /out, which is a directory here and outlives it.
It has no network but what it makes itself, and the `cable` ends that it is given.
"""

import json
import os
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .hypervisor import GuestError, Hardware, Hypervisor
from .kernel import Kernel

BOOT_SECONDS = 180  # of ours: about 10 where a processor is free
PLAIN = Hardware()
OWN = ".guest"  # below its /out: console, sockets, logs


@dataclass(frozen=True)
class Done:
    """A command that has ended in the guest; a signal that ended it is a negative exit code."""

    exit_code: int
    seconds: float  # of the guest's clock
    output: str  # stdout and stderr


class Job:
    """A command that runs in the guest; what it says is in the file ``output`` as it says it."""

    def __init__(self, guest: "Guest", name: str) -> None:
        self.name = name
        self.output = guest.out / name / "output"
        self._guest = guest

    def wait(self, seconds: float) -> Done:
        """Return when it has ended. Raises TimeoutError after so many of our seconds, GuestError if the guest ends before it."""
        _, code, took = self._guest.hear(("ended", self.name), seconds, f"{self.name} to end in the guest")
        return Done(int(code), float(took), self.output.read_text(errors="replace"))

    def signal(self, number: int) -> None:
        """Send a signal to it and its children."""
        self._guest.say(f"signal {self.name} {number}")


class Guest:
    """A machine that boots when its ``with`` block begins; the block's end, however it comes, cuts the power.

    ``out`` is its /out. When it is started again, or another one is with the same ``out``, it finds there what was left, as on a disk;
    all else is new. For one thread at a time.
    """

    def __init__(self, kernel: Kernel, out: Path, hardware: Hardware = PLAIN) -> None:
        self.kernel = kernel
        self.out = out.absolute()
        self._hardware = hardware
        self._power: Hypervisor | None = None
        self._heard = b""
        self._told: list[list[str]] = []
        self._jobs = 0
        self.boot_seconds = 0.0  # of the guest's clock

    def __enter__(self) -> "Guest":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    def start(self) -> None:
        """Boot. Raises GuestError if that fails, with what the console said last."""
        self._heard, self._told = b"", []
        self.out.mkdir(parents=True, exist_ok=True)
        self._power = Hypervisor(self.kernel, self.out, self.out / OWN, self._hardware)
        try:
            release, seconds = self.hear(("ready",), BOOT_SECONDS, "the guest to boot")
            if release != self.kernel.release:
                raise GuestError(f"the guest runs {release}, not {self.kernel.release}")
        except TimeoutError as error:
            told = GuestError(f"{error}. {self._power.last_words()}")
            self.cut()
            raise told from None
        except BaseException:
            self.cut()
            raise
        self.boot_seconds = float(seconds)

    def run(
        self, command: Sequence[str], *, seconds: float, env: Mapping[str, str] | None = None, cwd: Path | None = None, name: str = ""
    ) -> Done:
        """Run a command to its end, for so many of our seconds at most, as `popen` starts it."""
        return self.popen(command, env=env, cwd=cwd, name=name).wait(seconds)

    def popen(self, command: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None, name: str = "") -> Job:
        """Start a command as root in ``cwd``, or the current directory. Its files are in out/NAME; NAME is its number unless given."""
        self._jobs += 1
        name = name or str(self._jobs)
        home = self.out / name
        home.mkdir(exist_ok=True)
        environment = {"PATH": os.environ["PATH"], "HOME": "/root", "LANG": "C.UTF-8", "TMPDIR": "/scratch", **(env or {})}
        asked = {"command": list(command), "env": environment, "cwd": str((cwd or Path()).absolute())}
        (home / "command.json").write_text(json.dumps(asked))
        (home / "output").unlink(missing_ok=True)
        self.say(f"run {name}")
        return Job(self, name)

    def power_off(self, seconds: float = 120) -> None:
        """Switch it off in order: out/dmesg and out/lsmod are there afterwards. Raises TimeoutError after so many of our seconds."""
        power = self._on()
        self.say("off")
        self.hear(("off",), seconds, "the guest to have written its last files")
        try:
            power.ended(seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"waited {seconds:g} s for the guest to switch itself off") from None
        finally:
            self.cut()

    def cut(self) -> None:
        """Cut the power, if there is any."""
        power, self._power = self._power, None
        if power:
            power.cut()

    def say(self, line: str) -> None:
        """Ask its agent for something. Raises GuestError if there is no guest."""
        with suppress(OSError):  # whoever waits for what comes of it is told
            self._on().line.sendall(f"{line}\n".encode())

    def hear(self, wanted: tuple[str, ...], seconds: float, what: str) -> list[str]:
        """Return the line that begins with the words ``wanted``, without its first; others are kept for whoever waits for them."""
        line = self._on().line
        end = time.monotonic() + seconds
        while True:
            for words in self._told:
                if tuple(words[: len(wanted)]) == wanted:
                    self._told.remove(words)
                    return words[1:]
            if not select.select([line], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError(f"waited {seconds:g} s for {what}")
            try:
                heard = line.recv(4096)
            except ConnectionResetError:
                heard = b""
            if not heard:
                raise GuestError(f"the guest ended while we waited for {what}. {self._on().last_words()}")
            *lines, self._heard = (self._heard + heard).split(b"\n")
            self._told += [each.decode().split() for each in lines]

    def _on(self) -> Hypervisor:
        if not self._power:
            raise GuestError("the guest has no power")
        return self._power

"""Process 1 of a guest: runs what its host asks for over a virtio serial port, a line for each thing said, and reaps orphans.

Asked: ``run NAME`` (the command is /out/NAME/command.json), ``signal NAME NUMBER``, ``off``.
Told: ``ready RELEASE SECONDS``, ``ended NAME EXITCODE SECONDS``, ``off``; seconds are of the guest's clock.
"""

import json
import os
import select
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

PORT = "agent"  # its name in QEMU
OUT = Path("/out")
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


class Agent:
    def __init__(self) -> None:
        self._port = os.open(port(), os.O_RDWR)
        self._running: dict[int, tuple[str, float, subprocess.Popen[bytes]]] = {}  # by pid: its name, when it began

    def serve(self) -> None:
        died, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._tell("ready", os.uname().release, f"{time.monotonic():.1f}")
        asked = b""
        while True:
            readable, _, _ = select.select([self._port, died], [], [])
            if died in readable:
                os.read(died, 4096)
                self._reap()
            if self._port in readable:
                *lines, asked = (asked + os.read(self._port, 4096)).split(b"\n")
                for line in lines:
                    self._do(line.decode().split())

    def _do(self, words: list[str]) -> None:
        if words[0] == "run":
            self._run(words[1])
        elif words[0] == "signal":
            for pid, (name, *_) in self._running.items():
                if name == words[1]:
                    os.killpg(pid, int(words[2]))
        elif words[0] == "off":
            self._off()

    def _run(self, name: str) -> None:
        asked = json.loads((OUT / name / "command.json").read_text())
        began = time.monotonic()
        try:
            with (OUT / name / "output").open("wb") as output:
                started = subprocess.Popen(
                    asked["command"],
                    env=asked["env"],
                    cwd=asked["cwd"],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:  # no such program, or directory: as a shell tells it
            (OUT / name / "output").write_text(f"{error}\n")
            self._tell("ended", name, "127", "0.0")
            return
        self._running[started.pid] = name, began, started

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                if pid in self._running:
                    name, began, process = self._running.pop(pid)
                    process.returncode = os.waitstatus_to_exitcode(status)
                    self._tell("ended", name, str(process.returncode), f"{time.monotonic() - began:.1f}")

    def _off(self) -> None:
        for name in ("dmesg", "lsmod"):
            with (OUT / name).open("wb") as output:
                subprocess.run([name], stdout=output, stderr=subprocess.STDOUT, check=False)
        self._tell("off")
        os.sync()
        Path("/proc/sysrq-trigger").write_text("o")
        while True:
            signal.pause()

    def _tell(self, *words: str) -> None:
        os.write(self._port, f"{' '.join(words)}\n".encode())


def plug_in() -> None:
    """Load the drivers of what QEMU has plugged in, as udev would, and begin with an interface lo that is up."""
    wanted = {file.read_text().strip() for bus in ("pci", "virtio") for file in Path(f"/sys/bus/{bus}/devices").glob("*/modalias")}
    subprocess.run(["modprobe", "--all", "--quiet", *sorted(wanted)], check=False)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def port() -> Path:
    (name,) = (file for file in Path("/sys/class/virtio-ports").glob("*/name") if file.read_text().strip() == PORT)
    return Path("/dev", name.parent.name)


os.environ["PATH"] = PATH
plug_in()
Agent().serve()

"""A machine made of namespaces: its own network, mounts, pids and host name; it dies with whoever made it."""

import ctypes
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

T = TypeVar("T")
_CLONE_NEWNET = 0x40000000
_ETH_P_IP = 0x0800
_VRRP = 112
_NEEDS = "The lab makes network namespaces: run it as root"
_NOT_ROOTS = (
    "/ does not belong to root here, as in a user namespace of somebody who is not root outside: keepalived runs no health check from "
    "there (enable_script_security). Run it as root"
)
_libc = ctypes.CDLL(None, use_errno=True)


def missing() -> str:
    """Return what the lab lacks on this machine, or nothing."""
    if os.geteuid() != 0:
        return _NEEDS
    programs = [
        name for name in ("keepalived", "haproxy", "killall", "nft", "ruby", "nsenter", "ucarp", "unshare") if not shutil.which(name)
    ]
    if programs:
        return f"not installed: {', '.join(programs)}; `make deps` installs them"
    if Path("/").stat().st_uid != 0:
        return _NOT_ROOTS
    probe = subprocess.run(["unshare", "--net", "--mount", "--pid", "--uts", "--fork", "true"], capture_output=True, check=False)
    return "" if probe.returncode == 0 else f"{_NEEDS}: {probe.stderr.decode().strip()}"


@dataclass
class Capture:
    """What was counted."""

    packets: int = 0


class Namespace:
    """A process tree under an init of its own. With ``vcap`` given, that directory is its /var/vcap.

    ``programs`` are those that are not this machine's: where each is looked for, and what is there instead.
    """

    def __init__(self, name: str, vcap: Path | None = None, programs: Mapping[str, Path] = MappingProxyType({})) -> None:
        self.name = name
        kinds = ["--net", "--uts", "--mount", "--pid"]
        self._unshare = subprocess.Popen(
            [
                *("unshare", *kinds, "--fork", "--kill-child=SIGKILL", "--propagation", "private"),
                *(sys.executable, "-I", str(Path(__file__).with_name("init.py")), name, str(vcap or "")),
                *(f"{looked_for}={program}" for looked_for, program in programs.items()),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # the terminal's Ctrl-C is for whoever made the machine
        )
        assert self._unshare.stdout is not None
        if self._unshare.stdout.readline() != b"ready\n":
            raise RuntimeError(f"namespace {name} did not start: {_NEEDS}")
        self.pid = children(self._unshare.pid)[0]

    @property
    def root(self) -> Path:
        """Its file system, seen from here."""
        return Path(f"/proc/{self.pid}/root")

    def popen(self, command: Sequence[str], env: Mapping[str, str] | None = None, **options: Any) -> subprocess.Popen[bytes]:
        """Start a program inside, with exactly the given environment."""
        return subprocess.Popen([*self._enter(), *command], env=dict(env or {}), start_new_session=True, **options)

    def run(self, command: Sequence[str], env: Mapping[str, str] | None = None, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a program inside to its end and return what it said; the caller looks at the return code."""
        return subprocess.run(
            [*self._enter(), *command],
            env=dict(env or {}),
            timeout=timeout,
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def read(self, path: str) -> str:
        """Return what a file inside holds. Raises OSError."""
        return (self.root / path.lstrip("/")).read_text(errors="replace")

    def has_process(self, pid: int) -> bool:
        return (self.root / f"proc/{pid}").exists()

    def in_network(self, function: Callable[[], T]) -> T:
        """Call ``function`` here, but with the namespace's network: sockets that it opens stay there."""
        result: list[T] = []
        errors: list[BaseException] = []

        def inside() -> None:
            try:
                self.enter_network()
                result.append(function())
            except BaseException as error:  # handed to the caller below
                errors.append(error)

        thread = threading.Thread(target=inside, name=f"in {self.name}")
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return result[0]

    def enter_network(self) -> None:
        """Move the calling thread into the network namespace, for good."""
        with Path(f"/proc/{self.pid}/ns/net").open() as handle:
            if _libc.setns(handle.fileno(), _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), f"cannot enter the network of {self.name}")

    def pids(self) -> dict[int, str]:
        """Return the processes inside: pid there -> command name."""
        found = {}
        for entry in (self.root / "proc").iterdir():
            if entry.name.isdigit():
                try:
                    found[int(entry.name)] = (entry / "comm").read_text().strip()
                except OSError:
                    continue
        return found

    @contextmanager
    def capture(self, destination: str) -> Iterator["Capture"]:
        """Count the VRRP packets to ``destination`` that reach eth0 while the block runs."""
        capture = Capture()
        sniffer = self.in_network(
            lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, socket.htons(_ETH_P_IP))
        )
        try:
            yield capture
            with suppress(BlockingIOError):
                while packet := sniffer.recv(65536):
                    capture.packets += packet[9] == _VRRP and packet[16:20] == socket.inet_aton(destination)
        finally:
            sniffer.close()

    def kill(self) -> None:
        """Cut the power: every process inside ends at once, the network with them."""
        self._unshare.kill()
        self._unshare.wait()
        for stream in (self._unshare.stdin, self._unshare.stdout):
            if stream:
                with suppress(BrokenPipeError):
                    stream.close()
        # the init dies through PR_SET_PDEATHSIG; the network is gone when the last process is
        _wait_gone(self.pid)

    def _enter(self) -> list[str]:
        return ["nsenter", "--target", str(self.pid), "--net", "--uts", "--mount", "--pid", "--"]


def terminate(process: subprocess.Popen[bytes], seconds: float = 30.0) -> None:
    """End a program that `popen` started by SIGTERM, and wait for it."""
    for child in children(process.pid):
        os.kill(child, signal.SIGTERM)
    process.wait(seconds)


def children(pid: int) -> list[int]:
    """Return the pids of a process's children; the only child of a `popen` is the program inside."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _wait_gone(pid: int) -> None:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        select.select([fd], [], [], 10)
    finally:
        os.close(fd)

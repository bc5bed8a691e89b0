"""QEMU without KVM, and the daemons that give its guest directories of this machine's.

The guest's root is this machine's, mounted read-only in mounts of the daemon's own: nothing is to be unmounted when it ends. All that
is started here ends with this process, whatever ends that.
"""

import contextlib
import enum
import os
import platform
import select
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from .kernel import BUSYBOX, Kernel

START_SECONDS = 30
PACKAGES = "qemu-system-x86 qemu-system-common busybox-static kmod"
_PROGRAMS = ("qemu-system-x86_64", "modprobe", "depmod", "dpkg-deb", "setpriv", "unshare")
_VIRTIOFSD = ("/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd")  # a package of its own in newer suites
# What must be in a guest where it is here, even if it is mounted of its own.
_SEEN = (Path.cwd(), Path(__file__), Path(sys.prefix), Path(sys.base_prefix), Path("/usr"))
_LAST_LINES = {"console": 25, "qemu.log": 10, "virtiofsd-root.log": 3, "virtiofsd-out.log": 3}


class GuestError(Exception):
    """A guest cannot start, or is no more. The text says why, and shows the end of its console."""


class Clock(enum.Enum):
    """What a guest's clock goes with."""

    WORK = "work"
    """With the instructions done, a nanosecond each: the guest believes itself on a processor half as fast as this one, so that timeouts
    mean what they mean, and takes 5 to 10 times as long. It has one processor."""
    WALL = "wall"
    """With ours: right for several guests that must agree on how time passes, and about 15 times slower by their clocks too."""


@dataclass(frozen=True)
class Nic:
    """A virtio network card, whose guest sends no large segments and no unfinished checksums. ``end`` is that of a `cable`, or a tap
    interface that somebody has opened (tun(4))."""

    end: socket.socket | BinaryIO
    mac: str
    mtu: int = 1500

    def backend(self, name: str) -> str:
        """Return what QEMU calls what it is plugged into."""
        fd = self.end.fileno()
        return f"dgram,id={name},local.type=fd,local.str={fd}" if isinstance(self.end, socket.socket) else f"tap,id={name},fd={fd}"


@dataclass(frozen=True)
class Hardware:
    """What a guest is made of; ``memory`` in MiB, of which what is used is used here; ``append`` goes to the kernel's command line.

    ``disk`` is a file that is its /dev/vda: what the guest has not written there when its power is cut is lost, as with a disk.
    """

    memory: int = 3072
    clock: Clock = Clock.WORK
    processors: int = 1
    nics: Sequence[Nic] = ()
    disk: Path | None = None
    append: str = ""


def cable() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a network cable, for a `Nic` each. It stays plugged in while they are open here, whoever's power is cut."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)


def missing() -> str:
    """Return what a guest lacks on this machine, and how to get it, or nothing."""
    if platform.machine() != "x86_64":
        return f"guests have x86-64 kernels and this machine's programs, which are for {platform.machine()}"
    if os.geteuid() != 0:
        return "guests need root here: their root is this machine's"
    lacks = [name for name in _PROGRAMS if not shutil.which(name)]
    lacks += [] if _virtiofsd() else ["virtiofsd"]
    lacks += [] if BUSYBOX.exists() and b"/ld-linux" not in BUSYBOX.read_bytes() else ["a static busybox"]
    return (
        f"not installed: {', '.join(lacks)}. On Debian or Ubuntu: apt-get install {PACKAGES}, and virtiofsd where it is one"
        if lacks
        else ""
    )


class Hypervisor:
    """A machine that has power. ``line`` is the other end of its agent's port; ``own`` keeps sockets and logs."""

    def __init__(self, kernel: Kernel, out: Path, own: Path, hardware: Hardware) -> None:
        """Start it, with ``out`` as the virtiofs of that tag. Raises GuestError, and leaves nothing behind then."""
        if lack := missing():
            raise GuestError(lack)
        self._own = own
        shutil.rmtree(own, ignore_errors=True)
        (own / "root").mkdir(parents=True)
        (own / "initramfs").write_bytes(kernel.initramfs())
        with contextlib.ExitStack() as self._cleanup:
            self._share("root", own / "root", "always", _seen_at(own / "root"))
            self._share("out", out, "auto", [])
            with self._listening("agent") as listener:
                self._qemu = self._spawn("qemu", command_line(kernel, hardware), [nic.end.fileno() for nic in hardware.nics])
                self.line = self._accepted(listener)
            self._cleanup.callback(self.line.close)
            self._cleanup = self._cleanup.pop_all()

    def ended(self, seconds: float) -> None:
        """Return when the machine has switched itself off. Raises subprocess.TimeoutExpired."""
        self._qemu.wait(seconds)

    def cut(self) -> None:
        """Cut the power."""
        self._cleanup.close()

    def last_words(self) -> str:
        """Return what console and programs said last, and where all of it is."""
        said = []
        for name, lines in _LAST_LINES.items():
            file = self._own / name
            text = file.read_text(errors="replace").strip() if file.exists() else ""
            said += [f"--- {file}", *text.splitlines()[-lines:]] if text else []
        return "\n".join(["It said last:", *said])

    def _share(self, tag: str, directory: Path, cache: str, prepare: Sequence[str]) -> None:
        with self._listening(tag) as listener:
            options = ["-o", f"source={directory}", "-o", f"cache={cache}", "-o", "sandbox=chroot", "--thread-pool-size=1"]
            daemon = [_virtiofsd(), f"--fd={listener.fileno()}", *options]
            script = "\n".join(["set -e", *prepare, f"exec {shlex.join(daemon)}"])
            in_own_mounts = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
            self._spawn(f"virtiofsd-{tag}", in_own_mounts, [listener.fileno()])

    def _listening(self, name: str) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        directory = os.open(self._own, os.O_PATH)
        try:
            listener.bind(f"/proc/self/fd/{directory}/{name}.socket")  # a socket's path has 107 characters at most
        finally:
            os.close(directory)
        listener.listen(1)
        return listener

    def _accepted(self, listener: socket.socket) -> socket.socket:
        ended = os.pidfd_open(self._qemu.pid)
        ready, _, _ = select.select([listener.fileno(), ended], [], [], START_SECONDS)
        os.close(ended)
        if listener.fileno() not in ready:
            raise GuestError(f"QEMU did not start. {self.last_words()}")
        return listener.accept()[0]

    def _spawn(self, name: str, command: Sequence[str], fds: Sequence[int]) -> subprocess.Popen[bytes]:
        with (self._own / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command],
                cwd=self._own,
                pass_fds=fds,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # the terminal's Ctrl-C is for whoever made the guest
            )
        self._cleanup.callback(process.wait)
        self._cleanup.callback(process.kill)
        return process


def command_line(kernel: Kernel, hardware: Hardware) -> list[str]:
    """Return how QEMU is called, in the directory that has initramfs and sockets."""
    options = f"""
        -machine q35,memory-backend=memory -cpu max,la57=off -smp {hardware.processors} -m {hardware.memory}
        -object memory-backend-memfd,id=memory,size={hardware.memory}M,share=on
        -display none -vga none -monitor none -nic none -no-reboot
        -chardev socket,id=root,path=root.socket -device vhost-user-fs-pci,chardev=root,tag=root
        -chardev socket,id=out,path=out.socket -device vhost-user-fs-pci,chardev=out,tag=out
        -device virtio-serial-pci -chardev socket,id=agent,path=agent.socket -device virtserialport,chardev=agent,name=agent
        -serial file:console
        -initrd initramfs
    """
    clock = "-accel tcg -icount shift=0" if hardware.clock is Clock.WORK else "-accel tcg,thread=multi"
    append = f"console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off nokaslr tsc=reliable nowatchdog audit=0 {hardware.append}"
    nics = []
    for number, nic in enumerate(hardware.nics):
        nics += ["-netdev", nic.backend(f"nic{number}")]
        nics += ["-device", f"virtio-net-pci,netdev=nic{number},mac={nic.mac},host_mtu={nic.mtu}"]
    disk = []
    if hardware.disk:
        path = str(hardware.disk.absolute()).replace(",", ",,")  # qemu(1), -drive
        disk = ["-drive", f"file={path},format=raw,if=virtio"]
    return ["qemu-system-x86_64", *options.split(), *clock.split(), "-kernel", str(kernel.image), "-append", append.strip(), *disk, *nics]


def _seen_at(root: Path) -> list[str]:
    """Return the commands that put this machine's root there, read-only, and the mounts in it that a guest needs."""
    mounts = ["/", *sorted({str(_mount_of(each)) for each in _SEEN} - {"/"})]
    binds = [shlex.join(["mount", "--bind", each, f"{root}{each}"]) for each in mounts]
    return binds + [shlex.join(["mount", "-o", "remount,bind,ro", f"{root}{each}"]) for each in mounts]


def _mount_of(path: Path) -> Path:
    return next(each for each in (path.resolve(), *path.resolve().parents) if os.path.ismount(each))


def _virtiofsd() -> str:
    return next((each for each in _VIRTIOFSD if Path(each).exists()), "")

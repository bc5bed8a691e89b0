"""What a guest is booted with, and what is said of one that is not there."""

import lzma
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from machines.guest import Guest
from machines.hypervisor import Clock, GuestError, Hardware, Nic, command_line
from machines.kernel import PACKAGE, Kernel, newc, unpacked

RELEASE = "6.1.0-50-cloud-amd64"


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    """Give a kernel package as one is unpacked."""
    modules = tmp_path / "lib/modules" / RELEASE
    modules.mkdir(parents=True)
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot" / f"vmlinuz-{RELEASE}").touch()
    return Kernel("bookworm", f"linux-image-{RELEASE}", "6.1.176-1", tmp_path)


@pytest.mark.parametrize(
    ("package", "wanted"),
    [
        ("linux-image-5.10.0-32-cloud-amd64", True),
        ("linux-image-6.12.117+deb13-cloud-amd64", True),
        ("linux-image-cloud-amd64", False),
        ("linux-image-6.1.0-50-amd64", False),
        ("linux-image-6.1.0-50-rt-cloud-amd64", False),
        ("linux-image-6.12.117+deb13-cloud-amd64-unsigned", False),
        ("linux-image-6.12.117+deb13-cloud-amd64-dbg", False),
    ],
)
def test_a_cloud_kernel_is_known_by_its_package(package: str, wanted: bool) -> None:
    """The signed image with a version: neither the metapackage, nor another flavour, nor debug symbols."""
    assert bool(re.fullmatch(PACKAGE, package)) is wanted


def test_where_a_suite_has_the_modules(kernel: Kernel, tmp_path: Path) -> None:
    """Below /lib, and below /usr/lib in newer ones."""
    assert (kernel.release, kernel.modules) == (RELEASE, tmp_path / "lib/modules" / RELEASE)
    (tmp_path / "usr").mkdir()
    (tmp_path / "lib").rename(tmp_path / "usr/lib")
    assert kernel.modules == tmp_path / "usr/lib/modules" / RELEASE


def test_an_archive_for_the_kernel() -> None:
    """Its headers have 110 characters, and what follows begins at a multiple of four, as initramfs has it."""
    archive = b"".join(newc(["bin"], {"init": (0o755, b"#!/bin/sh\n"), "odd": (0o644, b"123")}))
    found, at = [], 0
    while at < len(archive):
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * each : at + 14 + 8 * each], 16) for each in range(13)]
        mode, size, length = fields[1], fields[6], fields[11]
        name = archive[at + 110 : at + 110 + length - 1].decode()
        begin = at + 110 + length + -(at + 110 + length) % 4
        found.append((name, mode, archive[begin : begin + size]))
        at = begin + size + -(begin + size) % 4
    assert found == [("bin", 0o040755, b""), ("init", 0o100755, b"#!/bin/sh\n"), ("odd", 0o100644, b"123"), ("TRAILER!!!", 0, b"")]


def test_modules_as_the_kernel_takes_them(tmp_path: Path) -> None:
    """Plain, or unpacked from xz; another way is refused instead of handed to the kernel."""
    for name, content in {"a.ko": b"module", "b.ko.xz": lzma.compress(b"module"), "c.ko.lz4": b"?"}.items():
        (tmp_path / name).write_bytes(content)
    assert unpacked(tmp_path / "a.ko") == unpacked(tmp_path / "b.ko.xz") == b"module"
    with pytest.raises(ValueError, match=r"c\.ko\.lz4"):
        unpacked(tmp_path / "c.ko.lz4")


def test_what_qemu_is_called_with(kernel: Kernel, tmp_path: Path) -> None:
    """A path is one word whatever it has in it, and each network card is at its end of the cable."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with here, there:
        command = command_line(kernel, Hardware(nics=[Nic(here, "02:00:00:00:00:01")], append="ipv6.disable=1"))
        assert command[command.index("-kernel") + 1] == str(kernel.image)
        assert command[command.index("-append") + 1].endswith(" ipv6.disable=1")
        assert f"dgram,id=nic0,local.type=fd,local.str={here.fileno()}" in command
        assert "virtio-net-pci,netdev=nic0,mac=02:00:00:00:00:01,host_mtu=1500" in command
    with (tmp_path / "tap").open("w+b", buffering=0) as tap:
        command = command_line(kernel, Hardware(nics=[Nic(tap, "02:00:00:00:00:01")], disk=tmp_path / "a,b"))
        assert f"tap,id=nic0,fd={tap.fileno()}" in command
        assert f"file={tmp_path}/a,,b,format=raw,if=virtio" in command
    assert "-icount" in command
    assert "-icount" not in command_line(kernel, Hardware(clock=Clock.WALL))


def test_a_guest_that_has_no_power(kernel: Kernel, tmp_path: Path) -> None:
    """It is an error that says so, and to cut its power is none."""
    guest = Guest(kernel, tmp_path / "out")
    guest.cut()
    with pytest.raises(GuestError, match="the guest has no power"):
        guest.say("off")


def test_the_programs_of_a_guest_compile() -> None:
    """busybox's shell reads init, and Python the agent, before a kernel has to find out that they do not."""
    inside = Path(sys.modules[Kernel.__module__].__file__ or "").with_name("inside")
    assert subprocess.run(["sh", "-n", str(inside / "init")], check=False).returncode == 0
    for each in ("agent.py", "vm.py"):
        compile((inside / each).read_text(), each, "exec")

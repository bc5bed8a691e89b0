"""The guest itself: what it does stays in it, its end is told, and nothing of it is left whatever ends us."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab.fabric.wait import until
from machines.guest import Guest
from machines.hypervisor import GuestError, Hardware, Nic, cable, missing
from machines.kernel import BUSYBOX, Kernel
from machines.suites import Suite

SECONDS = 120.0  # of ours, for what takes a second where a processor is free
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    """Give the oldest of the kernels."""
    if lack := missing():
        pytest.fail(lack) if os.environ.get("CI") else pytest.skip(lack)
    return Kernel.of(Suite("bullseye"))


def test_what_it_does_stays_in_it(kernel: Kernel, tmp_path: Path) -> None:
    """It has another kernel and our files, may change all of them and changes none; /out alone is ours, and outlives it."""
    here = Path("pyproject.toml").absolute()
    before = here.read_text()
    with Guest(kernel, tmp_path) as guest:
        done = guest.run(["sh", "-c", f"uname -r; sha256sum {here}; rm {here} && ! test -e {here}; pwd >/out/kept"], seconds=SECONDS)
        assert (done.exit_code, done.output.splitlines()[0]) == (0, kernel.release)
        assert guest.run(["false"], seconds=SECONDS).exit_code == 1
        assert guest.run(["/nowhere"], seconds=SECONDS).exit_code == 127
        job = guest.popen(["sleep", "600"])
        job.signal(signal.SIGTERM)
        assert job.wait(SECONDS).exit_code == -signal.SIGTERM
        guest.power_off()
    assert here.read_text() == before
    assert (tmp_path / "kept").read_text() == f"{Path.cwd()}\n"
    assert "Linux version" in (tmp_path / "dmesg").read_text()


def test_its_end_is_told(kernel: Kernel, tmp_path: Path) -> None:
    """A kernel that dies while we wait is no timeout: the error has the last lines of its console. It can be booted again."""
    guest = Guest(kernel, tmp_path)
    with guest:
        job = guest.popen(["sh", "-c", "echo kept >/out/kept; echo c >/proc/sysrq-trigger"])
        with pytest.raises(GuestError, match=r"(?s)the guest ended while we waited for 1 to end.*sysrq triggered crash"):
            job.wait(SECONDS)
    with guest:
        assert guest.run(["cat", "/out/kept"], seconds=SECONDS).output == "kept\n"


def test_what_does_not_boot_is_told(kernel: Kernel, tmp_path: Path) -> None:
    """Here its kernel finds no first process."""
    with (
        pytest.raises(GuestError, match=r"(?s)waited for the guest to boot.*--- .*console"),
        Guest(kernel, tmp_path, Hardware(append="init=/none rdinit=/none")),
    ):
        pass


def test_two_of_them_on_a_cable(kernel: Kernel, tmp_path: Path) -> None:
    """They reach each other with packets of 1500 bytes; whoever's power is cut is not there, and is again when it has booted again."""
    here, there = cable()
    with here, there:
        one = Guest(kernel, tmp_path / "one", Hardware(nics=[Nic(here, "02:00:00:00:00:01")]))
        other = Guest(kernel, tmp_path / "other", Hardware(nics=[Nic(there, "02:00:00:00:00:02")]))
        ping = [str(BUSYBOX), "ping", "-c", "3", "-W", "5", "-s", "1472", "10.0.0.2"]
        with one, other:
            for number, guest in enumerate((one, other), start=1):
                up = f"ip addr add 10.0.0.{number}/24 dev eth0 && ip link set eth0 up && ip link show eth0"
                assert "mtu 1500" in guest.run(["sh", "-c", up], seconds=SECONDS).output
            assert one.run(ping, seconds=SECONDS).exit_code == 0
            other.cut()
            assert one.run(ping, seconds=SECONDS).exit_code == 1
            other.start()
            other.run(["sh", "-c", up], seconds=SECONDS)
            assert one.run(ping, seconds=SECONDS).exit_code == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_nothing_is_left(kernel: Kernel, tmp_path: Path, number: int) -> None:
    """Whatever ends who made a guest ends QEMU and the daemons, and no mount is left."""
    program = (
        "import signal, sys; from pathlib import Path; from machines.guest import Guest; from machines.kernel import BUSYBOX, Kernel\n"
        f"with Guest(Kernel('', '', '', Path({str(kernel.tree)!r})), Path({str(tmp_path)!r})): print('up', flush=True); signal.pause()"
    )
    maker = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": "tests"}, stdout=subprocess.PIPE)
    with maker:
        assert maker.stdout is not None
        assert maker.stdout.readline() == b"up\n"
        assert len(programs(tmp_path)) == 3
        maker.send_signal(number)
    until(lambda: not programs(tmp_path), "QEMU and the daemons to be gone")
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


def programs(out: Path) -> list[int]:
    """Return the processes that work in a guest's directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink().is_relative_to(out):
                found.append(int(process.name))
        except OSError:
            continue
    return found

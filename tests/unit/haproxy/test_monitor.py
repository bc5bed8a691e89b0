"""The monitor of haproxy: real processes that end, looks that hang, and a caller that never waits."""

import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from vrrp_drain.haproxy.health import Health
from vrrp_drain.haproxy.monitor import Monitor, Verdict
from vrrp_drain.haproxy.rise_fall import RiseFall

PATIENCE = 30.0  # seconds, for a machine that is busy
BE_HAPROXY = 'open("/proc/self/comm", "w").write("haproxy"); print(flush=True); '
HAPROXY = BE_HAPROXY + "input()"
MASTER = BE_HAPROXY + f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HAPROXY!r}]); input()"


class Port:
    """haproxy's port: what a look at it finds, and how often it was looked at."""

    def __init__(self) -> None:
        self.problem = self.full = ""
        self.looks = 0
        self.patience: list[float] = []
        self.looked = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def look(self, patience: float) -> Health:
        self.looks += 1
        self.patience.append(patience)
        self.looked.set()
        self.go_on.wait(PATIENCE)
        return Health(self.problem, self.full)


Make = Callable[..., Monitor]


@pytest.fixture
def port() -> Port:
    return Port()


@pytest.fixture
def make(port: Port, tmp_path: Path) -> Iterator[Make]:
    """Make a monitor that looks every ``interval`` seconds."""
    with ExitStack() as stack:
        stack.callback(port.go_on.set)

        def monitor(interval: float = 0.1, fall: int = 2, rise: int = 1) -> Monitor:
            made = Monitor(RiseFall(interval, fall, rise), port.look, tmp_path / "pid")
            stack.callback(made.close)
            return made

        yield monitor


@pytest.fixture
def spawn() -> Iterator[Callable[[str], "subprocess.Popen[bytes]"]]:
    with ExitStack() as stack:

        def start(program: str) -> "subprocess.Popen[bytes]":
            process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


def await_verdicts(monitor: Monitor) -> list[Verdict]:
    assert select.select([monitor.fileno()], [], [], PATIENCE)[0]
    return monitor.verdicts()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_verdicts(make: Make, port: Port) -> None:
    """Alive at the first look, dead after ``fall`` that fail, alive again: each is told once, and then nothing is readable."""
    monitor = make()
    assert monitor.alive is None
    monitor.start()
    assert await_verdicts(monitor) == [Verdict(True, "", False)]
    assert monitor.alive is True
    port.problem = "it hangs"
    assert await_verdicts(monitor) == [Verdict(False, "it hangs", False)]
    port.problem = ""
    assert await_verdicts(monitor) == [Verdict(True, "", False)]
    assert select.select([monitor.fileno()], [], [], 0)[0] == []
    assert set(port.patience) == {0.1}


def test_a_hang_of_what_lives(make: Make, port: Port, tmp_path: Path, spawn: Callable[[str], "subprocess.Popen[bytes]"]) -> None:
    """Where processes are there, and none has ended, a verdict says that it lives: its connections are open."""
    process = spawn(HAPROXY)
    assert process.stdout is not None
    process.stdout.readline()
    (tmp_path / "pid").write_text(f"{process.pid}\n")
    monitor = make()
    monitor.start()
    await_verdicts(monitor)
    port.problem = "it hangs"
    assert await_verdicts(monitor) == [Verdict(False, "it hangs", died=False, lives=True)]


def test_a_haproxy_that_is_full(make: Make, port: Port) -> None:
    """It is alive, and says why it takes nobody, until it takes somebody again."""
    monitor = make()
    monitor.start()
    await_verdicts(monitor)
    assert monitor.full == ""
    port.full = "20 of 20 connections"
    until(lambda: monitor.full == "20 of 20 connections")
    assert (monitor.alive, select.select([monitor.fileno()], [], [], 0)[0]) == (True, [])
    port.full = ""
    until(lambda: monitor.full == "")


def test_a_look_that_hangs_does_not_block_the_caller(make: Make, port: Port) -> None:
    """Whatever a look does, everything that the watcher calls returns: it looks in a thread that nobody waits for."""
    port.go_on.clear()
    monitor = make()
    monitor.start()
    assert port.looked.wait(PATIENCE)
    began = time.monotonic()
    assert (monitor.alive, monitor.newcomers(), select.select([monitor.fileno()], [], [], 0)[0]) == (None, [], [])
    monitor.close()
    assert time.monotonic() - began < PATIENCE / 2


def test_a_death_is_looked_at_at_once(make: Make, port: Port, tmp_path: Path, spawn: Callable[[str], "subprocess.Popen[bytes]"]) -> None:
    """The kernel tells of the end of a process; one look that fails is then enough, however rare the looks are."""
    process = spawn(HAPROXY)
    assert process.stdout is not None
    process.stdout.readline()
    (tmp_path / "pid").write_text(f"{process.pid}\n")
    monitor = make(interval=60.0, fall=20)
    monitor.start()
    await_verdicts(monitor)
    (pidfd,) = monitor.newcomers()
    assert monitor.newcomers() == []
    assert select.select([pidfd], [], [], 0)[0] == []
    port.problem = "connection refused"
    process.kill()
    assert select.select([pidfd], [], [], PATIENCE)[0] == [pidfd]
    process.wait()
    monitor.ended(pidfd)
    assert await_verdicts(monitor) == [Verdict(False, "connection refused", True)]
    assert monitor.newcomers() == []
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(pidfd)


def test_the_worker_is_watched_too(make: Make, tmp_path: Path, spawn: Callable[[str], "subprocess.Popen[bytes]"]) -> None:
    """Of a master with a worker each has its pidfd, and a new worker beside an old one is a newcomer."""
    master = spawn(MASTER)
    assert master.stdout is not None
    for _ in range(2):
        master.stdout.readline()
    (tmp_path / "pid").write_text(f"{master.pid}\n")
    monitor = make()
    first, second = monitor.newcomers()
    assert monitor.newcomers() == []
    (worker,) = Path(f"/proc/{master.pid}/task/{master.pid}/children").read_text().split()
    os.kill(int(worker), 9)
    assert select.select([first, second], [], [], PATIENCE)[0] == [second]


def test_a_process_that_ended_already_is_passed_over(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at the process table and pidfd_open it may end."""
    monkeypatch.setattr("vrrp_drain.haproxy.health_check.processes", lambda pid_file: [4194304 + 1])
    assert make().newcomers() == []


def test_close_ends_the_looking(make: Make) -> None:
    """At once, however long it is until the next look."""
    monitor = make(interval=60.0)
    monitor.start()
    await_verdicts(monitor)
    monitor.close()
    monitor._thread.join(PATIENCE)
    assert not monitor._thread.is_alive()

"""haproxy serves, is full, or hangs: told apart at real processes that call themselves haproxy and take no connection."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import pytest

from vrrp_drain.config.model import Config, VrrpDrain
from vrrp_drain.haproxy import health, health_check, progress
from vrrp_drain.haproxy.health import Health
from vrrp_drain.haproxy.progress import Progress, Thread
from vrrp_drain.linux import listeners
from vrrp_drain.runtime.errors import SystemFault

PATIENCE = 30.0  # seconds, for a machine that is busy
BE_HAPROXY = """
import select, socket, sys, threading, os
open("/proc/self/comm", "w").write("haproxy")
served = socket.create_server(("127.0.0.1", 0), backlog=8)
if len(sys.argv) > 1:
    stats = socket.socket(socket.AF_UNIX)
    stats.bind(sys.argv[1] + ".17.tmp")
    os.rename(sys.argv[1] + ".17.tmp", sys.argv[1])
    stats.listen()
print(served.getsockname()[1], flush=True)
wait = select.epoll().poll
def forever():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()
"""
WAITS = "wait()"
WORKS = "while True: os.stat('/'); wait(0)"
ANSWERS = """
while True:
    select.select([stats], [], [])
    asked, _ = stats.accept()
    asked.recv(100)
    asked.sendall(b"CurrConns: 20\\nMaxconn: 20\\nConnRate: 3\\nConnRateLimit: 0\\nPid: 7\\nStopping: 0\\n")
    asked.close()
"""
TURNS_IN_A_CIRCLE = "while True: pass"
DEADLOCK = "forever()"
ONE_OF_TWO = "threading.Thread(target=forever).start(); wait()"
TWO_WAIT = "threading.Thread(target=select.epoll().poll).start(); wait()"
A_HELPER = """
def sleeps():
    open("/proc/thread-self/comm", "w").write("jemalloc_bg")
    forever()
threading.Thread(target=sleeps).start(); wait()
"""
Start = Callable[..., VrrpDrain]


@pytest.fixture
def started() -> Iterator[list["subprocess.Popen[bytes]"]]:
    with ExitStack() as stack:
        processes: list[subprocess.Popen[bytes]] = []
        yield processes
        for each in processes:
            stack.enter_context(each)
            each.kill()


@pytest.fixture
def not_starved(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that turns in a circle is called by its name, however busy this machine is with other tests."""
    monkeypatch.setattr(progress, "_STARVES", 0.0)


@pytest.fixture
def start(started: list["subprocess.Popen[bytes]"], tmp_path: Path, config: Config) -> Start:
    """Start a haproxy that listens, accepts nobody, and does as told; return the properties under which it is asked."""

    def run(does: str, scheme: str = "tcp", *, stats: bool = False) -> VrrpDrain:
        arguments = [str(tmp_path / "stats")] if stats else []
        process = subprocess.Popen([sys.executable, "-c", BE_HAPROXY + does, *arguments], stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        port = int(process.stdout.readline())
        (tmp_path / "pid").write_text(f"{process.pid}\n")
        settle(process.pid)
        url = urlsplit(f"{scheme}://127.0.0.1:{port}/")
        return replace(config.drain, health_check=url, haproxy_pid_file=tmp_path / "pid")

    return run


def asked(drain: VrrpDrain) -> SplitResult:
    assert drain.health_check is not None
    return drain.health_check


def settle(pid: int) -> None:
    """Wait until the program does what it was told, after its start: it sleeps, or has computed for a tenth of a second."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        before = progress.sample([pid])
        time.sleep(0.05)
        now = progress.sample([pid])
        idle = {each.state for each in now.values()} == {"S"} and {*now.values()} == {*before.values()}
        if idle or sum(each.user + each.system for each in now.values()) > 20:
            return
    raise TimeoutError


@pytest.mark.parametrize("scheme", ["tcp", "http"])
@pytest.mark.parametrize("does", [WAITS, WORKS, TWO_WAIT, A_HELPER], ids=["waits", "works", "two threads wait", "a helper sleeps"])
def test_who_lives_and_takes_nobody_is_full(start: Start, does: str, scheme: str) -> None:
    """Its threads wait for events, or work: it is no problem, and it is told as full. A library's own thread may sleep as it likes."""
    drain = start(does, scheme)
    found = health.look(drain, 1.0)
    assert found.problem == ""
    full = f"haproxy lives but takes no new connection ({asked(drain).geturl()}): "
    starved = "it gets hardly any processor time, other programs have it"  # so it may be, on a machine that is busy with other tests
    assert found.full in (
        f"{full}a limit is reached, as one frontend's or bind's maxconn is one",
        full + (starved if does == WORKS else ""),
    )


@pytest.mark.parametrize("scheme", ["tcp", "http"])
@pytest.mark.parametrize("does", [DEADLOCK, ONE_OF_TWO, TURNS_IN_A_CIRCLE], ids=["deadlock", "one of two threads", "busy loop"])
def test_who_stands_hangs(start: Start, not_starved: None, does: str, scheme: str) -> None:
    """A lock that nobody gives back, in one of its threads too, and a loop without a system call: a problem, and nothing is full."""
    found = health.look(start(does, scheme), 0.5)
    assert found.full == ""
    assert "the process did not accept a connection within 0.333333 s: it hangs" in found.problem


@pytest.mark.parametrize("does", [WAITS, WORKS, ANSWERS], ids=["waits", "works", "answers"])
def test_who_is_stopped_hangs(start: Start, started: list["subprocess.Popen[bytes]"], does: str) -> None:
    """SIGSTOP makes a hang of what was well, whatever it did; SIGCONT undoes it."""
    drain = start(does, stats=True)
    started[0].send_signal(signal.SIGSTOP)
    assert health.problem(drain, 0.2).endswith(": it hangs")
    started[0].send_signal(signal.SIGCONT)
    assert health.look(drain, 1.0).full


def test_a_full_queue_is_full_or_a_hang_too(start: Start, started: list["subprocess.Popen[bytes]"]) -> None:
    """Where so many wait that the kernel opens no connection any more, the same is asked."""
    drain = start(WAITS)
    with ExitStack() as stack:
        for _ in range(9):
            stack.enter_context(socket.create_connection(("127.0.0.1", asked(drain).port or 0), PATIENCE))
        assert health.look(drain, 0.3).full
        started[0].send_signal(signal.SIGSTOP)
        assert "its queue is full, and the process accepted nobody" in health.look(drain, 0.3).problem


def test_haproxys_own_word(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its stats socket is found under the name that it has by now; it tells the limit, and outweighs that it looks busy."""
    drain = start(ANSWERS, stats=True)
    assert health.look(drain, 1.0).full.endswith(": 20 of 20 connections (maxconn)")
    monkeypatch.setattr(progress, "between", lambda before, now: Progress.BUSY)
    assert health.look(drain, 1.0).full.endswith(": 20 of 20 connections (maxconn)")


def test_a_stats_socket_that_is_the_check(start: Start, tmp_path: Path) -> None:
    """It answers although haproxy is full, and says so."""
    drain = replace(start(ANSWERS, stats=True), health_check=urlsplit(f"unix://{tmp_path}/stats"))
    url = asked(drain).geturl()
    full = f"haproxy lives but takes no new connection ({url}): 20 of 20 connections (maxconn)"
    assert health.look(drain, 1.0) == Health(full=full, asked=url)


def test_a_silent_stats_socket(start: Start, started: list["subprocess.Popen[bytes]"], tmp_path: Path) -> None:
    """One whose sessions are all taken does not answer; haproxy hangs only if its threads stand."""
    drain = replace(start(WAITS, stats=True), health_check=urlsplit(f"unix://{tmp_path}/stats"))
    assert health.look(drain, 0.3).full
    started[0].send_signal(signal.SIGSTOP)
    assert health.problem(drain, 0.3).endswith(": it hangs")


def test_nobody_knows_the_process(start: Start, tmp_path: Path) -> None:
    """A pid file that leads nowhere leaves the check alone to decide: who does not accept hangs."""
    drain = start(WAITS)
    (tmp_path / "pid").unlink()
    assert health.problem(drain, 0.2).endswith(": it hangs")


def test_a_closed_port_is_a_problem_at_once(start: Start, started: list["subprocess.Popen[bytes]"]) -> None:
    """Only silence raises the question whether it lives."""
    drain = start(WAITS)
    started[0].kill()
    started[0].wait()
    assert health.look(drain, PATIENCE).problem.endswith("Connection refused")


def test_who_finishes_after_a_reload_is_not_asked(
    start: Start, started: list["subprocess.Popen[bytes]"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several workers those count that listen; where the kernel does not tell who does, all of them."""
    drain = start(WAITS)
    idle = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started.append(idle)
    monkeypatch.setattr(health_check, "processes", lambda pid_file: [1, idle.pid, started[0].pid])
    assert health._workers(drain.haproxy_pid_file) == [started[0].pid]

    def untold(inodes: object) -> bool:
        raise SystemFault("the kernel does not tell who listens")

    monkeypatch.setattr(listeners, "listening", untold)
    assert health._workers(drain.haproxy_pid_file) == [idle.pid, started[0].pid]


@pytest.mark.parametrize("check", ["tcp://127.0.0.1:{}", "http://127.0.0.1:{}/"])
@pytest.mark.parametrize("timeout", [0.1, 0.5])
def test_a_look_keeps_its_time(
    start: Start, not_starved: None, started: list["subprocess.Popen[bytes]"], check: str, timeout: float
) -> None:
    """Whatever has to be asked, it is over in time: what a hang is found in is computed with it."""
    drain = start(TURNS_IN_A_CIRCLE, stats=True)  # the socket is there, and says nothing
    drain = replace(drain, health_check=urlsplit(check.format(asked(drain).port)))
    began = time.monotonic()
    assert health.problem(drain, timeout)
    assert time.monotonic() - began < timeout + 0.7


IDLE = Thread("haproxy", "S", True, 0, 0, 7)
WANTS = Thread("haproxy", "R", False, 0, 0, 7, at=0.0, ran=0.0)  # a processor


@pytest.mark.parametrize(
    ("before", "now", "did"),
    [
        (IDLE, IDLE, Progress.TURNS),
        (None, IDLE, Progress.TURNS),
        (IDLE, replace(IDLE, state="T"), Progress.STANDS),
        (IDLE, replace(IDLE, state="t"), Progress.STANDS),
        (IDLE, replace(IDLE, state="Z"), Progress.STANDS),
        (IDLE, replace(IDLE, state="D", waits_for_events=False), Progress.STANDS),
        (IDLE, replace(IDLE, state="D", waits_for_events=False, switches=8), Progress.TURNS),
        (IDLE, replace(IDLE, waits_for_events=False), Progress.STANDS),
        (IDLE, replace(IDLE, waits_for_events=False, switches=8), Progress.TURNS),
        (None, replace(IDLE, waits_for_events=False, switches=8), Progress.STANDS),
        (IDLE, replace(IDLE, state="R", waits_for_events=False, user=20), Progress.BUSY),
        (IDLE, replace(IDLE, state="R", waits_for_events=False, user=20, system=1), Progress.BUSY),
        (IDLE, replace(IDLE, state="R", waits_for_events=False, user=19, system=2), Progress.BUSY),
        (IDLE, replace(IDLE, state="R", waits_for_events=False, user=18, system=2), Progress.TURNS),
        (None, replace(IDLE, state="R", waits_for_events=False, user=18, system=2), Progress.BUSY),
        (WANTS, replace(WANTS, at=1.0), Progress.STARVES),
        (WANTS, replace(WANTS, at=1.0, ran=0.09), Progress.STARVES),
        (WANTS, replace(WANTS, at=1.0, ran=0.11), Progress.BUSY),
        (WANTS, replace(WANTS, at=1.0, ran=None), Progress.BUSY),
        (replace(WANTS, ran=None), replace(WANTS, at=1.0), Progress.BUSY),
        (WANTS, replace(WANTS, at=1.0, switches=8), Progress.TURNS),
    ],
)
def test_what_a_thread_did(before: Thread | None, now: Thread, did: Progress) -> None:
    """The table of the decision: stopped and dead threads stand, others by where they wait and what they did since."""
    assert now.since(before) is did


def test_the_worst_thread_counts() -> None:
    """One that stands outweighs all that turn, one that is busy those that turn; nobody at all stands."""
    stands, busy = replace(IDLE, state="T"), replace(IDLE, state="R", waits_for_events=False)
    assert progress.between({}, {1: IDLE, 2: stands, 3: busy}) is Progress.STANDS
    assert progress.between({}, {1: IDLE, 3: busy}) is Progress.BUSY
    assert progress.between({}, {1: IDLE}) is Progress.TURNS
    assert progress.between({1: IDLE}, {}) is Progress.STANDS


def test_a_kernel_that_hides_system_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where ptrace is forbidden altogether, the function in which a thread sleeps tells as much; without that too nothing is known."""
    poll = subprocess.Popen([sys.executable, "-c", "import select; select.epoll().poll()"])
    with poll:
        settle(poll.pid)
        hidden = {"syscall"}
        real = Path.read_text

        def read(self: Path, *arguments: str, **options: str) -> str:
            if self.name in hidden:
                raise PermissionError
            return real(self, *arguments, **options)

        monkeypatch.setattr(Path, "read_text", read)
        assert progress.sample([poll.pid])[poll.pid].waits_for_events
        hidden.add("wchan")
        assert not progress.sample([poll.pid])[poll.pid].waits_for_events
        poll.kill()


def test_processes_that_have_ended_have_no_threads() -> None:
    """Between the look at the process table and the look at the threads it may end."""
    assert progress.sample([4194305]) == {}
    assert progress._thread(4194305, 4194305) is None

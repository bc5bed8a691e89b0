"""Hooks: what a program is given, and what becomes of one that fails, hangs, or leaves children behind."""

import json
import os
import sys
import threading
import time
from pathlib import Path

import pytest

from unit.support.samples import MOVED
from vrrp_drain.config.receivers import Hook
from vrrp_drain.notify.delivery import Message, Refused
from vrrp_drain.notify.hook import HookDelivery


def run(*command: str, timeout: float = 20.0) -> None:
    HookDelivery(Hook(command, timeout)).send(Message(MOVED))


def failure(*command: str, timeout: float = 20.0) -> str:
    with pytest.raises(Refused) as refused:
        run(*command, timeout=timeout)
    return str(refused.value)


def test_what_a_hook_is_given(tmp_path: Path) -> None:
    """The notice on its standard input, its main parts and bosh-agent's PATH in the environment, and nothing else of ours."""
    os.environ["SECRET"] = "secret"
    program = (
        "import json, os, sys; given = json.load(sys.stdin); "
        "fds = [int(fd) for fd in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + fd)]; "
        "json.dump([given, dict(os.environ), fds, os.getsid(0) == os.getpid(), os.getcwd()], open(sys.argv[1], 'w'))"
    )
    with (tmp_path / "ours").open("w") as ours:
        os.set_inheritable(ours.fileno(), True)
        run(sys.executable, "-I", "-c", program, str(tmp_path / "out"))
    del os.environ["SECRET"]
    notice, environment, fds, own_session, directory = json.loads((tmp_path / "out").read_text())
    assert notice["reason"] == MOVED.reason
    assert notice["severity"] == "warning"
    environment.pop("LC_CTYPE", None)  # Python sets it for itself
    assert environment == {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "VRRP_DRAIN_KIND": "state",
        "VRRP_DRAIN_STATE": "master",
        "VRRP_DRAIN_PREVIOUS": "backup",
        "VRRP_DRAIN_CAUSE": "peer_lost",
        "VRRP_DRAIN_REASON": "nobody adverts",
        "VRRP_DRAIN_INSTANCE": "haproxy/0",
        "VRRP_DRAIN_VIP": "10.0.0.10",
        "VRRP_DRAIN_MASTER": "10.0.0.1",
    }
    assert sorted(fds) == [0, 1, 2]
    assert (own_session, directory) == (True, "/")


def test_a_hook_that_fails() -> None:
    """Its status and the last three lines that it said are told, whatever characters are in them."""
    assert failure("/bin/sh", "-c", "seq 5; printf 'a\\033[1m\\n' >&2; exit 3") == "ended with status 3, having said: 4 | 5 | a?[1m"
    assert failure("/bin/sh", "-c", "kill -9 $$") == "was ended by signal 9"
    assert failure("/nonexistent") == "could not be started: No such file or directory"
    assert failure("/etc/passwd") == "could not be started: Permission denied"


def test_a_hook_that_says_much_and_reads_nothing() -> None:
    """Neither fills a pipe that nobody reads."""
    assert failure("/bin/sh", "-c", "exec <&-; seq 100000; false").endswith("99998 | 99999 | 100000")


def test_a_hook_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    """After the timeout the whole process group is gone, not only the shell."""
    said = failure("/bin/sh", "-c", f"sleep 1000 & echo $! > {tmp_path}/pid; echo waiting; wait", timeout=2)
    assert said == "was killed, because it took longer than 2 s, having said: waiting"
    child = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 20
    while _lives(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _lives(child)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_endless_output_does_not_outlast_the_timeout() -> None:
    """A hook that never stops talking is bounded by its time, and what is kept of it by a few lines."""
    said = failure("/bin/sh", "-c", "yes", timeout=2)
    assert said == "was killed, because it took longer than 2 s, having said: y | y | y"


def test_a_child_that_is_left_behind_is_not_waited_for(tmp_path: Path) -> None:
    """The hook's own end counts, although its child still has its output open."""
    os.mkfifo(tmp_path / "fifo")
    run("/bin/sh", "-c", f"cat {tmp_path}/fifo & exit 0")
    (tmp_path / "fifo").write_text("now it ends")


def test_a_hook_is_cut() -> None:
    """When the watcher ends, a hook that still works is killed, also if it is only about to start."""
    way = HookDelivery(Hook(("/bin/sleep", "1000"), 300))
    cutter = threading.Timer(0.1, way.cut)
    cutter.start()
    for _ in range(2):
        with pytest.raises(Refused, match=r"^was killed, because the watcher ends$"):
            way.send(Message(MOVED))
    cutter.join()


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (("/bin/a", "/bin/b"), "/bin/a"),
        (("/usr/bin/env", "TOKEN=/secret", "/bin/b", "/c"), "/bin/b"),
        (("/usr/bin/env", "python3"), "/usr/bin/env"),
    ],
)
def test_the_log_knows_a_hook_by_its_program(command: tuple[str, ...], name: str) -> None:
    """Variables that env sets may be credentials; the program behind them is what an operator looks for."""
    assert HookDelivery(Hook(command)).name == name

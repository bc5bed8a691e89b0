"""The watcher's pid file: one watcher at a time, and stop ends exactly that one."""

import fcntl
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from vrrp_drain.runtime import pid_file as module
from vrrp_drain.runtime.errors import Busy, SystemFault
from vrrp_drain.runtime.pid_file import PidFile

CLAIM = """
import signal, sys, time
from pathlib import Path
from vrrp_drain.runtime.pid_file import PidFile
if sys.argv[2] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
with PidFile(Path(sys.argv[1])) as file:
    file.claim()
    print(flush=True)
    time.sleep(60)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run/watch.pid"


@pytest.fixture
def processes() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def start(processes: ExitStack, path: Path, manner: str = "polite") -> "subprocess.Popen[bytes]":
    """Start another process that claims the file, and wait until it has."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", CLAIM, str(path), manner], stdout=subprocess.PIPE, env=environment)
    processes.enter_context(process)
    processes.callback(process.kill)
    assert process.stdout is not None
    assert process.stdout.readline() == b"\n"
    return process


def stop(path: Path) -> None:
    with PidFile(path) as file:
        file.stop()


def test_the_pid_is_in_the_file(path: Path) -> None:
    """monit finds it; the directory is root's alone."""
    with PidFile(path) as file:
        file.claim()
        assert path.read_text() == str(os.getpid())
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_second_watcher_refuses(path: Path) -> None:
    """It names the first and changes nothing."""
    with PidFile(path) as first, PidFile(path) as second:
        first.claim()
        with pytest.raises(Busy, match=rf"^another watcher runs \(pid {os.getpid()}\): this one ends, nothing was changed$"):
            second.claim()
        assert path.read_text() == str(os.getpid())


@pytest.mark.parametrize("content", ["", "1", "999999999", "nonsense", "4711 and more than a pid"])
def test_a_stale_file_is_nobodys(path: Path, content: str) -> None:
    """After a crash the pid in the file is nobody's, or somebody else's: stop leaves that process alone, and claim takes the file."""
    path.parent.mkdir()
    path.write_text(content)
    stop(path)
    assert path.read_text() == ""
    path.write_text(content)
    with PidFile(path) as file:
        file.claim()
        assert path.read_text() == str(os.getpid())


def test_stop_ends_the_watcher(path: Path, processes: ExitStack) -> None:
    """By SIGTERM, and it returns when the process has ended; monit finds no pid any more."""
    process = start(processes, path)
    stop(path)
    assert process.wait(10) == -signal.SIGTERM
    assert path.read_text() == ""


def test_stop_kills_one_that_does_not_end(path: Path, processes: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A watcher that ignores SIGTERM is killed."""
    monkeypatch.setattr(module, "_STOP_SECONDS", 0.1)
    process = start(processes, path, "stubborn")
    stop(path)
    assert process.wait(10) == -signal.SIGKILL


def test_after_a_kill_the_next_one_has_it(path: Path, processes: ExitStack) -> None:
    """kill -9 leaves no lock behind."""
    process = start(processes, path)
    process.kill()
    process.wait()
    assert path.read_text() == str(process.pid)
    with PidFile(path) as file:
        file.claim()


def test_stop_while_one_begins_ends_nobody(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its lock and its pid the file is empty: pid 0 would be our own process group."""
    killed: list[object] = []
    monkeypatch.setattr(module, "_BEGIN_SECONDS", 0.0)
    monkeypatch.setattr(signal, "pidfd_send_signal", lambda *arguments: killed.append(arguments))
    with PidFile(path) as beginning:
        beginning.claim()
        path.write_text("")
        stop(path)
    assert killed == []


def test_a_stale_pid_beside_a_new_lock_is_nobodys(path: Path, processes: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a crash the old pid stands there until the next watcher has written its own: whoever has that pid now is left alone."""
    monkeypatch.setattr(module, "_BEGIN_SECONDS", 0.0)
    stranger = processes.enter_context(subprocess.Popen(["sleep", "60"]))
    processes.callback(stranger.kill)
    with PidFile(path) as beginning:
        beginning.claim()
        path.write_text(str(stranger.pid))
        assert PidFile.holder(path) is None
        stop(path)
    assert stranger.poll() is None


def test_who_looks_takes_no_lock(path: Path) -> None:
    """A status in the moment in which a watcher begins would make that one end."""
    with PidFile(path) as file:
        file.claim()
        assert PidFile.holder(path) == os.getpid()
        seen: list[int] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fcntl, "flock", lambda fd, operation: seen.append(operation))
            PidFile.holder(path)
        assert seen == []
    assert PidFile.holder(path) is None, "a process that does not have the file open does not hold it"


def test_a_file_that_was_open_before_stop_is_still_the_file(path: Path) -> None:
    """A watcher that begins while another one is stopped holds what everybody sees: no second one can begin beside it."""
    with PidFile(path) as late:
        stop(path)
        late.claim()
        with PidFile(path) as another, pytest.raises(Busy):
            another.claim()


def test_a_directory_that_cannot_be_had_says_so(tmp_path: Path) -> None:
    """The watcher does not begin without its file."""
    (tmp_path / "run").write_text("")
    with pytest.raises(SystemFault, match=f"^cannot open {tmp_path}/run/watch.pid: "), PidFile(tmp_path / "run/watch.pid"):
        pass

"""A keepalived process by its pid file: recognized, and watched until it ends. A shell script of that name stands in for it."""

import os
import select
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from vrrp_drain.linux.process import pidfd, running


@pytest.fixture
def pid_file(tmp_path: Path) -> Path:
    return tmp_path / "keepalived.pid"


@pytest.fixture
def keepalived(pid_file: Path, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of that name that has written its pid file and waits for ever."""
    script = tmp_path / "keepalived"
    script.write_text('#!/bin/sh\necho $$ > "$1"\nread _ < "$0.fifo"\n')
    script.chmod(0o755)
    os.mkfifo(f"{script}.fifo")
    process = subprocess.Popen([script, pid_file])
    while running(pid_file) != process.pid:
        assert process.poll() is None
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("content", ["", "keepalived", "-1", "0", "99999999999999999999", "1 2"])
def test_a_damaged_pid_file_names_nobody(pid_file: Path, content: str) -> None:
    """What is no pid of a process is no keepalived."""
    pid_file.write_text(content)
    assert running(pid_file) is None


def test_without_a_pid_file_nobody_runs(pid_file: Path) -> None:
    """No file, no keepalived, and nothing to watch."""
    assert running(pid_file) is None
    assert pidfd(pid_file) is None


def test_a_pid_that_somebody_else_has_now_is_not_keepalived(pid_file: Path) -> None:
    """After a reboot the old pid may be any process: the name decides."""
    pid_file.write_text(str(os.getpid()))
    assert running(pid_file) is None
    assert pidfd(pid_file) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_pid_file_of_another_job_may_be_anybodys(keepalived: subprocess.Popen[bytes], pid_file: Path) -> None:
    """haproxy-boshrelease's job gives its run directory to vcap, with the pid file that a keepalived left there for the next one."""
    os.chown(pid_file, 1000, 1000)
    assert running(pid_file) == keepalived.pid


def test_nobody_waits_for_who_may_write_a_pid(pid_file: Path) -> None:
    """A FIFO under that name names nobody."""
    os.mkfifo(pid_file)
    assert running(pid_file) is None


def test_a_running_keepalived_is_found(keepalived: subprocess.Popen[bytes], pid_file: Path) -> None:
    """The pid file with its newline names the process, and the descriptor tells of its end."""
    assert running(pid_file) == keepalived.pid
    fd = pidfd(pid_file)
    assert fd is not None
    assert select.select([fd], [], [], 0)[0] == []
    keepalived.kill()
    assert select.select([fd], [], [], 5)[0] == [fd]
    os.close(fd)


def test_a_zombie_does_not_run(keepalived: subprocess.Popen[bytes], pid_file: Path) -> None:
    """A keepalived that ended and that nobody reaped has a name and a pid still, but does not run."""
    keepalived.kill()
    os.waitid(os.P_PID, keepalived.pid, os.WEXITED | os.WNOWAIT)
    assert Path(f"/proc/{keepalived.pid}/comm").read_text() == "keepalived\n"
    assert running(pid_file) is None


def test_a_keepalived_that_ends_meanwhile_cannot_be_watched(
    keepalived: subprocess.Popen[bytes], pid_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the process and the descriptor it may end: then there is nothing to watch."""

    def gone(pid: int) -> int:
        raise ProcessLookupError

    monkeypatch.setattr(os, "pidfd_open", gone)
    assert pidfd(pid_file) is None

"""The keepalived process: recognized, started and stopped. A shell script of that name stands in for it."""

import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from unit.fakes import VIP, Clock, FakeIPR, address
from vrrp_drain import keepalived
from vrrp_drain.bands import Band
from vrrp_drain.config import Config
from vrrp_drain.errors import ConfigError, SystemFault
from vrrp_drain.keepalived import Keepalived, running
from vrrp_drain.netlink import Netlink
from vrrp_drain.paths import Paths

WAIT = 'read _ < "$0.fifo"'  # for ever: nobody writes there
RUN = f'echo $$ > "$pid_file"; {WAIT}'


class Job:
    """The job with a keepalived that behaves as told, and the processes that came of it."""

    def __init__(self, paths: Paths, config: Config, netlink: Netlink) -> None:
        self.paths = paths
        self.config = config
        self.netlink = netlink
        self.said: list[str] = []
        self.keepalived = Keepalived(paths, self.said.append)
        self.processes: list[subprocess.Popen[bytes]] = []
        paths.keepalived_binary.parent.mkdir(parents=True)
        os.mkfifo(f"{paths.keepalived_binary}.fifo")

    def install(self, run: str = RUN, check: str = "exit 0") -> None:
        """Make a keepalived that does ``check`` for --config-test and ``run`` otherwise."""
        self.paths.keepalived_binary.write_text(
            f'#!/bin/sh\nwhile [ $# -gt 0 ]; do\ncase "$1" in --config-test) {check};; --pid) pid_file=$2;; esac\nshift\ndone\n{run}\n'
        )
        self.paths.keepalived_binary.chmod(0o755)

    def start(self) -> None:
        self.keepalived.start(self.config, self.netlink)

    def stop(self) -> None:
        self.keepalived.stop(self.config, self.netlink)

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the stand-in directly, in a session of its own, and wait for its pid file."""
        pid_file = self.keepalived.pid_file
        pid_file.parent.mkdir(parents=True)
        process = subprocess.Popen([self.paths.keepalived_binary, "--pid", pid_file], start_new_session=True)
        self.processes.append(process)
        while running(pid_file) != process.pid:
            assert process.poll() is None
        return process


@pytest.fixture
def job(paths: Paths, config: Config, netlink: Netlink, monkeypatch: pytest.MonkeyPatch) -> Iterator[Job]:
    created = Job(paths, config, netlink)
    created.install()
    spawn = Keepalived._spawn

    def remember(ours: Keepalived, conf: Path) -> subprocess.Popen[bytes]:
        created.processes.append(spawn(ours, conf))
        return created.processes[-1]

    monkeypatch.setattr(Keepalived, "_spawn", remember)
    yield created
    for process in created.processes:
        process.kill()
        process.wait()


@pytest.mark.parametrize("content", ["", "keepalived", "-1", "0", "99999999999999999999", "1 2"])
def test_a_damaged_pid_file_names_nobody(tmp_path: Path, content: str) -> None:
    """What is no pid of a process is no keepalived."""
    (tmp_path / "pid").write_text(content)
    assert running(tmp_path / "pid") is None


def test_without_a_pid_file_nobody_runs(tmp_path: Path) -> None:
    """No file, no keepalived, and nothing to watch."""
    assert running(tmp_path / "pid") is None
    assert keepalived.pidfd(tmp_path / "pid") is None


def test_a_pid_that_somebody_else_has_now_is_not_keepalived(tmp_path: Path) -> None:
    """After a reboot the old pid may be any process: the name decides."""
    (tmp_path / "pid").write_text(str(os.getpid()))
    assert running(tmp_path / "pid") is None


def test_a_running_keepalived_is_found(job: Job) -> None:
    """The pid file with its newline names the process, and the descriptor tells of its end."""
    process = job.spawn()
    assert running(job.keepalived.pid_file) == process.pid
    fd = keepalived.pidfd(job.keepalived.pid_file)
    assert fd is not None
    assert select.select([fd], [], [], 0)[0] == []
    process.kill()
    assert select.select([fd], [], [], 5)[0] == [fd]
    os.close(fd)


def test_a_zombie_does_not_run(job: Job) -> None:
    """A keepalived that ended and that nobody reaped has a name and a pid still, but does not run."""
    process = job.spawn()
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert Path(f"/proc/{process.pid}/comm").read_text() == "keepalived\n"
    assert running(job.keepalived.pid_file) is None


def test_a_keepalived_that_ends_meanwhile_cannot_be_watched(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at the process and the descriptor it may end: then there is nothing to watch."""

    def gone(pid: int) -> int:
        raise ProcessLookupError

    job.spawn()
    monkeypatch.setattr(os, "pidfd_open", gone)
    assert keepalived.pidfd(job.keepalived.pid_file) is None


def test_start(job: Job) -> None:
    """keepalived.conf is written, the node takes part in the election, and the process runs under the pid file's pid."""
    job.start()
    process = job.processes[0]
    assert running(job.keepalived.pid_file) == process.pid
    assert "interface eth0" in (job.paths.keepalived_run / "keepalived.conf").read_text()
    assert job.keepalived.band_file.read() is Band.ACTIVE
    assert job.said == [f"keepalived started for {VIP} on eth0 (pid {process.pid}, priority 254)"]
    assert os.getsid(process.pid) == process.pid


def test_start_keeps_the_band(job: Job) -> None:
    """What pre-start has written holds: a restarted node does not take part before it is promoted."""
    job.keepalived.band_file.write(Band.DRAINING)
    job.start()
    assert job.keepalived.band_file.read() is Band.DRAINING


def test_start_mends_a_damaged_band(job: Job) -> None:
    """A band file that keepalived could not read is replaced, and that is said."""
    job.keepalived.band_file.write(Band.DRAINING)
    job.keepalived.band_file.path.write_text("")
    job.start()
    assert job.keepalived.band_file.read() is Band.ACTIVE
    assert job.said[0].endswith(": writing active")


def test_a_second_start_changes_nothing(job: Job) -> None:
    """A keepalived that runs already is left alone."""
    job.start()
    job.start()
    assert len(job.processes) == 1
    assert job.said[-1] == f"keepalived runs already (pid {job.processes[0].pid})"


def test_a_refused_configuration_starts_nothing(job: Job) -> None:
    """What keepalived says about the file reaches the operator, and nothing is started."""
    job.install(check="echo 'Unknown keyword'; echo 'line 3' >&2; exit 5")
    with pytest.raises(SystemFault, match=r"^keepalived refuses .*keepalived.conf \(status 5\): Unknown keyword; line 3$"):
        job.start()
    assert job.processes == []


def test_a_check_that_hangs_starts_nothing(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A keepalived that does not come back from reading its configuration is given up after the bound."""

    def hang(command: list[str], *, timeout: float, **options: object) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(SystemFault, match=r"^keepalived did not check .*keepalived\.conf within 15 s$"):
        job.start()
    assert job.processes == []


def test_a_keepalived_that_goes_before_its_start_is_named(job: Job) -> None:
    """A package that is replaced at the wrong moment gives a clear word, too."""
    job.install(check='rm "$0"; exit 0')
    with pytest.raises(SystemFault, match=f"^cannot start {job.paths.keepalived_binary}: not found$"):
        job.start()


def test_a_missing_keepalived_is_named(job: Job) -> None:
    """Without the package the path that is missing is said."""
    job.paths.keepalived_binary.unlink()
    with pytest.raises(SystemFault, match=f"^cannot run {job.paths.keepalived_binary}: No such file or directory"):
        job.start()


def test_a_keepalived_that_ends_at_once_is_no_start(job: Job) -> None:
    """The status of the dead process and its log file are named."""
    job.install(run="echo complaint; exit 3")
    with pytest.raises(SystemFault, match=f"ended at once with status 3: see {job.paths.keepalived_log}"):
        job.start()
    assert job.paths.keepalived_log.read_text() == "complaint\n"


def test_a_keepalived_that_never_gets_ready(job: Job, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a pid file the start fails after its bound, and leaves no process behind that nobody could find and stop."""
    monkeypatch.setattr(time, "sleep", clock.sleep)
    monkeypatch.setattr(Keepalived, "_check", lambda ours, conf: None)  # subprocess sleeps, too
    job.install(run=WAIT)
    with pytest.raises(SystemFault, match=r"wrote no .*keepalived\.pid within 15 s"):
        job.start()
    assert 15 <= sum(clock.slept) < 15.1
    assert job.processes[0].poll() == -signal.SIGKILL


def test_start_without_an_interface_is_a_matter_of_the_manifest(job: Job, ipr: FakeIPR) -> None:
    """Where no interface fits the VIP, nothing is written or started."""
    ipr.routes = []
    with pytest.raises(ConfigError, match=r"^keepalived\.interface is 'auto'"):
        job.start()
    assert not job.paths.keepalived_run.exists()


def test_start_without_a_place_to_write(job: Job) -> None:
    """A run directory that cannot be had is named."""
    job.paths.keepalived_run.parent.mkdir(parents=True)
    job.paths.keepalived_run.write_text("")
    with pytest.raises(SystemFault, match=f"^cannot write {job.paths.keepalived_run}: File exists"):
        job.start()


def test_stop(job: Job) -> None:
    """SIGTERM ends keepalived, and the pid file goes."""
    process = job.spawn()
    job.stop()
    assert process.wait() == -signal.SIGTERM
    assert not job.keepalived.pid_file.exists()
    assert job.said == ["keepalived stopped"]


def test_stop_kills_a_keepalived_that_hangs(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not end in time is killed."""
    job.install(run=f"trap '' TERM; {RUN}")
    process = job.spawn()
    wait = select.select
    bounds = []

    def impatient(*arguments: Any) -> Any:
        bounds.append(arguments[3])
        return ([], [], []) if len(bounds) == 1 else wait(*arguments)

    monkeypatch.setattr(select, "select", impatient)
    job.stop()
    assert process.wait() == -signal.SIGKILL
    assert job.said[0] == f"keepalived (pid {process.pid}) did not end within 25 s of SIGTERM: killing it"


def test_stop_takes_away_what_a_dead_keepalived_left(job: Job, ipr: FakeIPR) -> None:
    """With no process there, a VIP on the interface is stale and goes."""
    before = list(ipr.addresses)
    ipr.addresses = [*before, address(2, f"{VIP}/32")]
    job.stop()
    assert ipr.addresses == before
    assert job.said[-1] == f"{VIP} was still on eth0 after keepalived had ended: taking it off"

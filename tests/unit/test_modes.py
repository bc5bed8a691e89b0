"""Who may read and write what we leave on the disk, whatever the umask is that monit or the agent hands down."""

import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from unit.support.fakes import PEER, VIP
from unit.support.plants import Plant, a_victim, plants, unharmed
from vrrp_drain.commands import main
from vrrp_drain.keepalived.track_files import TrackFiles
from vrrp_drain.notify.history import History
from vrrp_drain.notify.notice import Cause, Kind, Notice
from vrrp_drain.runtime import logs
from vrrp_drain.runtime.boot import Boot, Stage
from vrrp_drain.runtime.files import private
from vrrp_drain.runtime.lock import Lock
from vrrp_drain.runtime.paths import Paths
from vrrp_drain.runtime.pid_file import PidFile
from vrrp_drain.runtime.signals import Cancellation
from vrrp_drain.vrrp.bands import Band

pytestmark = pytest.mark.usefixtures("restored_logging")


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file outside, that nobody may touch."""
    return a_victim(tmp_path)


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """Run under the umask that somebody else has chosen."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def leave_everything(paths: Paths, cancellation: Cancellation) -> None:
    """Write every file that a command, a script or the watcher writes."""
    main.main(["--root", str(paths.root), "history"])  # sets the umask, as every command does
    logs.set_up("watch", paths.drain_log, chatty=False)
    logging.getLogger("vrrp_drain").info("a line")
    track_files = TrackFiles(paths.keepalived_run)
    track_files.write(Band.DRAINING)
    track_files.mark(unhealthy=True)
    Boot(paths.drain_run).enter(Stage.PROMOTED)
    History(paths.history).append(Notice(1.0, "haproxy/0", VIP, Kind.STATE, "backup", "master", Cause.DRAIN, "", PEER, 254))
    with PidFile(paths.watcher_pid_file) as pid_file, Lock(paths.drain_run / "lock", "vrrpctl demote", 1.0, cancellation, print):
        pid_file.claim()


def test_nobody_but_root_writes(paths: Paths, cancellation: Cancellation, umask: int) -> None:
    """Run directories are root's alone; logs and history can be read by whoever forwards them, and written by root."""
    leave_everything(paths, cancellation)
    files = [path for path in paths.root.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"band", "health", "boot", "watch.pid", "lock", "history.log", "vrrp-drain.log"}
    assert [path for path in files if mode(path) & 0o022] == []
    assert {mode(path) for path in (paths.keepalived_run, paths.drain_run)} == {0o700}
    assert mode(paths.drain_run / "lock") == 0o600
    assert {mode(path) for path in (paths.history, paths.drain_log)} == {0o644}
    assert [path for path in paths.root.rglob("*") if path.is_dir() and mode(path) & 0o022] == []


OURS = [
    *(f"run/keepalived/{name}" for name in ("band", ".band.new", "health", ".health.new")),
    *(f"run/vrrp-drain/{name}" for name in ("lock", "boot", ".boot.new", "watch.pid")),
    *(f"log/vrrp-drain/{name}" for name in ("vrrp-drain.log", "history.log")),
]


@plants
@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("before", [0o770, 0o700], ids=oct)
def test_what_stands_under_a_name_of_ours(
    paths: Paths, cancellation: Cancellation, victim: Path, plant: Plant, name: str, before: int
) -> None:
    """Wherever something writes: what was planted there is gone, what it led to is as it was, and the file is ours."""
    planted = paths.root / "sys" / name
    planted.parent.mkdir(parents=True)
    planted.parent.chmod(before)
    plant.put(planted, victim)
    leave_everything(paths, cancellation)
    assert unharmed(victim)
    if planted.name.endswith(".new"):
        assert not os.path.lexists(planted)
    else:
        found = planted.lstat()
        assert (stat.S_ISREG(found.st_mode), found.st_nlink, found.st_uid) == (True, 1, os.geteuid())
    assert TrackFiles(paths.keepalived_run).read() is Band.DRAINING
    assert Boot(paths.drain_run).stage() is Stage.PROMOTED
    assert len(History(paths.history).last(10)) == 1
    assert "a line" in paths.drain_log.read_text()


@pytest.mark.parametrize("before", [0o777, 0o770, 0o755, 0o500])
def test_a_run_directory_of_the_agents_is_made_private(tmp_path: Path, before: int) -> None:
    """bosh-agent makes them for the group vcap: processes of other jobs could put another keepalived.conf there."""
    directory = tmp_path / "run"
    directory.mkdir()
    directory.chmod(before)
    assert private(directory) == directory
    assert mode(directory) == 0o700


def test_a_directory_that_is_private_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system that is read-only, nothing has to be changed."""
    directory = private(tmp_path / "a/b")

    def refuse(path: Path, mode: int) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "chmod", refuse)
    private(directory)

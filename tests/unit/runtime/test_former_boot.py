"""What is left in a run directory that a reboot did not empty."""

import fcntl
import logging
import threading
from pathlib import Path

import pytest

from vrrp_drain.runtime import files
from vrrp_drain.runtime.boot import Boot, Stage
from vrrp_drain.runtime.former_boot import forget
from vrrp_drain.runtime.lock import Lock
from vrrp_drain.runtime.signals import Cancellation

NOT_LOCKS = {"band", "boot", "overlap.json", "let-go", "planted"}
LOCKS = {"boot-id", "lock", "finishing", "watch.pid"}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "sys/run/vrrp-drain"


@pytest.fixture
def boot_id(tmp_path: Path) -> Path:
    path = tmp_path / "boot_id"
    path.write_text("first\n")
    return path


def leave(run: Path) -> None:
    for name in ("band", "boot", "overlap.json", "let-go", "lock", "finishing", "watch.pid"):
        files.replace(run / name, "left")
    (run / "planted/below").mkdir(parents=True)


def names(run: Path) -> set[str]:
    return {path.name for path in run.iterdir()}


def test_another_boots_files_are_gone(run: Path, boot_id: Path, log: pytest.LogCaptureFixture) -> None:
    """Whatever they are, once; what this boot writes stays. Locks stay, so that nobody holds one that others do not see."""
    log.set_level(logging.INFO)
    assert not forget(run, boot_id)
    leave(run)
    assert not forget(run, boot_id)
    assert names(run) == NOT_LOCKS | LOCKS
    boot_id.write_text("second\n")
    assert forget(run, boot_id)
    assert names(run) == LOCKS
    assert log.messages == [f"the machine was started anew: what {run} held is not true any more, and was removed"]
    Boot(run).enter(Stage.STARTED)
    assert not forget(run, boot_id)
    assert Boot(run).stage() is Stage.STARTED


def test_an_older_versions_files_stay(run: Path, boot_id: Path) -> None:
    """It made no mark, and what it left is what the next one goes on with."""
    leave(run)
    assert not forget(run, boot_id)
    assert names(run) == NOT_LOCKS | LOCKS
    assert (run / "boot-id").read_text() == "first"


@pytest.mark.parametrize("torn", ["", "fir", "\0\0\0\0"])
def test_a_mark_that_the_power_was_cut_on(run: Path, boot_id: Path, torn: str) -> None:
    """Half a mark is another boot's; where there is nothing of it nothing else of that boot is there either."""
    leave(run)
    files.replace(run / "boot-id", torn)
    assert forget(run, boot_id) is bool(torn)
    assert names(run) == (LOCKS if torn else LOCKS | NOT_LOCKS)
    assert not forget(run, boot_id)


def test_who_begins_side_by_side(run: Path, boot_id: Path) -> None:
    """keepalived and the watcher do: one of them empties the directory, and what it writes then the other leaves alone."""
    forget(run, boot_id)
    leave(run)
    boot_id.write_text("second\n")
    found = []

    def begin(number: int) -> None:
        found.append(forget(run, boot_id))
        files.replace(run / f"mine-{number}", "")

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(found) == [False] * 7 + [True]
    assert names(run) == LOCKS | {f"mine-{number}" for number in range(8)}


def test_a_lock_that_is_held_stays(run: Path, boot_id: Path) -> None:
    """Whoever waits for it waits for whoever has it."""
    log = logging.getLogger()
    forget(run, boot_id)
    with Lock(run / "lock", "promote", 0.0, Cancellation(), log.info):
        boot_id.write_text("second\n")
        forget(run, boot_id)
        with (run / "lock").open() as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_where_nothing_can_be_known_or_written(run: Path, boot_id: Path, tmp_path: Path) -> None:
    """A kernel that names no boot, a directory that is none: nothing is lost, and nothing raised."""
    leave(run)
    assert not forget(run, tmp_path / "no boot id")
    assert names(run) == NOT_LOCKS | (LOCKS - {"boot-id"})
    (tmp_path / "file").write_text("")
    assert not forget(tmp_path / "file", boot_id)


def test_a_mark_that_somebody_planted(run: Path, boot_id: Path, tmp_path: Path) -> None:
    """A link there leads nowhere: it goes, and nothing is written through it."""
    leave(run)
    (tmp_path / "victim").write_text("theirs")
    (run / "boot-id").symlink_to(tmp_path / "victim")
    assert not forget(run, boot_id)
    assert (tmp_path / "victim").read_text() == "theirs"
    assert not (run / "boot-id").is_symlink()

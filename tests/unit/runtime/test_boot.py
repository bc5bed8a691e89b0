"""What this machine has been through since it was started."""

import os
from pathlib import Path

import pytest

from vrrp_drain.runtime.boot import Boot, Stage


@pytest.fixture
def boot(tmp_path: Path) -> Boot:
    return Boot(tmp_path / "run")


def test_nothing_is_written_after_a_reboot(boot: Boot) -> None:
    """The run directory is on tmpfs: no file means that nothing of ours has run yet."""
    assert boot.stage() is None


@pytest.mark.parametrize("stage", Stage)
def test_what_was_entered_is_read(boot: Boot, tmp_path: Path, stage: Stage) -> None:
    """By another process too; no scratch file stays."""
    boot.enter(Stage.REBOOTED)
    boot.enter(stage)
    assert Boot(tmp_path / "run").stage() is stage
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["boot"]


@pytest.mark.parametrize("damage", [b"", b"reb", b"\xff\xfe", None], ids=["empty", "half", "no text", "a directory"])
def test_what_cannot_be_read_promotes_nobody(boot: Boot, tmp_path: Path, damage: bytes | None) -> None:
    """A damaged file is no reboot: the watcher must not promote an instance that somebody has demoted."""
    path = tmp_path / "run/boot"
    path.parent.mkdir()
    if damage is None:
        path.mkdir()
    else:
        path.write_bytes(damage)
    assert boot.stage() is Stage.UNKNOWN


def test_a_directory_that_cannot_be_written_is_a_warning(boot: Boot, tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    """It costs the promotion after a reboot, and nothing else."""
    (tmp_path / "run").write_text("a file where the directory should be")
    boot.enter(Stage.PROMOTED)
    assert log.messages == [f"cannot write {tmp_path}/run/boot: File exists; the watcher may take this for a reboot"]


def test_a_word_is_told_from_every_other(boot: Boot, tmp_path: Path) -> None:
    """Also from the same one said again: whoever acts on a word asks whether it is still the last one. It has its time."""
    words = [boot.word()]
    for n, stage in enumerate((Stage.LEAVING, Stage.LEAVING, Stage.DEMOTED)):
        boot.enter(stage)
        os.utime(tmp_path / "run/boot", (n, n))
        words.append(boot.word())
    assert len({*words}) == 4
    assert boot.entered_at() == 2.0
    assert Boot(tmp_path / "run").word() == words[-1]
    assert Boot(tmp_path / "none").entered_at() is None

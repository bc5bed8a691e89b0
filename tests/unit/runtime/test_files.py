"""Whatever stands under the name of a file of ours: nothing outside is changed, nobody waits for it, and it is said what it was."""

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from unit.support.plants import PARAMS, PLANTS, SOMEBODY, Plant, a_file_of_somebody, a_victim, names, needs_root, plants, unharmed
from vrrp_drain.runtime import files, safe_open


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file outside, that nobody may touch."""
    return a_victim(tmp_path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a file of ours belongs, in a directory as bosh-agent leaves it."""
    directory = tmp_path / "run"
    directory.mkdir()
    directory.chmod(0o770)
    return directory / "file"


@plants
def test_what_was_planted_is_gone_before_we_write(plant: Plant, path: Path, victim: Path) -> None:
    """A run directory that was open to others is emptied of what others put there; then the file is ours."""
    plant.put(path, victim)
    files.replace(path, "ours")
    assert unharmed(victim)
    assert path.read_text() == "ours"
    assert stat.S_ISREG(path.lstat().st_mode)
    assert path.stat().st_nlink == 1
    assert names(path.parent) == [path.name]
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@plants
def test_what_was_planted_for_the_scratch_file_is_gone(plant: Plant, path: Path, victim: Path) -> None:
    """The file that is renamed into place has a name that can be guessed: it is made anew, never opened."""
    plant.put(path.with_name(f".{path.name}.new"), victim)
    files.replace(path, "ours")
    assert unharmed(victim)
    assert names(path.parent) == [path.name]


@plants
def test_what_stands_in_a_private_directory_is_replaced(plant: Plant, path: Path, victim: Path) -> None:
    """Whoever got it in there: a write neither follows nor changes it, and does not hang."""
    plant.put(path, victim)
    path.parent.chmod(0o700)
    files.replace(path, "ours")
    assert unharmed(victim)
    assert path.read_text() == "ours"


@plants
def test_what_is_none_of_ours_is_not_read(plant: Plant, path: Path, victim: Path) -> None:
    """It says what it is; nobody waits for a writer of a FIFO. The time of its change is nobody's business either."""
    plant.put(path, victim)
    with pytest.raises(files.Impostor) as refused:
        files.read(path)
    assert refused.value.strerror == plant.what
    assert refused.value.filename == str(path)
    assert files.changed_at(path) is None
    assert unharmed(victim)


@plants
def test_a_log_is_never_somebody_elses(plant: Plant, path: Path, victim: Path) -> None:
    """In a log directory others may write: what is no log of ours is removed by its name, and named."""
    plant.put(path, victim)
    fd, removed = files.open_to_append(path)
    os.write(fd, b"a line\n")
    os.close(fd)
    assert removed == plant.what
    assert unharmed(victim)
    assert path.read_text() == "a line\n"
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o770, "whoever forwards logs still reads them"


@plants
def test_an_open_file_is_ours(plant: Plant, path: Path, victim: Path) -> None:
    """Opened to be locked: it neither hangs nor changes what is elsewhere, and what remains is a file of ours."""
    plant.put(path, victim)
    os.close(files.open_private(path))
    assert unharmed(victim)
    assert stat.S_ISREG(path.lstat().st_mode)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@plants
def test_anything_can_be_removed(plant: Plant, path: Path, victim: Path) -> None:
    """Only the name goes, not what it leads to; a second time there is nothing to do."""
    plant.put(path, victim)
    for _ in range(2):
        files.remove(path)
        assert names(path.parent) == []
    assert unharmed(victim)


@pytest.mark.parametrize("plant", [each for each in PARAMS if each.id not in ("directory", "file for all")])
@pytest.mark.parametrize("use", [files.private, lambda path: os.close(files.open_to_append(path / "log")[0])], ids=["run", "log"])
def test_the_directory_itself_is_no_link(plant: Plant, use: Callable[[Path], object], tmp_path: Path, victim: Path) -> None:
    """The last directory is taken as it is named: what stands there instead is removed, what it leads to is left alone."""
    directory = tmp_path / "job"
    plant.put(directory, victim.parent if plant.name == "link" else victim)
    use(directory)
    assert unharmed(victim)
    assert stat.S_ISDIR(directory.lstat().st_mode)


def test_the_directories_above_may_be_links(tmp_path: Path) -> None:
    """BOSH's sys is a link to data/sys."""
    (tmp_path / "data/sys").mkdir(parents=True)
    (tmp_path / "sys").symlink_to("data/sys")
    files.replace(tmp_path / "sys/run/job/file", "ours")
    assert (tmp_path / "data/sys/run/job/file").read_text() == "ours"


def test_what_is_ours_survives_the_takeover(path: Path) -> None:
    """bosh-agent opens the directory again with every deploy: keepalived's pid, and the band, are still wanted."""
    path.write_text("4711")
    files.private(path.parent)
    assert files.read_text(path) == "4711"


@needs_root
def test_a_directory_of_somebody_else_becomes_ours(path: Path) -> None:
    """Its owner could open it again to everybody."""
    os.chown(path.parent, SOMEBODY, SOMEBODY)
    path.parent.chmod(0o700)
    files.private(path.parent)
    assert path.parent.stat().st_uid == os.geteuid()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_takeover_that_was_killed_is_finished_by_the_next(path: Path, victim: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between shutting others out and removing what they left, the directory does not count as private."""
    path.symlink_to(victim)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(safe_open, "remove_name", killed)
        with pytest.raises(KeyboardInterrupt):
            files.private(path.parent)
    assert stat.S_IMODE(path.parent.stat().st_mode) & 0o077 == 0
    files.private(path.parent)
    assert names(path.parent) == []


def test_no_descriptor_is_left_open(path: Path, victim: Path) -> None:
    """Whatever is refused, made or removed: a watcher does this for months."""
    before = names(Path("/proc/self/fd"))
    for plant in PLANTS:
        if os.geteuid() != 0 and plant.put is a_file_of_somebody:
            continue
        plant.put(path, victim)
        with pytest.raises(files.Impostor):
            files.read(path)
        os.close(files.open_to_append(path)[0])
        files.replace(path, "ours")
        files.remove(path)
    assert names(Path("/proc/self/fd")) == before


def test_no_more_is_read_than_is_bounded(path: Path) -> None:
    """A file of any size costs a bounded amount of memory; of a log the end is wanted."""
    path.write_bytes(b"a" * files.LONGEST + b"the end")
    path.chmod(0o600)
    assert files.read(path) == b"a" * files.LONGEST
    assert files.read(path, 7, from_end=True) == b"the end"


FILL = """
import errno, os, sys
from pathlib import Path
from vrrp_drain.runtime import files, safe_open
run = Path(sys.argv[1])
files.replace(run / "file", "before")
with open(run / "fill", "wb", buffering=0) as fill:
    try:
        while True:
            fill.write(bytes(4096))
    except OSError as error:
        assert error.errno == errno.ENOSPC, error
files.replace(run / "file", "after, and longer")
assert files.read_text(run / "file") == "after, and longer"
files.replace(run / "file", "short")
assert files.read_text(run / "file") == "short"
try:
    files.replace(run / "file", "x" * 5000)
except OSError as error:
    assert error.errno == errno.ENOSPC, error
else:
    raise SystemExit("there was room after all")
assert files.read_text(run / "file") == "short"
try:
    files.replace(run / "new", "text")
except OSError as error:
    assert error.errno == errno.ENOSPC, error
else:
    raise SystemExit("there was room for a new one")
assert sorted(os.listdir(run)) == ["file", "fill"]
"""


@needs_root
def test_a_full_disk_still_takes_what_fits_in_place(tmp_path: Path) -> None:
    """A tmpfs without a free page: a small file is written over, a larger or a new one is refused and changes nothing."""
    run = tmp_path / "run"
    run.mkdir()
    script = 'mount -t tmpfs -o size=64k,mode=700 tmpfs "$1" && exec "$2" -c "$3" "$1"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", str(run), sys.executable, FILL],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_device_stays() -> None:
    """Nobody but root can have made it; it is no file of ours all the same."""
    with pytest.raises(files.Impostor, match="it is a device"):
        files.open_to_append(Path("/dev/full"))
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


def test_who_plants_faster_than_we_remove_does_not_hold_us_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that cannot be had is an error after a few attempts."""
    path.mkdir()
    monkeypatch.setattr(safe_open, "remove_name", lambda directory, name, but: None)
    with pytest.raises(files.Impostor, match="it is a directory, again whenever it is removed"):
        files.open_to_append(path)


def test_a_directory_that_is_filled_while_it_is_emptied_is_moved_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has it open can go on making files there; under our name is ours."""
    path.mkdir()

    def filled(directory: int, name: str) -> None:
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))

    monkeypatch.setattr(safe_open, "_remove_tree", filled)
    files.replace(path, "ours")
    assert path.read_text() == "ours"


@needs_root
def test_another_jobs_file_never_blocks(tmp_path: Path) -> None:
    """It may be anybody's; a FIFO, which nobody may ever write to, and a link are refused at once."""
    pid_file = tmp_path / "haproxy.pid"
    pid_file.write_text("42\n")
    os.chown(pid_file, 12345, 12345)
    assert files.read_anyones(pid_file, 20) == b"42\n"
    pid_file.unlink()
    os.mkfifo(pid_file)
    with pytest.raises(files.Impostor, match="it is a FIFO"):
        files.read_anyones(pid_file, 20)
    pid_file.unlink()
    pid_file.symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        files.read_anyones(pid_file, 20)


def test_another_jobs_file_keeps_its_owner_and_mode(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever our umask is; and the directory, which is that job's, stays as it is."""
    path.write_text("theirs")
    path.chmod(0o664)
    owners = []
    monkeypatch.setattr(os, "fchown", lambda fd, uid, gid: owners.append((uid, gid)))
    files.rewrite(path, "changed")
    found = path.stat()
    assert (path.read_text(), stat.S_IMODE(found.st_mode), owners) == ("changed", 0o664, [(found.st_uid, found.st_gid)])
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o770
    assert names(path.parent) == [path.name]


@plants
def test_what_was_planted_beside_another_jobs_file_is_gone(plant: Plant, path: Path, victim: Path) -> None:
    """Its scratch file has a name that can be guessed, too."""
    path.write_text("theirs")
    plant.put(path.with_name(f".{path.name}.new"), victim)
    files.rewrite(path, "changed")
    assert unharmed(victim)
    assert (path.read_text(), names(path.parent)) == ("changed", [path.name])


def test_another_jobs_file_is_there_or_not_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk leaves it as it is, with nothing beside it; where there is none, none is made."""
    with pytest.raises(FileNotFoundError):
        files.rewrite(path, "changed")
    path.write_text("theirs")
    monkeypatch.setattr(os, "write", lambda fd, data: len(data) - 1)
    with pytest.raises(OSError, match="No space left"):
        files.rewrite(path, "changed")
    assert (path.read_text(), names(path.parent)) == ("theirs", [path.name])

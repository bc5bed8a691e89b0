"""The history: what was appended is found again, whatever became of the file meanwhile."""

import gzip
import json
import os
import resource
from dataclasses import replace
from pathlib import Path

import pytest

from unit.support.fakes import PEER, VIP
from vrrp_drain.notify.history import History
from vrrp_drain.notify.notice import Cause, Kind, Notice
from vrrp_drain.runtime import files

NOTICE = Notice(1.5, "haproxy/0", VIP, Kind.STATE, "backup", "master", Cause.DRAIN, "10.0.0.2 is leaving", PEER, 254, 0.021)


def notices(count: int, first: int = 0) -> list[Notice]:
    return [replace(NOTICE, at=float(n)) for n in range(first, first + count)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.log"


@pytest.fixture
def history(path: Path) -> History:
    return History(path)


def fill(history: History, found: list[Notice]) -> None:
    for each in found:
        history.append(each)


def test_what_was_appended_is_found(history: History, path: Path) -> None:
    """The oldest first, by another process too, each a line of JSON."""
    fill(history, notices(3))
    assert History(path).last(10) == notices(3)
    assert [json.loads(line)["time"] for line in path.read_text().splitlines()] == [f"1970-01-01T00:00:0{n}.000Z" for n in range(3)]


@pytest.mark.parametrize(("count", "found"), [(0, []), (1, notices(1, 4)), (5, notices(5)), (6, notices(5))])
def test_no_more_than_asked_for(history: History, count: int, found: list[Notice]) -> None:
    """The last ones."""
    fill(history, notices(5))
    assert history.last(count) == found


def test_without_a_file_nothing_has_happened(history: History) -> None:
    """The first command on a new machine is no error."""
    assert history.last(10) == []


@pytest.mark.parametrize("packed", [False, True], ids=["history.log.1", "history.log.1.gz"])
def test_a_rotated_file_goes_before(history: History, path: Path, packed: bool) -> None:
    """logrotate moves the file away, and packs it: what is in there is older, and is read where the new one is too short."""
    fill(history, notices(3))
    rotated = path.rename(path.with_name("history.log.1"))
    if packed:
        path.with_name("history.log.1.gz").write_bytes(gzip.compress(rotated.read_bytes()))
        rotated.unlink()
    fill(history, notices(2, 3))
    assert history.last(10) == notices(5)
    assert history.last(3) == notices(3, 2)
    assert history.last(2) == notices(2, 3)


def test_a_packed_file_that_is_cut_off(history: History, path: Path) -> None:
    """logrotate is at it, or the disk was full: the rest is there all the same."""
    fill(history, notices(3))
    path.with_name("history.log.1.gz").write_bytes(gzip.compress(path.read_bytes())[:-20])
    path.with_name("history.log.1").mkdir()
    assert history.last(10) == notices(3)


def test_lines_that_are_no_notices_are_passed_over(history: History, path: Path) -> None:
    """Halves of a power cut, and whatever else lies there, hide nothing that comes after."""
    for damage in (b'{"time": "19', b"\xff\xfe\x00", b"", b"[]", b"3", b"{}", json.dumps({**NOTICE.as_json(), "kind": "weather"}).encode()):
        with path.open("ab") as file:
            file.write(damage + b"\n")
        history.append(NOTICE)
    assert history.last(100) == [NOTICE] * 7


def test_only_the_end_of_a_huge_file_is_read(history: History, path: Path) -> None:
    """A file that logrotate forgot neither takes for ever nor fills the memory."""
    with path.open("wb") as file:
        file.truncate(1 << 34)
    history.append(NOTICE)
    assert history.last(10) == []  # the hole has no end of line: the notice is part of it
    with path.open("ab") as file:
        file.write(b"\n")
    history.append(NOTICE)
    assert history.last(10) == [NOTICE]


def test_a_file_that_cannot_be_written_is_said_once(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    """Nothing is raised; when it can be written again, that is said too."""
    directory = tmp_path / "log"
    history = History(directory / "history.log")
    directory.write_text("a file where the directory should be")
    fill(history, notices(3))
    said = f"{directory}/history.log cannot be written (File exists): vrrpctl history will lack what happens now"
    assert log.messages == [said]
    directory.unlink()
    fill(history, notices(2))
    assert log.messages[1:] == [f"no longer so: {said}"]
    assert history.last(10) == notices(2)


def test_a_line_is_written_whole_or_not_at_all(history: History, path: Path, log: pytest.LogCaptureFixture) -> None:
    """Where the disk is full in the middle of a line, what was written of it is taken back: the next one stands alone."""
    fill(history, notices(2))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, before[1]))  # as a disk with ten bytes left
    try:
        history.append(NOTICE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "No space left on device" in log.text
    fill(history, notices(1, 2))
    assert [json.loads(line)["at"] for line in path.read_text().splitlines()] == [0.0, 1.0, 2.0]


def test_a_full_disk_is_said(history: History, path: Path, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/full takes nothing, as a full disk does."""
    monkeypatch.setattr(files, "open_to_append", lambda path: (os.open("/dev/full", os.O_WRONLY), ""))
    history.append(NOTICE)
    assert log.messages == [f"{path} cannot be written (No space left on device): vrrpctl history will lack what happens now"]


@pytest.mark.parametrize("name", ["history.log", "history.log.1", "history.log.1.gz"])
def test_what_is_no_history_is_passed_over(history: History, path: Path, name: str, log: pytest.LogCaptureFixture) -> None:
    """In a log directory others may plant what they like: a FIFO holds nobody up, and what is there instead is said, once."""
    fill(history, notices(1))
    expected = notices(1) if name != "history.log" else []
    planted = path.with_name(name)
    planted.unlink(missing_ok=True)
    os.mkfifo(planted)
    for _ in range(2):
        assert history.last(10) == expected
    assert log.messages == [f"{planted} is passed over: it is a FIFO"]


@pytest.mark.parametrize(
    "damage", [b"no gzip", gzip.compress(b"x" * 10_000)[:40], gzip.compress(b"x")[:12] + b"garbage" * 9], ids=["no gzip", "cut", "garbage"]
)
def test_a_packed_history_that_is_damaged_is_passed_over(
    history: History, path: Path, damage: bytes, log: pytest.LogCaptureFixture
) -> None:
    """Cut off, or no gzip at all: the rest is told, and what it is instead."""
    fill(history, notices(2))
    packed = path.with_name("history.log.1.gz")
    packed.write_bytes(damage)
    assert history.last(10) == notices(2)
    assert log.messages == [f"{packed} is passed over: it is no whole gzip file"]

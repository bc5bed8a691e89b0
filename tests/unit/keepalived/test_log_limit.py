"""keepalived's log stays below a bound, whoever makes it grow."""

import logging
import os
import time
from pathlib import Path

import pytest

from unit.support.fakes import Clock
from vrrp_drain.keepalived import log_limit
from vrrp_drain.keepalived.log_limit import KeepalivedLog
from vrrp_drain.runtime.logs import Complaints

MIB = 1 << 20
LINE = b"(haproxy_check_haproxy) Received advert from 10.0.0.66 with lower priority 10, ours 254\n"


@pytest.fixture
def keeper(tmp_path: Path, clock: Clock) -> KeepalivedLog:
    return KeepalivedLog(tmp_path / "keepalived.log", Complaints(logging.getLogger("vrrp_drain")))


def tick(keeper: KeepalivedLog, clock: Clock, seconds: float = 5.0) -> None:
    clock.sleep(seconds)
    keeper.tick(time.monotonic())


def grow(path: Path, size: int) -> None:
    with path.open("ab") as file:
        file.write(LINE * (size // len(LINE)))


def test_a_log_that_grows_too_fast_is_cut(keeper: KeepalivedLog, tmp_path: Path, clock: Clock, log: pytest.LogCaptureFixture) -> None:
    """Its last lines stay, whole; a writer that appends goes on at the new end; it is said in both logs, and once."""
    path = tmp_path / "keepalived.log"
    with path.open("ab") as writer:
        for _ in range(10):
            grow(path, 4 * MIB)
            tick(keeper, clock)
            assert path.stat().st_size < 16 * MIB
        writer.write(b"the next line\n")
    lines = path.read_bytes().splitlines(keepends=True)
    assert b"vrrp-drain took" in lines[0] or lines[0] == LINE
    assert {*lines[1:-1]} <= {LINE, *(each for each in lines if b"vrrp-drain took" in each)}
    assert lines[-1] == b"the next line\n"
    assert path.stat().st_blocks * 512 >= path.stat().st_size, "no hole"
    (said,) = log.messages
    assert said.startswith(f"{path} was cut from ")


@pytest.mark.parametrize(("size", "cut"), [(63, False), (65, True)])
def test_a_log_that_is_too_large_is_cut(keeper: KeepalivedLog, tmp_path: Path, clock: Clock, size: int, cut: bool) -> None:
    """However slowly it grew, and whoever was there first: 64 MiB is no log that anybody reads."""
    path = tmp_path / "keepalived.log"
    grow(path, size * MIB)
    tick(keeper, clock)
    assert (path.stat().st_size < 2 * MIB) is cut


def test_ordinary_growth_and_rotation_are_left_alone(keeper: KeepalivedLog, tmp_path: Path, clock: Clock) -> None:
    """Ten megabytes in more than a minute, or after logrotate emptied it, are no flood."""
    path = tmp_path / "keepalived.log"
    for _ in range(5):
        grow(path, 6 * MIB)
        tick(keeper, clock, 45.0)
    assert path.stat().st_size > 29 * MIB
    os.truncate(path, 0)
    tick(keeper, clock)
    grow(path, 9 * MIB)
    tick(keeper, clock)
    assert path.stat().st_size > 8 * MIB


@pytest.mark.parametrize("kind", ["link", "fifo"])
def test_what_is_no_log_is_left_alone(
    keeper: KeepalivedLog, tmp_path: Path, clock: Clock, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Who may write to the directory may plant a link there: another file is never cut, and nothing waits; said once."""
    victim = tmp_path / "victim"
    victim.write_bytes(LINE)
    path = tmp_path / "keepalived.log"
    if kind == "link":
        path.symlink_to(victim)
    else:
        os.mkfifo(path)
    monkeypatch.setattr(log_limit, "_LARGEST", -1)
    tick(keeper, clock)
    tick(keeper, clock)
    assert victim.read_bytes() == LINE
    assert [each.partition(":")[0] for each in log.messages] == [f"cannot keep {path} small"]


def test_no_log_is_no_trouble(keeper: KeepalivedLog, clock: Clock, log: pytest.LogCaptureFixture) -> None:
    """keepalived of another release has its log elsewhere."""
    tick(keeper, clock)
    assert log.messages == []

"""What an operator has said and stands: who said it and when, whatever has happened to the file."""

import json
import os
import pwd
import time
from pathlib import Path

import pytest

from unit.support.fakes import Clock
from vrrp_drain.runtime import standing_order
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.paths import Paths
from vrrp_drain.runtime.standing_order import Order, StandingOrder, bounded, whoever_runs_this

ESCAPE = "eve\x1b[2J\nroot"


@pytest.fixture
def order(tmp_path: Path) -> StandingOrder:
    return StandingOrder(tmp_path / "ours/stay-out")


def test_an_order_stands_until_it_is_taken_back(order: StandingOrder, clock: Clock) -> None:
    """Whoever reads it learns who gave it and when; taking it back twice is no error."""
    assert order.read() is None
    given = order.give("alice")
    clock.sleep(1e8)
    assert order.read() == given == Order("alice", 86400.0)
    assert str(given) == "said by alice at 1970-01-02 00:00:00 UTC"
    order.take_back()
    order.take_back()
    assert order.read() is None


def test_an_order_for_a_time_ends_by_itself(order: StandingOrder, clock: Clock) -> None:
    """It says until when it stands."""
    given = order.give("alice", 60)
    assert str(given) == "said by alice at 1970-01-02 00:00:00 UTC, until 1970-01-02 00:01:00 UTC"
    clock.sleep(59.9)
    assert order.read() == given
    clock.sleep(0.2)
    assert order.read() is None


def test_where_they_are_kept(paths: Paths) -> None:
    """A reboot empties sys/run, and must not end that an instance stays out; that BOSH may stop it ends there."""
    StandingOrder.stay_out(paths).give("alice")
    StandingOrder.let_go(paths).give("alice", 60)
    assert (paths.root / "data/vrrp-drain/stay-out").exists()
    assert (paths.root / "sys/run/vrrp-drain/let-go").exists()
    assert (paths.root / "data/vrrp-drain").stat().st_mode & 0o777 == 0o700


def test_an_order_outlives_a_cut_of_the_power(order: StandingOrder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the command ends the file is on the disk, then its name, and that of its directory; so is that it was taken back."""
    settled: list[str] = []

    def fsync(fd: int) -> None:
        settled.append(str(Path(f"/proc/self/fd/{fd}").readlink().relative_to(tmp_path)))

    monkeypatch.setattr(os, "fsync", fsync)
    order.give("alice")
    assert settled == [".", "ours/.stay-out.new", "ours"]
    order.take_back()
    assert settled[3:] == ["ours"]


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"7",
        b"null",
        b"[" * 50_000,
        b'{"who": "eve", "at": 1e999, "until": null}',
        b'{"who": "eve", "at": NaN, "until": null}',
        b'{"who": "eve", "at": -1, "until": null}',
        b'{"who": "eve", "at": 1, "until": 1e15}',
        b'{"who": "eve", "at": 1}',
        b'{"who": 7, "at": 1, "until": null}',
    ],
    ids=range(13),
)
def test_a_damaged_file_is_an_order_all_the_same(order: StandingOrder, tmp_path: Path, damage: bytes) -> None:
    """Nobody has taken it back: an instance that somebody took out is not promoted because a disk was full."""
    order.give("alice")
    path = tmp_path / "ours/stay-out"
    path.write_bytes(damage)
    os.utime(path, (86400, 86400))
    assert str(order.read()) == "said by somebody (the file is damaged) at 1970-01-02 00:00:00 UTC"


def test_what_others_have_planted_is_no_order(order: StandingOrder, tmp_path: Path) -> None:
    """The agent makes our directory for the group vcap too: a link or another one's file there says nothing."""
    (tmp_path / "ours").mkdir()
    (tmp_path / "elsewhere").write_text(json.dumps({"who": "eve", "at": 1.0, "until": None}))
    (tmp_path / "ours/stay-out").symlink_to(tmp_path / "elsewhere")
    assert order.read() is None
    assert order.give("alice") == order.read()
    assert "eve" in (tmp_path / "elsewhere").read_text()


def test_what_cannot_be_kept_is_said(order: StandingOrder, tmp_path: Path) -> None:
    """Before anything is changed."""
    (tmp_path / "ours").write_text("a file where the directory should be")
    with pytest.raises(SystemFault, match=r"^cannot write .*/ours/stay-out: .*; nothing was changed$"):
        order.give("alice")


def test_who_runs_this(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By sudo, else who has logged in, else as whom it runs; a user without a name has a number."""
    login = tmp_path / "loginuid"
    monkeypatch.setattr(standing_order, "_LOGIN_UID", login)
    me = pwd.getpwuid(os.getuid()).pw_name
    assert whoever_runs_this({"SUDO_USER": "bosh_1a2b3c"}) == "bosh_1a2b3c"
    assert whoever_runs_this({}) == me
    login.write_text(str(2**32 - 1))
    assert whoever_runs_this({"SUDO_USER": ""}) == me
    login.write_text("1")
    assert whoever_runs_this({}) == pwd.getpwuid(1).pw_name
    login.write_text("3999999999")
    assert whoever_runs_this({}) == "uid 3999999999"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("alice", "alice"),
        (ESCAPE, "eve\\x1b[2J root"),
        ("", "somebody"),
        (" \n", "somebody"),
        ("a" * 65, "a" * 63 + "…"),
        ("\x1b" * 20, ("\\x1b" * 16)[:63] + "…"),
        ("\u202eeve", "\\u202eeve"),
    ],
)
def test_a_name_is_one_short_line(said: str, shown: str) -> None:
    """Whatever somebody has put into it, it moves no cursor and fills no screen."""
    assert bounded(said) == shown
    assert len(shown) <= 64


def test_what_stands_in_the_file_is_bounded_too(order: StandingOrder, tmp_path: Path) -> None:
    """Somebody may have edited it."""
    order.give("alice")
    (tmp_path / "ours/stay-out").write_text(json.dumps({"who": ESCAPE * 100, "at": time.time(), "until": None}))
    found = order.read()
    assert found is not None
    assert len(found.who) == 64
    assert found.who.isprintable()

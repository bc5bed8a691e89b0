"""Our log: every event a line, and a log that cannot be written never in the way."""

import logging
import os
from pathlib import Path

import pytest

from unit.support.fakes import Clock
from vrrp_drain.runtime import files, logs

pytestmark = pytest.mark.usefixtures("restored_logging")
logger = logging.getLogger("vrrp_drain.test")


def test_a_line_has_the_time_in_utc(tmp_path: Path, clock: Clock) -> None:
    """The log in the job's directory, made if need be, has time, level, command and process."""
    clock.sleep(1.25)
    logs.set_up("demote", tmp_path / "log" / "vrrp-drain.log", chatty=True)
    logger.info("lowered to %s", 99)
    assert (tmp_path / "log" / "vrrp-drain.log").read_text() == f"1970-01-02T00:00:01.250Z INFO    demote[{os.getpid()}] lowered to 99\n"


def test_a_line_names_the_instance_as_soon_as_it_is_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The files of several instances can be read side by side; on the console there is one instance only."""
    logs.set_up("demote", tmp_path / "log", chatty=True)
    logger.info("before")
    logs.say_where("haproxy/0")
    logger.info("after")
    before, after = (tmp_path / "log").read_text().splitlines()
    assert before.endswith(f" INFO    demote[{os.getpid()}] before")
    assert after.endswith(f" INFO    haproxy/0 demote[{os.getpid()}] after")
    assert capsys.readouterr().err == "before\nafter\n"


@pytest.mark.parametrize(("chatty", "shown"), [(True, "told\nwarned\n"), (False, "warned\n")])
def test_the_console_shows_what_it_should(tmp_path: Path, capsys: pytest.CaptureFixture[str], chatty: bool, shown: str) -> None:
    """A command that talks shows everything, another one warnings only; stdout is nobody's."""
    logs.set_up("demote", tmp_path / "log", chatty=chatty)
    logger.info("told")
    logger.warning("warned")
    assert capsys.readouterr() == ("", shown)


def test_a_second_set_up_replaces_the_first(tmp_path: Path) -> None:
    """No line is written twice."""
    for _ in range(2):
        logs.set_up("demote", tmp_path / "log", chatty=True)
    logger.info("once")
    assert (tmp_path / "log").read_text().count("once") == 1


def test_a_directory_that_cannot_be_made_stops_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """That no log is kept is said once on stderr, and the command goes on."""
    (tmp_path / "log").write_text("a file where the directory should be")
    logs.set_up("demote", tmp_path / "log" / "vrrp-drain.log", chatty=True)
    logger.info("still here")
    assert capsys.readouterr().err == f"no log is kept: {tmp_path}/log: File exists\nstill here\n"


def test_a_full_disk_stops_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that cannot be written is lost without a word on the console."""
    monkeypatch.setattr(files, "open_to_append", lambda path: (os.open("/dev/full", os.O_WRONLY), ""))
    logs.set_up("demote", tmp_path / "log", chatty=True)
    logger.info("still here")
    assert capsys.readouterr().err == "still here\n"


def test_what_others_said_does_nothing_to_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Escape sequences and turned lines are shown as Python writes them, on the console and in the file; a traceback keeps its lines."""
    logs.set_up("demote", tmp_path / "log", chatty=True)
    try:
        raise ValueError("\x1b[2J")
    except ValueError:
        logger.exception("it said %s", "\x9b1m\u202e\r")
    for said in (capsys.readouterr().err, (tmp_path / "log").read_text()):
        assert r"it said \x9b1m\u202e\r" in said
        assert r"ValueError: \x1b[2J" in said
        assert all(line.isprintable() for line in said.splitlines())
        assert len(said.splitlines()) > 3


def test_a_fifo_holds_nobody_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was planted under the name of the log is removed, which is said; the log begins anew."""
    path = tmp_path / "vrrp-drain.log"
    os.mkfifo(path)
    logs.set_up("demote", path, chatty=True)
    logger.info("still here")
    said = f"{path} was no log of ours (it is a FIFO): removed, this one begins anew; who can write to {tmp_path}?"
    assert capsys.readouterr().err == f"{said}\nstill here\n"
    assert [line.partition("] ")[2] for line in path.read_text().splitlines()] == [said, "still here"]

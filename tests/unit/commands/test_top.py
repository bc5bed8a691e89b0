"""The live screen: status and history, drawn."""

import io
from collections.abc import Iterator
from dataclasses import replace

import pytest
from rich.console import Console

from unit.support.samples import BACKUP, MASTER
from vrrp_drain.commands import top
from vrrp_drain.commands.status_report import Status
from vrrp_drain.notify.notice import Cause, Kind, Notice

MOVED = Notice(1000.0, "haproxy/0", "10.0.0.10", Kind.STATE, "backup", "master", Cause.PEER_LOST, "10.0.0.2 is silent", None, 254, 3.6)


def drawn(status: Status, *story: Notice) -> str:
    console = Console(width=140)
    with console.capture() as screen:
        console.print(top.draw(status, story, 1090.0))
    return screen.get()


def test_a_screen_has_state_facts_and_moves() -> None:
    """Who, since when, why, and the last moves with the newest first."""
    screen = drawn(MASTER, MOVED, MOVED)
    assert " MASTER   haproxy/0  10.0.0.10  1970-01-01 00:18:10 UTC" in screen
    assert "drain        would succeed now: haproxy answers at 10.0.0.2" in screen
    assert screen.count("1 min 30 s  state  backup -> master  3.60 s  peer_lost: 10.0.0.2 is silent") == 2


@pytest.mark.parametrize(
    ("status", "red"),
    [
        (MASTER, set()),
        (replace(MASTER, conditions=["two of them"]), {"two of them"}),
        (replace(MASTER, obstacles=["it has no peer"]), {"would not be smooth: it has no peer"}),
        (
            replace(MASTER, answering=["02:00:00:00:00:02"]),
            {"02:00:00:00:00:02 also answers for 10.0.0.10: clients reach one of two machines"},
        ),
    ],
    ids=["well", "condition", "obstacle", "two masters"],
)
def test_what_is_bad_is_red(status: Status, red: set[str]) -> None:
    """A condition, a warning, and what stands against a drain; nothing else."""
    console = Console(width=300, record=True, file=io.StringIO(), force_terminal=True)
    screen = top.draw(status, [], 0.0)
    found = {segment.text.strip() for segment in console.render(screen) if segment.style and segment.style.bold and segment.text.strip()}
    assert {each for each in found if each != status.state.upper()} == red


@pytest.mark.parametrize(("seconds", "text"), [(-3, "0 s"), (59.4, "59 s"), (61, "1 min 1 s"), (7260, "2 h 1 min"), (90000, "1 d 1 h")])
def test_how_long_ago(seconds: float, text: str) -> None:
    """The two largest units; a clock that was set back makes nothing negative."""
    assert top.ago(seconds) == text


def test_it_is_drawn_until_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look makes a new screen, and the wait between two is what is left of the interval."""
    looks: Iterator[Status] = iter([BACKUP, MASTER])
    waits: list[float] = []

    def stop(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) == 2

    monkeypatch.setenv("TERM", "dumb")
    top.show(lambda: next(looks), lambda: [MOVED], stop, every=2.0)
    assert next(looks, None) is None
    assert all(0 <= each <= 2.0 for each in waits)

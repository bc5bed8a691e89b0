"""The live screen: status and history, drawn."""

from collections.abc import Iterator

import pytest
from rich.console import Console

from unit.support.samples import BACKUP, MASTER
from vrrp_drain.commands import top
from vrrp_drain.commands.status import Status
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

"""The table "updates" of `make bench`: its ten scenarios, the shape of its rows in result.json, and what makes it fail."""

from dataclasses import replace
from typing import Any

import pytest

from lab.benches import updates
from lab.clients.load import Found, Request
from lab.scenarios.ownership import Owners
from lab.scenarios.updates import SCENARIOS, Played

SERVED = [Request("new", n / 100, 2.0, "ok", "request", "haproxy/0") for n in range(1000)]
KEPT = [Request("established", n / 100, 2.0, "ok", "request", "haproxy/0", client=1) for n in range(200)]
OWNERS = [Owners(0.0, 5.0, frozenset({"a"})), Owners(5.0, 5.002, frozenset()), Owners(5.002, 10.0, frozenset({"b"}))]
PLAYED = Played("one at a time", Found([*SERVED, *KEPT], 1.0, 20), OWNERS, 10.04)


def test_the_scenarios() -> None:
    """All ten, each under its own name."""
    assert [each.name for each in SCENARIOS] == [
        "one at a time",
        "2 of 3",
        "3 of 3",
        "2 of 2 with 60 s",
        "recreate without post-start",
        "keepalived's child killed",
        "keepalived stopped",
        "full haproxy",
        "client that learns 4 s late",
        "flushed rules",
    ]


def test_a_row() -> None:
    """What result.json says of a scenario."""
    assert PLAYED.as_json() == {
        "name": "one at a time",
        "new": {"attempted": 1000, "failed": 0, "lost_syns": 0},
        "established": {"requests": 200, "broken": 0},
        "vip": {"nobody_ms": 2.0, "two_ms": 0.0},
        "seconds": 10.0,
    }
    assert all(updates.claims([PLAYED.as_json()], SCENARIOS[:1]).values())
    assert updates.table([PLAYED.as_json()]).row_count == 1


@pytest.mark.parametrize(
    ("wrong", "section", "count"),
    [
        (replace(SERVED[0], outcome="refused", phase="connect"), "new", "failed"),
        (replace(SERVED[0], ms=1003.0, syns_resent=1), "new", "lost_syns"),
        (replace(KEPT[0], outcome="reset"), "established", "broken"),
    ],
)
def test_somebody_noticed(wrong: Request, section: str, count: str) -> None:
    """One request that failed, one first packet that was sent again, one connection that broke: it is counted, and the bench fails."""
    row: dict[str, Any] = replace(PLAYED, found=Found([*SERVED, *KEPT, wrong], 1.0, 20)).as_json()
    assert row[section][count] == 1
    assert list(updates.claims([row], SCENARIOS[:1]).values()).count(False) == 1


def test_nobody_was_there_to_notice() -> None:
    """A load that stood still proves nothing."""
    for found in ([*SERVED[:700], *KEPT], SERVED):
        row = replace(PLAYED, found=Found(found, 1.0, 20)).as_json()
        assert not all(updates.claims([row], SCENARIOS[:1]).values())


def test_a_scenario_that_was_not_played() -> None:
    """One that came to no end has no row, and the bench fails by that."""
    held = updates.claims([PLAYED.as_json()], SCENARIOS[:2])
    assert [claim for claim, holds in held.items() if not holds] == ["updates, 2 of 3: it is played to its end"]

"""What `make bench` counts, and how it keeps it."""

import json
from pathlib import Path

import pytest

from lab.benches import results
from lab.benches.compare import Comparison, Round, round_of
from lab.clients.load import Found, Request
from lab.clients.transfers import Transfer
from lab.scenarios.ownership import Mark, Move, Why

MARKS = [Mark(1.0, "a", "stop"), Mark(10.0, "a", "stop"), Mark(10.3, "a", "band -50"), Mark(12.0, "a", "start")]
MOVES = [
    Move(1.1, "a", "b", 100),
    Move(2.0, "b", "a", 200),
    Move(10.4, "a", "b", 100, nobody_ms=40),
    Move(15.0, "b", "a", 3000, Why.WAY_BACK, nobody_ms=2, two_ms=3),
]


def new(t: float, outcome: str = "ok", *, ms: float = 1.0, phase: str = "request", kind: str = "new") -> Request:
    return Request(kind, t, ms, outcome, phase, "a")


def test_a_round_counts_what_belongs_to_it() -> None:
    """Requests count where they began, broken transfers where their last byte came; refused ones are also failed ones."""
    requests = [
        new(9.9, "timeout"),  # of the round before
        new(10.4, "refused", phase="connect"),
        new(10.5, "reset"),
        new(10.6, ms=1020.0),
        new(11.0, "reset", kind="established"),
        new(20.0, "reset", kind="established"),  # of the round after
    ]
    transfers = [
        Transfer("download", 8.0, 2.5, 20.0, "TimeoutError: timed out"),
        Transfer("upload", 8.0, 1.0, 20.0, "TimeoutError: timed out"),  # broke before
        Transfer("slow", 8.0, 4.0, 50.0, "ok"),
    ]
    found = round_of(Found(requests, 0.0, 1), transfers, MOVES, MARKS, 10.0, 20.0)
    assert (found.failed, found.refused, found.slow, found.reset, found.transfers_broken) == (2, 1, 1, 1, 1)


def test_a_round_times_the_cause_and_the_command() -> None:
    """A handover counts from its cause; the time before that, in which a command prepared it, is told apart."""
    found = round_of(Found([], 0.0, 1), [], MOVES, MARKS, 10.0, 20.0)
    assert (found.handover_ms, found.back_ms) == (100, 3000)
    assert found.command_ms == pytest.approx(400)
    assert (found.nobody_ms, found.two_ms) == (42, 3)


def test_a_vip_that_did_not_come_back_is_no_round() -> None:
    """There is nothing to compare when the VIP did not move both ways."""
    with pytest.raises(RuntimeError, match="moved 1 times"):
        round_of(Found([], 0.0, 1), [], MOVES[:3], MARKS, 10.0, 20.0)


def test_a_comparison_is_told_in_medians() -> None:
    """One round that went wrong does not make the figure; a way in which no transfer lasted has no pause to tell."""
    rounds = [Round(failed, 0, 0, 0, 0, 10.0, 20.0, 30.0, 0.0, 0.0) for failed in (3, 500, 4)]
    told = Comparison("stop", "stopped", rounds, None, 0.0).as_json()
    assert (told["median"]["failed"], told["longest_pause_ms"]) == (4, None)
    assert [each["failed"] for each in told["rounds"]] == [3, 500, 4]


def test_several_writers_share_one_file(tmp_path: Path) -> None:
    """The one that begins drops what an earlier run left; the others add to it; no half-written file stays behind."""
    path = tmp_path / "bench/result.json"
    results.put({"old": 1}, path)
    results.put({"settings": [1]}, path, anew=True)
    assert results.put({"bulk": [2]}, path) == path
    assert json.loads(path.read_text()) == {"settings": [1], "bulk": [2]}
    assert list(path.parent.iterdir()) == [path]

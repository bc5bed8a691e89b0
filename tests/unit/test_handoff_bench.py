"""The bench `handoff` of `make bench`: what makes it fail, the shape of its rows, how many connections a machine has room for."""

import resource
from collections.abc import Sequence
from pathlib import Path

import pytest

from lab.benches import cost, handoff
from lab.clients.load import Found, Request
from lab.scenarios import scale
from lab.scenarios.ownership import Owners
from lab.scenarios.scale import Room, Row, Rushed

NEW = [Request("new", n / 2000, 2.0, "ok", "request", "haproxy/0") for n in range(20_000)]
KEPT = [Request("established", n / 10, 2.0, "ok", "request", "haproxy/0", client=1) for n in range(100)]
IDLE: Row = {"connections": 100_000, "wanted": 100_000, "bounded_by": "", "survived": 100_000}
PER_PACKET: Row = {"sent": 12}


def rushed(*more: Request, without: Sequence[Request] = (), moved: bool = True) -> Row:
    found = Found([each for each in (*NEW, *KEPT, *more) if each not in without], 0.0, 1)
    return {"vips": 1, "rate": 2000.0, **Rushed(found, 10.0, [500.0], [3000.0], 0.0, moved).as_json()}


def wrong(**measured: Row) -> list[str]:
    return [claim for claim, holds in handoff.claims({"direct": measured}).items() if not holds]


def test_what_must_hold() -> None:
    """Where nobody noticed anything, the bench succeeds, and its rows can be shown."""
    measured = {"idle": IDLE, "rush": rushed(), "per_packet": PER_PACKET}
    assert wrong(**measured) == []
    assert handoff.table("direct", measured).row_count > len(measured)
    quartiles = {"median": 2, "lower_quartile": 1, "upper_quartile": 3}
    compared = {"with_rules": quartiles, "without_rules": quartiles, "difference_percent": 1.0, "scatter_percent": 0.5}
    at_rest = dict.fromkeys(("upload_mbit_per_s", "requests_per_s", "packet_ns"), compared)
    assert cost.table({**at_rest, "turns": 1}).row_count == len(at_rest)


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        ({"idle": {**IDLE, "survived": 99_999}}, ["handoff, direct, idle: every connection survives"]),
        ({"idle": {**IDLE, "connections": 0, "survived": 0, "bounded_by": "memory"}}, ["handoff, direct, idle: every connection survives"]),
        (
            {"idle": {**IDLE, "connections": 90_000, "survived": 90_000}},
            ["handoff, direct, idle: there are as many connections as the machine has room for"],
        ),
        ({"idle": {**IDLE, "connections": 90_000, "survived": 90_000, "bounded_by": "memory"}}, []),
        ({"per_packet": {"sent": 0}}, ["handoff, direct, per_packet: packets were handed on"]),
        (
            {"rush": rushed(Request("new", 1.0, 3.0, "refused", "connect", ""))},
            ["handoff, direct, rush: no new connection failed"],
        ),
        (
            {"rush": rushed(Request("new", 1.0, 1003.0, "ok", "request", "haproxy/1", syns_resent=1))},
            ["handoff, direct, rush: no first packet was lost"],
        ),
        (
            {"vips": rushed(Request("established", 1.0, 3.0, "reset", "request", "", client=2))},
            ["handoff, direct, vips: no established connection broke"],
        ),
        ({"vips": rushed(moved=False)}, ["handoff, direct, vips: every VIP moved, and nothing else did"]),
        ({"vips": rushed(without=KEPT)}, ["handoff, direct, vips: clients came all the time"]),
        ({"vips": rushed(without=NEW[:5000])}, ["handoff, direct, vips: clients came all the time"]),
    ],
)
def test_what_makes_it_fail(measured: dict[str, Row], said: list[str]) -> None:
    """One client that noticed, one VIP that stayed, a load that stood still, fewer connections than wanted without a reason."""
    assert wrong(**measured) == said


def test_whose_a_vip_was() -> None:
    """In which order it was at whom alone: while two had it, and while nobody had it, it was on its way."""
    first, second = frozenset({"haproxy/0"}), frozenset({"haproxy/1"})
    spans = [Owners(0, 1, first), Owners(1, 2, first | second), Owners(2, 3, second), Owners(3, 4, frozenset()), Owners(4, 5, second)]
    assert scale.path(spans) == ["haproxy/0", "haproxy/1"]
    assert scale.arrived(spans, 0.5, "haproxy/1") == pytest.approx(500)
    assert scale.arrived(spans, 3.5, "haproxy/1") == pytest.approx(500)
    with pytest.raises(RuntimeError, match="never was on haproxy/2"):
        scale.arrived(spans, 0.5, "haproxy/2")


@pytest.mark.parametrize(
    ("free_kb", "files", "room"),
    [
        (20_000_000, 20_000, Room(100_000, 19_000)),
        (1_200_000, 1 << 20, Room(50_000, 50_000, "memory (MemAvailable)")),
        (20_000_000, resource.RLIM_INFINITY, Room(100_000, 50_000)),
    ],
)
def test_how_many_idle_connections(monkeypatch: pytest.MonkeyPatch, free_kb: int, files: int, room: Room) -> None:
    """As many as are wanted, or as memory allows, which the result says; one process has no more than it may open files, or has ports."""
    monkeypatch.setattr(Path, "read_text", lambda path: f"MemTotal: 1 kB\nMemAvailable:   {free_kb} kB\n")
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1024, files))
    assert Room.of_machine() == room

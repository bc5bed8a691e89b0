"""What `make demo` and `make bench` fail by: each claim holds of a run as it should be, and not of one that went wrong."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from lab.benches import bars, compare, crashes, demo, report, scenarios
from lab.benches.bulk import Bulk, Window
from lab.benches.claims import exit_code
from lab.benches.compare import Comparison, Round
from lab.benches.scenarios import QUICK6, Outcome
from lab.clients.load import Found, Request
from lab.clients.transfers import Transfer
from lab.fabric.agent import ScriptRun
from lab.scenarios.ownership import Mark, Move, Owners, Why
from lab.scenarios.upgrade import Upgrade
from lab.scenarios.ways import WAYS

NODES = ("haproxy/0", "haproxy/1", "haproxy/2")
MOVES = [Move(2.0, NODES[0], NODES[1], 10.0), Move(4.0, NODES[1], NODES[0], 3000.0, Why.WAY_BACK)]
OWNERS = [Owners(1.0, 2.0, frozenset(NODES[:1]))]
ANSWERED = [Request("new", n / 200, 2.0, "ok", "request", NODES[0]) for n in range(3001)]
LOST = Request("new", 2.0, 5000.0, "timeout", "connect", "")
CUT = Request("established", 2.0, 1.0, "reset", "request", "", client=1)
WHOLE = [Transfer(kind, 1.0, 2.0, 20.0, "ok") for kind in ("download", "upload", "slow")]
BROKEN = Transfer("upload", 1.0, 2.0, 20.0, "ConnectionResetError")
DRAINED = ScriptRun("vrrp-drain", "drain", 0, "0\n", "", 0.4)
BESIDE = Found([*ANSWERED[:501], Request("established", 2.0, 1.0, "ok", "request", NODES[0], client=1)], 1.0, 10)
OURS = Upgrade(
    *("with", NODES, Found(ANSWERED, 1.0, 50), WHOLE, [Mark(1.0, NODES[0], "vip")], MOVES, OWNERS, [(name, DRAINED) for name in NODES]),
    beside={each.name: BESIDE for each in demo.BESIDE},
)
WITHOUT = Upgrade("without", NODES, Found([*ANSWERED, LOST, CUT], 1.0, 50), [*WHOLE, BROKEN], [], MOVES, OWNERS, [])


def test_a_command_fails_by_the_claims_that_do_not_hold(capsys: pytest.CaptureFixture[str]) -> None:
    """Those are printed, the others are not; with none it exits 0."""
    assert exit_code({"snow is white": True}, Console()) == 0
    assert exit_code({"snow is white": True, "snow is black": False}, Console()) == 1
    said = capsys.readouterr().out
    assert "snow is black" in said
    assert "snow is white" not in said


def test_a_demo_as_it_should_be(tmp_path: Path) -> None:
    """All claims hold, and the table, the picture and the page are written."""
    assert all(demo.claims(WITHOUT, OURS).values())
    written = report.write([WITHOUT, OURS], tmp_path)
    assert [path.name for path in written] == ["result.json", "timeline.png", "report.html"]
    assert all(path.stat().st_size > 1000 for path in written)


@pytest.mark.parametrize(
    "change",
    [
        {"found": Found([*ANSWERED, LOST], 1.0, 50)},
        {"found": Found([*ANSWERED, CUT], 1.0, 50)},
        {"beside": {demo.BESIDE[0].name: BESIDE}},
        {"beside": {each.name: Found([*BESIDE.requests, CUT], 1.0, 10) for each in demo.BESIDE}},
        {"beside": {each.name: Found([CUT], 1.0, 10) for each in demo.BESIDE}},
        {"found": Found([*ANSWERED, replace(LOST, syns_resent=1, outcome="ok")], 1.0, 50)},
        {"found": Found(ANSWERED[:3000], 1.0, 50)},
        {"transfers": [*WHOLE, BROKEN]},
        {"transfers": WHOLE[1:]},
        {"moves": []},
        {"moves": MOVES[::-1]},
        {"moves": [*MOVES, replace(MOVES[0], target=NODES[2])]},
        {"drains": [(name, DRAINED) for name in NODES[:2]]},
        {"drains": [(name, replace(DRAINED, exit_code=1)) for name in NODES]},
        {"drains": [(name, replace(DRAINED, stdout="0")) for name in NODES]},
    ],
)
def test_a_demo_in_which_somebody_notices(change: dict[str, Any]) -> None:
    """A request that fails, a SYN that is lost, a transfer or a drain that breaks, a VIP that goes elsewhere, a load that was none."""
    assert not all(demo.claims(WITHOUT, replace(OURS, **change)).values())


@pytest.mark.parametrize(
    "change",
    [
        {"found": Found([*ANSWERED, LOST], 1.0, 50)},
        {"found": Found([*ANSWERED, CUT], 1.0, 50)},
        {"transfers": WHOLE},
    ],
)
def test_a_demo_that_compares_with_nothing(change: dict[str, Any]) -> None:
    """Where nothing fails without vrrp-drain there is nothing to show."""
    assert not all(demo.claims(replace(WITHOUT, **change), OURS).values())


def outcomes() -> list[Outcome]:
    return [Outcome(f"step {n}", f"haproxy/{master}", 0.0, 0) for n, master in enumerate((0, 1, 0, 1, 0, 0, 1, 0))]


def test_scenarios() -> None:
    """A planned move has no outage at all, a dead haproxy or VM one that its variant allows, and the VIP is where it belongs."""
    found = outcomes()
    assert all(scenarios.claims(QUICK6, found).values())
    for step, most in enumerate((0.0, QUICK6.haproxy_s, 0.0, 0.0, 0.0, 0.0, QUICK6.vm_s, 0.0)):
        at = [*found[:step], replace(found[step], outage=most), *found[step + 1 :]]
        assert all(scenarios.claims(QUICK6, at).values())
        beyond = [*found[:step], replace(found[step], outage=most + 0.01), *found[step + 1 :]]
        assert list(scenarios.claims(QUICK6, beyond).values()).index(False) == step
        elsewhere = [*found[:step], replace(found[step], master="haproxy/2"), *found[step + 1 :]]
        assert list(scenarios.claims(QUICK6, elsewhere).values()).index(False) == step


def outage(longest: float) -> dict[str, Any]:
    return {"outage_s": {"median": 0.03, "min": 0.02, "max": longest, "runs": 10}}


def test_crashes() -> None:
    """The longest outage counts, not the median; a VIP that stays where nobody serves is the longest of all."""
    assert all(crashes.claims(outage(0.99), outage(2.99)).values())
    assert list(crashes.claims(outage(1.0), outage(2.99)).values()) == [False, True]
    assert list(crashes.claims(outage(0.99), outage(3.0)).values()) == [True, False]
    assert list(crashes.claims({"outage_s": None}, {"outage_s": None}).values()) == [False, False]


_TIMES = (1.0,) * 5
NOTHING, ALL = Round(0, 0, 0, 0, 0, *_TIMES), Round(0, 0, 0, compare.KEEP_ALIVE, 3 * compare.EACH, *_TIMES)
UPLOAD, DOWNLOAD = (Bulk(kind, Window(8.0, 0.7), Window(8.0, 0.7), forwarded) for kind, forwarded in (("upload", 1.0), ("download", 0.01)))


def compared(ours: Round = NOTHING, theirs: Round = ALL) -> list[Comparison]:
    return [
        Comparison(way.key, way.name, [NOTHING if way is WAYS[0] else ALL, theirs if n else ours], None, 0.0) for n, way in enumerate(WAYS)
    ]


def test_ways_to_move_a_vip(tmp_path: Path) -> None:
    """With the handoff no round breaks anything, in each other way every round does; the picture has all."""
    assert all(compare.claims(compared(), [UPLOAD, DOWNLOAD]).values())
    for what in ("failed", "reset", "transfers_broken"):
        held = compare.claims(compared(ours=replace(NOTHING, **{what: 1})), [UPLOAD, DOWNLOAD])
        assert list(held.values()) == [False, True, True, True, True, True]
    for what in ("reset", "transfers_broken"):
        fewer = replace(ALL, **{what: getattr(ALL, what) - 1})
        held = compare.claims(compared(theirs=fewer), [UPLOAD, DOWNLOAD])
        assert list(held.values()) == [True, False, False, False, False, True]
    bars.draw(compared(), [UPLOAD, DOWNLOAD], tmp_path / "compare.png")
    assert (tmp_path / "compare.png").stat().st_size > 10_000


@pytest.mark.parametrize(("upload", "download"), [(0.79, 0.0), (1.21, 0.0), (1.0, 0.1)])
def test_bytes_that_take_another_way(upload: float, download: float) -> None:
    """An upload that is not forwarded, or twice, and a download that is."""
    transfers = [replace(UPLOAD, forwarded=upload), replace(DOWNLOAD, forwarded=download)]
    assert not all(compare.claims(compared(), transfers).values())

"""What guests tell of a kernel's share: nothing that was to be played is passed over, and what could not be is told."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from machines.kernels import KERNELS, arguments, earlier
from machines.result import Area, Played, areas, table


def told(*lines: tuple[str, str, dict[str, Any]]) -> list[str]:
    return [json.dumps({"test": test, "area": "drain", "outcome": outcome, **more}) for test, outcome, more in lines]


def test_a_test_has_passed_when_it_is_over() -> None:
    """Its teardown is a part of it."""
    found = areas(told(("a", "planned", {}), ("a", "passed", {"at": "teardown", "why": ""})))
    assert found == {"drain": Area(passed=["a"])}


@pytest.mark.parametrize("outcome", ["failed", "skipped"])
@pytest.mark.parametrize("at", ["setup", "call", "teardown"])
def test_what_did_not_pass_has_failed(outcome: str, at: str) -> None:
    """Wherever it went wrong; and a test that skips itself proves nothing of a kernel."""
    lines = [("a", "planned", {}), ("a", outcome, {"at": at, "why": "no answer"})]
    if at != "teardown":
        lines.append(("a", "passed", {"at": "teardown", "why": ""}))
    assert areas(told(*lines)) == {"drain": Area(failed={"a": f"{at}: no answer"})}


def test_a_guest_that_dies_leaves_no_test_out() -> None:
    """What was planned and not begun, or not ended, has failed."""
    found = areas(told(("a", "planned", {}), ("b", "planned", {}), ("a", "passed", {"at": "teardown", "why": ""})))
    assert found == {"drain": Area(passed=["a"], failed={"b": "it did not end"})}


def test_a_second_try() -> None:
    """What it tells counts, and that it was one; what failed then has failed."""
    first = [
        ("a", "planned", {}),
        ("b", "planned", {}),
        ("a", "failed", {"at": "call", "why": "late"}),
        ("b", "failed", {"at": "call", "why": "late"}),
    ]
    ended = [(test, "passed", {"at": "teardown", "why": ""}) for test in ("a", "b")]
    second = [("a", "planned", {}), ("b", "planned", {}), ("b", "failed", {"at": "call", "why": "no answer"})]
    found = areas(told(*first, *ended, *second, *ended))
    assert found == {"drain": Area(["a"], {"b": "call: no answer"}, again=["a"])}
    assert found["drain"].text == "1 of 2 (1 when played again)"


def test_a_second_try_that_does_not_end() -> None:
    """It counts as a failure, whatever the first said."""
    first = [("a", "planned", {}), ("a", "failed", {"at": "call", "why": "late"}), ("a", "passed", {"at": "teardown", "why": ""})]
    assert areas(told(*first, ("a", "planned", {}))) == {"drain": Area(failed={"a": "it did not end"})}


def played(suite: str, **areas: Area) -> Played:
    return Played(suite, "linux-image", "5.10.223-1", "5.10.0-32", areas, [], 600.0, 61.0, "2026-11-29")


def test_what_a_kernel_lacks_is_in_its_cell() -> None:
    """How many could not be played, and for want of what; they are not among those that were."""
    area = Area(["a", "b"], {"c": "call: no answer"}, {"d": "without vxlan", "e": "without vxlan", "f": "without macvlan"})
    assert area.text == "2 of 3; not possible: 2 without vxlan; not possible: 1 without macvlan"
    assert Area(missing={"a": "without vxlan"}).text == "not possible: 1 without vxlan"


def test_the_table() -> None:
    """A kernel a column, an area a row; an area that a kernel has nothing of is empty."""
    columns, rows = table([played("bullseye", drain=Area(["a"])), played("trixie", drain=Area(["a"]), doctor=Area(["b"]))])
    assert columns == ["", "bullseye, 5.10.0-32", "trixie, 5.10.0-32"]
    assert rows[:2] == [["package", "5.10.223-1", "5.10.223-1"], ["played on", "2026-11-29", "2026-11-29"]]
    assert rows[2:] == [["doctor", "", "1 of 1"], ["drain", "1 of 1", "1 of 1"]]


def test_the_summary() -> None:
    """One line a kernel, and below it what went wrong."""
    lacks = played("bullseye", drain=Area(["a"], missing={"b": "without vxlan"}))
    assert lacks.summary() == (
        "bullseye, 5.10.0-32: 1 passed, 0 failed, 1 not possible (without vxlan), in 10 minutes (1 by the guests' clocks)"
    )
    assert lacks.good
    failed = played("bullseye", drain=Area(failed={"a": "call: no answer"}))
    assert failed.summary().splitlines()[1:] == ["  failed: a: call: no answer"]
    assert (failed.good, failed.whole) == (False, True)


def test_nothing_proves_nothing() -> None:
    """A kernel under which nothing was played is not good, nor one of whose guests one died."""
    assert not played("bullseye").good
    died = played("bullseye", drain=Area(["a"]))
    assert not replace(died, errors=["guest 2: the guest ended"]).good


def test_what_an_earlier_run_told_is_kept(tmp_path: Path) -> None:
    """The kernels need not be played in one go. What is of another share, or of another version of this, counts as nothing."""
    file = tmp_path / "result.json"
    assert earlier(file, "all") == []
    one = played("bullseye", drain=Area(["a"], {"b": "call: no answer"}, {"c": "without vxlan"}))
    file.write_text(json.dumps({"share": "all", "kernels": [one.as_json()]}))
    assert earlier(file, "all") == [one]
    assert earlier(file, "short") == []
    file.write_text(json.dumps({"share": "all", "kernels": [{"suite": "bullseye"}]}))
    assert earlier(file, "all") == []
    file.write_text('{"share"')
    assert earlier(file, "all") == []


def test_what_had_failed_is_corrected() -> None:
    """A later run of it alone tells what passes now; the rest stays as it was, and a guest that had died is made good."""
    first = replace(
        played("bullseye", drain=Area(["a"], {"b": "call: late", "c": "call: late"}), doctor=Area(["d"])), errors=["guest 2: dead"]
    )
    assert first.failed == ["b", "c"]
    both = first.corrected(played("bullseye", drain=Area(["b"], {"c": "call: no answer"})))
    assert both.areas == {"drain": Area(["a", "b"], {"c": "call: no answer"}, again=["b"]), "doctor": Area(["d"])}
    assert (both.errors, both.seconds, both.good) == ([], 1200.0, False)
    assert both.corrected(played("bullseye", drain=Area(["c"]))).good
    assert "3 passed, 1 failed, none was impossible, 1 passed when played again, in 20 minutes" in both.summary()


def test_which_kernels() -> None:
    """Those that are named, or all; another one is refused."""
    assert arguments(["trixie", "--share", "short"]).kernels == ["trixie"]
    assert arguments([]).kernels == []
    assert KERNELS[0] == "bullseye", "the oldest is first"
    with pytest.raises(SystemExit):
        arguments(["sid"])

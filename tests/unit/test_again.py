"""A test that fails beside others gets a second try by itself; nothing else does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from again import LIMIT

TREE = Path(__file__).resolve().parents[2]
TESTS = """
import os
from pathlib import Path

import pytest

def alone_or_again():
    return "PYTEST_XDIST_WORKER" not in os.environ

def test_passes():
    with Path("played").open("a") as file:
        file.write("passes ")

def test_is_late_beside_others():
    assert alone_or_again()

@pytest.fixture
def slow_end():
    yield
    assert alone_or_again()

def test_whose_end_is_late(slow_end): pass

def test_is_wrong(): assert False

@pytest.mark.parametrize("each", range(9))
def test_many(each): assert alone_or_again()

def test_skips(): pytest.skip("no root")
"""


def play(where: Path, *tests: str, setting: str = "") -> tuple[int, str]:
    """Play ``tests`` in two workers; return the exit code and what was printed."""
    (where / "test_it.py").write_text(TESTS)
    (where / "pytest.ini").write_text("[pytest]\n")
    outer = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}  # this may be a worker itself
    done = subprocess.run(
        [sys.executable, "-m", "again", "-n2", "-p", "no:cacheprovider", *(f"test_it.py::{test}" for test in tests)],
        env={**outer, "PYTHONPATH": str(TREE / "tests"), "CI": setting},
        cwd=where,
        check=False,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout


def test_all_pass(tmp_path: Path) -> None:
    """They are played once, and nothing is said of a second try."""
    code, output = play(tmp_path, "test_passes")
    assert (code, (tmp_path / "played").read_text()) == (0, "passes ")
    assert "second try" not in output


@pytest.mark.parametrize("late", ["test_is_late_beside_others", "test_whose_end_is_late"])
def test_one_that_is_late_beside_others(tmp_path: Path, late: str) -> None:
    """It passes by itself: that is told with its name, what it said first stays in sight, and the others are not played again."""
    code, output = play(tmp_path, "test_passes", late)
    assert (code, (tmp_path / "played").read_text()) == (0, "passes ")
    assert "assert alone_or_again()" in output
    assert f"Passed at the second try, by themselves: test_it.py::{late}" in output


def test_one_that_is_wrong(tmp_path: Path) -> None:
    """It fails by itself as well: both runs have failed."""
    code, output = play(tmp_path, "test_is_late_beside_others", "test_is_wrong")
    assert code == 1
    assert "1 failed, 1 passed" in output
    assert "Passed at the second try" not in output


def test_many_that_fail(tmp_path: Path) -> None:
    """More than a few are no accident: there is no second try."""
    code, output = play(tmp_path, *(f"test_many[{number}]" for number in range(LIMIT + 1)))
    assert code == 1
    assert "once more" not in output


def test_what_did_not_run_gets_no_second_try(tmp_path: Path) -> None:
    """A test that is not there is an error; so is one that CI must not skip, which has not failed itself."""
    code, output = play(tmp_path, "test_that_is_not_there")
    assert code in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED)
    assert "once more" not in output
    (tmp_path / "conftest.py").write_text((TREE / "tests/conftest.py").read_text())
    code, output = play(tmp_path, "test_skips", setting="true")
    assert code == 1
    assert "once more" not in output

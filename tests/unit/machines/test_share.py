"""What a guest plays of the tests, and that it tells of each, with a modprobe that knows one module."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[3]
TESTS = """
import pytest

@pytest.mark.kernel("drain", short=True)
def test_passes(): pass

@pytest.mark.kernel("drain")
@pytest.mark.needs("there")
def test_fails(): assert False, "no answer"

@pytest.mark.kernel("tunnel", short=("one",))
@pytest.mark.parametrize("each", [pytest.param(1, id="one"), pytest.param(2, id="two", marks=pytest.mark.needs("vxlan"))])
def test_some(each): pass

@pytest.mark.kernel("tunnel", all=("one",), short=False)
@pytest.mark.parametrize("each", [pytest.param(1, id="one"), pytest.param(2, id="two")])
def test_one_of_them(each): pass

def test_of_no_kernel(): assert False

@pytest.mark.kernel("drain", short=True)
@pytest.mark.thorough
def test_left_out(): assert False
"""


def play(where: Path, share: str, part: str) -> tuple[int, list[dict[str, str]]]:
    """Return pytest's exit code, and what was told of each test without its phases that went well."""
    (where / "test_it.py").write_text(TESTS)
    (where / "bin").mkdir()
    modprobe = where / "bin/modprobe"
    modprobe.write_text('#!/bin/sh\n[ "$3" = there ]\n')
    modprobe.chmod(0o755)
    (where / "pytest.ini").write_text("[pytest]\nmarkers =\n  kernel\n  needs\n  thorough\n")
    settings = {"KERNEL_SHARE": share, "KERNEL_PART": part, "KERNEL_RESULTS": str(where / "results")}
    code = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-m",
            "kernel and not thorough",
            "-p",
            "machines.share",
            "-p",
            "no:cacheprovider",
            str(where),
        ],
        env={**os.environ, **settings, "PYTHONPATH": str(TREE / "tests"), "PATH": f"{where / 'bin'}:{os.environ['PATH']}"},
        cwd=where,
        check=False,
        capture_output=True,
    ).returncode
    told = [json.loads(line) for line in (where / "results").read_text().splitlines()]
    return code, [each for each in told if each["outcome"] != "passed" or each["at"] == "teardown"]


def outcomes(told: list[dict[str, str]]) -> list[tuple[str, str, str]]:
    return [(each["test"].partition("::")[2], each["outcome"], each.get("why", "")) for each in told]


def test_all_of_it(tmp_path: Path) -> None:
    """What is marked is planned before anything is played; what lacks a module is told, neither played nor skipped."""
    code, told = play(tmp_path, "all", "1/1")
    assert code == 1
    assert outcomes(told) == [
        ("test_passes", "planned", ""),
        ("test_fails", "planned", ""),
        ("test_some[one]", "planned", ""),
        ("test_some[two]", "missing", "without vxlan"),
        ("test_one_of_them[one]", "planned", ""),
        ("test_passes", "passed", ""),
        ("test_fails", "failed", "AssertionError: no answer"),
        ("test_fails", "passed", ""),
        ("test_some[one]", "passed", ""),
        ("test_one_of_them[one]", "passed", ""),
    ]
    assert {each["area"] for each in told} == {"drain", "tunnel"}


@pytest.mark.parametrize(("part", "planned"), [("1/2", ["test_passes"]), ("2/2", ["test_some[one]"])])
def test_a_part_of_the_short_share(tmp_path: Path, part: str, planned: list[str]) -> None:
    """What is short, or those parameters that are: every second of it to each of two guests."""
    code, told = play(tmp_path, "short", part)
    assert code == 0
    assert [test for test, outcome, _ in outcomes(told) if outcome == "planned"] == planned

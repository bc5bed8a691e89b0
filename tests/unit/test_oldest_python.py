"""Nothing needs more than the oldest Python of a stemcell: make lint says so of all files, and the lock installs there."""

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
OLDEST = "3.10"


def commands() -> list[list[str]]:
    """Return with what words make lint calls mypy, each time."""
    dry = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    listed = subprocess.run(["make", "--dry-run", "lint"], cwd=ROOT, env=dry, capture_output=True, text=True, check=True).stdout
    return [line.split()[1:] for line in listed.splitlines() if line.startswith(".venv/bin/mypy ")]


def test_all_python_is_typed_for_the_oldest() -> None:
    """Every .py file, in lib or below tests and docs, and every script whose first line names Python."""
    called = commands()
    assert called
    assert all(words[:2] == ["--python-version", OLDEST] for words in called)
    paths = {word for words in called for word in words[2:] if not word.startswith("-")}
    listed = subprocess.run(["git", "ls-files", "-z", "--cached"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [ROOT / each for each in listed.rstrip("\0").split("\0")]
    programs = {file for file in files if not file.is_symlink() and file.is_file() and _is_python(file)}
    left_out = {str(each.relative_to(ROOT)) for each in programs if not _below(each, paths)}
    assert len(programs) > 300
    assert left_out == set()


def _is_python(file: Path) -> bool:
    if file.suffix == ".py":
        return True
    with file.open("rb") as opened:
        return re.match(rb"#!.*python", opened.readline()) is not None


def _below(file: Path, paths: set[str]) -> bool:
    return any(file.is_relative_to((ROOT / each).resolve()) for each in paths)


def test_the_lock_is_for_the_oldest_too() -> None:
    """Whatever is pinned for newer Pythons alone is pinned a second time for the oldest, or has nothing to do there."""
    lock = (ROOT / "tests/requirements.txt").read_text()
    pins = re.findall(r"^([\w-]+)==\S+(?: ; (.*))? \\$", lock, re.MULTILINE)
    newer = {name for name, marker in pins if "python_full_version >=" in marker}
    older = {name for name, marker in pins if "python_full_version <" in marker}
    assert newer
    assert newer <= older
    assert {name for name, _ in pins} >= set(re.findall(r"^[\w-]+", (ROOT / "tests/requirements.in").read_text(), re.MULTILINE))

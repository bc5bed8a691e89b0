"""The benchmark of start-up: what is compared with what, without a lab."""

import subprocess

import pytest

from lab.benches import startup
from lab.fabric import release


def test_both_versions_have_their_turn() -> None:
    """In every round, and neither is always the first: what the machine does beside it is done to both."""
    asked: list[str] = []

    def measured(version: str) -> float:
        asked.append(version)
        return 2.0 if version == startup.BEFORE else 1.0 + len(asked) % 2

    found = startup.compared(measured, 4, "s")
    before, now = startup.BEFORE, startup.NOW
    assert asked == [before, now, now, before] * 2
    assert found == {"unit": "s", "now": 1.5, "before": 2.0, "ratio": 0.75, "rounds": 4}


def test_a_commit_is_there_for_a_while() -> None:
    """Its files, in a directory that is gone afterwards, as far as git knows too."""
    with startup.checkout("HEAD") as tree:
        assert (tree / "packages/vrrp-drain/spec").is_file()
    assert not tree.exists()
    listed = subprocess.run(["git", "worktree", "list"], cwd=release.REPOSITORY, capture_output=True, text=True, check=True)
    assert str(tree) not in listed.stdout


def test_a_history_that_is_shallow_is_said() -> None:
    """Where the commit cannot be had there is nothing to compare with."""
    said = r"^no-such-commit cannot be had, the history may be shallow: "
    with pytest.raises(startup.NoSuchCommit, match=said), startup.checkout("no-such-commit"):
        pytest.fail("there is no such commit")

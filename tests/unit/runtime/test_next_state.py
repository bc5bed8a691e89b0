"""What BOSH says that it is about to do, in pre-stop's environment and in drain's first argument."""

import logging
from pathlib import Path

import pytest

from vrrp_drain.runtime.next_state import NextState, Told


def environment(vm: str, instance: str, deployment: str) -> dict[str, str]:
    return {"BOSH_VM_NEXT_STATE": vm, "BOSH_INSTANCE_NEXT_STATE": instance, "BOSH_DEPLOYMENT_NEXT_STATE": deployment}


@pytest.mark.parametrize(
    ("told", "arguments", "state", "ends"),
    [
        (environment("keep", "keep", "keep"), ["job_changed", "hash_unchanged"], NextState.VM_KEPT, False),
        (environment("keep", "keep", "keep"), ["job_shutdown", "hash_unchanged"], NextState.VM_KEPT, True),
        (environment("delete", "keep", "keep"), ["job_shutdown", "hash_unchanged"], NextState.VM_DELETED, False),
        (environment("delete", "delete", "keep"), ["job_shutdown", "hash_unchanged"], NextState.INSTANCE_DELETED, True),
        (environment("delete", "delete", "delete"), ["job_shutdown", "hash_unchanged"], NextState.DEPLOYMENT_DELETED, True),
        ({}, ["job_shutdown", "hash_unchanged"], NextState.UNKNOWN, False),
        ({}, [], NextState.UNKNOWN, False),
    ],
)
def test_whether_it_comes_back(told: dict[str, str], arguments: list[str], state: NextState, ends: bool) -> None:
    """A recreated VM comes back, a stopped or deleted instance does not; where nobody tells, it may."""
    found = NextState.of(told)
    assert found is state
    assert found.ends(arguments) is ends


@pytest.mark.parametrize("state", NextState)
def test_drain_reads_what_pre_stop_was_told(tmp_path: Path, state: NextState) -> None:
    """Whatever was told before; nothing is kept where nothing was told."""
    told = Told(tmp_path)
    told.write(NextState.DEPLOYMENT_DELETED)
    told.write(state)
    assert Told(tmp_path).read() is state
    assert (tmp_path / "next-state").exists() is (state is not NextState.UNKNOWN)


def test_a_file_of_somebody_else_tells_nothing(tmp_path: Path) -> None:
    """What is none of our words is unknown."""
    (tmp_path / "next-state").write_bytes(b"\xff4711")
    assert Told(tmp_path).read() is NextState.UNKNOWN


def test_what_cannot_be_kept_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """drain then knows less; nothing fails."""
    (tmp_path / "run").write_text("")
    with caplog.at_level(logging.WARNING):
        Told(tmp_path / "run").write(NextState.VM_KEPT)
    assert "drain may wait for a successor where nobody comes" in caplog.text

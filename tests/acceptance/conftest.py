"""Fixtures: where the real tools are."""

import os
from pathlib import Path

import pytest

from lab.fabric.namespace import missing
from lab.fabric.release import BUILD

TOOLS = BUILD / "go/bin"


@pytest.fixture(scope="session")
def tools() -> Path:
    """Give the directory with bosh and bosh-agent. Skipped loudly where they or the lab's means lack, failed in CI."""
    absent = [name for name in ("bosh", "bosh-agent") if not (TOOLS / name).exists()]
    lack = f"not built: {', '.join(absent)}; `make tools` builds them" if absent else missing()
    if lack and os.environ.get("CI"):
        pytest.fail(f"the acceptance tests cannot run, and CI must not skip them: {lack}")
    if lack:
        pytest.skip(lack)
    return TOOLS

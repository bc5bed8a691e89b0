"""Rendering through Ruby, as BOSH does it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.fabric import release
from lab.fabric.release import Rendering, Spec

GROUP = [Spec("haproxy", n, f"id-{n}", f"10.0.0.{n + 1}", n == 0) for n in range(3)]
Render = Callable[..., Path]


@pytest.fixture
def render(tmp_path: Path) -> Render:
    """Give a function that renders a job for one instance of a group of three, and returns its directory."""
    if not shutil.which("ruby"):
        message = "templates are rendered through Ruby: `make deps` installs it"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)

    def run(job: str, instance: int = 0, provider: str = "keepalived", **properties: Any) -> Path:
        into = tmp_path / job
        properties = {**properties, "keepalived": {"vip": "10.0.0.10", **properties.get("keepalived", {})}}
        release.render(Rendering(job, GROUP[instance], GROUP, properties, into, provider))
        return into

    return run

"""Rendering through Ruby, as BOSH does it."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.fabric import release
from lab.fabric.release import Rendering, Spec

GROUP = [Spec("haproxy", n, f"id-{n}", f"10.0.0.{n + 1}", n == 0) for n in range(3)]
Render = Callable[..., Path]
Answer = Callable[[Rendering, str, list[object]], dict[str, Any]]


@pytest.fixture(scope="session", autouse=True)
def _ruby() -> None:
    if not shutil.which("ruby"):
        message = "templates are rendered through Ruby: `make deps` installs it"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)


@pytest.fixture
def render(tmp_path: Path) -> Render:
    """Give a function that renders a job for one instance of a group of three, and returns its directory."""

    def run(job: str, instance: int = 0, provider: str = "keepalived", **properties: Any) -> Path:
        into = tmp_path / job
        properties = {**properties, "keepalived": {"vip": "10.0.0.10", **properties.get("keepalived", {})}}
        release.render(Rendering(job, GROUP[instance], GROUP, properties, into, provider))
        return into

    return run


@pytest.fixture(scope="session")
def answer() -> Iterator[Answer]:
    """Give a function that has one Ruby render a single template, and tells what came of it; see render.rb."""
    program = ["ruby", str(Path(__file__).parent / "render.rb")]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8") as ruby:

        def ask(rendering: Rendering, template: str, write: list[object]) -> dict[str, Any]:
            assert ruby.stdin is not None
            assert ruby.stdout is not None
            ruby.stdin.write(json.dumps({**rendering.request(), "template": template, "write": write}) + "\n")
            ruby.stdin.flush()
            answered: dict[str, Any] = json.loads(ruby.stdout.readline())
            return answered

        yield ask
        assert ruby.stdin is not None
        ruby.stdin.close()

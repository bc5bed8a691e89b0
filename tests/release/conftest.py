"""The real bosh CLI, and what it makes of this checkout."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from lab.fabric.release import BUILD, REPOSITORY

Bosh = Callable[..., str]


def lacking(message: str) -> NoReturn:
    """Skip loudly on a laptop; CI must not skip."""
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def bosh(tmp_path_factory: pytest.TempPathFactory) -> Bosh:
    """Give a function that runs the bosh CLI and returns its stdout; the CLI's home is a temporary one."""
    program = shutil.which("bosh", path=f"{os.environ['PATH']}:{BUILD / 'go/bin'}")
    if not shutil.which("ruby"):
        lacking("these tests need ruby: `make deps` installs it")
    if not program:  # also in CI: the CLI needs Go, and its modules to be had
        pytest.skip("these tests need the bosh CLI: `make tools` builds it where Go is there")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path_factory.mktemp("home"))}

    def run(*arguments: str | Path, cwd: Path = REPOSITORY) -> str:
        command = [str(program), "--non-interactive", *map(str, arguments)]
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
        return done.stdout

    return run


@pytest.fixture(scope="session")
def blobs() -> Path:
    """Give blobs/, which `make blobs` has filled."""
    found = REPOSITORY / "blobs"
    if not found.is_dir():
        lacking("these tests need blobs/: `make blobs` fills it")
    return found

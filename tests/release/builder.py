"""Somebody who builds the release from a copy of the checkout."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from lab.fabric.release import BUILD
from release.conftest import lacking


@dataclass(frozen=True)
class Builder:
    """Somebody who builds the release: what differs from one to the next, and must not be seen in it."""

    umask: int = 0o022
    user: int = 0
    environment: dict[str, str] = field(default_factory=dict)

    def git(self, copy: Path, *arguments: str) -> str:
        """Run git as nobody in particular."""
        identity = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.com", "-c", "commit.gpgsign=false")
        return subprocess.run(["git", *identity, *arguments], cwd=copy, capture_output=True, text=True, check=True).stdout

    def create(self, copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run config/create_release.py in a copy of the checkout, as `make release` does."""
        return self.run(copy, sys.executable, "config/create_release.py", *arguments)

    def run(self, copy: Path, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a copy of the checkout, without network, under this one's uid, with a home beside it."""
        home = copy.parent / "home"
        home.mkdir(exist_ok=True)
        environment = {"PATH": f"{os.environ['PATH']}:{BUILD / 'go/bin'}", "HOME": str(home), **self.environment}
        namespaces = ["unshare", "--user", f"--map-user={self.user}", f"--map-group={self.user}", "--net"]
        done = subprocess.run(
            [*namespaces, *command], cwd=copy, env=environment, umask=self.umask, capture_output=True, text=True, check=False
        )
        if done.stderr.startswith("unshare: "):
            lacking(f"namespaces: {done.stderr.strip()}")
        return done

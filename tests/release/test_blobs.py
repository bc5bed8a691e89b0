"""blobs/: what config/blobs.yml names, what the packages need, and how config/get-blobs gets it."""

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lab.fabric.release import REPOSITORY, load_yaml
from release.conftest import Bosh

TARBALL = "blobs/keepalived/keepalived-2.3.3.tar.gz"
REQUIREMENT = re.compile(r"^(\S+)==(\S+) \\\n    --hash=sha256:(\w+)$", re.MULTILINE)


def _named() -> dict[str, str]:
    """Return config/blobs.yml: path below blobs/ -> sha256."""
    named = load_yaml((REPOSITORY / "config/blobs.yml").read_text())
    return {path: entry["sha"].removeprefix("sha256:") for path, entry in named.items()}


def test_wheels_are_those_of_the_requirements() -> None:
    """config/blobs.yml and packages/vrrp-drain/requirements.txt name the same files with the same sha256."""
    required = REQUIREMENT.findall((REPOSITORY / "packages/vrrp-drain/requirements.txt").read_text())
    wheels = {f"wheels/{name.replace('-', '_')}-{version}-py3-none-any.whl": sha256 for name, version, sha256 in required}
    assert wheels == {path: sha256 for path, sha256 in _named().items() if path.startswith("wheels/")}


def test_blobs_are_what_their_list_says(blobs: Path) -> None:
    """The CLI trusts files that are there, so we look: path, size and sha256 of every one."""
    present = {path: path.stat().st_size for path in blobs.rglob("*") if path.is_file()}
    named = load_yaml((REPOSITORY / "config/blobs.yml").read_text())
    assert {str(path.relative_to(blobs)): size for path, size in present.items()} == {path: entry["size"] for path, entry in named.items()}
    for path in present:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == _named()[str(path.relative_to(blobs))], path


@pytest.fixture
def checkout(blobs: Path, tmp_path: Path) -> Path:
    """Give a directory with all that config/get-blobs reads and writes."""
    for name in ("config", "packages"):
        shutil.copytree(REPOSITORY / name, tmp_path / name)
    shutil.copytree(blobs, tmp_path / "blobs")
    return tmp_path


def _get_blobs(checkout: Path, **programs: str) -> subprocess.CompletedProcess[str]:
    """Run config/get-blobs with these scripts as curl, apt-get and the venv's python; without one, there is no network."""
    for path in (checkout / "bin/curl", checkout / "bin/apt-get", checkout / ".venv/bin/python"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/bash\n{programs.get(path.name, 'echo no network >&2; exit 1')}\n")
        path.chmod(0o755)
    environment = {"PATH": f"{checkout / 'bin'}:{os.environ['PATH']}"}
    return subprocess.run(["config/get-blobs"], cwd=checkout, env=environment, capture_output=True, text=True, check=False)


def test_what_is_there_is_not_fetched(checkout: Path) -> None:
    """With everything in place nobody asks the network."""
    done = _get_blobs(checkout)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_damaged_tarball_is_fetched_again(checkout: Path) -> None:
    """keepalived's own site is asked first; what it gives is taken when its sha256 is right."""
    tarball = checkout / TARBALL
    right = tarball.rename(checkout / "right")
    tarball.write_text("damaged")
    done = _get_blobs(
        checkout, curl=f'[[ "${{@: -1}}" == https://www.keepalived.org/software/{tarball.name} ]] && cp {right} "${{@: -2:1}}"'
    )
    assert (done.returncode, tarball.read_bytes() == right.read_bytes()) == (0, True), done.stderr


def test_a_wrong_tarball_is_not_taken(checkout: Path) -> None:
    """When no source gives the right one, the message says which file to put where."""
    (checkout / TARBALL).unlink()
    done = _get_blobs(checkout, curl='echo something else > "${@: -2:1}"')
    assert done.returncode == 1
    assert not (checkout / TARBALL).exists()
    assert f"Put it there by hand, then run this again: {TARBALL}, sha256 {_named()[TARBALL.removeprefix('blobs/')]}" in done.stderr


def test_a_new_requirement_is_asked_for_in_the_list(checkout: Path) -> None:
    """Wheels that pip was right to fetch, but config/blobs.yml does not name, are named in the message."""
    (checkout / "blobs/wheels").rename(checkout / "fetched")
    (checkout / "fetched/new-1.0-py3-none-any.whl").write_text("new")
    done = _get_blobs(checkout, python="cp -R fetched blobs/wheels")
    assert done.returncode == 1
    assert "config/blobs.yml does not name the wheels of packages/vrrp-drain/requirements.txt" in done.stderr
    assert "wheels/new-1.0-py3-none-any.whl" in done.stderr


def test_a_final_versions_blobs_are_in_git(checkout: Path, bosh: Bosh) -> None:
    """What `bosh upload-blobs` has put into final_blobs/ is taken from there, and the network is left alone; a damaged one is not."""
    bosh("upload-blobs", cwd=checkout)
    shutil.rmtree(checkout / "blobs")
    done = _get_blobs(checkout)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert {str(path.relative_to(checkout / "blobs")) for path in (checkout / "blobs").rglob("*") if path.is_file()} == _named().keys()
    shutil.rmtree(checkout / "blobs")
    for each in (checkout / "final_blobs").iterdir():
        each.write_text("damaged")
    assert _get_blobs(checkout).returncode == 1

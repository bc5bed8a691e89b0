"""The release tarball that the real bosh CLI makes from this checkout."""

import tarfile
from pathlib import Path
from typing import Any

import pytest

from lab.fabric.release import REPOSITORY, clone_checkout, load_yaml, package_files, unpack
from release.builder import Builder
from release.conftest import Bosh
from vrrp_drain import __version__

JOBS = sorted(path.parent.name for path in REPOSITORY.glob("jobs/*/spec"))
PACKAGES = sorted(path.parent.name for path in REPOSITORY.glob("packages/*/spec"))


@pytest.fixture(scope="module")
def release(bosh: Bosh, blobs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the unpacked tarball, made in a clone that has this checkout's files as they are now."""
    clone = tmp_path_factory.mktemp("clone") / "vrrp-drain"
    clone_checkout(clone)
    done = Builder().create(clone)
    assert done.returncode == 0, done.stdout + done.stderr
    return unpack(clone / f"build/vrrp-drain-{__version__}.tgz", clone.parent / "unpacked")


def _content(archive: Path) -> set[str]:
    """Return the files of an archive."""
    with tarfile.open(archive) as tar:
        return {member.name.removeprefix("./") for member in tar if not member.isdir()}


def test_it_has_name_version_and_every_job_and_package(release: Path) -> None:
    """release.MF says who we are, and nothing of jobs/ and packages/ is left out."""
    manifest = load_yaml((release / "release.MF").read_text())
    assert (manifest["name"], manifest["version"]) == ("vrrp-drain", __version__)
    assert sorted(job["name"] for job in manifest["jobs"]) == JOBS
    assert sorted(package["name"] for package in manifest["packages"]) == PACKAGES
    assert {path.name for path in release.glob("*/*.tgz")} == {f"{name}.tgz" for name in (*JOBS, *PACKAGES)}


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_packed_as_the_lab_compiles_them(release: Path, package: str) -> None:
    """The lab compiles from what the CLI packs, and from nothing else."""
    assert _content(release / f"packages/{package}.tgz") == {"packaging", *package_files(package)}


@pytest.mark.parametrize("job", JOBS)
def test_a_job_has_its_templates_and_its_packages(release: Path, tmp_path: Path, job: str) -> None:
    """Everything that a spec names is in the release, and nothing lies in templates/ that no spec names."""
    unpacked = unpack(release / f"jobs/{job}.tgz", tmp_path)
    spec: dict[str, Any] = load_yaml((unpacked / "job.MF").read_text())
    assert spec["name"] == job
    assert {path.name for path in (unpacked / "templates").iterdir()} == set(spec["templates"])
    assert {path.name for path in (REPOSITORY / "jobs" / job / "templates").iterdir()} == set(spec["templates"])
    assert set(spec["packages"]) <= set(PACKAGES)
    assert (unpacked / "monit").exists()


@pytest.mark.parametrize("job", JOBS)
def test_every_property_is_described(job: str) -> None:
    """`bosh inspect-release` and the documentation show a description for each, and a default or an example."""
    for name, definition in load_yaml((REPOSITORY / "jobs" / job / "spec").read_text()).get("properties", {}).items():
        assert definition["description"].strip(), name
        assert definition.keys() & {"default", "example"}, name

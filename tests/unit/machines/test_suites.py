"""Packages of other Debian suites, with an apt that only says what a real one said."""

import subprocess
from pathlib import Path

import pytest

from machines.suites import KEYRING, Suite, SuiteError


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """Give a suite whose apt is the shell scripts of the test, in tmp_path/bin."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    script(
        tmp_path, "apt-get", 'case "$*" in *indextargets*) echo "Debian-Security http://security/"; echo "Debian http://mirror/" ;; esac'
    )
    return Suite("bullseye", tmp_path / "kept")


def script(where: Path, name: str, text: str) -> None:
    program = where / "bin" / name
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)


def test_the_mirror_is_the_one_of_this_machine(suite: Suite, tmp_path: Path) -> None:
    """A suite's packages come from where this machine's come from, checked with Debian's keys, and not from a security mirror."""
    script(tmp_path, "apt-cache", "echo linux-image-5.10.0-9-amd64")
    suite.newest(r"linux-image-.*")
    assert (tmp_path / "kept/bullseye/sources.list").read_text() == f"deb [signed-by={KEYRING}] http://mirror/ bullseye main\n"


def test_the_newest_is_the_one_of_the_highest_numbers(suite: Suite, tmp_path: Path) -> None:
    """30 is newer than 9; a package whose name has more to it is another one."""
    script(
        tmp_path,
        "apt-cache",
        "printf '%s\\n' linux-image-5.10.0-9-amd64 linux-image-5.10.0-30-amd64 linux-image-5.10.0-32-amd64-dbg haproxy",
    )
    assert suite.newest(r"linux-image-[\d.]+-\d+-amd64") == "linux-image-5.10.0-30-amd64"
    with pytest.raises(SuiteError, match="bullseye has no package whose name matches nginx"):
        suite.newest("nginx")


def test_what_apt_says_is_told(suite: Suite, tmp_path: Path) -> None:
    """Which suite, which command, and why."""
    script(tmp_path, "apt-cache", "echo 'E: No packages found' >&2; exit 100")
    with pytest.raises(SuiteError, match="bullseye: apt-cache haproxy: E: No packages found"):
        suite.version("haproxy")


def test_a_machine_without_debians_mirror(suite: Suite, tmp_path: Path) -> None:
    """It is told what lacks, and nothing is kept that the next run would take for a suite's lists."""
    script(tmp_path, "apt-get", "echo 'Ubuntu http://archive/'")
    with pytest.raises(SuiteError, match="apt has no list of a Debian mirror here"):
        suite.version("haproxy")
    assert not (tmp_path / "kept/bullseye/ready").exists()


def test_a_machine_without_apt(suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told that Debian or Ubuntu is needed."""
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: (_ for _ in ()).throw(FileNotFoundError()))
    with pytest.raises(SuiteError, match=r"there is no apt-get here\. Packages of Debian's suites need Debian or Ubuntu"):
        suite.version("haproxy")

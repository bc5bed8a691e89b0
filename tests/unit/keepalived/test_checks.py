"""Which checks keepalived has disabled, as it says itself, and why, as the machine says."""

import os
import subprocess
from pathlib import Path

import pytest

from vrrp_drain.keepalived import checks
from vrrp_drain.keepalived.checks import DisabledCheck
from vrrp_drain.runtime.errors import SystemFault

PID = 7


class Keepalived:
    """One that runs, of a configuration with one check, and what it says when it is asked to look at that."""

    def __init__(self, root: Path) -> None:
        self.root, self.config = root, root / "keepalived.conf"
        (root / str(PID)).mkdir()
        self.told(path="/usr/bin")
        self.says("")

    def told(self, path: str) -> None:
        (self.root / f"{PID}/environ").write_bytes(b"HOME=/\0" + (f"PATH={path}\0".encode() if path else b""))

    def says(self, text: str) -> None:
        exe = self.root / f"{PID}/exe"
        exe.write_text(f"#!/bin/sh\necho \"$PATH $*\" > {self.root}/asked\ncat >&2 <<'end'\n{text}\nend\nexit 5\n")
        exe.chmod(0o755)

    def has(self, command: str, settings: str = "", block: str = "") -> None:
        self.config.write_text(f'global_defs {{\n{settings}\n}}\nvrrp_script chk {{\n  script "{command}"\n{block}\n  weight 2\n}}\n')

    def disabled(self) -> list[DisabledCheck]:
        return checks.disabled(PID, self.config)


@pytest.fixture
def keepalived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keepalived:
    monkeypatch.setattr(checks, "_PROC", tmp_path)
    return Keepalived(tmp_path)


INSECURE, NOT_FOUND, REMOVED = (
    "Disabling track script chk due to insecure",
    "Disabling track script chk since not found/accessible",
    "(keepalived.conf: Line 9) (x) track script chk not found, ignoring...",
)


def test_it_is_asked_with_its_own_path_about_the_configuration(keepalived: Keepalived) -> None:
    """What it says of other things is no check of ours."""
    keepalived.has("/bin/true")
    keepalived.told(path="/bin:/sbin")
    keepalived.says("(x) Unknown keyword 'lvs_id'")
    assert keepalived.disabled() == []
    assert (keepalived.root / "asked").read_text() == f"/bin:/sbin --config-test --use-file {keepalived.config}\n"
    keepalived.told(path="")
    assert keepalived.disabled() == []
    assert (keepalived.root / "asked").read_text().startswith(f"{os.defpath} ")


@pytest.mark.parametrize(
    ("says", "command", "settings", "why", "mend"),
    [
        (
            NOT_FOUND,
            "unheard-of -z",
            "",
            "its program is in no directory of keepalived's PATH, /usr/bin",
            "install it, or give its whole path",
        ),
        (
            NOT_FOUND,
            "/usr/bin/unheard-of",
            "",
            "/usr/bin/unheard-of: No such file or directory",
            "install it, or give the path where it is",
        ),
        (REMOVED, "/usr/bin/env", "script_user nobody-at-all", "its user nobody-at-all does not exist", None),
        (REMOVED, "/usr/bin/env", "enable_script_security", "its user keepalived_script does not exist", None),
        (INSECURE, "/usr/bin/env", "# enable_script_security", "its log says why", "see keepalived's log"),
    ],
)
def test_why(keepalived: Keepalived, says: str, command: str, settings: str, why: str, mend: str | None) -> None:
    """That it is disabled it says itself; the reason is the first thing that it would stumble over."""
    keepalived.has(command, settings)
    keepalived.says(says)
    (found,) = keepalived.disabled()
    assert str(found) == f"keepalived has disabled its check chk ({command}): {why}"
    assert mend in (None, found.mend)


def test_a_path_with_a_link(keepalived: Keepalived, tmp_path: Path) -> None:
    """The mend is the path without it, and the same arguments; what keepalived runs all the same is no finding."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real/check").write_text("#!/bin/sh\n")
    (tmp_path / "real/check").chmod(0o755)
    (tmp_path / "link").symlink_to("real")
    keepalived.has(f"{tmp_path}/link/check -0 haproxy")
    assert keepalived.disabled() == []
    keepalived.says(INSECURE)
    (found,) = keepalived.disabled()
    if not any(each.lstat().st_uid or (each.lstat().st_mode & 0o1002) == 2 for each in tmp_path.parents):
        assert found.why == f"{tmp_path}/link, on its path {tmp_path}/link/check, is a link"
    assert found.mend == f"give it the path that has no link in it: {tmp_path}/real/check" or found.mend.startswith("give it")


@pytest.mark.parametrize(
    ("mode", "user", "may"), [(0o644, "root", False), (0o611, "root", True), (0o700, "nobody", False), (0o701, "nobody", True)]
)
def test_who_may_execute_it(keepalived: Keepalived, tmp_path: Path, mode: int, user: str, may: bool) -> None:
    """keepalived keeps quiet about that when it is asked, and looks at the file's mode alone; so do we, before it starts too."""
    program = tmp_path / "check"
    program.write_text("#!/bin/sh\n")
    program.chmod(mode)
    keepalived.has(str(program), block=f"  user {user}")
    expected = [] if may else [DisabledCheck("chk", str(program), f"{user} may not execute {program}", f"chmod 755 {program}")]
    assert keepalived.disabled() == checks.not_executable(keepalived.config.read_text()) == expected


def test_what_is_no_program_of_a_check(keepalived: Keepalived) -> None:
    """A file that keepalived only opens, a comment, a block without a command."""
    keepalived.config.write_text(
        'vrrp_script file {\n script "</var/run/serves"\n}\n'
        '#vrrp_script off {\n# script "/unheard-of"\n#}\n'
        "vrrp_script empty {\n weight 2\n}\n"
    )
    assert keepalived.disabled() == []


def test_a_track_script_without_a_block(keepalived: Keepalived) -> None:
    """A typing error is one more reason why nothing is checked."""
    keepalived.config.write_text("vrrp_instance x {\n track_script {\n chk\n }\n}\n")
    keepalived.says(REMOVED)
    (found,) = keepalived.disabled()
    assert str(found) == "keepalived has disabled its check chk (no command): it has no vrrp_script of that name"


def test_what_cannot_be_asked(keepalived: Keepalived, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ended meanwhile, or does not come back: that is no verdict."""
    with pytest.raises(SystemFault, match=r"^whether keepalived has disabled a check is not known \(.*keepalived.conf: No such file"):
        keepalived.disabled()
    keepalived.has("/bin/true")

    def hang(command: list[str], *, timeout: float, **options: object) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(SystemFault, match="it did not say so within 5 s"):
        keepalived.disabled()

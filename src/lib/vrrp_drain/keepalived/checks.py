"""Checks that keepalived has disabled: it starts all the same, tells its log alone, and from then on does not look after haproxy.

It runs no program that somebody else than root could change, none that is not there, and none that its user may not execute. Which these
are differs: from 2.3 on a path with a link in it, such as /bin/killall where /bin leads to /usr/bin, is one of them, and its PATH decides
what a bare name is. So the keepalived that runs is asked itself, under its own PATH (keepalived -t); why is looked up here. About a
program that is not executable it keeps quiet then.

Sources: keepalived's notify.c (check_script_secure, is_executable), vrrp.c (check_track_script_secure), vrrp_track.c.
"""

import os
import pwd
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vrrp_drain.runtime.errors import SystemFault, what_happened
from vrrp_drain.runtime.programs import PATH

_SECONDS = 5.0
_PROC = Path("/proc")
_DISABLED = re.compile(r"Disabling track script (\S+) |track script (\S+) not found, ignoring")
_BLOCK = re.compile(r"^\s*vrrp_script\s+(\S+)\s*\{(.*?)^\s*\}", re.MULTILINE | re.DOTALL)
_DEFAULT_USER = "keepalived_script"


@dataclass(frozen=True)
class DisabledCheck:
    """``name`` is the vrrp_script's, ``command`` what it would run, ``why`` it does not, and the ``mend``."""

    name: str
    command: str
    why: str
    mend: str

    def __str__(self) -> str:
        return f"keepalived has disabled its check {self.name} ({self.command}): {self.why}"


def located(command: str) -> str:
    """Return ``command`` with the real path of its program: keepalived takes /bin, where it is a link, for a tampered path.

    A program that is not there stays as it is: keepalived's own check says so.
    """
    program, blank, arguments = command.partition(" ")
    found = shutil.which(program, path=PATH)
    if found is None:
        return command
    return f"{Path(found).parent.resolve() / Path(found).name}{blank}{arguments}"


def disabled(pid: int, config: Path) -> list[DisabledCheck]:
    """Return the checks of ``config`` that the keepalived with this pid does not run. Raises SystemFault where that is not to be had."""
    try:
        text = config.read_text(errors="replace")
        path = _path_of(pid)
        asked = subprocess.run(
            [f"{_PROC}/{pid}/exe", "--config-test", "--use-file", str(config)],
            env={"PATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except OSError as error:
        raise SystemFault(f"whether keepalived has disabled a check is not known ({what_happened(error)})") from error
    except subprocess.TimeoutExpired:
        raise SystemFault(f"whether keepalived has disabled a check is not known: it did not say so within {_SECONDS:g} s") from None
    named = {first or second for first, second in _DISABLED.findall(asked.stdout + asked.stderr)}
    checks = {each.name: each for each in _checks(text)}
    found = [_explained(each, path) for name, each in checks.items() if name in named]
    found += [DisabledCheck(name, "no command", "it has no vrrp_script of that name", "give it one") for name in sorted(named - {*checks})]
    return found + [each for each in not_executable(text) if each.name not in named]


def not_executable(text: str) -> list[DisabledCheck]:
    """Return the checks of a configuration whose program is there, and may not be executed."""
    found = []
    for each in _checks(text):
        program = each.program(PATH)
        if program is not None and program.is_file() and (why := _forbidden(program, each.user)):
            found.append(DisabledCheck(each.name, each.command, *why))
    return found


@dataclass(frozen=True)
class _Check:
    name: str
    command: str
    user: str

    def program(self, path: str) -> Path | None:
        """Return what keepalived runs; None where that is in no directory of ``path``, or it only opens a file."""
        first = self.command.split()[0]
        if first.startswith("<"):
            return None
        if "/" in first:
            return Path(first)
        return next((place for each in path.split(":") if (place := Path(each, first)).is_file()), None)


def _checks(text: str) -> Iterator[_Check]:
    text = re.sub(r"^\s*[#!].*$", "", text, flags=re.MULTILINE)
    for_all = _setting("script_user", text)
    for name, block in _BLOCK.findall(text):
        if command := _setting("script", block).strip("\"'"):
            yield _Check(name, command, (_setting("user", block) or for_all or _default_user(text)).split()[0])


def _setting(name: str, text: str) -> str:
    found = re.search(rf"^\s*{name}\s+(.+?)\s*$", text, re.MULTILINE)
    return found[1] if found else ""


def _path_of(pid: int) -> str:
    said = (_PROC / f"{pid}/environ").read_bytes().split(b"\0")
    return next((each.decode(errors="replace").partition("=")[2] for each in said if each.startswith(b"PATH=")), os.defpath)


def _explained(check: _Check, path: str) -> DisabledCheck:
    """Say why: the first thing that keepalived would stumble over."""
    program = check.program(path)
    if _entry(check.user) is None:
        why, mend = f"its user {check.user} does not exist", "make that user, or name one that exists: script_user, or user in its block"
    elif program is None:
        why, mend = f"its program is in no directory of keepalived's PATH, {path}", "install it, or give its whole path"
    else:
        why, mend = _unsafe(program) or _forbidden(program, check.user) or ("its log says why", "see keepalived's log")
    better = located(check.command)
    program = _Check(check.name, better, check.user).program(path)
    if better != check.command and program is not None and not (_unsafe(program) or _forbidden(program, check.user)):
        mend = f"give it the path that has no link in it: {better}"
    return DisabledCheck(check.name, check.command, why, mend)


def _unsafe(program: Path) -> tuple[str, str] | None:
    """Return what is wrong with a path, and what to do; None where root alone can change what is at its end."""
    for each in (*reversed(program.parents), program):
        try:
            there = each.lstat()
        except OSError as error:
            return f"{each}: {error.strerror}", "install it, or give the path where it is"
        if each != program and stat.S_ISLNK(there.st_mode):
            return f"{each}, on its path {program}, is a link", f"give it the path that has no link in it: {program.resolve()}"
        if there.st_uid != 0:
            return f"{each} does not belong to root, but to uid {there.st_uid}", f"chown root {each}"
        others = there.st_mode & stat.S_IWOTH or (there.st_gid != 0 and there.st_mode & stat.S_IWGRP)
        if others and not stat.S_ISLNK(there.st_mode) and not (stat.S_ISDIR(there.st_mode) and there.st_mode & stat.S_ISVTX):
            return f"others than root may write {each}", f"chmod go-w {each}"
    return None


def _forbidden(program: Path, user: str) -> tuple[str, str] | None:
    """Return why ``user`` may not run it, and what to do: keepalived looks at the file's mode alone."""
    entry, there = _entry(user), program.stat()
    if entry is None:
        return None
    if entry.pw_uid == 0:
        may = there.st_mode & 0o111
    elif entry.pw_uid == there.st_uid:
        may = there.st_mode & stat.S_IXUSR
    else:
        may = there.st_mode & (stat.S_IXGRP if entry.pw_gid == there.st_gid else stat.S_IXOTH)
    return None if may else (f"{user} may not execute {program}", f"chmod 755 {program}")


def _default_user(text: str) -> str:
    """Return who runs a check that names nobody: root does not, where that is forbidden."""
    is_strict = re.search(r"^\s*enable_script_security\b", text, re.MULTILINE)
    return _DEFAULT_USER if is_strict or _entry(_DEFAULT_USER) else "root"


def _entry(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None

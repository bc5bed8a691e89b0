"""The lifecycle scripts of the jobs on this machine: whose drain ends haproxy besides ours, and which of them run now."""

import re
from collections.abc import Iterator
from pathlib import Path

_OURS = "vrrp-drain"
_AGENT = "bosh-agent"
_SCRIPTS = "pre-stop|drain|post-stop|pre-start|post-start"
_WORDS = 4  # of a command line, among which its script is: interpreter, options, script
_MOST = 1 << 20  # bytes that are read of one script
_HAPROXY = re.compile(rb"(?<![\w-])haproxy(?![\w-])")
# What haproxy-boshrelease's drain is without ha_proxy.drain_enable: it says so, and nothing follows.
_DISABLED = re.compile(rb"drain is disabled[^\n]*(?:\s*(?:echo ['\"]?0['\"]?|exit(?: 0)?)[ \t]*(?=\n|\Z))*\s*\Z")
_COMMENT = re.compile(rb"^[ \t]*#[^\n]*\n?", re.MULTILINE)


def ending_haproxy(jobs: Path, pid_file: Path) -> list[str]:
    """Return the other jobs below ``jobs`` whose drain works on haproxy: that of haproxy's own job, or one that speaks of it.

    bpm's pid files lie in a directory named after the job. A drain that is taken for one and is none costs little: clients are not
    asked to close. One that is overlooked fails when haproxy ends under its hands, and the deploy with it.
    """
    found = []
    for script in sorted(jobs.glob("*/bin/drain")):
        job = script.parent.parent.name
        try:
            with script.open("rb") as file:
                text = _COMMENT.sub(b"", file.read(_MOST))
        except OSError:
            continue  # nor can the agent run it
        if job != _OURS and not _DISABLED.search(text) and (job == pid_file.parent.name or _HAPROXY.search(text)):
            found.append(job)
    return found


def running(jobs: Path, proc: Path = Path("/proc")) -> list[str]:
    """Say which lifecycle scripts run here: by their command line or, where one has become another program, as what the agent runs."""
    script = re.compile(rf"{re.escape(str(jobs))}/([^/]+)/bin/({_SCRIPTS})")
    processes = {pid: (name, parent) for pid, name, parent in _processes(proc)}
    found = []
    for pid, (name, parent) in processes.items():
        words = _command_line(proc / str(pid))[:_WORDS]
        if match := next(filter(None, map(script.fullmatch, words)), None):
            found.append(f"the {match[2]} of the job {match[1]} (pid {pid})")
        elif processes.get(parent, ("", 0))[0] == _AGENT:
            found.append(f"{name} of bosh-agent (pid {pid})")
    return found


def _processes(proc: Path) -> Iterator[tuple[int, str, int]]:
    """Yield pid, name and parent of each process that has not ended (proc(5), stat)."""
    for entry in proc.iterdir():
        if entry.name.isdigit():
            try:
                name, _, rest = (entry / "stat").read_text(errors="replace").partition("(")[2].rpartition(")")
                state, parent = rest.split()[:2]
            except (OSError, ValueError):  # it has ended
                continue
            if state not in "ZX":
                yield int(entry.name), name, int(parent)


def _command_line(entry: Path) -> list[str]:
    try:
        return (entry / "cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return []

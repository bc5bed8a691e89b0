"""The lifecycle scripts of the jobs on this machine: whose drain ends haproxy, besides ours."""

import re
from pathlib import Path

_OURS = "vrrp-drain"
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

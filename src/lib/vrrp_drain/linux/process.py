"""A keepalived process by its pid file: is it there, and when does it end."""

import os
from pathlib import Path

from vrrp_drain.runtime import files

_LONGEST = 20  # bytes of a pid


def running(pid_file: Path) -> int | None:
    """Return the pid of the keepalived that ``pid_file`` names, or None: no file, no process, or somebody else's pid."""
    try:
        pid = int(files.read_anyones(pid_file, _LONGEST))  # haproxy-boshrelease's job gives its files to vcap
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, ValueError, IndexError):
        return None
    return pid if name.startswith("keepalived") and state not in "ZX" else None


def pidfd(pid_file: Path) -> int | None:
    """Return a file descriptor that becomes readable when that keepalived ends (pidfd_open(2)), or None."""
    pid = running(pid_file)
    if pid is None:
        return None
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None

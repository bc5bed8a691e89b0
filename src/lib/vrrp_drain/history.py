"""What happened here, one notice a line as JSON, in the job's log directory: a reboot keeps it, and ``bosh logs`` and logrotate take it."""

import errno
import gzip
import json
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from .logs import Complaints
from .notice import Notice

log = logging.getLogger(__name__)
_LONGEST = 1 << 20  # bytes read of one file, from its end


class History:
    """Written by the watcher, read by ``vrrpctl history`` and ``status``. A disk that is full stops nobody; it is said once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._complaints = Complaints(log)

    def append(self, notice: Notice) -> None:
        line = json.dumps(notice.as_json()).encode() + b"\n"
        try:
            with self._path.open("ab", buffering=0) as file:
                before = file.tell()
                if file.write(line) < len(line):  # the disk is full in the middle of it: half a line would spoil the next one too
                    file.truncate(before)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._complaints.about("file", f"{self._path} cannot be written ({error.strerror}): vrrpctl history will lack what happens now")
            return
        self._complaints.over("file")

    def last(self, count: int) -> list[Notice]:
        """Return the last ``count`` notices, the oldest first; lines that are none (of a disk that was full) are passed over."""
        found: list[Notice] = []
        for path in (self._path, self._path.with_name(f"{self._path.name}.1"), self._path.with_name(f"{self._path.name}.1.gz")):
            if len(found) < count:
                found = [*_notices(path), *found]
        return found[-count:] if count else []


def _notices(path: Path) -> Iterator[Notice]:
    for line in _tail(path).splitlines():
        with suppress(ValueError, KeyError, TypeError):
            yield Notice.from_json(json.loads(line))


def _tail(path: Path) -> str:
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as packed:
                return packed.read(_LONGEST).decode(errors="replace")
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _LONGEST))
            return file.read().decode(errors="replace")
    except (OSError, EOFError):
        return ""

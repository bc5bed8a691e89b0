"""What happened here, one notice a line as JSON, in the job's log directory: a reboot keeps it, and ``bosh logs`` and logrotate take it."""

import errno
import gzip
import io
import json
import logging
import os
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from vrrp_drain.runtime import files
from vrrp_drain.runtime.logs import Complaints

from .notice import Notice

log = logging.getLogger(__name__)


class History:
    """Written by the watcher, read by ``vrrpctl history`` and ``status``. A disk that is full stops nobody; it is said once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._complaints = Complaints(log)

    def append(self, notice: Notice) -> None:
        line = json.dumps(notice.as_json()).encode() + b"\n"
        try:
            fd, removed = files.open_to_append(self._path)
            if removed:
                log.warning("%s was no history of ours (%s): removed, this one begins anew", self._path, removed)
            with os.fdopen(fd, "ab", buffering=0) as file:
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
                found = [*self._notices(path), *found]
        return found[-count:] if count else []

    def _notices(self, path: Path) -> Iterator[Notice]:
        try:
            text = _tail(path)
        except FileNotFoundError:
            return
        except (OSError, EOFError, zlib.error) as error:
            reason = isinstance(error, OSError) and error.strerror
            self._complaints.about(path.name, f"{path} is passed over: {reason or 'it is no whole gzip file'}")
            return
        yield from _parsed(text)


def _parsed(text: str) -> Iterator[Notice]:
    for line in text.splitlines():
        with suppress(ValueError, KeyError, TypeError, RecursionError):
            yield Notice.from_json(json.loads(line))


def _tail(path: Path) -> str:
    """Return the end of a file. Raises OSError, and EOFError or zlib.error for one that is damaged."""
    if path.suffix == ".gz":
        with gzip.open(io.BytesIO(files.read(path))) as packed:
            return packed.read(files.LONGEST).decode(errors="replace")
    return files.read(path, from_end=True).decode(errors="replace")

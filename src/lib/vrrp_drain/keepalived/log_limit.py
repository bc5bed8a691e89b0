"""keepalived's log, which somebody else on the segment may make it fill: kept below a bound by the watcher.

keepalived writes one or more lines for each advert that it does not like, and nothing that we can set limits that. BOSH's logrotate
comes once an hour at best; at 3 MB/s the disk is full before. The file is opened for appending by keepalived, so it can be cut in
place: its next line goes to the new end, and nothing is left as a hole.
"""

import logging
import os
import time
from pathlib import Path

from vrrp_drain.runtime import files
from vrrp_drain.runtime.logs import Complaints

log = logging.getLogger(__name__)

_LOOK_EVERY = 5.0  # seconds
_MINUTE = 60.0
_LARGEST = 64 << 20  # bytes: what logrotate of a quiet year never sees
_FASTEST = 10 << 20  # bytes in a minute: a hundred times what a handover a second writes
_KEPT = 1 << 20  # bytes: the last few thousand lines say what it is about
_SAY_EVERY = 600.0  # seconds


class KeepalivedLog:
    """Looks at the log now and then; ``tick`` returns at once."""

    def __init__(self, path: Path, complaints: Complaints) -> None:
        self._path, self._complaints = path, complaints
        self._next, self._say_at = 0.0, float("-inf")
        self._sizes: list[tuple[float, int]] = []  # of the last minute, the oldest first

    def tick(self, now: float) -> None:
        """Look, if it is time; cut where it is too large, or grows too fast. ``now`` is monotonic."""
        if now < self._next:
            return
        self._next = now + _LOOK_EVERY
        try:
            size = self._path.lstat().st_size
            grown = self._growth(size, now)
            if size > _LARGEST or grown > _FASTEST:
                size = self._cut(now, grown)
                self._sizes = [(now, size)]
            self._complaints.over("keepalived's log")
        except FileNotFoundError:
            self._sizes = []
        except OSError as error:
            self._complaints.about("keepalived's log", f"cannot keep {self._path} small: {error.strerror}; it may fill the disk")

    def _growth(self, size: int, now: float) -> int:
        """Return by how much it has grown within the last minute; what was rotated meanwhile begins anew."""
        if self._sizes and size < self._sizes[-1][1]:
            self._sizes = []
        self._sizes = [(at, its) for at, its in self._sizes if now - at <= _MINUTE] + [(now, size)]
        return size - self._sizes[0][1]

    def _cut(self, now: float, grown: int) -> int:
        """Keep the end of it, from a whole line on; return its size. Lines that are written in between are lost."""
        opened = files.open_to_cut(self._path)
        try:
            size = os.fstat(opened).st_size
            end = os.pread(opened, _KEPT, max(0, size - _KEPT)).partition(b"\n")[2]
            said = time.strftime("%a %b %d %H:%M:%S %Y", time.gmtime())
            os.ftruncate(opened, 0)
            os.write(opened, f"{said}: vrrp-drain took {size - len(end)} bytes away that stood here\n".encode() + end)
            if now >= self._say_at:
                self._say_at = now + _SAY_EVERY
                log.warning(
                    "%s was cut from %d to its last %d bytes: it had grown by %d within a minute; see its end",
                    *(self._path, size, len(end), grown),
                )
            return os.fstat(opened).st_size
        finally:
            os.close(opened)

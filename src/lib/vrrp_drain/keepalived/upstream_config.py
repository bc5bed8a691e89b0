"""The priority of another release's keepalived job as our control: the counterpart of track_files.py.

We lower the ``priority`` in its configuration and in the template that it is written from, and have keepalived read it again (SIGHUP):
it stays MASTER across that and adverts the new priority. Both are lowered, because an instance that has just been updated must start
lowered too. The original number stands in a comment beside ours, so that it is put back even by a vrrpctl that knows of nothing else.
"""

import os
import re
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from vrrp_drain.config.upstream_job import LOWERED_BY, PRIORITY, UNHEALTHY_BY, UpstreamJob
from vrrp_drain.linux.process import running
from vrrp_drain.runtime import files
from vrrp_drain.runtime.errors import SystemFault, what_happened
from vrrp_drain.vrrp.bands import LOWEST, Band

_DRAINING, _UNHEALTHY = "draining", "unhealthy"


class UpstreamConfig:
    """Sets the band through that job's configuration; the counterpart of TrackFiles."""

    def __init__(self, job: UpstreamJob) -> None:
        self._job = job

    @property
    def path(self) -> Path:
        return self._job.config

    def read(self) -> Band | None:
        """Return the band that the configuration has, or None where there is none yet. Raises SystemFault."""
        lowered = self._lowered()
        return lowered and lowered[0]

    def write(self, band: Band) -> None:
        """Make ``band`` the band, and have keepalived read it. Raises SystemFault; what was there before then still holds."""
        self._lower(band, self.unhealthy(), str(band))

    def unhealthy(self) -> bool:
        """Tell whether the watcher has marked haproxy as dead. Raises SystemFault."""
        lowered = self._lowered()
        return lowered is not None and lowered[1]

    def mark(self, *, unhealthy: bool) -> None:
        """Have keepalived advert a priority of the unhealthy band, or no longer. Raises SystemFault; nothing is changed then."""
        self._lower(self.read() or Band.ACTIVE, unhealthy, "unhealthy" if unhealthy else "healthy")

    def _lowered(self) -> tuple[Band, bool] | None:
        """Return the band, and whether haproxy is marked as dead; None where there is no configuration yet. Raises SystemFault."""
        try:
            texts = [path.read_text() for path in self._job.present]
        except (OSError, UnicodeDecodeError) as error:
            raise SystemFault(f"cannot read {self.path}: {what_happened(error)}") from error
        whys = [each["why"] or _DRAINING for text in texts for each in PRIORITY.finditer(text) if each["original"]]
        draining, unhealthy = (any(word in why for why in whys) for word in (_DRAINING, _UNHEALTHY))
        return (Band.DRAINING if draining else Band.ACTIVE, unhealthy) if texts else None

    def _lower(self, band: Band, unhealthy: bool, meaning: str) -> None:
        why = [_DRAINING] * (band is Band.DRAINING) + [_UNHEALTHY] * unhealthy
        try:
            changed = [_rewrite(path, why) for path in self._job.present]
            pid = running(self._job.pid_file)
            if any(changed) and pid is not None:
                with suppress(ProcessLookupError):  # it ended meanwhile
                    os.kill(pid, signal.SIGHUP)
        except (OSError, UnicodeDecodeError) as error:
            raise SystemFault(
                f"cannot change the priority in {self.path} to {meaning}: {what_happened(error)}; the priority is unchanged"
            ) from error

    def changed_at(self) -> float | None:
        """Return when the configuration was written, in seconds since the epoch, or None where there is none."""
        try:
            return self.path.stat().st_mtime
        except OSError:
            return None


def _rewrite(path: Path, why: Sequence[str]) -> bool:
    """Replace the file as a whole, owner and mode kept; tell whether anything had to change."""

    def line(match: re.Match[str]) -> str:
        original = int(match["original"] or match["now"])
        if not why:
            return f"{match['before']}{original}"
        now = max(LOWEST, original - LOWERED_BY * (_DRAINING in why) - UNHEALTHY_BY * (_UNHEALTHY in why))
        said = f" ({', '.join(why)})" if _UNHEALTHY in why else ""
        return f"{match['before']}{now} # vrrp-drain lowered it from {original}{said}"

    before = path.read_text()
    after = PRIORITY.sub(line, before)
    if after == before:
        return False
    files.rewrite(path, after)
    return True

"""The files through which keepalived learns our band and haproxy's health: its track_files, of weight 1, in the job's run directory.

keepalived hears of a change through inotify, without a reload. The lifecycle scripts and the operator write the band, the
watcher the health: neither undoes what the other said. The directory is on tmpfs: after a reboot the files are gone, and
keepalived's start writes them anew.
"""

import errno
from contextlib import suppress
from pathlib import Path

from vrrp_drain.runtime import files
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.vrrp.bands import UNHEALTHY_WEIGHT, Band

_MENDS = {
    errno.ENOSPC: ": free space there (df -h), then again",
    errno.EROFS: ": nothing can change it while that file system is read-only; mount -o remount,rw, then again",
}


class TrackFiles:
    """Reads and writes band and health; every write replaces the whole file at once."""

    def __init__(self, run_directory: Path) -> None:
        self.path = run_directory / "band"
        self.health_path = run_directory / "health"

    def read(self) -> Band | None:
        """Return the band, or None where nothing is written yet. Raises SystemFault for what is no band."""
        text = _read(self.path)
        if text is None:
            return None
        for band in Band:
            if text == str(band.value):
                return band
        allowed = " or ".join(f"{band.value} ({band})" for band in Band)
        raise SystemFault(f"{self.path} holds {text[:20]!r}, allowed is {allowed}: run vrrpctl promote or demote to write it anew")

    def write(self, band: Band) -> None:
        """Make ``band`` the band. Raises SystemFault; what was there before then still holds."""
        _replace(self.path, band.value, f"{band} ({band.value})")

    def unhealthy(self) -> bool:
        """Tell whether the watcher has marked haproxy as dead. Raises SystemFault for a file that cannot be read."""
        return _read(self.health_path) == str(UNHEALTHY_WEIGHT)

    def mark(self, *, unhealthy: bool) -> None:
        """Have keepalived advert a priority of the unhealthy band, or no longer. Raises SystemFault; nothing is changed then."""
        value = UNHEALTHY_WEIGHT if unhealthy else 0
        _replace(self.health_path, value, f"{'unhealthy' if unhealthy else 'healthy'} ({value})")

    def changed_at(self) -> float | None:
        """Return when the band was written, in seconds since the epoch, or None where there is no file."""
        return files.changed_at(self.path)


def _read(path: Path) -> str | None:
    try:
        return files.read_text(path).strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SystemFault(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        return "(not text)"


def _replace(path: Path, value: int, meaning: str) -> None:
    """Write ``value``; a file that holds it already keeps its time stamp."""
    try:
        with suppress(SystemFault):
            if _read(path) == str(value):
                return
        files.replace(path, f"{value}\n")
    except OSError as error:
        mend = _MENDS.get(error.errno or 0, "")
        raise SystemFault(f"cannot write {meaning} to {path}: {error.strerror}; the priority is unchanged{mend}") from error

"""The file through which keepalived learns our band: its track_file, of weight 1, in the job's run directory.

keepalived hears of a change through inotify, without a reload. The directory is on tmpfs: after a reboot the file is
gone and keepalived's start writes the active band, so a node never stays demoted for ever.
"""

from pathlib import Path

from .bands import Band
from .errors import SystemFault


class BandFile:
    """Reads and writes the band; every write replaces the whole file at once."""

    def __init__(self, run_directory: Path) -> None:
        self.path = run_directory / "band"

    def read(self) -> Band | None:
        """Return the band, or None where nothing is written yet. Raises SystemFault for what is no band."""
        try:
            text = self.path.read_text()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SystemFault(f"cannot read {self.path}: {error.strerror}") from error
        except UnicodeDecodeError:
            text = "(not text)"
        for band in Band:
            if text.strip() == str(band.value):
                return band
        allowed = " or ".join(f"{band.value} ({band})" for band in Band)
        raise SystemFault(f"{self.path} holds {text.strip()[:20]!r}, allowed is {allowed}: run vrrpctl promote or demote to write it anew")

    def write(self, band: Band) -> None:
        """Make ``band`` the band. Raises SystemFault; what was there before then still holds."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self._holds(band):
                return
            scratch = self.path.with_name(".band.new")
            scratch.write_text(f"{band.value}\n")
            scratch.replace(self.path)
        except OSError as error:
            raise SystemFault(f"cannot write {band} ({band.value}) to {self.path}: {error.strerror}; the priority is unchanged") from error

    def changed_at(self) -> float | None:
        """Return when the band was written, in seconds since the epoch, or None where there is no file."""
        try:
            return self.path.stat().st_mtime
        except OSError:
            return None

    def _holds(self, band: Band) -> bool:
        try:
            return self.read() is band
        except SystemFault:
            return False

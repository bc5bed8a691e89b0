"""net.ipv4.tcp_fwmark_accept: whether an accepted connection inherits the mark of its SYN (kernel's networking/ip-sysctl).

It is of both families and of the whole machine: others' marks of packets to a local socket are inherited then too. So it is set only where
a frontend is bound to a VIP itself, and what was there before is kept in a file beside the lock: post-stop puts it back.
"""

from contextlib import suppress
from pathlib import Path

from vrrp_drain.runtime import files
from vrrp_drain.runtime.errors import SystemFault, what_happened

NAME = "net.ipv4.tcp_fwmark_accept"
_ON, _OFF = 1, 0


class InheritedMarks:
    """``setting`` is the file below /proc/sys. All methods raise SystemFault."""

    def __init__(self, run_directory: Path, setting: Path) -> None:
        self._file, self._setting = run_directory / "inherited-marks", setting

    def hold(self) -> bool:
        """Switch it on, and tell whether somebody had switched it off since we did."""
        if self.on():
            return False
        taken_away = self._file.exists()
        try:
            if not taken_away:
                files.replace(self._file, f"{_OFF}\n")
            self._setting.write_text(f"{_ON}\n")
        except OSError as error:
            if not taken_away:
                with suppress(OSError):
                    files.remove(self._file)
            raise SystemFault(f"{NAME} cannot be set ({what_happened(error)}): accepted connections inherit no mark") from error
        return taken_away

    def on(self) -> bool:
        """Tell whether connections inherit marks now."""
        try:
            return int(self._setting.read_text()) == _ON
        except (OSError, ValueError):
            return False

    def release(self) -> None:
        """Put back what was there before ``hold``; what was on already stays."""
        if not self._file.exists():
            return
        try:
            if self._setting.exists():
                self._setting.write_text(f"{_OFF}\n")
            files.remove(self._file)
        except OSError as error:
            raise SystemFault(f"{NAME} cannot be put back to {_OFF} ({what_happened(error)})") from error

"""Kernel modules that are not there: how one is had, now and for good."""

from collections.abc import Iterable
from pathlib import Path

LOCK = Path("/proc/sys/kernel/modules_disabled")  # kernel's sysctl/kernel: once it is 1, nothing is loaded until a reboot


def mend(names: Iterable[str], lock: Path = LOCK) -> str:
    """Return what to do about modules that are missing, in words."""
    wanted = sorted({*names})
    listed = ", ".join(wanted)
    if _locked(lock):
        return (
            f"kernel.modules_disabled is 1, so nothing is loaded any more until a reboot: name {listed} in /etc/modules-load.d, so that "
            "they are loaded before that is set, on every instance, and reboot"
        )
    return (
        f"modprobe {' '.join(wanted)}, and name them in /etc/modules-load.d on every instance; where modprobe refuses, look for a line "
        "with install or blacklist in /etc/modprobe.d; where it finds nothing, the kernel was built without: take another stemcell"
    )


def _locked(lock: Path) -> bool:
    try:
        return int(lock.read_text()) == 1
    except (OSError, ValueError):
        return False

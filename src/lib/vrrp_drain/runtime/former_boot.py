"""A run directory of a machine that was started anew: what it holds is of the boot before, and nothing of that is true any more.

bosh-agent mounts a tmpfs at sys/run, where a reboot leaves nothing. Where there is none, a reboot leaves everything: a band that takes the
VIP back at once, before the rules are there that save what is open at the peer; a word of whoever last asked for anything; VIPs on lo and
settings that are to be put back; and after a cut of the power files of which half was written, or nothing. So a directory says of which
boot it is, by what the kernel calls it (random(4)), and one of another boot is emptied. Whoever looks at the rest looks here first.
"""

import fcntl
import logging
import os
from contextlib import suppress
from pathlib import Path

from . import files
from .safe_open import open_directory, remove_name

log = logging.getLogger(__name__)

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MARK = "boot-id"
_LOCKS = frozenset({_MARK, "lock", "finishing", "watch.pid"})  # whoever has one would lock a file that nobody sees; they say nothing else
_LONGEST = 64  # bytes of a boot id


def forget(directory: Path, boot_id: Path = BOOT_ID) -> bool:
    """Have nothing in ``directory`` that is of another boot, and return whether something of one was there.

    A directory without a mark keeps what it has: it is new, or an older version's. Where it cannot be written everything stays as it is,
    and who writes there next says so.
    """
    try:
        now = boot_id.read_bytes().strip()
        fd = files.open_private(directory / _MARK)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)  # keepalived and the watcher are started side by side; nobody holds it for long
        marked = os.pread(fd, _LONGEST, 0)
        if marked == now:
            return False
        if marked:
            _empty(directory)
        os.ftruncate(fd, os.pwrite(fd, now, 0))
        os.fsync(fd)
        files.settle(directory, directory.parent)  # before anything else of this boot is there
    except OSError as error:
        log.info("what %s holds may be of the boot before: %s", directory, error.strerror)
        return False
    finally:
        os.close(fd)
    if marked:
        log.info("the machine was started anew: what %s held is not true any more, and was removed", directory)
    return bool(marked)


def _empty(directory: Path) -> None:
    with open_directory(directory) as opened:
        for name in os.listdir(opened):  # noqa: PTH208  # of a descriptor, not of a path
            if name not in _LOCKS:
                with suppress(FileNotFoundError):
                    remove_name(opened, name)

"""Our files below sys/run and sys/log, opened so that nobody but root decides what root reads and writes.

bosh-agent makes a job's directories there 0770 root:vcap, so whoever is in the group vcap can plant links, FIFOs and files under our
names before a script of ours runs. Hence every open is of a name in a directory that is held open, follows no link, never blocks, and
looks at what it got: a regular file of root's (or of whoever runs this), under one name only, that nobody else may write.

The last directory of a path is ours; those above it are BOSH's and may be links. A run directory is made private before anything is
written to it. A log directory stays open to whoever forwards logs.
"""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from . import atomic
from .atomic import LONGEST as LONGEST
from .safe_open import KINDS, SAFE, open_directory, open_log_directory, open_or_make, open_ours, remove_name, take_directory
from .safe_open import Impostor as Impostor


def private(directory: Path) -> Path:
    """Have ``directory`` and let nobody but root in, whoever made it: what lies there decides what root does. Raises OSError."""
    os.close(take_directory(directory))
    return directory


def read(path: Path, longest: int = LONGEST, *, from_end: bool = False) -> bytes:
    """Return at most ``longest`` bytes of a file of ours, its first or its last. Raises Impostor and every other OSError."""
    with open_directory(path.parent) as directory, os.fdopen(open_ours(directory, path, os.O_RDONLY), "rb") as file:
        if from_end:
            file.seek(max(0, os.fstat(file.fileno()).st_size - longest))
        return file.read(longest)


def read_anyones(path: Path, longest: int) -> bytes:
    """The same of a file of another job's, whoever owns it: what it says is to be checked. Raises Impostor and every other OSError."""
    with open_directory(path.parent) as directory:
        fd = os.open(path.name, os.O_RDONLY | SAFE, dir_fd=directory)
    with os.fdopen(fd, "rb") as file:
        if kind := KINDS.get(stat.S_IFMT(os.fstat(fd).st_mode)):
            raise Impostor(path, f"it is {kind}")
        return file.read(longest)


def read_text(path: Path) -> str:
    """Return what a file of ours holds. Raises Impostor and every other OSError, and UnicodeDecodeError."""
    return read(path).decode()


def open_private(path: Path, mode: int = 0o600) -> int:
    """Open a file of a run directory to read and write, empty where there was none of ours. Raises OSError."""
    private(path.parent)
    with open_directory(path.parent) as directory:
        return open_or_make(directory, path, os.O_RDWR, mode)[0]


def open_to_lock(path: Path) -> int:
    """Open a file of ours as it is, or else its directory, to be locked: that works where nothing can be written. Raises OSError."""
    with open_directory(path.parent) as directory:
        try:
            return open_ours(directory, path, os.O_RDONLY)
        except OSError:
            return os.dup(directory)


def open_to_append(path: Path) -> tuple[int, str]:
    """Open a log of ours to write at its end, and return what was there instead and had to go, or nothing. Raises OSError."""
    with open_log_directory(path.parent) as directory:
        return open_or_make(directory, path, os.O_WRONLY | os.O_APPEND, 0o644)


def open_to_cut(path: Path) -> int:
    """Open a log of ours as it is, to read it and to write at its end. Raises Impostor and every other OSError."""
    with open_directory(path.parent) as directory:
        return open_ours(directory, path, os.O_RDWR | os.O_APPEND)


def replace(path: Path, text: str, mode: int = 0o644, *, durable: bool = False) -> None:
    """Write a file of a run directory as a whole or not at all. Raises OSError; what was there before is there then.

    A full disk has no room for a second file; the one that is there is then written in its place, where that needs no further room.
    One that is ``durable`` is there even if the power is cut in the next moment; on tmpfs nothing is.
    """
    private(path.parent)
    if durable:
        settle(path.parent.parent)
    with open_directory(path.parent) as directory:
        try:
            atomic.replace(directory, path, text.encode(), mode, durable=durable)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            try:
                atomic.overwrite(directory, path, text.encode())
            except FileNotFoundError:
                raise error from None  # there was none


def rewrite(path: Path, text: str) -> None:
    """The same for a file of another job's that is there: its owner and mode stay, and its directory is that job's affair."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = os.stat(path.name, dir_fd=directory)
        atomic.replace(directory, path, text.encode(), stat.S_IMODE(found.st_mode), (found.st_uid, found.st_gid))
    finally:
        os.close(directory)


def remove(path: Path, *, durable: bool = False) -> None:
    """Have nothing under that name, whatever it is. Raises OSError, but not where there is nothing and a file system is read-only.

    Where that is ``durable`` it does not come back if the power is cut in the next moment.
    """
    with suppress(FileNotFoundError), open_directory(path.parent) as directory:
        os.lstat(path.name, dir_fd=directory)
        remove_name(directory, path.name)
        if durable:
            os.fsync(directory)


def settle(*directories: Path) -> None:
    """Have the names in ``directories`` on the disk (fsync(2)). Raises OSError."""
    for each in directories:
        fd = os.open(each, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def changed_at(path: Path) -> float | None:
    """Return when a file of ours was written, in seconds since the epoch, or None where there is none."""
    try:
        with open_directory(path.parent) as directory:
            fd = open_ours(directory, path, os.O_RDONLY)
    except OSError:
        return None
    try:
        return os.fstat(fd).st_mtime
    finally:
        os.close(fd)

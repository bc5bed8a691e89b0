"""Writing a file as a whole or not at all: beside it under another name first, which then becomes its own.

Works on names in a directory that is held open. files.py says whose files these are.
"""

import errno
import os
from contextlib import suppress
from pathlib import Path

from .safe_open import discard, make, open_ours, remove_name

LONGEST = 1 << 20  # bytes of a file that is put back where it cannot be overwritten


def replace(directory: int, path: Path, data: bytes, mode: int, owner: tuple[int, int] | None = None, *, durable: bool = False) -> None:
    """Have a file with ``data``, ``mode`` and ``owner`` (user and group, or ours). Raises OSError; what was there before is there then.

    A ``durable`` one is there under its name, whole, if the power is cut in the next moment.
    """
    scratch = path.with_name(f".{path.name}.new")
    try:
        _write_anew(directory, scratch, data, mode, owner, durable=durable)
        try:
            _rename(directory, scratch, path)
        except IsADirectoryError:
            remove_name(directory, path.name)
            _rename(directory, scratch, path)
        if durable:
            os.fsync(directory)
    except OSError:
        discard(directory, scratch.name)
        raise


def overwrite(directory: int, path: Path, data: bytes) -> None:
    """Overwrite a file of ours, whose first block is there already: for a disk that has no room for another one. Raises OSError.

    keepalived reads when it is closed; others that read stop at white space.
    """
    fd = open_ours(directory, path, os.O_RDWR)
    try:
        before = os.pread(fd, LONGEST, 0)
        try:
            _write(fd, data)
            os.ftruncate(fd, len(data))
        except OSError:
            with suppress(OSError):
                os.pwrite(fd, before, 0)
                os.ftruncate(fd, len(before))
            raise
    finally:
        os.close(fd)


def _write_anew(directory: int, path: Path, data: bytes, mode: int, owner: tuple[int, int] | None, *, durable: bool) -> None:
    discard(directory, path.name)
    fd = make(directory, path, os.O_WRONLY, mode)
    try:
        if owner is not None:
            os.fchown(fd, *owner)
            os.fchmod(fd, mode)  # whatever the umask is
        _write(fd, data)
        if durable:
            os.fsync(fd)
    finally:
        os.close(fd)


def _write(fd: int, data: bytes) -> None:
    """Write all of it at once; half a file is an error."""
    if os.write(fd, data) < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _rename(directory: int, scratch: Path, path: Path) -> None:
    os.rename(scratch.name, path.name, src_dir_fd=directory, dst_dir_fd=directory)

"""Opening what must be ours, in directories that others may write: the rules of files.py, on descriptors of directories.

Every open is of a name in a directory that is held open, follows no link, never blocks, and looks at what it got.
"""

import errno
import os
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PRIVATE = 0o700
_TAKING_OVER = 0o1700  # nobody else gets in any more, but what they left is still there
_OTHERS_MAY_WRITE = 0o022
SAFE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ATTEMPTS = 10  # at making a file where somebody else makes one under its name again and again
KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}
_DEVICES = frozenset({stat.S_IFBLK, stat.S_IFCHR})  # nobody but root can make one: it stands where root wants it


class Impostor(OSError):
    """What is there under the name of a file of ours is none; ``strerror`` says what it is instead."""

    strerror: str

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(errno.EPERM, what, str(path))


@contextmanager
def open_directory(path: Path) -> Iterator[int]:
    """Give the directory; its last component is no link. Raises OSError."""
    fd = os.open(path, _DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def open_log_directory(path: Path) -> Iterator[int]:
    """Give the directory, made if need be; its owner and mode are the agent's affair."""
    fd, _ = _open_or_make_directory(path, 0o755)
    try:
        yield fd
    finally:
        os.close(fd)


def _open_or_make_directory(path: Path, mode: int) -> tuple[int, bool]:
    """Return the directory, and whether it was made; what is there instead and is somebody else's is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            return os.open(path.name, _DIRECTORY, dir_fd=parent), False
        with suppress(FileNotFoundError):
            found = os.lstat(path.name, dir_fd=parent)
            if not _strange(found):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
            if stat.S_ISDIR(found.st_mode):
                return os.open(path.name, _DIRECTORY, dir_fd=parent), False  # fails again, and says why
            remove_name(parent, path.name)
        os.mkdir(path.name, mode, dir_fd=parent)
        return os.open(path.name, _DIRECTORY, dir_fd=parent), True
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        os.close(parent)


def take_directory(path: Path) -> int:
    """Return the directory, private; whatever others had left in it is gone.

    The sticky bit says that the second half is not done yet, should we be killed in between.
    """
    fd, _ = _open_or_make_directory(path, _PRIVATE)
    try:
        found = os.fstat(fd)
        if found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) == _PRIVATE:
            return fd
        if found.st_uid != os.geteuid():
            os.fchown(fd, os.geteuid(), -1)
        os.fchmod(fd, _TAKING_OVER)
        for name in os.listdir(fd):  # noqa: PTH208  # of a descriptor, not of a path
            if _strange(os.lstat(name, dir_fd=fd)):
                remove_name(fd, name)
        os.fchmod(fd, _PRIVATE)
    except BaseException as error:
        os.close(fd)
        if isinstance(error, OSError):
            error.filename = str(path)
        raise
    return fd


def open_ours(directory: int, path: Path, flags: int) -> int:
    """Open a file that is there already. Raises Impostor where it is none of ours, and every other OSError."""
    try:
        _refuse(path, os.lstat(path.name, dir_fd=directory))  # before the open: that of a device may have effects
        fd = os.open(path.name, flags | SAFE, dir_fd=directory)
    except Impostor:
        raise
    except OSError as error:
        error.filename = str(path)
        raise
    try:
        _refuse(path, os.fstat(fd))
    except Impostor:
        os.close(fd)
        raise
    return fd


def open_or_make(directory: int, path: Path, flags: int, mode: int) -> tuple[int, str]:
    """Open a file of ours, or make it; return what was there instead and was removed. A device is refused, but not removed."""
    removed = ""
    for _ in range(_ATTEMPTS):
        try:
            return open_ours(directory, path, flags), removed
        except Impostor as impostor:
            removed = impostor.strerror
            remove_name(directory, path.name, but=_DEVICES)
        except FileNotFoundError:
            with suppress(FileExistsError):
                return make(directory, path, flags, mode), removed
    raise Impostor(path, f"{removed}, again whenever it is removed")


def make(directory: int, path: Path, flags: int, mode: int) -> int:
    try:
        return os.open(path.name, flags | os.O_CREAT | os.O_EXCL | SAFE, mode, dir_fd=directory)
    except OSError as error:
        error.filename = str(path)
        raise


def _refuse(path: Path, found: os.stat_result) -> None:
    if what := _strange(found):
        raise Impostor(path, what)


def _strange(found: os.stat_result) -> str:
    """Return what keeps something from being a file of ours, or nothing."""
    if kind := KINDS.get(stat.S_IFMT(found.st_mode)):
        return f"it is {kind}"
    if found.st_uid not in (0, os.geteuid()):
        return f"it belongs to uid {found.st_uid}"
    if found.st_nlink > 1:
        return f"it has {found.st_nlink} names (hard links)"
    return "others may write it" if found.st_mode & _OTHERS_MAY_WRITE else ""


def discard(directory: int, name: str) -> None:
    with suppress(OSError):
        remove_name(directory, name)


def remove_name(directory: int, name: str, but: Collection[int] = ()) -> None:
    """Remove a name, whatever it stands for but ``but``; what it leads to elsewhere is left alone. Raises OSError.

    A directory that fills up while it is emptied is moved out of the way.
    """
    if but and stat.S_IFMT(os.lstat(name, dir_fd=directory).st_mode) in but:
        return
    try:
        os.unlink(name, dir_fd=directory)
    except IsADirectoryError:
        try:
            _remove_tree(directory, name)
        except OSError:
            os.rename(name, f".{name}.{os.urandom(8).hex()}", src_dir_fd=directory, dst_dir_fd=directory)


def _remove_tree(directory: int, name: str) -> None:
    for _, below, files, inner in os.fwalk(name, topdown=False, dir_fd=directory):
        for each in (*files, *below):
            try:
                os.unlink(each, dir_fd=inner)
            except IsADirectoryError:
                os.rmdir(each, dir_fd=inner)
    os.rmdir(name, dir_fd=directory)

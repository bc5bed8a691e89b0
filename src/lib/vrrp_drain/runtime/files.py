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
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PRIVATE = 0o700
_TAKING_OVER = 0o1700  # nobody else gets in any more, but what they left is still there
_OTHERS_MAY_WRITE = 0o022
_SAFE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
LONGEST = 1 << 20  # bytes that are read of any file
_ATTEMPTS = 10  # at making a file where somebody else makes one under its name again and again
_KINDS = {
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


def private(directory: Path) -> Path:
    """Have ``directory`` and let nobody but root in, whoever made it: what lies there decides what root does. Raises OSError."""
    os.close(_taken(directory))
    return directory


def read(path: Path, longest: int = LONGEST, *, from_end: bool = False) -> bytes:
    """Return at most ``longest`` bytes of a file of ours, its first or its last. Raises Impostor and every other OSError."""
    with _open_directory(path.parent) as directory, os.fdopen(_open(directory, path, os.O_RDONLY), "rb") as file:
        if from_end:
            file.seek(max(0, os.fstat(file.fileno()).st_size - longest))
        return file.read(longest)


def read_anyones(path: Path, longest: int) -> bytes:
    """The same of a file of another job's, whoever owns it: what it says is to be checked. Raises Impostor and every other OSError."""
    with _open_directory(path.parent) as directory:
        fd = os.open(path.name, os.O_RDONLY | _SAFE, dir_fd=directory)
    with os.fdopen(fd, "rb") as file:
        if kind := _KINDS.get(stat.S_IFMT(os.fstat(fd).st_mode)):
            raise Impostor(path, f"it is {kind}")
        return file.read(longest)


def read_text(path: Path) -> str:
    """Return what a file of ours holds. Raises Impostor and every other OSError, and UnicodeDecodeError."""
    return read(path).decode()


def open_private(path: Path, mode: int = 0o600) -> int:
    """Open a file of a run directory to read and write, empty where there was none of ours. Raises OSError."""
    private(path.parent)
    with _open_directory(path.parent) as directory:
        return _open_or_make(directory, path, os.O_RDWR, mode)[0]


def open_to_lock(path: Path) -> int:
    """Open a file of ours as it is, or else its directory, to be locked: that works where nothing can be written. Raises OSError."""
    with _open_directory(path.parent) as directory:
        try:
            return _open(directory, path, os.O_RDONLY)
        except OSError:
            return os.dup(directory)


def open_to_append(path: Path) -> tuple[int, str]:
    """Open a log of ours to write at its end, and return what was there instead and had to go, or nothing. Raises OSError."""
    with _open_log_directory(path.parent) as directory:
        return _open_or_make(directory, path, os.O_WRONLY | os.O_APPEND, 0o644)


def open_to_cut(path: Path) -> int:
    """Open a log of ours as it is, to read it and to write at its end. Raises Impostor and every other OSError."""
    with _open_directory(path.parent) as directory:
        return _open(directory, path, os.O_RDWR | os.O_APPEND)


def replace(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file of a run directory as a whole or not at all. Raises OSError; what was there before is there then.

    A full disk has no room for a second file; the one that is there is then written in its place, where that needs no further room.
    """
    private(path.parent)
    with _open_directory(path.parent) as directory:
        scratch = path.with_name(f".{path.name}.new")
        try:
            _write_anew(directory, scratch, text.encode(), mode)
        except OSError as error:
            _discard(directory, scratch.name)
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            try:
                _write_in_place(directory, path, text.encode())
            except FileNotFoundError:
                raise error from None  # there was none
            return
        try:
            os.rename(scratch.name, path.name, src_dir_fd=directory, dst_dir_fd=directory)
        except IsADirectoryError:
            _remove(directory, path.name)
            os.rename(scratch.name, path.name, src_dir_fd=directory, dst_dir_fd=directory)


def remove(path: Path) -> None:
    """Have nothing under that name, whatever it is. Raises OSError, but not where there is nothing and a file system is read-only."""
    with suppress(FileNotFoundError), _open_directory(path.parent) as directory:
        os.lstat(path.name, dir_fd=directory)
        _remove(directory, path.name)


def changed_at(path: Path) -> float | None:
    """Return when a file of ours was written, in seconds since the epoch, or None where there is none."""
    try:
        with _open_directory(path.parent) as directory:
            fd = _open(directory, path, os.O_RDONLY)
    except OSError:
        return None
    try:
        return os.fstat(fd).st_mtime
    finally:
        os.close(fd)


@contextmanager
def _open_directory(path: Path) -> Iterator[int]:
    """Give the directory; its last component is no link. Raises OSError."""
    fd = os.open(path, _DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _open_log_directory(path: Path) -> Iterator[int]:
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
            _remove(parent, path.name)
        os.mkdir(path.name, mode, dir_fd=parent)
        return os.open(path.name, _DIRECTORY, dir_fd=parent), True
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        os.close(parent)


def _taken(path: Path) -> int:
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
                _remove(fd, name)
        os.fchmod(fd, _PRIVATE)
    except BaseException as error:
        os.close(fd)
        if isinstance(error, OSError):
            error.filename = str(path)
        raise
    return fd


def _open(directory: int, path: Path, flags: int) -> int:
    """Open a file that is there already. Raises Impostor where it is none of ours, and every other OSError."""
    try:
        _refuse(path, os.lstat(path.name, dir_fd=directory))  # before the open: that of a device may have effects
        fd = os.open(path.name, flags | _SAFE, dir_fd=directory)
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


def _open_or_make(directory: int, path: Path, flags: int, mode: int) -> tuple[int, str]:
    """Open a file of ours, or make it; return what was there instead and was removed. A device is refused, but not removed."""
    removed = ""
    for _ in range(_ATTEMPTS):
        try:
            return _open(directory, path, flags), removed
        except Impostor as impostor:
            removed = impostor.strerror
            _remove(directory, path.name, but=_DEVICES)
        except FileNotFoundError:
            with suppress(FileExistsError):
                return _make(directory, path, flags, mode), removed
    raise Impostor(path, f"{removed}, again whenever it is removed")


def _make(directory: int, path: Path, flags: int, mode: int) -> int:
    try:
        return os.open(path.name, flags | os.O_CREAT | os.O_EXCL | _SAFE, mode, dir_fd=directory)
    except OSError as error:
        error.filename = str(path)
        raise


def _write_anew(directory: int, path: Path, data: bytes, mode: int) -> None:
    _discard(directory, path.name)
    fd = _make(directory, path, os.O_WRONLY, mode)
    try:
        _write(fd, data)
    finally:
        os.close(fd)


def _write_in_place(directory: int, path: Path, data: bytes) -> None:
    """Overwrite a file, whose first block is there already. keepalived reads when it is closed; others that read stop at white space."""
    fd = _open(directory, path, os.O_RDWR)
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


def _write(fd: int, data: bytes) -> None:
    """Write all of it at once; half a file is an error."""
    if os.write(fd, data) < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _refuse(path: Path, found: os.stat_result) -> None:
    if what := _strange(found):
        raise Impostor(path, what)


def _strange(found: os.stat_result) -> str:
    """Return what keeps something from being a file of ours, or nothing."""
    if kind := _KINDS.get(stat.S_IFMT(found.st_mode)):
        return f"it is {kind}"
    if found.st_uid not in (0, os.geteuid()):
        return f"it belongs to uid {found.st_uid}"
    if found.st_nlink > 1:
        return f"it has {found.st_nlink} names (hard links)"
    return "others may write it" if found.st_mode & _OTHERS_MAY_WRITE else ""


def _discard(directory: int, name: str) -> None:
    with suppress(OSError):
        _remove(directory, name)


def _remove(directory: int, name: str, but: Collection[int] = ()) -> None:
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

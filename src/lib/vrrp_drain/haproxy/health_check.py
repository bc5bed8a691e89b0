"""haproxy's health, asked at the port and not at the process table, and its stats socket (haproxy management guide, 9.3)."""

import os
import re
import signal
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import SplitResult

from vrrp_drain.linux import listeners
from vrrp_drain.runtime import files
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.plain import plain

from . import acceptance

_MOST = 1 << 20  # bytes that we read of one answer
_LONGEST_PID = 20  # bytes
_PID = re.compile(rb"\s*[0-9]+\s*")
_ACCEPTS = 1 << 16  # __SO_ACCEPTCON, linux/net.h
_STREAM = 1  # SOCK_STREAM
_UNTIL_RENAMED = re.compile(r"\.\d+\.tmp$")  # haproxy binds a socket under such a name first


class Nowhere(SystemFault):
    """haproxy's pid file leads to no haproxy process; the text says what it holds, and what it should."""

    def __init__(self, pid_file: Path, why: str) -> None:
        super().__init__(f"{pid_file} leads to no haproxy process ({why})")


class Silent(SystemFault):
    """haproxy's port is there, and nobody takes a connection: it hangs, or is full."""


def check(health_check: SplitResult, timeout: float = 1.0, header: bytes = b"") -> Mapping[str, str]:
    """Return when haproxy answers as ``vrrp_drain.health_check`` asks, with what it says of itself where that was the question.

    ``header`` is what its port wants to hear first. ``timeout`` is in seconds and bounds the whole exchange. Raises SystemFault with what
    is wrong: Silent where nobody takes us.
    """
    where = health_check.geturl()
    try:
        if health_check.scheme == "tcp":
            acceptance.connect(health_check.hostname or "", health_check.port or 0, timeout, header)
        elif health_check.scheme == "http":
            _check_http(where, timeout, header)
        else:
            return _check_stats_socket(health_check.path, timeout)
    except acceptance.NotAccepted as error:
        raise Silent(f"haproxy does not answer at {where}: {error}") from error
    except OSError as error:
        raise SystemFault(f"haproxy does not answer at {where}: {error.strerror or error}") from error
    return {}


def soft_stop(pid_file: Path) -> int:
    """Have haproxy finish: it closes its ports, asks clients to close (`Connection: close`), and ends when the last one has.

    That is SIGUSR1 to its master process (haproxy management guide, section 4). Returns the pid. Raises SystemFault.
    """
    try:
        pid = master_process(pid_file)
        os.kill(pid, signal.SIGUSR1)
    except Nowhere as error:
        raise SystemFault(f"haproxy could not be told to finish: {error}") from error
    except OSError as error:
        raise SystemFault(f"haproxy (pid {pid}) could not be told to finish: {error.strerror}") from error
    return pid


def master_process(pid_file: Path) -> int:
    """Return the pid of haproxy's master: the one that the pid file names, or the topmost below it.

    Under bpm the pid file names its init. haproxy is the child of the wrapper that init runs, or, where it runs as a daemon, init's own,
    beside the wrapper. Of several beside each other the one that listens is meant: the others finish. Raises Nowhere.
    """
    named = _named(pid_file)
    level = [named]
    while level:
        if found := [pid for pid in level if _is_haproxy(pid)]:
            return found[0] if len(found) == 1 else next(filter(_listens, found), found[0])
        level = [child for pid in level for child in _children(pid)]
    try:
        name = Path(f"/proc/{named}/comm").read_bytes().strip().decode(errors="replace")
    except OSError:
        raise Nowhere(pid_file, f"it holds {named}, and no process has that pid") from None
    raise Nowhere(pid_file, f"it holds {named}, the pid of {plain(name)}, and none of its processes is haproxy")


def _listens(pid: int) -> bool:
    """Tell whether a haproxy, or a worker of it, listens; False where the kernel does not tell."""
    try:
        return listeners.listening({inode for each in (pid, *_children(pid)) for inode in sockets(each)})
    except SystemFault:
        return False


def _named(pid_file: Path) -> int:
    """Return the pid that the file holds. Raises Nowhere."""
    try:
        held = files.read_anyones(pid_file, _LONGEST_PID)
    except OSError as error:
        raise Nowhere(pid_file, str(error.strerror)) from error
    if _PID.fullmatch(held):
        return int(held)
    found = f"it holds {plain(held.decode(errors='replace'))!r}" if held.strip() else "it is empty"
    raise Nowhere(pid_file, f"{found}, and should hold the pid of haproxy, or of what started it")


def processes(pid_file: Path) -> list[int]:
    """Return the pids of haproxy's master and of its workers; nothing where it does not run."""
    try:
        master = master_process(pid_file)
    except Nowhere:
        return []
    return [master, *(pid for pid in _children(master) if _is_haproxy(pid))]


def sockets(pid: int) -> set[int]:
    """Return the inodes of the sockets that the process has open (proc(5), fd); none where it has ended."""
    found = set()
    with suppress(OSError):
        for each in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                kind, _, inode = str(each.readlink()).partition(":")
                if kind == "socket":
                    found.add(int(inode.strip("[]")))
    return found


def stats_sockets(pid: int) -> list[str]:
    """Return the paths of the stream sockets in the file system at which the process listens (proc(5), net/unix), seen from here.

    haproxy may live in a mount namespace of its own, and change its root once the sockets are there: so each is looked for below
    its root and below its parent's. Which of them talk of its state, show_info finds out.
    """
    found = []
    with suppress(OSError, ValueError):
        inodes = sockets(pid)
        _, _, parent = _stat(pid)
        for line in Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]:
            _, _, _, flags, kind, _, inode, *path = line.split(maxsplit=7)
            if int(flags, 16) & _ACCEPTS and int(kind, 16) == _STREAM and int(inode) in inodes and path and path[0].startswith("/"):
                found += [f"/proc/{each}/root{_UNTIL_RENAMED.sub('', path[0])}" for each in (pid, parent)]
    return found


def _children(pid: int) -> list[int]:
    """Return the pids of a process's children; none where it has ended."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _is_haproxy(pid: int) -> bool:
    """Tell whether the process is a haproxy that has not ended (proc(5), stat)."""
    try:
        name, state, _ = _stat(pid)
    except (OSError, ValueError):
        return False
    return name == "haproxy" and state not in "ZX"


def _stat(pid: int) -> tuple[str, str, int]:
    """Return name, state and parent of a process (proc(5), stat). Raises OSError or ValueError where it has ended."""
    name, _, rest = Path(f"/proc/{pid}/stat").read_text(errors="replace").partition("(")[2].rpartition(")")
    state, parent, *_ = rest.split()
    return name, state, int(parent)


def show_info(stats_socket: str | Path, timeout: float = 1.0) -> dict[str, str]:
    """Return haproxy's ``show info`` as a dictionary. Raises OSError."""
    deadline = time.monotonic() + timeout
    answer = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(timeout)
        client.connect(str(stats_socket))
        client.sendall(b"show info\n")
        while len(answer) < _MOST:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no whole answer within {timeout:g} s")
            client.settimeout(left)
            chunk = client.recv(65536)
            if not chunk:
                break
            answer += chunk
    lines = (line.partition(": ") for line in answer.decode(errors="replace").splitlines())
    return {key: value for key, colon, value in lines if colon}


def _check_stats_socket(path: str, timeout: float) -> dict[str, str]:
    try:
        info = show_info(path, timeout)
    except TimeoutError as error:
        raise acceptance.NotAccepted(str(error)) from error
    if "Pid" not in info:
        raise SystemFault(f"{path} answers, but not as haproxy's stats socket does")
    if info.get("Stopping", "0") != "0":
        raise SystemFault(f"haproxy is stopping ({path})")
    return info


def _check_http(url: str, timeout: float, header: bytes) -> None:
    from . import http_check  # requests takes 0.2 s to import: only where it is asked for

    status = http_check.status(url, timeout, header)
    if not 200 <= status < 400:  # an informational one is no answer (RFC 9110 section 15.2)
        raise SystemFault(f"haproxy answers {url} with status {status}")

"""haproxy's health, asked at the port and not at the process table, and its stats socket (haproxy management guide, 9.3)."""

import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import SplitResult

from . import acceptance
from .advert import IPAddress
from .errors import SystemFault

_MOST = 1 << 20  # bytes that we read of one answer


def check(health_check: SplitResult, timeout: float = 1.0) -> None:
    """Return when haproxy answers as ``vrrp_drain.health_check`` asks. Raises SystemFault with what is wrong.

    ``timeout`` is in seconds and bounds the whole exchange.
    """
    where = health_check.geturl()
    try:
        if health_check.scheme == "tcp":
            acceptance.connect(health_check.hostname or "", health_check.port or 0, timeout)
        elif health_check.scheme == "http":
            _check_http(where, timeout)
        else:
            _check_stats_socket(Path(health_check.path), timeout)
    except OSError as error:
        raise SystemFault(f"haproxy does not answer at {where}: {error.strerror or error}") from error


def problem(health_check: SplitResult, timeout: float = 1.0) -> str:
    """Return what is wrong with haproxy, or nothing, within ``timeout`` seconds."""
    try:
        check(health_check, timeout)
    except SystemFault as error:
        return str(error)
    return ""


def answering(health_check: SplitResult, peers: Sequence[IPAddress], timeout: float = 0.3) -> list[IPAddress]:
    """Return the peers whose haproxy answers as ours is asked; nobody where a check cannot be asked from here."""
    if health_check.scheme == "unix" or not peers:
        return []

    def answers(peer: IPAddress) -> bool:
        try:
            check(_at(health_check, peer), timeout)
        except SystemFault:
            return False
        return True

    with ThreadPoolExecutor(len(peers)) as pool:
        return [peer for peer, healthy in zip(peers, pool.map(answers, peers), strict=True) if healthy]


def soft_stop(pid_file: Path) -> int:
    """Have haproxy finish: it closes its ports, asks clients to close (`Connection: close`), and ends when the last one has.

    That is SIGUSR1 to its master process (haproxy management guide, section 4). Returns the pid. Raises SystemFault.
    """
    try:
        pid = master_process(pid_file)
        os.kill(pid, signal.SIGUSR1)
    except (OSError, ValueError, IndexError) as error:
        raise SystemFault(f"haproxy could not be told to finish: {pid_file} leads to no haproxy process ({error})") from error
    return pid


def master_process(pid_file: Path) -> int:
    """Return the pid of haproxy's master: the one that the pid file names, or the topmost below it.

    Under bpm the pid file names its init. haproxy is the child of the wrapper that init runs, or, where it runs as a daemon, init's own,
    beside the wrapper. Raises OSError or ValueError where the pid file is no help, IndexError where no haproxy is there.
    """
    level = [int(pid_file.read_text())]
    while True:
        for pid in level:
            if _is_haproxy(pid):
                return pid
        level = [child for pid in level for child in _children(pid)]
        if not level:
            raise IndexError("none of its processes is haproxy")


def processes(pid_file: Path) -> list[int]:
    """Return the pids of haproxy's master and of its workers; nothing where it does not run."""
    try:
        master = master_process(pid_file)
        return [master, *(pid for pid in _children(master) if _is_haproxy(pid))]
    except (OSError, ValueError, IndexError):
        return []


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


def _children(pid: int) -> list[int]:
    """Return the pids of a process's children; none where it has ended."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _is_haproxy(pid: int) -> bool:
    """Tell whether the process is a haproxy that has not ended (proc(5), stat)."""
    try:
        name, _, rest = Path(f"/proc/{pid}/stat").read_text(errors="replace").partition("(")[2].rpartition(")")
    except OSError:
        return False
    return name == "haproxy" and rest.split()[0] not in "ZX"


def _at(health_check: SplitResult, peer: IPAddress) -> SplitResult:
    """Return the same check, asked at ``peer``."""
    host = f"[{peer}]" if peer.version == 6 else str(peer)
    return health_check._replace(netloc=f"{host}:{health_check.port}" if health_check.port else host)


def show_info(stats_socket: Path, timeout: float = 1.0) -> dict[str, str]:
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


def _check_stats_socket(path: Path, timeout: float) -> None:
    info = show_info(path, timeout)
    if "Pid" not in info:
        raise SystemFault(f"{path} answers, but not as haproxy's stats socket does")
    if info.get("Stopping", "0") != "0":
        raise SystemFault(f"haproxy is stopping ({path})")


def _check_http(url: str, timeout: float) -> None:
    """requests bounds every read, not the exchange: so it works in a thread that is waited for, and left behind if need be."""
    import requests  # 0.2 s to import: only where it is asked for

    outcome: queue.Queue[str] = queue.Queue()

    def ask() -> None:
        try:
            with requests.Session() as session:
                session.trust_env = False  # a proxy in the environment must not answer for haproxy
                status = session.get(url, timeout=timeout, stream=True, allow_redirects=False).status_code
            outcome.put(f"haproxy answers {url} with status {status}" if status >= 400 else "")
        except requests.RequestException as error:
            outcome.put(f"haproxy does not answer at {url}: {error}")

    threading.Thread(target=ask, daemon=True).start()
    try:
        wrong = outcome.get(timeout=timeout)
    except queue.Empty:
        wrong = f"haproxy does not answer at {url} within {timeout:g} s"
    if wrong:
        raise SystemFault(wrong)

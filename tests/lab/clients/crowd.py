"""Many clients that hold one connection each and say nothing: what a busy balancer has most of."""

import itertools
import resource
import selectors
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from types import TracebackType

from lab.fabric.namespace import Namespace

from .traffic import NEW_PORTS

EACH = len(NEW_PORTS)  # connections that one address can have to one port
_TIMEOUT = 10.0  # seconds
_AT_ONCE = 250  # requests under way: haproxy's listener takes more, and nothing is measured here
SPARE = 1000  # file descriptors for everything else in this process


class Crowd:
    """``size`` keep-alive connections from ``client`` to the VIP, from entry to exit."""

    def __init__(self, client: Namespace, vip: str, size: int, port: int = 80) -> None:
        self._client = client
        self._where = (vip, port)
        self._size = size
        self._connections: list[socket.socket] = []

    def __enter__(self) -> "Crowd":
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        if most != resource.RLIM_INFINITY and most < self._size + SPARE:
            raise RuntimeError(f"{self._size} connections need more than the {most} files that this process may open (ulimit -Hn)")
        try:
            self._client.in_network(self._connect)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def ask(self) -> Counter[str]:
        """Send one request on each connection; return how many got which answer (a node's name), or which error."""
        found: Counter[str] = Counter()
        host = self._where[0]
        request = f"GET / HTTP/1.1\r\nHost: {f'[{host}]' if ':' in host else host}\r\n\r\n".encode()
        for some in portions(self._connections):
            for connection in some:
                connection.sendall(request)
            found.update(map(_answer, some))
        return found

    def told(self, seconds: float) -> int:
        """Return how many connections the other side has closed, or reset, ``seconds`` from now at the latest."""
        end, found = time.monotonic() + seconds, 0
        with selectors.DefaultSelector() as selector:
            for connection in self._connections:
                selector.register(connection, selectors.EVENT_READ)
            while selector.get_map() and (left := end - time.monotonic()) > 0:
                for key, _ in selector.select(left):
                    selector.unregister(key.fileobj)
                    found += 1
        return found

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
        self._connections.clear()

    def _connect(self) -> None:
        for port in NEW_PORTS[: self._size]:
            self._connections.append(connected(self._where, port))


def connected(where: tuple[str, int], port: int) -> socket.socket:
    """Open a connection from ``port``, which may have some to elsewhere."""
    connection = socket.socket(socket.AF_INET6 if ":" in where[0] else socket.AF_INET)
    try:
        connection.settimeout(_TIMEOUT)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        connection.bind(("", port))
        connection.connect(where)
    except BaseException:
        connection.close()
        raise
    return connection


def _answer(connection: socket.socket) -> str:
    """Return the body; haproxy sends so small an answer in one segment."""
    try:
        head, _, body = connection.recv(4096).partition(b"\r\n\r\n")
    except OSError as error:
        return type(error).__name__
    return body.decode() if head.startswith(b"HTTP/1.1 200") else "closed"


def portions(connections: Sequence[socket.socket]) -> Iterator[Sequence[socket.socket]]:
    each = iter(connections)
    while some := list(itertools.islice(each, _AT_ONCE)):
        yield some

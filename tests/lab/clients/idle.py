"""Idle connections in numbers that no process may hold alone: the two programs behind Sleepers.

    python -m lab.clients.idle serve PORT
    python -m lab.clients.idle connect ADDRESS PORT COUNT

The first echoes what comes on any connection. The second holds ``COUNT`` connections, and for each line on its stdin sends a byte on every
one of them; it says how many came back, as it says at the beginning how many there are. Both end with their stdin.
"""

import resource
import selectors
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress

from .crowd import connected, portions
from .traffic import NEW_PORTS

_BACKLOG = 1024


def serve(port: int) -> None:
    """Echo until stdin ends."""
    with socket.create_server(("", port), backlog=_BACKLOG) as listener, selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ)
        selector.register(listener, selectors.EVENT_READ)
        print("ready", flush=True)
        while True:
            for key, _ in selector.select():
                if key.fileobj is sys.stdin:
                    return
                if key.fileobj is listener:
                    selector.register(listener.accept()[0], selectors.EVENT_READ)
                    continue
                connection = key.fileobj
                assert isinstance(connection, socket.socket)
                data = b""
                with suppress(OSError):
                    if data := connection.recv(4096):
                        connection.sendall(data)
                if not data:
                    selector.unregister(connection)
                    connection.close()


def connect(address: str, port: int, count: int) -> None:
    """Hold the connections until stdin ends; ask on all of them for each line."""
    there = [connected((address, port), local) for local in NEW_PORTS[:count]]
    print(len(there), flush=True)
    for _ in sys.stdin:
        print(sum(sum(_came_back(some)) for some in portions(there)), flush=True)
    for each in there:
        each.close()


def _came_back(some: Sequence[socket.socket]) -> Iterator[bool]:
    sent = []
    for each in some:
        with suppress(OSError):
            each.sendall(b"?")
            sent.append(each)
    for each in sent:
        try:
            yield each.recv(1) == b"?"
        except OSError:
            yield False


def main() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    role, *arguments = sys.argv[1:]
    if role == "serve":
        serve(int(arguments[0]))
    else:
        connect(arguments[0], int(arguments[1]), int(arguments[2]))


if __name__ == "__main__":
    main()

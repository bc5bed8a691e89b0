"""Servers on a node, one thread for each connection: what haproxy sends clients on to, or what they reach themselves."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from .namespace import Namespace


def echo(connection: socket.socket) -> None:
    """Send back what comes."""
    while data := connection.recv(65536):
        connection.sendall(data)


@contextmanager
def serving(machine: Namespace, host: str, port: int, serve: Callable[[socket.socket], None]) -> Iterator[None]:
    """Call ``serve`` for each connection to ``port`` of ``machine``; ``host`` is ``::`` for all its addresses, or one of IPv4."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = machine.in_network(lambda: socket.create_server((host, port), family=family, dualstack_ipv6=":" in host))

    def guarded(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            serve(connection)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=guarded, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()

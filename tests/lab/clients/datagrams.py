"""A server that has its UDP sockets as haproxy has them for QUIC, and clients of it: a packet's first byte is all that they have of QUIC.

haproxy 3.0 (quic_sock.c): a listener bound to the wildcard address, and for each connection a socket that is bound to the address that the
client's first packet was for, and connected to the client.
"""

import selectors
import socket
import threading
from types import TracebackType

from lab.fabric.namespace import Namespace

INITIAL, HANDSHAKE, SHORT = b"\xc3", b"\xe3", b"\x43"  # first bytes, RFC 9000 sections 17.2.2, 17.2.4 and 17.3.1
_SEEN_WITHIN = 0.05  # seconds
_ANSWER_WITHIN = 1.0


class Server:
    """Answers on ``machine`` from entry to exit with ``name``; what it does not know it does not answer."""

    def __init__(self, machine: Namespace, vip: str, port: int, name: str) -> None:
        self._machine, self._vip, self._port, self._name = machine, vip, port, name.encode()
        self._family = socket.AF_INET6 if ":" in vip else socket.AF_INET
        self._stop = threading.Event()
        self.unknown = 0  # packets of connections that nobody here knows

    def __enter__(self) -> "Server":
        self._listener = self._machine.in_network(lambda: self._bound("::" if ":" in self._vip else ""))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _bound(self, host: str) -> socket.socket:
        opened = socket.socket(self._family, socket.SOCK_DGRAM)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host, self._port))
        return opened

    def _serve(self) -> None:
        self._machine.enter_network()
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            while not self._stop.is_set():
                for key, _ in selector.select(_SEEN_WITHIN):
                    opened = key.fileobj
                    assert isinstance(opened, socket.socket)
                    data, client = opened.recvfrom(2048)
                    if opened is not self._listener:
                        opened.send(self._name)
                    elif data[:1] == INITIAL:
                        connection = self._bound(self._vip)
                        connection.connect(client)
                        selector.register(connection, selectors.EVENT_READ)
                        connection.send(self._name)
                    else:
                        self.unknown += 1
            for each in list(selector.get_map().values()):
                assert isinstance(each.fileobj, socket.socket)
                each.fileobj.close()


class Connection:
    """A client's, opened at entry; ``server`` is the name of who answered then."""

    def __init__(self, client: Namespace, vip: str, port: int) -> None:
        self._client, self._where = client, (vip, port)

    def __enter__(self) -> "Connection":
        family = socket.AF_INET6 if ":" in self._where[0] else socket.AF_INET
        self._socket = self._client.in_network(lambda: socket.socket(family, socket.SOCK_DGRAM))
        self._socket.settimeout(_ANSWER_WITHIN)
        self._socket.connect(self._where)
        self.server = self.ask(INITIAL)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close()

    def ask(self, first: bytes = SHORT) -> str:
        """Send a packet; return the name of who answers, nothing where nobody does."""
        self._socket.send(first + bytes(24))
        try:
            return self._socket.recv(64).decode()
        except (TimeoutError, ConnectionRefusedError):
            return ""

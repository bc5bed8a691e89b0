"""Frontends of every kind that operators have, and clients with a connection to each: who serves it is in what it answers."""

import base64
import hashlib
import http.client
import os
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, StreamEnded

from lab.fabric.cluster import VIP, VIP6, Cluster
from lab.fabric.node import Node
from lab.fabric.servers import echo, serving
from lab.fabric.wait import until

from .both_ways import Transfer

HTTP, PROXY, HTTP2, WEBSOCKET, PASSTHROUGH, TCP = range(8001, 8007)  # frontends
BOUND, BOTH, SEVERAL, LAST_OF_SEVERAL, TRANSPARENT, ANYWHERE, SHARDS, SET_MARK, BOUND_TLS = range(8011, 8020)
BEHIND = 1000  # what a backend's port is above its frontend's
WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
TEXT = b"\x81"  # RFC 6455 section 5.2: one whole text frame
FORWARDED = {VIP: "PROXY TCP4 192.0.2.7 10.0.0.10 4711 80\r\n", VIP6: "PROXY TCP6 2001:db8::7 fd00::10 4711 80\r\n"}
NAMED = 'http-request return status 200 content-type text/plain lf-string "$INSTANCE %ci %[path]"'

DUAL_STACK = f"""
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout tunnel 60s
    timeout http-keep-alive 60s

frontend dual-stack
    bind :::{HTTP} v4v6
    {NAMED}
"""

Say = Callable[[str], str]  # uses the connection with a text of the test's, and returns the name of the node that answered


def every_kind(pem: Path, vip: str) -> str:
    """Return haproxy's frontends; what they do not answer themselves goes to a backend on the same node."""
    at = f"[{vip}]" if ":" in vip else vip
    return f"""{DUAL_STACK}
frontend proxy-protocol
    bind :::{PROXY} v4v6 accept-proxy
    {NAMED}

frontend http2
    bind :::{HTTP2} v4v6 ssl crt {pem} alpn h2
    {NAMED}

frontend bound-to-the-vip
    bind {at}:{BOUND}
    bind {at}:{SEVERAL}-{LAST_OF_SEVERAL}
    bind {at}:{TRANSPARENT} transparent
    bind {at}:{SHARDS} shards by-thread
    bind {at}:{BOUND_TLS} ssl crt {pem}
    bind :::{BOTH} v4v6
    bind {at}:{BOTH}
    bind :::{ANYWHERE} v4v6 transparent
    {NAMED}

frontend with-a-mark-of-its-own
    bind {at}:{SET_MARK}
    http-request set-mark 0x7
    {NAMED}

listen websocket
    bind :::{WEBSOCKET} v4v6
    server node 127.0.0.1:{WEBSOCKET + BEHIND}

listen tls-passthrough
    bind :::{PASSTHROUGH} v4v6
    mode tcp
    server node 127.0.0.1:{PASSTHROUGH + BEHIND}

listen tcp
    bind {at}:{TCP}
    mode tcp
    server node 127.0.0.1:{TCP + BEHIND}
"""


def certificate(made: Path) -> Path:
    """Write a certificate for both VIPs, with its key, and return where."""
    names = f"subjectAltName=IP:{VIP},IP:{VIP6}"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
            *("-subj", "/CN=vip", "-addext", names, "-keyout", "-", "-out", "-"),
        ],
        stdout=made.open("wb"),
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return made


@contextmanager
def backends(node: Node, pem: Path, transfers: list[str]) -> Iterator[None]:
    """Run what haproxy sends clients on to; ``transfers`` gets the node's name for each connection to the one that echoes."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)

    def encrypted(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as inside:
            while data := inside.recv(4096):
                inside.sendall(f"{node.name} ".encode() + data)

    def plain(connection: socket.socket) -> None:
        transfers.append(node.name)
        echo(connection)

    kinds = {PASSTHROUGH: encrypted, WEBSOCKET: lambda connection: serve_websocket(connection, node.name), TCP: plain}
    with ExitStack() as stack:
        for frontend, serve in kinds.items():
            stack.enter_context(serving(node.machine, "127.0.0.1", frontend + BEHIND, serve))
        yield


def serve_websocket(connection: socket.socket, name: str) -> None:
    """Upgrade, then answer each short text with it and ``name``."""
    with connection.makefile("rb") as stream:
        headers = http.client.parse_headers(stream) if stream.readline() else http.client.HTTPMessage()
        answer = (
            f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {acceptance(headers['Sec-WebSocket-Key'])}\r\n\r\n"
        )
        connection.sendall(answer.encode())
        while head := stream.read(2):
            mask = stream.read(4)
            text = f"{name} ".encode() + masked(stream.read(head[1] & 0x7F), mask)
            connection.sendall(TEXT + bytes((len(text),)) + text)


def acceptance(key: str) -> str:
    """RFC 6455 section 4.2.2."""
    return base64.b64encode(hashlib.sha1(key.encode() + WEBSOCKET_GUID).digest()).decode()


def masked(data: bytes, mask: bytes) -> bytes:
    """RFC 6455 section 5.3."""
    return bytes(byte ^ mask[n % 4] for n, byte in enumerate(data))


class Client:
    """Opens connections from the client's machine to the VIP; they end with the ``with`` block."""

    def __init__(self, cluster: Cluster, pem: Path, stack: ExitStack) -> None:
        self._cluster = cluster
        self._machine = cluster.client
        self._vip = cluster.vip
        self._pem = pem
        self._stack = stack

    def one_of_each(self) -> dict[str, Say]:
        """Open one connection of each kind."""
        return {
            "dual-stack": self.http(HTTP),
            "bound to the VIP": self.http(BOUND),
            "bound to the VIP and the wildcard": self.http(BOTH),
            "bound to several ports of the VIP": self.http(LAST_OF_SEVERAL),
            "transparent, bound to the VIP": self.http(TRANSPARENT),
            "transparent, bound to the wildcard": self.http(ANYWHERE),
            "a socket for each thread, bound to the VIP": self.http(SHARDS),
            "bound to the VIP, with a mark of haproxy's": self.http(SET_MARK),
            "bound to the VIP, with TLS": self.https(BOUND_TLS),
            "PROXY protocol": self.proxy_protocol(),
            "TLS passthrough": self.passthrough(),
            "TLS with HTTP/2": self.http2(),
            "websocket": self.websocket(),
        }

    def who_answers(self) -> str:
        """Return who answers a new client, or what becomes of it."""
        with ExitStack() as stack:
            try:
                return Client(self._cluster, self._pem, stack).http(HTTP)("who")
            except (OSError, http.client.HTTPException) as error:
                return repr(error)

    def http(self, port: int) -> Say:
        return self._http(self.connect(port))

    def https(self, port: int) -> Say:
        return self._http(self._encrypted(port))

    def _http(self, connection: socket.socket) -> Say:
        get = self._getter(connection)

        def say(text: str) -> str:
            name, _, path = get(text).split()
            assert path == f"/{text}"
            return name

        return say

    def proxy_protocol(self) -> Say:
        """What the header said of the client holds for all requests of the connection."""
        connection = self.connect(PROXY)
        header = FORWARDED[self._vip]
        connection.sendall(header.encode())
        get = self._getter(connection)

        def say(text: str) -> str:
            name, client, path = get(text).split()
            assert (client, path) == (header.split()[2], f"/{text}")
            return name

        return say

    def passthrough(self) -> Say:
        connection = self._encrypted(PASSTHROUGH)

        def say(text: str) -> str:
            connection.sendall(text.encode())
            name, said = connection.recv(4096).decode().split()
            assert said == text
            return name

        return say

    def http2(self) -> Say:
        connection = self._encrypted(HTTP2, "h2")
        assert connection.selected_alpn_protocol() == "h2"
        protocol = H2Connection()
        protocol.initiate_connection()

        def say(text: str) -> str:
            request = {":method": "GET", ":scheme": "https", ":authority": "vip", ":path": f"/{text}"}
            protocol.send_headers(protocol.get_next_available_stream_id(), list(request.items()), end_stream=True)
            body, ended = b"", False
            while not ended:
                connection.sendall(protocol.data_to_send())
                received = connection.recv(65536)
                assert received, "haproxy closed the connection"
                for event in protocol.receive_data(received):
                    assert not isinstance(event, ConnectionTerminated)
                    body += event.data if isinstance(event, DataReceived) else b""
                    ended = ended or isinstance(event, StreamEnded)
            name, _, path = body.decode().split()
            assert path == f"/{text}"
            return name

        return say

    def websocket(self) -> Say:
        connection = self.connect(WEBSOCKET)
        key = base64.b64encode(os.urandom(16)).decode()
        stream = self._stack.enter_context(connection.makefile("rb"))
        connection.sendall(
            f"GET / HTTP/1.1\r\nHost: vip\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        assert b" 101 " in stream.readline()
        assert http.client.parse_headers(stream)["Sec-WebSocket-Accept"] == acceptance(key)

        def say(text: str) -> str:
            mask = os.urandom(4)
            connection.sendall(TEXT + bytes((0x80 | len(text),)) + mask + masked(text.encode(), mask))
            name, said = stream.read(stream.read(2)[1]).decode().split()
            assert said == text
            return name

        return say

    def connect(self, port: int) -> socket.socket:
        opened = self._machine.in_network(lambda: socket.create_connection((self._vip, port), 5))
        return self._stack.enter_context(opened)

    def _encrypted(self, port: int, *protocols: str) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=self._pem)
        context.set_alpn_protocols(protocols)
        return self._stack.enter_context(context.wrap_socket(self.connect(port), server_hostname=self._vip))

    def _getter(self, connection: socket.socket) -> Say:
        """Return what gets a path on this very connection: http.client would open another one by itself."""
        exchange = http.client.HTTPConnection(self._vip)
        exchange.sock = connection
        exchange.auto_open = 0

        def get(path: str) -> str:
            exchange.request("GET", f"/{path}")
            return exchange.getresponse().read().decode()

        return get


def use(connections: dict[str, Say], text: str) -> dict[str, str]:
    """Return for each kind who answered, or what happened instead."""
    found = {}
    for kind, say in connections.items():
        try:
            found[kind] = say(text)
        except (OSError, http.client.HTTPException, AssertionError, ValueError, IndexError) as error:
            found[kind] = repr(error)
    return found


def more_than(transfer: Transfer, size: int) -> None:
    """Wait until ``size`` more bytes have come back."""
    wanted = transfer.bytes + size
    until(lambda: transfer.error or transfer.bytes > wanted, f"{size} bytes more")

"""A webhook's other end on the loopback interface, with every bad manner that a test asks for."""

import json
import queue
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Manner = Callable[[socket.socket, threading.Event], None]
PATIENCE = 20.0  # seconds that a test waits for what has to happen


@dataclass(frozen=True)
class Request:
    """What one client sent."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def answer(status: int, *headers: str, body: bytes = b"") -> Manner:
    """Answer with ``status``, and close."""
    head = "\r\n".join([f"HTTP/1.1 {status} so be it", f"Content-Length: {len(body)}", *headers, "", ""])

    def send(client: socket.socket, over: threading.Event) -> None:
        client.sendall(head.encode() + body)

    return send


def garbage(client: socket.socket, over: threading.Event) -> None:
    client.sendall(b"SSH-2.0-OpenSSH_9.2 your token is secret\r\n")


def silence(client: socket.socket, over: threading.Event) -> None:
    over.wait(PATIENCE)


def hang_up(client: socket.socket, over: threading.Event) -> None:
    pass


def dribble(client: socket.socket, over: threading.Event) -> None:
    """Send a header that does not end, byte after byte, so that no single read times out."""
    client.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not over.wait(0.02):
        client.sendall(b"x")


def endless_body(client: socket.socket, over: threading.Event) -> None:
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n")
    while not over.is_set():
        client.sendall(b"x" * 65536)


class Server:
    """Takes requests, gives each the next manner of ``manners`` (the last one for ever), and keeps them in ``requests``."""

    def __init__(self, *manners: Manner, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self.hung_up: queue.SimpleQueue[bool] = queue.SimpleQueue()  # each time that a client ended before the manner did
        self._manners = list(manners) or [answer(204)]
        self._tls = tls
        self._over = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", port))
        self.port: int = self._socket.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}{path}"

    def take(self, number: int) -> list[Request]:
        """Wait for so many requests and return them in their order."""
        return [self.requests.get(timeout=PATIENCE) for _ in range(number)]

    def close(self) -> None:
        self._over.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for each in self._threads:
            each.join(PATIENCE)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, client: socket.socket) -> None:
        client.settimeout(PATIENCE)
        with closing(client):
            try:
                connection = self._tls.wrap_socket(client, server_side=True) if self._tls else client
            except OSError:
                return  # it does not trust us
            with closing(connection):
                if not self._tls and client.recv(1, socket.MSG_PEEK) == b"\x16":  # the client speaks TLS (RFC 8446, section 5.1)
                    client.recv(65536)
                    client.sendall(b"HTTP/1.1 400 this port speaks HTTP\r\n\r\n")
                    return
                request = _read(connection)
                if request is None:
                    return
                manner = self._manners.pop(0) if len(self._manners) > 1 else self._manners[0]
                self.requests.put(request)
                try:
                    manner(connection, self._over)
                except OSError:
                    self.hung_up.put(True)


def _read(client: socket.socket) -> Request | None:
    with suppress(OSError), client.makefile("rb") as stream:
        words = stream.readline().decode("latin-1").split()
        if not words:
            return None
        headers = {}
        while line := stream.readline().decode("latin-1").strip():
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        return Request(words[0], words[1], headers, stream.read(int(headers.get("content-length", 0))))
    return None


@contextmanager
def serving(*manners: Manner, tls: ssl.SSLContext | None = None, port: int = 0) -> Iterator[Server]:
    server = Server(*manners, tls=tls, port=port)
    try:
        yield server
    finally:
        server.close()


@dataclass(frozen=True)
class Certificate:
    """A certificate that is its own CA."""

    pem: str
    context: ssl.SSLContext


def certificate(directory: Path, name: str) -> Certificate:
    """Make a certificate for the subjectAltName ``name``, such as ``IP:127.0.0.1``."""
    made, key = directory / f"{name}.pem", directory / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=receiver", "-addext", f"subjectAltName={name}", "-keyout", str(key), "-out", str(made)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made, key)
    return Certificate(made.read_text(), context)

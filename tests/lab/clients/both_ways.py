"""Bytes under way in both directions, with a checksum: what no move may lose or change."""

import hashlib
import socket
import struct
import threading

from lab.fabric.namespace import Namespace


class Transfer:
    """A long upload and, of the same bytes, a long download on one connection; from entry to exit."""

    def __init__(self, client: Namespace, host: str, port: int) -> None:
        self._where = (host, port)
        self._client = client
        self._stop = threading.Event()
        self._sent, self._received = hashlib.sha256(), hashlib.sha256()
        self.bytes = 0
        self.error: OSError | None = None

    def __enter__(self) -> "Transfer":
        self._connection = self._client.in_network(lambda: socket.create_connection(self._where, 10))
        self._threads = [threading.Thread(target=self._guarded, args=(each,)) for each in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        self._connection.close()

    @property
    def whole(self) -> bool:
        return self.error is None and self.bytes > 0 and self._sent.digest() == self._received.digest()

    def _guarded(self, work: "threading._StartTarget") -> None:  # type: ignore[name-defined]
        try:
            work()
        except OSError as error:
            self.error = error

    def _send(self) -> None:
        number = 0
        while not self._stop.wait(0.002):
            block = struct.pack("!Q", number) * 2048
            number += 1
            self._connection.sendall(block)
            self._sent.update(block)
        self._connection.shutdown(socket.SHUT_WR)

    def _receive(self) -> None:
        while data := self._connection.recv(65536):
            self._received.update(data)
            self.bytes += len(data)

"""Asking haproxy by HTTP: one request and the head of its answer, all of it within one time.

requests bounds each read, and a server that sends a byte a second, or 100 (Continue) for ever, renews that bound. So the socket is
ours: each read gets what is left of the whole time, and then it is closed. No thread is needed, so none is left behind.
"""

import socket
import time
from collections.abc import Mapping
from http.client import RemoteDisconnected
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool
from urllib3.connection import HTTPConnection

from . import acceptance


class NoAnswer(OSError):
    """The server took the request, and what came back is no HTTP; the text says what it was."""


def status(url: str, timeout: float, header: bytes = b"") -> int:
    """Return the status that ``url`` is answered with; ``header`` goes before the request.

    Raises OSError: NotAccepted, TimeoutError, NoAnswer, or why nobody is reached.
    """
    deadline = time.monotonic() + timeout
    target = urlsplit(url)
    opened = acceptance.opened(target.hostname or "", target.port or 80, timeout)
    with _Bounded(fileno=opened.detach()) as client, requests.Session() as session:
        client.deadline = deadline
        client.sendall(header)
        session.trust_env = False  # a proxy in the environment must not answer for haproxy
        session.mount("http://", _Through(client))
        try:
            return session.get(url, timeout=timeout, stream=True, allow_redirects=False).status_code
        except requests.RequestException as error:
            if time.monotonic() < deadline:
                raise NoAnswer(_why(error)) from error
            if client.was_accepted:
                raise TimeoutError(f"no whole answer within {timeout:g} s") from error
            raise acceptance.NotAccepted(f"the port is open, but the process did not accept a connection within {timeout:g} s") from error


def _why(error: BaseException | None) -> str:
    """Return what happened, in words: requests and urllib3 give each other's errors, and http.client's, as Python writes them."""
    while error is not None:
        if isinstance(error, RemoteDisconnected):
            return "it closes the connection without an answer"
        if isinstance(error, ConnectionError) and error.strerror:
            return error.strerror
        error = error.__cause__ or error.__context__
    return "what it says is not HTTP"


class _Bounded(socket.socket):
    """A socket of which no read lasts longer than until ``deadline`` (monotonic seconds)."""

    deadline = 0.0
    was_accepted = True  # asked when the time is over

    def recv_into(self, buffer, nbytes=0, flags=0):  # type: ignore[no-untyped-def]  # as socket.socket has it
        try:
            if (left := self.deadline - time.monotonic()) <= 0:  # although there may be more to read at once
                raise TimeoutError
            self.settimeout(left)
            return super().recv_into(buffer, nbytes, flags)
        except TimeoutError:
            self.was_accepted = not acceptance.waits(self)
            if not self.was_accepted:
                acceptance.abandon(self)  # here: requests closes it
            raise


class _Through(HTTPAdapter):
    """Makes requests use a connection that is open already."""

    def __init__(self, client: socket.socket) -> None:
        super().__init__()
        self._client = client

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,
        verify: bool | str | None,
        proxies: Mapping[str, str] | None = None,
        cert: tuple[str, str] | str | None = None,
    ) -> HTTPConnectionPool:
        target = urlsplit(request.url or "")
        pool = HTTPConnectionPool(str(target.hostname), target.port)
        pool.ConnectionCls = self._connection  # type: ignore[assignment]  # whatever makes one will do
        return pool

    def _connection(self, host: str, port: int | None = None, **options: object) -> HTTPConnection:
        connection = HTTPConnection(host, port)
        connection.sock = self._client
        return connection

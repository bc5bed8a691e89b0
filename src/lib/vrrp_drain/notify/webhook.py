"""Sending a notice to a webhook: one POST, of which every part is bounded.

http.client and not requests: nothing here may follow a redirect, use a proxy or a password file, or read a body, the CAs
have to be those of the machine (where BOSH puts the director's trusted certificates), and the socket must be at hand, since
no timeout of a read bounds a server that sends one byte a second.
"""

import json
import queue
import socket
import ssl
import threading
import time
from contextlib import closing, suppress
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection, RemoteDisconnected
from urllib.parse import urlsplit

from vrrp_drain import __version__
from vrrp_drain.config.receivers import Webhook

from .delivery import Away, Message, Refused

LONGEST_RETRY_AFTER = 600.0  # seconds that a receiver may ask us to stay away
_PASSING = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)


class WebhookDelivery:
    """Sends to ``webhook``. No error tells more of its URL than scheme, host and port, and none of its headers."""

    def __init__(self, webhook: Webhook) -> None:
        self.name = webhook.origin
        self.retry_for = webhook.retry_for
        self._webhook = webhook
        self._exchange: _Exchange | None = None
        self._is_cut = False

    def cut(self) -> None:
        self._is_cut = True
        if self._exchange is not None:
            self._exchange.give_up("the watcher ends")

    def send(self, message: Message) -> None:
        """Post ``message`` as JSON; at the latest after ``timeout`` it returns. Raises Away and Refused."""
        if self._is_cut:
            raise Away("the watcher ends")
        self._exchange = _Exchange(self._webhook, json.dumps(message.as_json()).encode())
        status, retry_after = self._exchange.result()
        if status in _PASSING or status >= 500:
            raise Away(_answers(status), seconds(retry_after))
        if not 200 <= status < 300:
            raise Refused(_answers(status))


class _Exchange:
    """One request and the head of its answer, in a thread that is waited for no longer than the timeout."""

    def __init__(self, webhook: Webhook, body: bytes) -> None:
        url = urlsplit(webhook.url)
        self._target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        given = {name.lower() for name, _ in webhook.headers}
        ours = {"Content-Type": "application/json", "User-Agent": f"vrrp-drain/{__version__}", "Connection": "close"}
        self._headers = {**{name: value for name, value in ours.items() if name.lower() not in given}, **dict(webhook.headers)}
        self._body = body
        self._timeout = webhook.timeout
        self._outcome: queue.SimpleQueue[tuple[int, str | None] | Exception] = queue.SimpleQueue()
        self._given_up = threading.Event()
        host = url.hostname or ""
        self._connection: HTTPConnection = (
            HTTPSConnection(host, url.port, timeout=self._timeout, context=_trust(webhook.ca_cert))
            if url.scheme == "https"
            else HTTPConnection(host, url.port, timeout=self._timeout)
        )

    def result(self) -> tuple[int, str | None]:
        """Return the status and Retry-After. Raises Away."""
        threading.Thread(target=self._run, name="webhook exchange", daemon=True).start()
        try:
            outcome = self._outcome.get(timeout=self._timeout)
        except queue.Empty:
            self.give_up("")
            raise Away(f"gives no answer within {self._timeout:g} s") from None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def give_up(self, why: str) -> None:
        """Have ``result`` raise Away, send nothing from now on, and end what is being read."""
        self._given_up.set()
        self._outcome.put(Away(why))
        if (connected := self._connection.sock) is not None:
            with suppress(OSError):
                socket.socket.shutdown(connected, socket.SHUT_RDWR)  # below TLS, whose own shutdown would race with the read

    def _run(self) -> None:
        with closing(self._connection):
            try:
                self._connection.connect()
                if self._given_up.is_set():
                    return
                self._connection.request("POST", self._target, self._body, self._headers)
                with closing(self._connection.getresponse()) as response:
                    self._outcome.put((response.status, response.headers.get("Retry-After")))
            except TimeoutError:
                self._outcome.put(Away(f"gives no answer within {self._timeout:g} s"))
            except OSError as error:
                self._outcome.put(Away(f"cannot be reached: {_why(error)}"))
            except (HTTPException, ValueError):  # their text may be what the server sent, which may be what we sent it
                self._outcome.put(Away("answers, but not in HTTP"))


def _why(error: OSError) -> str:
    if isinstance(error, RemoteDisconnected):
        return "it closes the connection without an answer"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS fails ({error.reason or 'connection closed'})"
    return error.strerror or type(error).__name__


def _trust(ca_cert: str | None) -> ssl.SSLContext:
    """Return a context that trusts ``ca_cert`` alone, or what the machine trusts. Raises Refused."""
    try:
        return ssl.create_default_context(cadata=ca_cert)
    except ssl.SSLError as error:
        raise Refused(f"its ca_cert cannot be used ({error.reason})") from error


def _answers(status: int) -> str:
    name = f" ({HTTPStatus(status).phrase})" if status in tuple(HTTPStatus) else ""
    return f"answers with status {status}{name}"


def seconds(retry_after: str | None) -> float:
    """Return the seconds that a Retry-After header asks for (RFC 9110, section 10.2.3), at most LONGEST_RETRY_AFTER."""
    if retry_after is None:
        return 0.0
    if retry_after.isascii() and retry_after.isdigit():
        return min(float(retry_after), LONGEST_RETRY_AFTER)
    try:
        until = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    if until.tzinfo is None:
        until = until.replace(tzinfo=timezone.utc)
    return min(max((until - datetime.fromtimestamp(time.time(), timezone.utc)).total_seconds(), 0.0), LONGEST_RETRY_AFTER)

"""Whether a process takes connections, asked of the kernel about real sockets on the loopback address."""

import errno
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address

import pytest

from vrrp_drain.haproxy import acceptance

V4, V6, ANY6 = "127.0.0.1", "::1", "::"


@contextmanager
def listening(host: str, *, accepts: bool, after: float = 0.0) -> Iterator[int]:
    """Give the port of a listener whose process accepts, after a while, or never."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    dual = host == ANY6
    with socket.create_server((host, 0), family=family, dualstack_ipv6=dual) as server:

        def accept() -> None:
            with suppress(OSError):
                time.sleep(after)  # how long it hangs is the scenario
                while True:
                    server.accept()[0].close()

        if accepts:
            threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)  # wakes the thread


PLACES = pytest.mark.parametrize(
    ("listens", "asked"), [(V4, V4), (V6, V6), (ANY6, V4), (ANY6, V6)], ids=["IPv4", "IPv6", "dual stack by IPv4", "dual stack by IPv6"]
)


@PLACES
def test_accepted(listens: str, asked: str) -> None:
    """A process that accepts is well, and the answer does not wait for the timeout."""
    with listening(listens, accepts=True) as port:
        began = time.monotonic()
        acceptance.connect(asked, port, 30)
        assert time.monotonic() - began < 20


@PLACES
def test_not_accepted(listens: str, asked: str) -> None:
    """A process that hangs has an open port all the same: within the timeout it is called by its name."""
    with listening(listens, accepts=False) as port:
        began = time.monotonic()
        with pytest.raises(acceptance.NotAccepted, match=r"^the port is open, but the process did not accept a connection within 0\.05 s$"):
            acceptance.connect(asked, port, 0.05)
        assert 0.05 <= time.monotonic() - began < 20


def test_accepted_late() -> None:
    """A process that is only busy has until the timeout."""
    with listening(V4, accepts=True, after=0.1) as port:
        acceptance.connect(V4, port, 30)


def test_a_full_queue_is_no_health() -> None:
    """Where nobody has accepted for long, the kernel opens no connection any more."""
    with socket.create_server((V4, 0), backlog=1) as server, socket.socket() as first, socket.socket() as second:
        for each in (first, second):
            each.connect(server.getsockname())
        with pytest.raises(acceptance.NotAccepted, match=r"^the port is open, but its queue is full, and the process accepted nobody"):
            acceptance.connect(V4, server.getsockname()[1], 0.05)


def test_nobody_listens() -> None:
    """A closed port is refused at once."""
    with listening(V4, accepts=False) as port:
        pass
    with pytest.raises(ConnectionRefusedError):
        acceptance.connect(V4, port, 5)


def test_an_end_that_is_elsewhere_is_not_asked_about() -> None:
    """Of another machine's connections the kernel knows nothing: that it is open has to be enough."""
    assert not acceptance._waits((ip_address("192.0.2.1"), 80), (ip_address("192.0.2.2"), 40000))
    assert not acceptance._waits((ip_address("2001:db8::1"), 80), (ip_address("2001:db8::2"), 40000))


def test_a_kernel_that_does_not_tell_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without sock_diag a connection counts as accepted: never call a healthy haproxy dead because of us."""
    real = socket.socket

    def refuse(family: int = socket.AF_INET, *arguments: object, **options: object) -> socket.socket:
        if family == socket.AF_NETLINK:
            raise OSError(errno.EPROTONOSUPPORT, "Protocol not supported")
        return real(family, *arguments, **options)  # type: ignore[arg-type]

    with listening(V4, accepts=False) as port:
        monkeypatch.setattr(socket, "socket", refuse)
        acceptance.connect(V4, port, 0.05)

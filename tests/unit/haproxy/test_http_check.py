"""The http:// check against servers that never come to an end: each check is over in time, and leaves nothing behind."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from unit.support.words import of_python
from vrrp_drain.haproxy import health_check
from vrrp_drain.runtime.errors import SystemFault

TIMEOUT, LATE = 0.1, 1.0  # seconds
CHECKS = 100
Serve = Callable[[socket.socket], object]


def drip(head: bytes, every: bytes = b"x") -> Serve:
    """Say ``head``, and then a piece each 20 ms for as long as somebody listens."""

    def serve(client: socket.socket) -> None:
        client.sendall(head)
        while True:
            time.sleep(0.02)
            client.sendall(every)

    return serve


def flood(head: bytes, every: bytes) -> Serve:
    """Say ``head``, and then ``every``, as fast as somebody listens."""

    def serve(client: socket.socket) -> None:
        client.sendall(head)
        while True:
            client.sendall(every)

    return serve


ENDLESS = {
    "silence": lambda client: client.recv(1 << 16) and client.recv(1),
    "a status that drips": drip(b"HTTP/1.1 ", b"2"),
    "a header that drips": drip(b"HTTP/1.1 200 OK\r\nX-Drip: "),
    "header lines that drip": drip(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    "100 that drips": drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "100 for ever": flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "103 for ever": flood(b"", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 1000),
    "header lines for ever": flood(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1000),
    "a huge header": flood(b"HTTP/1.1 200 OK\r\nX: ", b"y" * 65536),
    "a status line for ever": flood(b"HTTP/1.1 200 ", b"y" * 65536),
    "no HTTP": flood(b"", b"\0\xff" * 10000),
}


@contextmanager
def serving(serve: Serve) -> Iterator[str]:
    """Give the URL of a server of one connection at a time."""

    def work(server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = server.accept()
                with client, suppress(OSError):
                    serve(client)

    with socket.create_server(("127.0.0.1", 0), backlog=256) as server:
        thread = threading.Thread(target=work, args=(server,))
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def held() -> tuple[int, int]:
    """Return the numbers of our threads and of our file descriptors."""
    return threading.active_count(), len([*Path("/proc/self/fd").iterdir()])


@pytest.mark.parametrize("serve", ENDLESS.values(), ids=ENDLESS.keys())
def test_what_never_ends_is_ended(serve: Serve) -> None:
    """Ten checks, each over within its time, with a sentence; afterwards there are no more threads and descriptors than before."""
    with serving(serve) as url:
        until_idle = held()
        for _ in range(10):
            began = time.monotonic()
            with pytest.raises(SystemFault, match=f"^haproxy (does not answer at|answers) {url}") as raised:
                health_check.check(urlsplit(url), TIMEOUT)
            assert not of_python(str(raised.value))
            assert time.monotonic() - began < TIMEOUT + LATE
        settled(until_idle)


@pytest.mark.parametrize(
    ("says", "why"),
    [
        (b"", "it closes the connection without an answer"),
        (b"SSH-2.0-OpenSSH_8.9\r\n", "what it says is not HTTP"),
        (b"HTTP/1.1 two hundred\r\n\r\n", "what it says is not HTTP"),
        (None, "Connection reset by peer"),
    ],
)
def test_what_is_no_answer_is_said_in_words(says: bytes | None, why: str) -> None:
    """Of what a server does instead of answering, the sentence tells what happened, and not what Python calls it."""

    def serve(client: socket.socket) -> None:
        client.recv(1 << 16)
        if says is None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            client.sendall(says)

    with serving(serve) as url, pytest.raises(SystemFault) as raised:
        health_check.check(urlsplit(url), 30)
    assert str(raised.value) == f"haproxy does not answer at {url}: {why}"


@pytest.mark.parametrize("name", ["a header that drips", "100 for ever"])
def test_a_hundred_checks_leave_nothing_behind(name: str) -> None:
    """The two that left a thread each behind: after a hundred checks there is none."""
    with serving(ENDLESS[name]) as url:
        before = held()
        for _ in range(CHECKS):
            with pytest.raises(SystemFault):
                health_check.check(urlsplit(url), 0.02)
            assert threading.active_count() == before[0]
        settled(before)


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"])
def test_a_body_is_not_waited_for(head: bytes) -> None:
    """The head of the answer is enough, whatever drips after it; a single 100 before it does no harm."""
    with serving(drip(head)) as url:
        before = held()
        for _ in range(10):
            health_check.check(urlsplit(url), 30)
        settled(before)


def test_a_haproxy_that_stands_collects_no_sockets() -> None:
    """Against a port where nobody accepts, each check closes what it opened: no socket of ours is left, and no thread."""
    with socket.create_server(("127.0.0.1", 0), backlog=CHECKS) as server:
        before = held()
        for _ in range(CHECKS):
            with pytest.raises(health_check.Silent, match=r"the process did not accept a connection within 0\.01 s"):
                health_check.check(urlsplit(f"http://127.0.0.1:{server.getsockname()[1]}/"), 0.01)
        settled(before)


def test_an_ipv6_address() -> None:
    """A URL with brackets is asked too."""
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server, pytest.raises(health_check.Silent):
        health_check.check(urlsplit(f"http://[::1]:{server.getsockname()[1]}/"), 0.05)


def settled(before: tuple[int, int]) -> None:
    """Wait until the server has closed its end, and we hold what we held before."""
    end = time.monotonic() + 10
    while held() > before or held()[1] > before[1]:
        assert time.monotonic() < end, (before, held(), [str(each.readlink()) for each in Path("/proc/self/fd").iterdir()])
        time.sleep(0.01)


def sockets_at(port: int) -> int:
    """Return how many connections of this machine have that port at one of their ends, whatever becomes of them (proc(5), net/tcp)."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(f":{port:04X}" in f"{line.split()[1]} {line.split()[2]}" and line.split()[3] != "0A" for line in lines)


@pytest.mark.parametrize("check", ["http://127.0.0.1:{}/", "tcp://127.0.0.1:{}"])
def test_a_server_that_stands_keeps_no_sockets(check: str) -> None:
    """Each check of one that accepts nobody leaves none behind at either end, though they are never taken out of its queue."""
    with socket.create_server(("127.0.0.1", 0), backlog=CHECKS) as server:
        port = server.getsockname()[1]
        for _ in range(CHECKS // 2):
            with pytest.raises(health_check.Silent):
                health_check.check(urlsplit(check.format(port)), 0.01)
        assert sockets_at(port) == 0


def test_a_server_whose_queue_is_full_keeps_no_sockets() -> None:
    """Where the kernel opens no connection any more, no attempt is left behind."""
    with socket.create_server(("127.0.0.1", 0), backlog=1) as server:
        port = server.getsockname()[1]
        for _ in range(10):
            with pytest.raises(health_check.Silent):
                health_check.check(urlsplit(f"http://127.0.0.1:{port}/"), 0.02)
        assert sockets_at(port) == 0


HEADER = b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"  # proxy-protocol.txt, 2.2


def after_a_header(client: socket.socket) -> None:
    """Answer as a port with accept-proxy does: the header comes first, or nothing is answered."""
    if client.recv(len(HEADER), socket.MSG_WAITALL) == HEADER and client.recv(4) == b"GET ":
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def test_a_header_goes_before_the_request() -> None:
    """Where the port wants one it is answered, and without it it is not."""
    with serving(after_a_header) as url:
        health_check.check(urlsplit(url), 20, HEADER)
        with pytest.raises(SystemFault, match=r"^haproxy does not answer at "):
            health_check.check(urlsplit(url), 20)

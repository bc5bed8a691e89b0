"""Serving metrics: real sockets on the loopback interface, with clients that misbehave."""

import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from prometheus_client import CollectorRegistry, Gauge

from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.watcher import metrics_server
from vrrp_drain.watcher.metrics_server import ADDRESS, MOST_CLIENTS, MetricsServer


@pytest.fixture
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    Gauge("answer", "What a scrape finds.", registry=registry).set(42)
    return registry


@pytest.fixture
def server(registry: CollectorRegistry) -> Iterator[MetricsServer]:
    server = MetricsServer(registry, 0)
    yield server
    server.close()


def scrape(server: MetricsServer) -> str:
    with urllib.request.urlopen(f"http://{ADDRESS}:{server.port}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def connected(server: MetricsServer, stack: ExitStack, say: bytes = b"") -> socket.socket:
    """Connect, say something, and wait for nothing."""
    client = stack.enter_context(socket.create_connection((ADDRESS, server.port), timeout=20))
    client.sendall(say)
    return client


def test_a_scrape(server: MetricsServer) -> None:
    """It is Prometheus' text format."""
    assert "answer 42.0" in scrape(server)


def test_only_this_machine_is_served(server: MetricsServer) -> None:
    """The metrics have no password, so they are on the loopback interface alone."""
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.2", server.port), timeout=5):
        pass


def test_a_silent_client_delays_nobody(server: MetricsServer) -> None:
    """Scrapes go on beside a client that says nothing and one that stops in the middle of its request."""
    with ExitStack() as stack:
        connected(server, stack)
        connected(server, stack, b"GET /metrics HTTP/1.1\r\nX-Slow: ")
        assert "answer 42.0" in scrape(server)


def test_a_silent_client_is_cut_off(server: MetricsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time it gets no further byte, even if it goes on sending one now and then."""
    monkeypatch.setattr(metrics_server, "CLIENT_SECONDS", 0.2)
    with ExitStack() as stack:
        silent, talking = connected(server, stack), connected(server, stack, b"GET /metrics HTTP/1.1\r\n")
        stop = threading.Event()
        thread = threading.Thread(target=_drip, args=(talking, stop))
        thread.start()
        assert (silent.recv(1), _received(talking)) == (b"", b"")
        stop.set()
        thread.join()


def test_silent_clients_cannot_pile_up(server: MetricsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """With as many clients as are served at once, a further one is turned away, without a thread; when they have gone it is served."""
    before = set(threading.enumerate())
    with ExitStack() as stack:
        clients = [connected(server, stack) for _ in range(3 * MOST_CLIENTS)]
        assert [_received(client) for client in clients[MOST_CLIENTS:]] == [b""] * (2 * MOST_CLIENTS)
        serving = set(threading.enumerate()) - before
        assert len(serving) <= MOST_CLIENTS
        monkeypatch.setattr(metrics_server, "CLIENT_SECONDS", 0.0)
        assert [_received(client) for client in clients[:MOST_CLIENTS]] == [b""] * MOST_CLIENTS
    for thread in serving:
        thread.join(10)
    monkeypatch.undo()
    assert "answer 42.0" in scrape(server)


def test_a_taken_port(registry: CollectorRegistry) -> None:
    """The message says which port, why, and what to set; the watcher goes on without metrics."""
    with socket.create_server((ADDRESS, 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(SystemFault) as refused:
            MetricsServer(registry, port)
    assert str(refused.value) == (
        f"this instance has no metrics: port {port} of 127.0.0.1 cannot be had (another process has it); "
        "set vrrp_drain.metrics_port to a free one, or to 0"
    )


def test_close_frees_the_port(registry: CollectorRegistry) -> None:
    """Whoever is connected then is cut off, and a new server can have the port at once."""
    server = MetricsServer(registry, 0)
    with ExitStack() as stack:
        assert "answer 42.0" in scrape(server)
        client = connected(server, stack)
        scrape(server)  # by now the first one has its thread
        server.close()
        assert _received(client) == b""
    again = MetricsServer(registry, server.port)
    assert "answer 42.0" in scrape(again)
    again.close()


def _received(client: socket.socket) -> bytes:
    """Return what comes until the end; a connection that is reset has ended as well."""
    try:
        return client.recv(1)
    except ConnectionResetError:
        return b""


def _drip(client: socket.socket, stop: threading.Event) -> None:
    """Send a byte of a header now and then."""
    try:
        while not stop.wait(0.02):
            client.sendall(b"x")
    except OSError:
        return

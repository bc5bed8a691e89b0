"""A small HTTP server for Prometheus, on the loopback interface: what clients do or fail to do costs a bounded amount."""

import errno
import socket
import threading
import time
from socketserver import TCPServer, ThreadingMixIn
from typing import Any

from prometheus_client import CollectorRegistry, MetricsHandler

from vrrp_drain.runtime.errors import SystemFault

ADDRESS = "127.0.0.1"
MOST_CLIENTS = 8  # at once; a further one is turned away
CLIENT_SECONDS = 10.0  # from a client's connection to the end of its answer, however slowly it reads and writes
_POLL = 0.5  # seconds between two looks for clients that are over their time


class MetricsServer:
    """Serves ``registry`` at http://127.0.0.1:``port``/metrics until ``close``, in threads of its own; 0 takes a free port.

    Raises SystemFault where the port cannot be had.
    """

    def __init__(self, registry: CollectorRegistry, port: int) -> None:
        try:
            self._server = _Server((ADDRESS, port), MetricsHandler.factory(registry))
        except OSError as error:
            reason = "another process has it" if error.errno == errno.EADDRINUSE else error.strerror
            raise SystemFault(
                f"this instance has no metrics: port {port} of {ADDRESS} cannot be had ({reason}); "
                "set vrrp_drain.metrics_port to a free one, or to 0"
            ) from error
        self.port: int = self._server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_POLL,), name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Free the port, and cut off who is connected."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server.cut_off(everybody=True)


class _Server(ThreadingMixIn, TCPServer):
    """A thread for each client, MOST_CLIENTS at most, each for CLIENT_SECONDS at most."""

    allow_reuse_address = True  # a restarted watcher need not wait for TIME_WAIT to pass
    daemon_threads = True
    block_on_close = False

    def __init__(self, *arguments: Any) -> None:
        self._since: dict[socket.socket, float] = {}  # who is connected, from when on
        self._lock = threading.Lock()
        super().__init__(*arguments)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Take one client more, or turn it away."""
        with self._lock:
            if len(self._since) >= MOST_CLIENTS:
                return False
            self._since[request] = time.monotonic()
            return True

    def shutdown_request(self, request: Any) -> None:
        """Forget a client that was served or turned away."""
        with self._lock:
            self._since.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Called every half second, whatever the clients do."""
        self.cut_off()

    def cut_off(self, *, everybody: bool = False) -> None:
        """End the connections that are over their time; the threads that serve them end by that."""
        now = time.monotonic()
        with self._lock:
            for connection, since in self._since.items():
                if everybody or now - since > CLIENT_SECONDS:
                    try:
                        connection.shutdown(socket.SHUT_RDWR)
                    except OSError:  # it has gone by itself
                        continue

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that goes away in the middle is no news."""

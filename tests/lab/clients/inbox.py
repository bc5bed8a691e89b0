"""A webhook's receiver: an HTTP server on the client that takes every POST and keeps what it says, in order."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from lab.fabric.namespace import Namespace

ADDRESS = ("10.0.0.200", 9093)
WEBHOOK = {"url": f"http://{ADDRESS[0]}:{ADDRESS[1]}/vip"}


class Inbox:
    """Listens in the client's network from entry to exit; ``posts`` are the notices as they came, of all instances."""

    def __init__(self, client: Namespace) -> None:
        self.posts: list[dict[str, Any]] = []
        posts = self.posts

        class Post(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                """Say nothing: the test reads what was posted."""

        self._server = client.in_network(lambda: ThreadingHTTPServer(ADDRESS, Post))

    def __enter__(self) -> "Inbox":
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def of(self, instance: str) -> list[dict[str, Any]]:
        """Return what ``instance`` has posted so far."""
        return [post for post in list(self.posts) if post["instance"] == instance]

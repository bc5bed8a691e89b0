"""What haproxy has behind it: the program of an HTTP server, run in the client's namespace by transfers.Transfers.

    python -m lab.clients.backend ADDRESS PORT

``GET /through/download`` answers with PAYLOAD, no faster than RATE; ``POST /through/upload`` with the sha256 of what came;
``GET /through/slow`` with one numbered line every TICK seconds.
"""

import hashlib
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random

RATE = 500_000  # bytes per second of one transfer
BLOCK = 10_000  # bytes
PAYLOAD = Random(112).randbytes(2_500_000)
TICK = 0.05  # seconds
TICKS = 120


def paced() -> Iterator[bytes]:
    """Yield PAYLOAD in blocks, no faster than RATE."""
    due = time.monotonic()
    for start in range(0, len(PAYLOAD), BLOCK):
        time.sleep(max(0.0, due - time.monotonic()))
        due += BLOCK / RATE
        yield PAYLOAD[start : start + BLOCK]


class Backend(BaseHTTPRequestHandler):
    """One connection of haproxy's."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self.send_response(200)
        if self.path == "/through/download":
            self.send_header("Content-Length", str(len(PAYLOAD)))
            self.end_headers()
            for block in paced():
                self.wfile.write(block)
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(TICKS):
            line = f"{number}\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            time.sleep(TICK)  # this is what makes the answer slow
        self.wfile.write(b"0\r\n\r\n")

    def do_POST(self) -> None:
        left = int(self.headers["Content-Length"])
        found = hashlib.sha256()
        while left and (block := self.rfile.read(min(left, BLOCK))):
            found.update(block)
            left -= len(block)
        answer = found.hexdigest().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments: object) -> None:
        """Say nothing: the client counts."""


class Server(ThreadingHTTPServer):
    """Answers everybody at once."""

    request_queue_size = 128

    def handle_error(self, *arguments: object) -> None:
        """Say nothing: a haproxy that ends resets its connections to its servers."""


def main() -> None:
    address, port = sys.argv[1:]
    with Server((address, int(port)), Backend) as server:
        print("ready", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()

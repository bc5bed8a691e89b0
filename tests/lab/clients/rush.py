"""More clients than asyncio has time for: the program behind load.Rush, one loop over epoll, run in the client's namespace.

    python -m lab.clients.rush '{"vips": [...], "port": ..., "rate": ..., "keep_alive": ..., "into": path}'

New connections come at a fixed rate, to one VIP after the other; of each VIP ``keep_alive`` clients hold a connection and ask every
KEEP_ALIVE_PAUSE seconds. The lines that it leaves behind, and what it says meanwhile, are those of traffic.py.
"""

import errno
import gc
import heapq
import itertools
import json
import os
import select
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from .traffic import KEEP_ALIVE_PAUSE, NEW_PORTS, SLOW_MS, TIMEOUT, resent

_TICK = 0.005  # seconds: what is due until then is done at once
_REPORT_EVERY = 0.5  # seconds
_OUTCOMES = {errno.ECONNREFUSED: "refused", errno.ECONNRESET: "reset", errno.EPIPE: "reset", errno.ETIMEDOUT: "timeout"}


class _Client:
    """One connection, or who will have one: a ``number`` for who stays connected, -1 for who comes once."""

    def __init__(self, vip: str, number: int) -> None:
        self.vip, self.number = vip, number
        self.socket: socket.socket | None = None
        self.began = 0.0
        self.phase, self.answer, self.resent = "connect", b"", 0


class Rush:
    """Runs until it is told to stop; nothing is retried, every outcome counts."""

    def __init__(self, vips: list[str], port: int, rate: float, keep_alive: int) -> None:
        self._vips, self._port, self._rate = vips, port, rate
        self.lines: list[dict[str, Any]] = []
        self._epoll = select.epoll()
        self._under_way: dict[int, _Client] = {}
        self._patience: deque[tuple[float, _Client, float]] = deque()  # when its time is up, if it still is at what it began then
        self._resting: list[tuple[float, int, _Client]] = []
        self._stay = [_Client(vip, number) for number, vip in enumerate(vip for vip in vips for _ in range(keep_alive))]
        self._ports = itertools.cycle(NEW_PORTS)
        self._answered = self._failed = self._slow = 0
        self._stopping = False

    def stop(self, *_: object) -> None:
        self._stopping = True

    def run(self) -> None:
        for client in self._stay:
            self._begin(client, time.monotonic())
        turns: Iterator[str] = itertools.cycle(self._vips)
        due = said = time.monotonic()
        while not self._stopping:
            now = time.monotonic()
            while self._rate and due <= now:
                self._begin(_Client(next(turns), -1), now)
                due += 1 / self._rate
            while self._resting and self._resting[0][0] <= now:
                self._begin(heapq.heappop(self._resting)[2], now)
            while self._patience and self._patience[0][0] <= now:
                _, client, began = self._patience.popleft()
                if client.socket is not None and client.began == began and client.phase != "rest":
                    self._end(client, "timeout")
            if now - said >= _REPORT_EVERY:
                said = now
                print(self._answered, self._failed, self._slow, flush=True)
            for fd, _ in self._epoll.poll(_TICK):
                if fd in self._under_way:
                    self._go_on(self._under_way[fd])
        for client in list(self._under_way.values()):
            self._close(client)

    def _begin(self, client: _Client, now: float) -> None:
        """Ask on the connection that is there, or open one."""
        client.began, client.answer = now, b""
        self._patience.append((now + TIMEOUT, client, now))
        if client.socket is not None:
            client.phase = "request"
            self._ask(client)
            return
        client.phase = "connect"
        family = socket.AF_INET6 if ":" in client.vip else socket.AF_INET
        opened = client.socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._under_way[opened.fileno()] = client
        try:
            if client.number < 0:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                opened.bind(("", next(self._ports)))
            self._epoll.register(opened, select.EPOLLOUT)
            error = opened.connect_ex((client.vip, self._port))
        except OSError as failure:
            error = failure.errno or errno.EIO
        if error not in (0, errno.EINPROGRESS):
            self._end(client, _OUTCOMES.get(error, "unreachable"))

    def _go_on(self, client: _Client) -> None:
        assert client.socket is not None
        if client.phase == "connect":
            if error := client.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._end(client, _OUTCOMES.get(error, "unreachable"))
                return
            client.phase, client.resent = "request", resent(client.socket)
            self._epoll.modify(client.socket, select.EPOLLIN)
            self._ask(client)
            return
        try:
            data = client.socket.recv(4096)
        except BlockingIOError:
            return
        except OSError as error:
            self._gone(client, _OUTCOMES.get(error.errno or 0, "unreachable"))
            return
        if not data:
            self._gone(client, "closed")
            return
        client.answer += data
        head, found, body = client.answer.partition(b"\r\n\r\n")
        if found and len(body) >= _length(head):
            self._end(client, "ok", body.decode(), close=client.number < 0 or b"connection: close" in head.lower())

    def _gone(self, client: _Client, outcome: str) -> None:
        """Between two requests a server may close politely, but not otherwise end."""
        if client.phase == "rest" and outcome == "closed":
            self._close(client)
        else:
            self._end(client, outcome)

    def _ask(self, client: _Client) -> None:
        assert client.socket is not None
        host = f"[{client.vip}]" if ":" in client.vip else client.vip
        stays = "keep-alive" if client.number >= 0 else "close"
        try:
            client.socket.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: {stays}\r\n\r\n".encode())
        except OSError as error:
            self._end(client, _OUTCOMES.get(error.errno or 0, "unreachable"))

    def _end(self, client: _Client, outcome: str, node: str = "", *, close: bool = True) -> None:
        now = time.monotonic()
        ms = (now - client.began) * 1000
        self._answered += outcome == "ok"
        self._slow += outcome == "ok" and ms > SLOW_MS
        self._failed += outcome != "ok"
        is_new = client.number < 0
        line = {
            "kind": "new" if is_new else "established",
            "t": client.began,
            "ms": round(ms, 3),
            "outcome": outcome,
            "phase": client.phase,
        }
        self.lines.append({**line, "node": node, "client": client.number, "syns_resent": client.resent if is_new else 0})
        was_due, client.phase = client.phase == "rest", "rest"  # it has its turn already
        if close:
            self._close(client)
        if not is_new and not was_due:
            heapq.heappush(self._resting, (now + KEEP_ALIVE_PAUSE, client.number, client))

    def _close(self, client: _Client) -> None:
        if client.socket is not None:
            del self._under_way[client.socket.fileno()]
            client.socket.close()
            client.socket = None


def _length(head: bytes) -> int:
    return next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))


def main() -> None:
    settings = json.loads(sys.argv[1])
    with suppress(PermissionError):  # as in traffic.py
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(2))
    gc.disable()
    into = Path(settings.pop("into"))
    rush = Rush(**settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, rush.stop)
    rush.run()
    into.write_text("".join(json.dumps(line) + "\n" for line in rush.lines))


if __name__ == "__main__":
    main()

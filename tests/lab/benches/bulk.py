"""What the handoff costs a connection that moves a lot: the same one, as fast as it can, direct and handed off in turn.

The connection ends in a plain TCP program on the first node, which is MASTER: direct. The VIP leaves: the client's packets go to the
second node, and from there to the first. It comes back: direct again. An upload is what is forwarded; of a download only the
acknowledgements are, the data go straight to the client.

CPU time is that of this process, which has both ends of the connection, and of the kernel's ksoftirqd threads. On Linux without
IRQ_TIME_ACCOUNTING the first includes the softirq work that its packets cause, so bridge and forwarding are in it, and what else
the machine does is not. ksoftirqd is not to be seen from within a container.
"""

import os
import socket
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

from lab.fabric.cluster import FAST, Cluster
from lab.fabric.node import Node

from .results import RUNS

ROUNDS = max(1, RUNS // 2)
SECONDS = 0.7  # of each window
_WARM = 0.2  # seconds until the speed has settled
_PORT = 9000
_PIECE = 1 << 20  # bytes


@dataclass(frozen=True)
class Window:
    """Medians: speed, and CPU time per GB (10^9 bytes)."""

    gbit_per_second: float
    cpu_seconds_per_gb: float


@dataclass(frozen=True)
class Bulk:
    """One kind of transfer; ``forwarded`` is the part of its bytes that went through the second node while it was handed off."""

    kind: str
    direct: Window
    handed_off: Window
    forwarded: float

    def states(self) -> tuple[tuple[str, Window], ...]:
        return ("direct", self.direct), ("handed off", self.handed_off)

    def as_json(self) -> dict[str, Any]:
        """Return it as result.json has it."""
        return asdict(self)


class Stream:
    """One connection, from entry to exit: bytes flow from ``source`` to ``sink`` as fast as these take them, while told to."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self._source, self._sink = source, sink
        self._flow, self._ended = threading.Event(), threading.Event()
        self.received = 0

    def __enter__(self) -> "Stream":
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._flow.set()
        for each in (self._source, self._sink):
            with suppress(OSError):  # the other end may have gone
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for each in (self._source, self._sink):
            each.close()

    def flow(self) -> None:
        self._flow.set()

    def rest(self) -> None:
        self._flow.clear()

    def _send(self) -> None:
        file = os.memfd_create("bulk")
        os.truncate(file, _PIECE)
        with os.fdopen(file), suppress(OSError):
            while self._flow.wait() and not self._ended.is_set():
                os.sendfile(self._source.fileno(), file, 0, _PIECE)

    def _receive(self) -> None:
        buffer = bytearray(_PIECE)
        with suppress(OSError):
            # tcp(7): MSG_TRUNC discards the bytes instead of copying them
            while count := self._sink.recv_into(buffer, _PIECE, socket.MSG_TRUNC):
                self.received += count


@dataclass
class _Samples:
    """Of one kind of transfer in one state."""

    speeds: list[float]
    costs: list[float]
    forwarded: list[float]

    def take(self, stream: Stream, through: Node, seconds: float) -> None:
        """Let the stream flow and add a window. Raises RuntimeError when nothing arrives."""
        stream.flow()
        time.sleep(_WARM)
        counters: tuple[Callable[[], float], ...] = (
            lambda: stream.received,
            time.monotonic,
            cpu_seconds,
            lambda: _received_by(through),
        )
        before = [counter() for counter in counters]
        time.sleep(seconds)
        count, took, busy, passed = (counter() - start for counter, start in zip(counters, before, strict=True))
        stream.rest()
        if not count:
            raise RuntimeError("the bulk connection stands still: nothing to compare")
        self.speeds.append(count * 8 / 1e9 / took)
        self.costs.append(busy / (count / 1e9))
        self.forwarded.append(passed / count)

    def window(self) -> Window:
        return Window(round(statistics.median(self.speeds), 2), round(statistics.median(self.costs), 3))


def run(package: Path, rounds: int = ROUNDS, seconds: float = SECONDS) -> list[Bulk]:
    """Measure an upload and a download, each one connection that sees all moves."""
    with Cluster(package, 2, keepalived=dict(FAST)) as cluster:
        cluster.create()
        first, second = cluster.nodes
        first.wait_for(cluster.vip)
        samples = {(kind, state): _Samples([], [], []) for kind in ("upload", "download") for state in ("direct", "handed off")}
        with first.machine.in_network(lambda: socket.create_server(("", _PORT))) as listener:
            streams = {"upload": _connect(cluster, listener, up=True), "download": _connect(cluster, listener, up=False)}
            with streams["upload"], streams["download"]:
                for _ in range(rounds):
                    for kind, stream in streams.items():
                        samples[kind, "direct"].take(stream, second, seconds)
                    first.agent.run_script("pre-stop")
                    second.wait_for(cluster.vip, seconds=1)
                    for kind, stream in streams.items():
                        samples[kind, "handed off"].take(stream, second, seconds)
                    first.agent.run_script("post-start")
                    first.wait_for(cluster.vip, seconds=1)
    return [
        Bulk(
            kind,
            samples[kind, "direct"].window(),
            samples[kind, "handed off"].window(),
            round(statistics.median(samples[kind, "handed off"].forwarded), 3),
        )
        for kind in streams
    ]


def _connect(cluster: Cluster, listener: socket.socket, *, up: bool) -> Stream:
    client = cluster.client.in_network(lambda: socket.create_connection((cluster.vip, _PORT), 5))
    server, _ = listener.accept()
    client.settimeout(None)
    return Stream(client, server) if up else Stream(server, client)


def cpu_seconds() -> float:
    """Return the CPU time that this process and the kernel's ksoftirqd threads have used (proc(5), schedstat: nanoseconds)."""
    return time.process_time() + sum(int(thread.read_text().split()[0]) for thread in _softirq_threads()) / 1e9


@cache
def _softirq_threads() -> list[Path]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile
            if (process / "comm").read_text().startswith("ksoftirqd/"):
                found.append(process / "schedstat")
    return found


def _received_by(node: Node) -> int:
    return int((node.machine.root / "sys/class/net/eth0/statistics/rx_bytes").read_text())

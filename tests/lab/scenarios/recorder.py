"""Who had the VIP when, and who was asked to leave when: on the monotonic clock, from the kernel's own notices."""

import ipaddress
import select
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

from lab.fabric.node import Node
from vrrp_drain.linux.rtnetlink import AddressWatch, Netlink

_BAND_EVERY = 0.05  # seconds; the file's own time stamp gives the instant, this only has to see each one
_TRIGGER_SECONDS = 20.0  # a move later than this has another cause


@dataclass(frozen=True)
class Mark:
    """At ``t`` (monotonic) ``what`` became true of ``node``: vip, no-vip, band N, or a step of the director."""

    t: float
    node: str
    what: str


@dataclass(frozen=True)
class Move:
    """The VIP went from one node to another; ``t`` is when it was live there (monotonic)."""

    t: float
    source: str
    target: str
    handover_ms: float


class Recorder:
    """Watches nodes from entry to exit."""

    def __init__(self, nodes: Sequence[Node], vip: str) -> None:
        self._nodes = list(nodes)
        self._vip = ipaddress.ip_address(vip)
        self._marks: list[Mark] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def __enter__(self) -> "Recorder":
        ready = [threading.Event() for _ in self._nodes]
        self._threads = [
            threading.Thread(target=self._watch, args=(node, event), daemon=True) for node, event in zip(self._nodes, ready, strict=True)
        ]
        for thread in self._threads:
            thread.start()
        for event in ready:
            event.wait(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def note(self, node: str, what: str) -> None:
        """Add a mark of the director's."""
        with self._lock:
            self._marks.append(Mark(time.monotonic(), node, what))

    @property
    def marks(self) -> list[Mark]:
        with self._lock:
            return sorted(self._marks, key=lambda mark: mark.t)

    def moves(self) -> list[Move]:
        """Return the moves of the VIP. A handover begins with the last thing that was done to any node before it: a band
        was changed, or a keepalived stopped or started."""
        moves, holder = [], ""
        marks = self.marks
        for mark in marks:
            if mark.what != "vip":
                continue
            if holder and holder != mark.node:
                causes = [m.t for m in marks if mark.t - _TRIGGER_SECONDS < m.t <= mark.t and _is_cause(m.what)]
                since = max(causes, default=mark.t)
                moves.append(Move(mark.t, holder, mark.node, (mark.t - since) * 1000))
            holder = mark.node
        return moves

    def overlap_seconds(self) -> float:
        """Return for how long, at most, two nodes had the VIP at once."""
        return self._longest(lambda holders: len(holders) > 1)

    def vacant_seconds(self) -> float:
        """Return for how long, at most, no node had the VIP between two that had it."""
        return self._longest(lambda holders: not holders)

    def _longest(self, counts: Callable[[set[str]], bool]) -> float:
        """Return the longest time from the first time that anybody had the VIP on, while ``counts`` holds of the nodes that had it."""
        holders: set[str] = set()
        longest, since, seen = 0.0, 0.0, False
        for mark in self.marks:
            if mark.what not in ("vip", "no-vip"):
                continue
            if seen and counts(holders):
                longest = max(longest, mark.t - since)
            holders = holders | {mark.node} if mark.what == "vip" else holders - {mark.node}
            since, seen = mark.t, True
        return longest

    def _watch(self, node: Node, ready: threading.Event) -> None:
        node.machine.enter_network()
        watch = AddressWatch()
        with Netlink() as netlink:
            here = None
            band = node.band()
            while not self._stop.is_set():
                now = time.monotonic()
                if (found := netlink.has_address("eth0", self._vip)) is not here:
                    if found or here is not None:
                        self._add(now, node, "vip" if found else "no-vip")
                    here = found
                ready.set()
                readable, _, _ = select.select([watch.fileno()], [], [], _BAND_EVERY)
                if readable:
                    watch.drain()
                if (written := node.band()) != band:
                    band = written
                    self._add(_written_at(node), node, f"band {band}")
        watch.close()

    def _add(self, t: float, node: Node, what: str) -> None:
        with self._lock:
            self._marks.append(Mark(t, node.name, what))


def _is_cause(what: str) -> bool:
    return what.startswith("band ") or what in ("stop", "start")


def _written_at(node: Node) -> float:
    """Return when the band file was written, on the monotonic clock."""
    ago = time.time() - (node.machine.root / "var/vcap/sys/run/keepalived/band").stat().st_mtime
    return time.monotonic() - ago

"""Clients under way: starts traffic.py or rush.py in the client's namespace, and reads what it found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lab.fabric.namespace import Namespace

from .program import Program
from .traffic import SLOW_MS


@dataclass(frozen=True)
class Request:
    """One request: ``t`` monotonic seconds when it began, ``kind`` new or established, ``phase`` connect or request.

    ``ms`` is how long it took, without the time in which the machine did not run the client (``stalled_ms``). ``syns_resent`` is how
    often the kernel had to send its first packet again, which it does a second later.
    """

    kind: str
    t: float
    ms: float
    outcome: str
    phase: str
    node: str
    client: int = -1
    stalled_ms: float = 0.0
    syns_resent: int = 0

    @property
    def ok(self) -> bool:
        return self.outcome == "ok"

    @property
    def slow(self) -> bool:
        return self.ok and self.ms > SLOW_MS


@dataclass(frozen=True)
class Found:
    """All requests of one load, in order of their beginning, and the longest time in which the machine did not run the client."""

    requests: list[Request]
    stall_ms: float
    clients: int

    def of(self, kind: str) -> list[Request]:
        return [each for each in self.requests if each.kind == kind]

    def failed(self, kind: str) -> list[Request]:
        return [each for each in self.of(kind) if not each.ok]

    def slow(self, kind: str) -> list[Request]:
        return [each for each in self.of(kind) if each.slow]

    def lost_syns(self) -> list[Request]:
        """Return the new connections whose first packet was lost, as the client's kernel says; a busy machine alone makes none."""
        return [each for each in self.of("new") if each.ok and each.syns_resent]

    def refused(self) -> list[Request]:
        """Return the new connections that were never established: refused, timed out, unreachable.

        A reset while connecting is none of them: Linux says ECONNREFUSED for the RST that answers a SYN, and ECONNRESET for
        one that comes after the SYN-ACK, which is a connection that was cut.
        """
        return [each for each in self.failed("new") if each.phase == "connect" and each.outcome != "reset"]


class _Clients(Program):
    """Runs from entry to exit; then ``found`` has what the clients felt, ``clients`` of whom stayed connected."""

    def __init__(self, client: Namespace, module: str, settings: Mapping[str, Any], clients: int) -> None:
        super().__init__(client, module, settings)
        self._clients = clients
        self.answered = self.failed = self.slow = 0

    def hear(self, line: str) -> None:
        self.answered, self.failed, self.slow = map(int, line.split())

    def finish(self, lines: Sequence[dict[str, Any]]) -> None:
        stalls = [(line["t"], line["ms"]) for line in lines if line["kind"] == "stall"]
        requests = [_without(stalls, Request(**line)) for line in lines if line["kind"] != "stall"]
        requests.sort(key=lambda request: request.t)
        self.found = Found(requests, max((ms for _, ms in stalls), default=0.0), self._clients)


class Load(_Clients):
    """What most tests have; nothing is ``found`` unless it does ``keep``. Loads of one client side by side need a ``lane`` each, 1 to 4."""

    def __init__(
        self, client: Namespace, vip: str, *, rate: float = 200, keep_alive: int = 20, port: int = 80, lane: int = 0, keep: bool = True
    ) -> None:
        settings = {"vip": vip, "port": port, "rate": rate, "keep_alive": keep_alive, "lane": lane, "keep": keep}
        super().__init__(client, "clients.traffic", settings, keep_alive)


class Rush(_Clients):
    """Thousands of new connections a second to ``vips`` in turn, and ``keep_alive`` clients of each that stay connected."""

    def __init__(self, client: Namespace, vips: Sequence[str], *, rate: float, keep_alive: int = 1, port: int = 80) -> None:
        settings = {"vips": [*vips], "port": port, "rate": rate, "keep_alive": keep_alive}
        super().__init__(client, "clients.rush", settings, keep_alive * len(vips))


def _without(stalls: Sequence[tuple[float, float]], request: Request) -> Request:
    """Take out of the request's time what the client itself stood still; stalls are (begin in seconds, length in ms)."""
    end = request.t + request.ms / 1000
    stalled = sum(max(0.0, min(end, t + ms / 1000) - max(request.t, t)) for t, ms in stalls) * 1000
    return replace(request, ms=round(request.ms - stalled, 3), stalled_ms=round(stalled, 3))

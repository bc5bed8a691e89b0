"""What the new MASTER pays for each packet that it hands on: the same connections, direct and handed off in turns.

The VIP has left the first of two instances, which serves what it had. The client's neighbour entry says to whom its packets go: to the
first itself, or to the new MASTER, which hands them on. So nothing else differs between the two, and a turn takes no election.

One connection goes to and fro between this process's two threads of work, a small packet each way: what CPU time that takes more when it is
handed off is the new MASTER's, the bridge's second pass included (bulk.py says whose time is counted). Many clients of haproxy show what
is left of it where somebody does work for each request.
"""

import socket
import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab.clients.crowd import Crowd
from lab.fabric.cluster import FAST, Cluster
from lab.fabric.kernel_rules import situation
from lab.fabric.node import Node
from lab.scenarios.updates import pin

from .bulk import cpu_seconds

CLIENTS = 200
SECONDS = 0.4  # of each window
_PORT = 9000
_PACKET = bytes(100)


@dataclass(frozen=True)
class PerPacket:
    """Medians; ``us`` is CPU time, ``ratio`` of requests per second handed off to those direct, median of the pairs."""

    us_of_an_exchange_direct: float
    us_of_an_exchange_handed_off: float
    packets_of_an_exchange: float
    us_per_packet: float
    requests_direct: float
    requests_handed_off: float
    ratio: float
    pairs: int
    sent: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def run(package: Path, properties: Mapping[str, Any], pairs: int) -> PerPacket:
    """Measure ``pairs`` windows of each kind, of each way. Raises RuntimeError where a connection breaks, or none is handed off."""
    keepalived = {**FAST, **properties.get("keepalived", {})}
    with Cluster(package, 2, watched=False, **{**properties, "keepalived": keepalived, "ha_proxy": {"keepalive_timeout": 100}}) as cluster:
        cluster.create()
        first, second = cluster.nodes
        first.wait_for(cluster.vip)
        with Crowd(cluster.client, cluster.vip, CLIENTS) as crowd, _Exchange(cluster) as exchange:
            crowd.ask()
            first.agent.run_script("pre-stop")
            second.wait_for(cluster.vip)
            times: dict[Node, list[float]] = {first: [], second: []}
            requests: dict[Node, list[float]] = {first: [], second: []}
            packets = []
            for number in range(pairs):
                for to in (first, second) if number % 2 else (second, first):
                    pin(cluster, to, "permanent")
                    before = situation(second.machine).sent
                    cost, exchanges = exchange.window()
                    times[to].append(cost / exchanges)
                    if to is second:
                        packets.append((situation(second.machine).sent - before) / exchanges)
                    requests[to].append(_requests(crowd, first.name))
            sent = situation(second.machine).sent
    direct, handed_off = (statistics.median(times[each]) * 1e6 for each in (first, second))
    each = statistics.median(packets)
    if each < 1:
        raise RuntimeError("hardly a packet was handed on: nothing was measured")
    return PerPacket(
        us_of_an_exchange_direct=round(direct, 2),
        us_of_an_exchange_handed_off=round(handed_off, 2),
        packets_of_an_exchange=round(each, 2),
        us_per_packet=round((handed_off - direct) / each, 2),
        requests_direct=round(statistics.median(requests[first])),
        requests_handed_off=round(statistics.median(requests[second])),
        ratio=round(statistics.median(there / here for here, there in zip(requests[first], requests[second], strict=True)), 3),
        pairs=pairs,
        sent=sent,
    )


class _Exchange:
    """One connection from the client to the first instance, both ends of it in this thread."""

    def __init__(self, cluster: Cluster) -> None:
        with cluster.nodes[0].machine.in_network(lambda: socket.create_server(("", _PORT))) as listener:
            self._client = cluster.client.in_network(lambda: socket.create_connection((cluster.vip, _PORT), 5))
            self._server = listener.accept()[0]
        for each in (self._client, self._server):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            each.settimeout(5)

    def __enter__(self) -> "_Exchange":
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()
        self._server.close()

    def window(self) -> tuple[float, int]:
        """Return the CPU seconds that it took, and how often a packet went to and fro."""
        count, began, end = 0, cpu_seconds(), time.monotonic() + SECONDS
        while time.monotonic() < end:
            for source, sink in ((self._client, self._server), (self._server, self._client)):
                source.sendall(_PACKET)
                sink.recv(len(_PACKET), socket.MSG_WAITALL)
            count += 1
        return cpu_seconds() - began, count


def _requests(crowd: Crowd, name: str) -> float:
    """Return how many requests per second are answered, all of them by the instance that has the connections."""
    answered, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        found = crowd.ask()
        if set(found) != {name}:
            raise RuntimeError(f"connections broke, or are served elsewhere: {dict(found)}")
        answered += found.total()
    return answered / (time.monotonic() - began)

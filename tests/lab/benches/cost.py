"""What the handoff's rules cost while nobody drains: traffic through the VIP to the MASTER, with and without them.

Both are measured in turns, so that a machine that is busy for a while is busy for both.
"""

import socket
import statistics
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from lab.clients.crowd import Crowd
from lab.fabric.cluster import FAST, Cluster
from lab.fabric.kernel_rules import group, hold
from vrrp_drain.handoff.rules import Rules

from .results import RUNS

PAIRS = RUNS + 1
SECONDS = 1.0  # of each run
CLIENTS = 200
_PORT = 9000
_BLOCK = 1 << 18  # bytes


def rules(package: Path, runs: int = PAIRS) -> dict[str, Any]:
    """Return one upload's throughput in Mbit/s and ``CLIENTS`` keep-alive clients' requests per second, with and without the rules."""
    throughput: dict[bool, list[float]] = {True: [], False: []}
    requests: dict[bool, list[float]] = {True: [], False: []}
    with Cluster(package, 2, keepalived=dict(FAST)) as cluster:
        cluster.create()
        cluster.nodes[0].wait_for(cluster.vip)
        with Crowd(cluster.client, cluster.vip, CLIENTS) as crowd:
            _upload(cluster)  # the first of each is slower, with or without
            _requests(crowd)
            for run in range(2 * runs):
                installed = run % 4 in (0, 3)  # with, without, without, with: neither is always the first of a pair
                _install(cluster, installed=installed)
                throughput[installed].append(_upload(cluster))
                requests[installed].append(_requests(crowd))
    return {"upload_mbit_per_s": _compared(throughput), "requests_per_s": _compared(requests), "runs": runs, "seconds_each": SECONDS}


def _install(cluster: Cluster, *, installed: bool) -> None:
    node = cluster.nodes[0].machine
    if installed:
        hold(node, group(cluster.vip, members=[each.address for each in cluster.group]))
    else:
        node.in_network(Rules().release)


def _upload(cluster: Cluster) -> float:
    """Send as fast as it goes and return what arrived at the MASTER."""
    received = 0
    with closing(cluster.nodes[0].machine.in_network(lambda: socket.create_server(("", _PORT)))) as listener:
        client = cluster.client.in_network(lambda: socket.create_connection((cluster.vip, _PORT), 5))
        server, _ = listener.accept()
        with server:
            end = time.monotonic() + SECONDS
            sender = threading.Thread(target=_send_until, args=(client, end))
            sender.start()
            buffer = bytearray(_BLOCK)
            while count := server.recv_into(buffer):
                received += count
            sender.join()
    return received * 8 / SECONDS / 1e6


def _send_until(client: socket.socket, end: float) -> None:
    block = bytes(_BLOCK)
    with client:
        while time.monotonic() < end:
            client.sendall(block)


def _requests(crowd: Crowd) -> float:
    answered = 0
    started = time.monotonic()
    while time.monotonic() - started < SECONDS:
        answered += crowd.ask().total()
    return answered / (time.monotonic() - started)


def _compared(values: dict[bool, list[float]]) -> dict[str, Any]:
    """Return medians, lowest and highest; ``difference_percent`` is what the rules take away, negative where they seem to add."""
    with_rules, without = values[True], values[False]
    difference = (1 - statistics.median(with_rules) / statistics.median(without)) * 100
    return {"with_rules": _summary(with_rules), "without_rules": _summary(without), "difference_percent": round(difference, 1)}


def _summary(values: Sequence[float]) -> dict[str, float]:
    return {"median": round(statistics.median(values)), "lowest": round(min(values)), "highest": round(max(values))}

"""What the handoff's rules cost while nobody drains: one node has them, the other one not, and clients ask both in turns, of milliseconds.

Each turn is compared with the one beside it, and the nodes change roles half-way: what is busy on the machine is busy for both.
"""

import ctypes
import socket
import statistics
import struct
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from rich.table import Table

from lab.clients.crowd import Crowd
from lab.fabric.cluster import FAST, Cluster
from lab.fabric.kernel_rules import group, hold
from lab.fabric.messages import Batch
from lab.fabric.node import Node
from vrrp_drain.handoff.rules import Rules
from vrrp_drain.runtime.ip import internet_checksum, pseudo_header

CLIENTS = 200
_TURNS = 100  # of 200 requests, for each pair of uploads
_SECONDS = 0.25  # of an upload
_PORT = 9000
_BLOCK = 1 << 18  # bytes
_PACKETS = 64  # of a turn of packets
_CLIENT = "10.0.0.200"
_MAC = bytes.fromhex("0200000000c8")
_ACK = 0x10
_MEDIAN_IS_WITHIN = 1.57  # quartile distances, by the root of how many there are: McGill, Tukey and Larsen, 1978

Turns = dict[bool, list[float]]  # with and without the rules, one beside the other


def rules(package: Path, pairs: int) -> dict[str, Any]:
    """Return requests per second of ``CLIENTS`` keep-alive clients, an upload in Mbit/s, and ns that a packet takes to a socket."""
    turns = _TURNS * pairs // 2
    requests: Turns = {True: [], False: []}
    uploads: Turns = {True: [], False: []}
    packets: Turns = {True: [], False: []}
    # a watcher would put back what is taken away
    with Cluster(package, 2, watched=False, keepalived=dict(FAST), ha_proxy={"keepalive_timeout": 300}) as cluster:
        cluster.create()
        with (
            Crowd(cluster.client, "10.0.0.1", CLIENTS) as first,
            Crowd(cluster.client, "10.0.0.2", CLIENTS) as second,
        ):
            crowds = dict(zip(cluster.nodes, (first, second), strict=True))
            for has, lacks in (cluster.nodes, reversed(cluster.nodes)):
                hold(has.machine, group(has.spec.address, members=[lacks.spec.address]))
                lacks.machine.in_network(Rules().release)
                for each in crowds.values():
                    each.ask()
                for turn in range(turns):
                    for node in (has, lacks) if turn % 2 else (lacks, has):
                        requests[node is has].append(_requests(crowds[node]))
                with Knocking(cluster, has) as one, Knocking(cluster, lacks) as other:
                    for turn in range(10 * turns):
                        for knocking in (one, other) if turn % 2 else (other, one):
                            packets[knocking is one].append(knocking.knock())
                for turn in range(pairs):
                    for node in (has, lacks) if turn % 2 else (lacks, has):
                        uploads[node is has].append(_upload(cluster, node))
    return {
        "requests_per_s": _compared(requests),
        "upload_mbit_per_s": _compared(uploads),
        "packet_ns": {**_compared(packets), "difference_ns": _apart(packets)},
        "turns": 2 * turns,
    }


def table(found: Mapping[str, Any]) -> Table:
    """Return the table for the terminal."""
    shown = Table(title=f"While nobody drains, medians (quartiles) of {found['turns']} turns")
    for heading in ("", "with the rules", "without", "less with them"):
        shown.add_column(heading)
    labels = {
        "requests_per_s": "requests per second",
        "upload_mbit_per_s": "upload, Mbit/s",
        "packet_ns": "a packet's way to its socket, ns",
    }
    for key, label in labels.items():
        columns = (found[key][name] for name in ("with_rules", "without_rules"))
        quartiles = (f"{c['median']} ({c['lower_quartile']} to {c['upper_quartile']})" for c in columns)
        shown.add_row(label, *quartiles, f"{found[key]['difference_percent']} % ± {found[key]['scatter_percent']}")
    return shown


def _requests(crowd: Crowd) -> float:
    began = time.perf_counter()
    answered = crowd.ask().total()
    return answered / (time.perf_counter() - began)


class Knocking:
    """Old ACKs on a connection to ``node``: each comes as far as its socket, which has no use for it."""

    def __init__(self, cluster: Cluster, node: Node) -> None:
        self._cluster, self._node = cluster, node

    def __enter__(self) -> "Knocking":
        here, machine = self._node.spec.address, self._cluster.client
        with closing(self._node.machine.in_network(lambda: socket.create_server((here, _PORT)))) as listener:
            self._client = machine.in_network(lambda: socket.create_connection((here, _PORT), 5))
            self._server, _ = listener.accept()
        self._raw = machine.in_network(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
        self._raw.bind(("eth0", 0))
        frame = bytearray(_old_ack(self._node.mac, here, self._client.getsockname()[1]))
        self._batch = Batch([frame] * _PACKETS)
        return self

    def __exit__(self, *what: object) -> None:
        for each in (self._raw, self._client, self._server):
            each.close()

    def knock(self) -> float:
        """Return what one takes, in ns."""
        began = time.perf_counter_ns()
        if self._batch.send(self._raw) != _PACKETS:
            raise RuntimeError(f"not all were sent: errno {ctypes.get_errno()}")
        return (time.perf_counter_ns() - began) / _PACKETS


def _old_ack(mac: str, to: str, port: int) -> bytes:
    source, target = ip_address(_CLIENT), ip_address(to)
    segment = struct.pack("!HHIIBBHHH", port, _PORT, 1, 1, 5 << 4, _ACK, 1024, 0, 0)
    total = internet_checksum(pseudo_header(source, target, len(segment), socket.IPPROTO_TCP) + segment)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0, 64, socket.IPPROTO_TCP, 0) + source.packed + target.packed
    header = header[:10] + struct.pack("!H", internet_checksum(header)) + header[12:]
    return bytes.fromhex(mac.replace(":", "")) + _MAC + b"\x08\x00" + header + segment[:16] + struct.pack("!H", total) + segment[18:]


def _upload(cluster: Cluster, node: Node) -> float:
    """Send as fast as it goes and return what arrived, in Mbit/s."""
    received, here = 0, node.spec.address
    with closing(node.machine.in_network(lambda: socket.create_server((here, _PORT)))) as listener:
        client = cluster.client.in_network(lambda: socket.create_connection((here, _PORT), 5))
        server, _ = listener.accept()
        with server:
            sender = threading.Thread(target=_send_until, args=(client, time.monotonic() + _SECONDS))
            sender.start()
            buffer = bytearray(_BLOCK)
            while count := server.recv_into(buffer):
                received += count
            sender.join()
    return received * 8 / _SECONDS / 1e6


def _send_until(client: socket.socket, end: float) -> None:
    block = bytes(_BLOCK)
    with client:
        while time.monotonic() < end:
            client.sendall(block)


def _compared(values: Turns) -> dict[str, Any]:
    """Return medians and quartiles; ``difference_percent`` is how much less it is with the rules, negative where it is more.

    It is the median over the pairs, and ``ratio`` says the same; ``scatter_percent`` is how far that is uncertain: 95 of 100 such runs lie
    within.
    """
    differences = [(1 - one / other) * 100 for one, other in zip(values[True], values[False], strict=True)]
    low, median, high = statistics.quantiles(differences, n=4)
    return {
        "with_rules": _summary(values[True]),
        "without_rules": _summary(values[False]),
        "ratio": round(1 - median / 100, 4),
        "difference_percent": round(median, 2),
        "scatter_percent": round(_MEDIAN_IS_WITHIN * (high - low) / len(differences) ** 0.5, 2),
    }


def _summary(values: Sequence[float]) -> dict[str, float]:
    low, median, high = statistics.quantiles(values, n=4)
    return {"median": round(median), "lower_quartile": round(low), "upper_quartile": round(high)}


def _apart(values: Turns) -> float:
    """Return by how much the medians of the pairs differ."""
    return round(statistics.median(one - other for one, other in zip(values[True], values[False], strict=True)))

"""Planned moves of a VIP, side by side: what the same clients feel when it leaves and comes back in each of the ways of ways.py.

python -m lab.benches.compare      part of `make bench`: adds to build/bench/result.json and draws build/bench/compare.png
"""

import os
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lab.clients.load import Found, Load
from lab.clients.transfers import BACKEND, Transfer, Transfers
from lab.fabric.cluster import Cluster, compiled_package
from lab.fabric.namespace import missing
from lab.fabric.node import Node
from lab.fabric.release import BUILD
from lab.fabric.wait import until
from lab.scenarios.ownership import Mark, Move
from lab.scenarios.recorder import Recorder
from lab.scenarios.ways import WAYS, Way

from . import bars, bulk, results
from .bulk import Bulk
from .claims import Claims, exit_code
from .results import RUNS

ROUNDS = max(1, RUNS // 2)
RATE = 200.0  # new connections per second
KEEP_ALIVE = 20  # clients that stay connected
EACH = 5  # downloads, uploads and slow streams at a time
PATIENCE = 1.0  # seconds without a byte until a client gives its transfer up
_DWELL = PATIENCE + 0.2  # seconds at each node: a transfer that hangs has been given up, and the next one is under way
_AWAY, _BACK = "stop", "start"  # how the Recorder knows a cause


@dataclass(frozen=True)
class Round:
    """The VIP left and came back once. Counts of new connections, of requests on established ones, and of transfers.

    ``handover_ms`` and ``back_ms`` are from the cause, as the Recorder knows it, to the VIP's being live on the other node; ``command_ms``
    is from the command that led to it. ``nobody_ms`` and ``two_ms`` are for how long in all nobody had the VIP, and two nodes.
    """

    failed: int
    refused: int
    slow: int
    reset: int
    transfers_broken: int
    handover_ms: float
    command_ms: float
    back_ms: float
    nobody_ms: float
    two_ms: float


@dataclass(frozen=True)
class Comparison:
    """All rounds of one way; ``longest_pause_ms`` is of the downloads and uploads that stayed whole, None where none did."""

    key: str
    name: str
    rounds: list[Round]
    longest_pause_ms: float | None
    stall_ms: float

    def median(self, what: str) -> float:
        """Return the median of one field of the rounds."""
        return statistics.median(float(getattr(each, what)) for each in self.rounds)

    def as_json(self) -> dict[str, Any]:
        """Return it as result.json has it: the medians, and the rounds that they are of."""
        medians = {what: round(self.median(what), 1) for what in Round.__dataclass_fields__}
        pause = None if self.longest_pause_ms is None else round(self.longest_pause_ms, 1)
        return {
            "way": self.key,
            "name": self.name,
            "median": medians,
            "longest_pause_ms": pause,
            "rounds": [asdict(each) for each in self.rounds],
            "client_stall_ms": round(self.stall_ms, 1),
        }


def run(package: Path, way: Way, rounds: int = ROUNDS) -> Comparison:
    """Deploy two instances, put them under load, and have the VIP leave the first one and come back, ``rounds`` times."""
    behind = {"backend": ":".join(map(str, BACKEND))}
    with Cluster(package, 2, way.jobs, ha_proxy=behind, **way.properties) as cluster:
        cluster.create()
        first, second = cluster.nodes
        way.start(first, cluster.vip)
        _settle(cluster, first)
        way.start(second, cluster.vip)
        spans: list[tuple[float, float]] = []
        with (
            Recorder(cluster.nodes, cluster.vip) as recorder,
            Transfers(cluster.client, cluster.vip, downloads=EACH, uploads=EACH, slow=EACH, patience=PATIENCE) as transfers,
            Load(cluster.client, cluster.vip, rate=RATE, keep_alive=KEEP_ALIVE) as load,
        ):
            until(lambda: load.answered > 0, "the first answer")
            time.sleep(_DWELL)
            for _ in range(rounds):
                began = time.monotonic()
                recorder.note(first.name, _AWAY)
                way.leave(cluster)
                _settle(cluster, second)
                time.sleep(_DWELL)
                recorder.note(first.name, _BACK)
                way.come_back(cluster)
                _settle(cluster, first)
                time.sleep(_DWELL)
                spans.append((began, time.monotonic()))
        moves, marks = recorder.moves(), recorder.marks
        found = [round_of(load.found, transfers.ended, moves, marks, *span) for span in spans]
        pauses = [each.pause_ms for each in transfers.ended if each.whole and each.kind != "slow"]  # haproxy sends those in lumps
        return Comparison(way.key, way.name, found, max(pauses, default=None), load.found.stall_ms)


def _settle(cluster: Cluster, master: Node) -> None:
    until(lambda: cluster.holders() == [master], f"{cluster.vip} to be on {master.name} alone", 30)


def round_of(
    found: Found, transfers: Sequence[Transfer], moves: Sequence[Move], marks: Sequence[Mark], began: float, ended: float
) -> Round:
    """Count what belongs to the round between two instants: requests that began in it, transfers whose last byte came in it."""
    away, back = _two([move for move in moves if began <= move.t < ended])
    command = next(mark.t for mark in marks if mark.what == _AWAY and began <= mark.t)
    return Round(
        failed=sum(began <= each.t < ended for each in found.failed("new")),
        refused=sum(began <= each.t < ended for each in found.refused()),
        slow=sum(began <= each.t < ended for each in found.slow("new")),
        reset=sum(began <= each.t < ended for each in found.failed("established")),
        transfers_broken=sum(not each.whole and began <= each.t + each.s < ended for each in transfers),
        handover_ms=away.ms,
        command_ms=(away.t - command) * 1000,
        back_ms=back.ms,
        nobody_ms=sum(move.nobody_ms for move in moves if began <= move.t < ended),
        two_ms=sum(move.two_ms for move in moves if began <= move.t < ended),
    )


def _two(moves: Sequence[Move]) -> tuple[Move, Move]:
    """Return the first move of a round and the last one: a machine that stands still for long may make more in between."""
    if len(moves) < 2:
        raise RuntimeError(f"the VIP was to leave and come back, but moved {len(moves)} times: nothing to compare")
    return moves[0], moves[-1]


def claims(comparisons: Sequence[Comparison], transfers: Sequence[Bulk]) -> Claims:
    """With the handoff nothing breaks; in every other way each client that stayed connected loses its connection, and transfers break."""
    held = {}
    for each in comparisons:
        if each.key == WAYS[0].key:
            held[f"{each.name}: nothing fails or breaks"] = all((r.failed, r.reset, r.transfers_broken) == (0, 0, 0) for r in each.rounds)
        else:
            cut = all(r.reset >= KEEP_ALIVE and r.transfers_broken >= 3 * EACH for r in each.rounds)
            held[f"{each.name}: a comparison with something that breaks, {KEEP_ALIVE} connections and {3 * EACH} transfers at least"] = cut
    part = {each.kind: each.forwarded for each in transfers}
    held["every byte of an upload takes the way through the new MASTER, of a download hardly any"] = (
        abs(part["upload"] - 1.0) <= 0.2 and part["download"] < 0.1
    )
    return held


def table(comparisons: Sequence[Comparison]) -> Table:
    """Return the table for the terminal."""
    shown = Table(title=f"The VIP leaves and comes back: medians of {len(comparisons[0].rounds)} rounds")
    for heading in (
        "",
        "failed",
        "refused",
        "slow",
        "established broken",
        "transfers broken",
        "longest pause, ms",
        "command, ms",
        "handover, ms",
        "nobody had the VIP, ms",
        "two had it, ms",
        "way back, ms",
    ):
        shown.add_column(heading)
    for each in comparisons:
        counts = [f"{each.median(what):g}" for what in ("failed", "refused", "slow", "reset", "transfers_broken")]
        pause = "none whole" if each.longest_pause_ms is None else f"{each.longest_pause_ms:.0f}"
        times = ("command_ms", "handover_ms", "nobody_ms", "two_ms", "back_ms")
        shown.add_row(each.name, *counts, pause, *(f"{each.median(what):.0f}" for what in times))
    return shown


def bulk_table(found: Sequence[Bulk]) -> Table:
    """Return the table of the bulk transfers for the terminal."""
    shown = Table(title=f"One bulk connection, not through haproxy: medians of {bulk.ROUNDS} windows")
    for heading in ("", "direct, Gbit/s", "handed off, Gbit/s", "direct, CPU s/GB", "handed off, CPU s/GB"):
        shown.add_column(heading)
    for each in found:
        speeds = [f"{window.gbit_per_second:.1f}" for _, window in each.states()]
        costs = [f"{window.cpu_seconds_per_gb:.2f}" for _, window in each.states()]
        shown.add_row(each.kind, *speeds, *costs)
    return shown


def main() -> int:
    console = Console()
    if lack := missing():
        console.print(f"[red]{lack}[/red]")
        return 1
    began = time.monotonic()
    comparisons = []
    with compiled_package() as package:
        for way in WAYS:
            if lack := way.missing():
                console.print(f"[yellow]without {way.name}: {lack}[/yellow]")
                if os.environ.get("CI"):
                    return 1
                continue
            comparisons.append(run(package, way))
            console.print(f"[dim]{time.monotonic() - began:5.1f} s[/dim]  {way.name}", highlight=False)
        transfers = bulk.run(package)
    console.print(table(comparisons))
    console.print(bulk_table(transfers))
    path = results.put(
        {
            "machine": {"cores": os.cpu_count(), "kernel": platform.release()},
            "moves_compared": [each.as_json() for each in comparisons],
            "bulk": [each.as_json() for each in transfers],
        }
    )
    picture = BUILD / "bench/compare.png"
    bars.draw(comparisons, transfers, picture)
    for each in (path, picture):
        console.print(f"wrote {each.relative_to(BUILD.parent)}")
    console.print(f"Not counted: the machine did not run the clients at all for up to {max(each.stall_ms for each in comparisons):.0f} ms.")
    return exit_code(claims(comparisons, transfers), console)


if __name__ == "__main__":
    sys.exit(main())

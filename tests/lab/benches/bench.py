"""`make bench`: how long drains take, medians of 10 moves or of BENCH_RUNS; writes build/bench/result.json."""

import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lab.fabric.agent import ScriptRun
from lab.fabric.cluster import Cluster, compiled_package
from lab.fabric.namespace import missing
from lab.fabric.node import Node
from lab.fabric.release import BUILD
from lab.scenarios.ownership import Why
from lab.scenarios.recorder import Recorder

from . import results
from .results import RUNS

_SETTINGS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("version 2, advert_int 1 (default)", {}),
    ("version 3, advert_int 0.1", {"vrrp_version": 3, "advert_int": 0.1}),
)


def measure(package: Path, label: str, keepalived: Mapping[str, Any], console: Console) -> dict[str, Any]:
    """Drain the MASTER and the BACKUP ``RUNS`` times each; times in seconds, of the whole script, Python's start included."""
    # haproxy is never stopped in between, so it must not finish either
    with Cluster(package, 2, keepalived=dict(keepalived), vrrp_drain={"haproxy_soft_stop": False}) as cluster:
        cluster.create()
        first, second = cluster.nodes
        first.wait_for(cluster.vip)
        masters, backups, commands = [], [], []
        with Recorder(cluster.nodes, cluster.vip) as recorder:
            for number in range(RUNS):
                backups.append(_drain(second))
                _promote(second)
                masters.append(_drain(first))
                second.wait_for(cluster.vip, seconds=1)
                _promote(first)
                commands.append(_demote(first))
                _promote(first)
                console.print(f"[dim]{label}: {number + 1} of {RUNS}[/dim]", highlight=False)
        moves = recorder.moves()
    return {
        "setting": label,
        "drain_of_master_s": summary(masters),
        "drain_of_backup_s": summary(backups),
        "vrrpctl_demote_s": summary(commands),
        "handover_s": summary([move.ms / 1000 for move in moves if move.why is Why.HANDOVER]),
        "way_back_s": summary([move.ms / 1000 for move in moves if move.why is Why.WAY_BACK]),
        "nobody_s": summary([move.nobody_ms / 1000 for move in moves]),
    }


def _drain(node: Node) -> float:
    (run,) = (each for each in node.agent.drain() if each.job == "vrrp-drain")
    _expect(run.exit_code == 0 and run.stdout == "0\n", run)
    return run.seconds


def _demote(node: Node) -> float:
    started = time.monotonic()
    code, _, stderr = node.vrrpctl("demote")
    _expect(code == 0, stderr)
    return time.monotonic() - started


def _promote(node: Node) -> None:
    code, _, stderr = node.vrrpctl("promote")
    _expect(code == 0, stderr)


def _expect(condition: bool, found: ScriptRun | str) -> None:
    if not condition:
        raise RuntimeError(f"a move failed, so there is nothing to measure: {found}")


def summary(values: list[float]) -> dict[str, float]:
    """Return what the benchmarks say of times in seconds."""
    return {"median": round(statistics.median(values), 3), "min": round(min(values), 3), "max": round(max(values), 3), "runs": len(values)}


def main() -> int:
    console = Console()
    if lack := missing():
        console.print(f"[red]{lack}[/red]")
        return 1
    with compiled_package() as package:
        measured = [measure(package, label, keepalived, console) for label, keepalived in _SETTINGS]
    table = Table(title=f"Seconds, medians of {RUNS} (lowest to highest)")
    columns = ("drain_of_master_s", "drain_of_backup_s", "vrrpctl_demote_s", "handover_s", "nobody_s", "way_back_s")
    headings = ("drain of the MASTER", "drain of a BACKUP", "vrrpctl demote", "told to leave, VIP elsewhere", "nobody had it", "way back")
    for heading in ("", *headings):
        table.add_column(heading)
    for result in measured:
        table.add_row(result["setting"], *(f"{c['median']:.3f} ({c['min']:.3f} to {c['max']:.3f})" for c in (result[k] for k in columns)))
    console.print(table)
    path = results.put({"moves": RUNS, "settings": measured}, anew=True)
    console.print(f"wrote {path.relative_to(BUILD.parent)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

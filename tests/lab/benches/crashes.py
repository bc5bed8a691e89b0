"""haproxy dies or hangs on the MASTER while clients connect: how long they are without it, with the watcher and without it.

python -m lab.benches.crashes      medians of 10 or of BENCH_RUNS, with default properties; adds to build/bench/result.json
"""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console
from rich.table import Table

from lab.clients.load import Found, Load
from lab.clients.traffic import TIMEOUT
from lab.fabric.cluster import ALL_JOBS, WATCHER, Cluster, compiled_package
from lab.fabric.namespace import missing
from lab.fabric.node import Node
from lab.fabric.release import BUILD
from lab.fabric.wait import until

from . import results
from .bench import summary
from .claims import Claims, exit_code
from .results import RUNS

RATE = 200.0  # new connections per second
_SHORTLY = 0.05  # seconds; who connected that shortly before was not answered either
_SERVED_AGAIN = 1.0  # seconds from a death until clients are served, at most: an election takes three
_NOTICED = 2.0  # seconds, health_interval x health_fall: what a hang is found in
_PATIENCE = 15.0  # seconds until the VIP counts as staying where it is: an election takes three, keepalived's check two


@dataclass(frozen=True)
class Harm:
    """What is done to haproxy: the signal; ``hangs`` tells that its process and its port are still there."""

    name: str
    signal: str
    hangs: bool

    def do(self, node: Node) -> None:
        node.machine.run(["killall", self.signal, "haproxy"])

    def undo(self, node: Node) -> None:
        if self.hangs:
            node.machine.run(["killall", "-CONT", "haproxy"])
        else:
            node.monit.start("haproxy")


KILLED = Harm("killed (SIGKILL)", "-KILL", hangs=False)
HUNG = Harm("hung (SIGSTOP)", "-STOP", hangs=True)


def outages(package: Path, *harms: Harm, watched: bool = True, jobs: Sequence[str] = ALL_JOBS) -> list[float | None]:
    """Do ``harms`` to a MASTER, one after the other; return for how many seconds each left clients unserved, None for always."""
    with Cluster(package, 2, jobs=jobs) as cluster:
        cluster.create()
        first, second = cluster.nodes
        first.wait_for(cluster.vip)
        if not watched:
            for node in cluster.nodes:
                node.monit.stop(WATCHER)
        spans, phase = [], Random(RUNS)
        # one load for all: a port that is used again within a minute meets its own TIME_WAIT
        with Load(cluster.client, cluster.vip, rate=RATE, keep_alive=0) as load:
            for harm in harms:
                _answered(load)
                time.sleep(phase.uniform(0, 2))  # checks and adverts keep time: what is repeated must not keep it with them
                began = time.monotonic()
                harm.do(first)
                moved = _moves_to(second, cluster)
                if moved:
                    _answered(load)
                if harm.hangs:
                    time.sleep(TIMEOUT)  # whoever waits for an answer gives up; a process that goes on would still answer
                spans.append((began, time.monotonic(), moved))
                harm.undo(first)
                until(lambda: cluster.holders() == [first], f"{cluster.vip} to be back on {first.name}", 30)
        return [_outage(load.found, began, ended) if moved else None for began, ended, moved in spans]


def _moves_to(node: Node, cluster: Cluster) -> bool:
    try:
        until(lambda: cluster.holders() == [node], "", _PATIENCE)
    except TimeoutError:
        return False
    return True


def _answered(load: Load) -> None:
    answered = load.answered
    until(lambda: load.answered > answered + RATE / 4, "clients to be answered")


def _outage(found: Found, began: float, ended: float) -> float:
    """Return the time between the first and the last new connection that failed or whose SYN was lost."""
    lost = found.lost_syns()
    unserved = [each.t for each in found.of("new") if began - _SHORTLY <= each.t < ended and (not each.ok or each in lost)]
    return unserved[-1] - unserved[0] + 1 / RATE if unserved else 0.0


def measure(package: Path, harm: Harm, *, watched: bool) -> dict[str, Any]:
    """Return the summary of RUNS; once is enough to see that the VIP does not move at all: keepalived's check asks for processes."""
    runs = RUNS if watched or not harm.hangs else 1
    found = outages(package, *[harm] * runs, watched=watched)
    moved = [each for each in found if each is not None]
    return {"haproxy": harm.name, "watcher": watched, "outage_s": summary(moved) if moved == found else None}


def claims(killed: Mapping[str, Any], hung: Mapping[str, Any]) -> Claims:
    """Say what must hold with the watcher, with the bounds of a busy machine: no outage has an election in it."""
    longest = [each["outage_s"]["max"] if each["outage_s"] else inf for each in (killed, hung)]
    return {
        f"a death costs clients less than {_SERVED_AGAIN:g} s": longest[0] < _SERVED_AGAIN,
        f"a hang costs clients less than {_NOTICED + _SERVED_AGAIN:g} s": longest[1] < _NOTICED + _SERVED_AGAIN,
    }


def main() -> int:
    console = Console()
    if lack := missing():
        console.print(f"[red]{lack}[/red]")
        return 1
    with compiled_package() as package:
        cases = [measure(package, harm, watched=watched) for harm in (KILLED, HUNG) for watched in (True, False)]
    table = Table(title=f"Seconds in which new connections to the MASTER fail, medians of {RUNS} (lowest to highest)")
    for heading in ("haproxy", "with the watcher", "keepalived's check alone"):
        table.add_column(heading)
    for ours, alone in zip(cases[::2], cases[1::2], strict=True):
        table.add_row(ours["haproxy"], _cell(ours["outage_s"]), _cell(alone["outage_s"]))
    console.print(table)
    path = results.put({"crashes": cases})
    console.print(f"wrote {path.relative_to(BUILD.parent)}")
    return exit_code(claims(cases[0], cases[2]), console)


def _cell(outage: dict[str, float] | None) -> str:
    if outage is None:
        return "as long as it hangs"
    return f"{outage['median']:.2f} ({outage['min']:.2f} to {outage['max']:.2f})"


if __name__ == "__main__":
    sys.exit(main())

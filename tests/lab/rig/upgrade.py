"""One rolling upgrade under load: what the demo shows, the tests assert and the benchmarks time."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .agent import Agent, MakeAgent, ScriptRun
from .cluster import Cluster, update
from .load import Found, Load
from .recorder import Mark, Move, Recorder

WATCH_SECONDS = 5.0  # the director's update_watch_time: it waits this long before the next instance
RATE = 200.0  # new connections per second
KEEP_ALIVE = 20  # clients that stay connected


@dataclass(frozen=True)
class Upgrade:
    """All that was seen; times on the monotonic clock."""

    name: str
    nodes: tuple[str, ...]
    found: Found
    marks: list[Mark]
    moves: list[Move]
    drains: list[tuple[str, ScriptRun]]

    @property
    def cuts_allowed(self) -> int:
        """Requests that may fail: the one in flight at the instant of a move, two where the machine ran the client in bursts."""
        return 2 * len(self.moves)

    @property
    def kept(self) -> bool:
        """Tell whether every new connection was established, no first packet was lost, and only moves cut requests."""
        return not self.found.refused() and not self.found.lost_syns() and len(self.found.failed("new")) <= self.cuts_allowed

    def as_json(self) -> dict[str, Any]:
        """Return the run as build/demo/result.json has it."""
        new = self.found.of("new")
        return {
            "name": self.name,
            "new": {
                "attempted": len(new),
                "failed": len(self.found.failed("new")),
                "refused": len(self.found.refused()),
                "slow": len(self.found.slow("new")),
                "max_ms": round(max((each.ms for each in new), default=0.0), 1),
            },
            "established": {
                "clients": self.found.clients,
                "requests": len(self.found.of("established")),
                "reset": len(self.found.failed("established")),
            },
            "moves": [{"from": m.source, "to": m.target, "handover_ms": round(m.handover_ms, 1)} for m in self.moves],
            "drains": [
                {"node": node, "seconds": round(run.seconds, 3), "exit_code": run.exit_code, "stdout": run.stdout}
                for node, run in self.drains
            ],
            "client_stall_ms": round(self.found.stall_ms, 1),
        }


def run(
    name: str,
    package: Path,
    jobs: Sequence[str],
    tell: Callable[[str, Load | None], None] = lambda what, load: None,
    watch_seconds: float = WATCH_SECONDS,
    make_agent: MakeAgent = Agent,
    **properties: Any,
) -> Upgrade:
    """Deploy three instances, put them under load, and update them one at a time, the canary (the MASTER) first."""
    tell("three instances are deployed", None)
    with Cluster(package, 3, jobs, make_agent=make_agent, **properties) as cluster:
        cluster.create()
        canary = cluster.nodes[0]
        canary.wait_for(cluster.vip)
        drains: list[tuple[str, ScriptRun]] = []
        with Recorder(cluster.nodes, cluster.vip) as recorder, Load(cluster.client, cluster.vip, rate=RATE, keep_alive=KEEP_ALIVE) as load:
            _watch(1.0)
            for node in cluster.nodes:

                def note(what: str, name: str = node.name) -> None:
                    recorder.note(name, what)
                    tell(f"{name}: {what}", load)

                runs = update(node, note)
                drains += [(node.name, each) for each in runs if each.job == "vrrp-drain"]
                _watch(watch_seconds)
        return Upgrade(name, tuple(node.name for node in cluster.nodes), load.found, recorder.marks, recorder.moves(), drains)


def _watch(seconds: float) -> None:
    """What the director does between two instances: nothing, for a set time."""
    time.sleep(seconds)

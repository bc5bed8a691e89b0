"""One rolling upgrade under load: what the demo shows, the tests assert and the benchmarks time."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.clients.load import Found, Load
from lab.clients.transfers import BACKEND, Transfer, Transfers
from lab.fabric.agent import Agent, MakeAgent, ScriptRun
from lab.fabric.cluster import Cluster, update

from .ownership import Mark, Move, Owners, Why
from .recorder import Recorder

WATCH_SECONDS = 5.0  # the director's update_watch_time: it waits this long before the next instance
RATE = 200.0  # new connections per second
KEEP_ALIVE = 50  # clients that stay connected
DOWNLOADS, UPLOADS, SLOW_STREAMS = 5, 5, 10  # long transfers at a time


@dataclass(frozen=True)
class Beside:
    """A further load, from ports of its ``lane``: of another frontend, or of another VIP. ``name`` is the frontend's, for people."""

    name: str
    vip: str
    port: int
    lane: int
    rate: float = 50.0
    keep_alive: int = 10


@dataclass(frozen=True)
class Upgrade:
    """All that was seen; times on the monotonic clock."""

    name: str
    nodes: tuple[str, ...]
    found: Found
    transfers: list[Transfer]
    marks: list[Mark]
    moves: list[Move]
    owners: list[Owners]
    drains: list[tuple[str, ScriptRun]]
    beside: Mapping[str, Found] = field(default_factory=dict)

    @property
    def broken(self) -> list[Transfer]:
        """Return the transfers that ended early, or with another checksum."""
        return [each for each in self.transfers if not each.whole]

    @property
    def kept(self) -> bool:
        """Tell whether nothing failed: no request, no transfer, no first packet. Slow answers are counted; a busy machine makes some."""
        loads = (self.found, *self.beside.values())
        return not (self.broken or any(each.failed("new") or each.failed("established") or each.lost_syns() for each in loads))

    @property
    def nobody_ms(self) -> float:
        """Return for how long in all the VIP was on no interface."""
        return sum(each.ms for each in self.owners if not each.nodes)

    @property
    def two_ms(self) -> float:
        """Return for how long in all it was on two or more."""
        return sum(each.ms for each in self.owners if len(each.nodes) > 1)

    def took_ms(self, why: Why) -> list[float]:
        """Return how long each move of that kind took, in order."""
        return [each.ms for each in self.moves if each.why is why]

    def as_json(self) -> dict[str, Any]:
        """Return the run as build/demo/result.json has it."""
        return {
            "name": self.name,
            **_felt(self.found),
            "beside": {name: _felt(found) for name, found in self.beside.items()},
            "transfers": {
                "downloads": self._whole("download"),
                "uploads": self._whole("upload"),
                "slow_streams": self._whole("slow"),
                "broken": len(self.broken),
                "longest_pause_ms": round(max((each.pause_ms for each in self.transfers), default=0.0), 1),
            },
            "vip": {
                "nobody_ms": round(self.nobody_ms, 1),
                "two_ms": round(self.two_ms, 1),
                **{f"{why.value}_ms".replace(" ", "_"): [round(ms, 1) for ms in self.took_ms(why)] for why in Why},
            },
            "moves": [
                {"from": m.source, "to": m.target, "why": m.why.value, "ms": round(m.ms, 1), "announced_ms": _rounded(m.announced_ms)}
                for m in self.moves
            ],
            "drains": [
                {"node": node, "seconds": round(run.seconds, 3), "exit_code": run.exit_code, "stdout": run.stdout}
                for node, run in self.drains
            ],
            "client_stall_ms": round(self.found.stall_ms, 1),
        }

    def _whole(self, kind: str) -> int:
        return sum(each.whole for each in self.transfers if each.kind == kind)


def run(
    name: str,
    package: Path,
    jobs: Sequence[str],
    tell: Callable[[str, Load | None], None] = lambda what, load: None,
    watch_seconds: float = WATCH_SECONDS,
    make_agent: MakeAgent = Agent,
    beside: Sequence[Beside] = (),
    **properties: Any,
) -> Upgrade:
    """Deploy three instances, put them under load, and update them one at a time, the canary (the MASTER) first."""
    tell("three instances are deployed", None)
    behind = {"backend": ":".join(map(str, BACKEND)), **properties.pop("ha_proxy", {})}
    with Cluster(package, 3, jobs, make_agent=make_agent, ha_proxy=behind, **properties) as cluster:
        cluster.create()
        canary = cluster.nodes[0]
        canary.wait_for(cluster.vip)
        drains: list[tuple[str, ScriptRun]] = []
        with (
            Recorder(cluster.nodes, cluster.vip) as recorder,
            Transfers(cluster.client, cluster.vip, downloads=DOWNLOADS, uploads=UPLOADS, slow=SLOW_STREAMS) as transfers,
            Load(cluster.client, cluster.vip, rate=RATE, keep_alive=KEEP_ALIVE) as load,
            ExitStack() as stack,
        ):
            further = {
                each.name: stack.enter_context(
                    Load(cluster.client, each.vip, rate=each.rate, keep_alive=each.keep_alive, port=each.port, lane=each.lane)
                )
                for each in beside
            }
            _watch(1.0)
            for node in cluster.nodes:

                def note(what: str, name: str = node.name) -> None:
                    recorder.note(name, what)
                    tell(f"{name}: {what}", load)

                runs = update(node, note)
                drains += [(node.name, each) for each in runs if each.job == "vrrp-drain"]
                _watch(watch_seconds)
        names = tuple(node.name for node in cluster.nodes)
        felt = {each: load.found for each, load in further.items()}
        return Upgrade(name, names, load.found, transfers.ended, recorder.marks, recorder.moves(), recorder.owners(), drains, felt)


def _felt(found: Found) -> dict[str, dict[str, Any]]:
    """Return what the clients of one load felt."""
    new = found.of("new")
    return {
        "new": {
            "attempted": len(new),
            "failed": len(found.failed("new")),
            "refused": len(found.refused()),
            "lost_syns": len(found.lost_syns()),
            "slow": len(found.slow("new")),
            "max_ms": round(max((each.ms for each in new), default=0.0), 1),
        },
        "established": {
            "clients": found.clients,
            "requests": len(found.of("established")),
            "reset": len(found.failed("established")),
            "slow": len(found.slow("established")),
        },
    }


def _rounded(ms: float | None) -> float | None:
    return None if ms is None else round(ms, 1)


def _watch(seconds: float) -> None:
    """What the director does between two instances: nothing, for a set time."""
    time.sleep(seconds)

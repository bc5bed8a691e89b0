"""Moves of a VIP where there is much of something: idle connections, new ones, VIPs. What clients felt, how long it took, what it cost."""

import ipaddress
import os
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.clients import crowd
from lab.clients.crowd import Crowd
from lab.clients.load import Found, Rush
from lab.clients.sleepers import Sleepers
from lab.fabric.cluster import VIP, Cluster
from lab.fabric.node import Node
from lab.fabric.wait import until
from vrrp_drain.linux import connections

from .holders import Holders
from .ownership import Owners

IDLE = 100_000  # connections
RATE = 2000.0  # new connections per second
VIPS = (VIP, *(f"10.0.0.{number}" for number in range(101, 132)))
RATE_OF_VIPS = 640.0  # new connections per second, of all VIPs together
_KB_EACH = 24  # memory of an idle connection with both its ends, what haproxy and the client keep of it, and as much again to spare
_COUNTED_SECONDS = 6.0  # for which the drain's share of a core is looked at: it says twice how many there are
_DWELL = 1.0  # seconds at each node
_IDLE_PROPERTIES: Mapping[str, Any] = {"ha_proxy": {"keepalive_timeout": 600}, "vrrp_drain": {"drain_timeout": 150}}

Row = dict[str, Any]


@dataclass(frozen=True)
class Room:
    """How many idle connections a machine can have: ``connections`` in all, ``of_process`` in one; ``bounded_by`` where that is not all."""

    connections: int
    of_process: int
    bounded_by: str = ""

    @classmethod
    def of_machine(cls, wanted: int = IDLE) -> "Room":
        affordable = _free_kb() // _KB_EACH
        _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
        of_process = crowd.EACH if files == resource.RLIM_INFINITY else min(crowd.EACH, files - crowd.SPARE)
        return cls(min(wanted, affordable), of_process, "" if affordable >= wanted else "memory (MemAvailable)")


def _free_kb() -> int:
    found = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(found["MemAvailable"].split()[0])


def idle(package: Path, properties: Mapping[str, Any]) -> Row:
    """Many connections that say nothing are open at the instance that leaves; each is asked before, while it is drained, and ends then.

    As many as one process may hold are haproxy's; the rest ends in programs beside it, which is all the same to kernel, rules and drain.
    """
    room = Room.of_machine()
    at_haproxy = min(room.connections, room.of_process)
    with Cluster(package, 2, **_merged(_IDLE_PROPERTIES, {"ha_proxy": {"maxconn": at_haproxy + 500}}, properties)) as cluster:
        cluster.create()
        first, second = cluster.nodes
        first.wait_for(cluster.vip)
        empty, free = _rss_kb(first, "haproxy"), _free_kb()
        with (
            Crowd(cluster.client, cluster.vip, at_haproxy) as clients,
            Sleepers(cluster.client, first.machine, cluster.vip, room.connections - at_haproxy, room.of_process) as others,
        ):
            opened = clients.ask()[first.name] + others.ask()
            rss, taken = _rss_kb(first, "haproxy"), free - _free_kb()
            count_ms = _timed(lambda: first.machine.in_network(lambda: connections.count([ipaddress.ip_address(cluster.vip)])))
            began = time.monotonic()
            drain = first.agent.start_drain()
            second.wait_for(cluster.vip)
            moved_ms = (time.monotonic() - began) * 1000
            until(lambda: "was told to finish its connections" in first.log(), "the drain to wait for them", 60)
            used = _cpu_seconds(first, "drain")
            time.sleep(_COUNTED_SECONDS)  # the time that is looked at
            share = (_cpu_seconds(first, "drain") - used) / _COUNTED_SECONDS
            asked = time.monotonic()
            survived = clients.ask()[first.name] + others.ask()
            answered = time.monotonic()
            others.leave()
            left = time.monotonic()  # the last connection has ended, or does so now
            drain.result()
            drained = time.monotonic() - left
    return {
        "connections": opened,
        "wanted": IDLE,
        "bounded_by": room.bounded_by,
        "survived": survived,
        "at_haproxy": at_haproxy,
        "haproxy_rss_mb": round(rss / 1024, 1),
        "haproxy_kb_each": round((rss - empty) / at_haproxy, 2),
        "memory_kb_each": round(taken / opened, 1),
        "moved_ms": round(moved_ms, 1),
        "count_ms": round(count_ms, 1),
        "drain_cpu_share": round(share, 3),
        "asked_seconds": round(answered - asked, 1),
        "drain_ended_seconds_after": round(drained, 2),
    }


@dataclass(frozen=True)
class Rushed:
    """Moves away and back under a Rush.

    Times in ms from the command until the last VIP is there; ``nobody_ms`` is the longest in which nobody had one of them.
    """

    found: Found
    seconds: float
    away_ms: list[float]
    back_ms: list[float]
    nobody_ms: float
    all_moved: bool

    def as_json(self) -> Row:
        return {
            "new": {
                "attempted": len(self.found.of("new")),
                "failed": len(self.found.failed("new")),
                "lost_syns": len(self.found.lost_syns()),
            },
            "established": {"requests": len(self.found.of("established")), "broken": len(self.found.failed("established"))},
            "moves": len(self.away_ms) + len(self.back_ms),
            "away_ms": [round(each, 1) for each in self.away_ms],
            "back_ms": [round(each, 1) for each in self.back_ms],
            "nobody_ms": round(self.nobody_ms, 1),
            "all_moved": self.all_moved,
            "seconds": round(self.seconds, 1),
        }


def rushed(package: Path, properties: Mapping[str, Any], vips: Sequence[str], rate: float, rounds: int) -> tuple[Rushed, Row]:
    """Have ``vips`` leave the first of two instances and come back; return that, and what it costs to look at an instance with so many."""
    further = {"keepalived": {"vips": [*vips[1:]]}} if vips[1:] else {}
    with Cluster(package, 2, **_merged(further, properties)) as cluster:
        began = time.monotonic()
        cluster.create()
        deployed = time.monotonic() - began
        first, second = cluster.nodes
        _all_at(first, vips)
        commands: list[tuple[float, Node]] = []  # when each move was asked for, and to whom it goes
        with Holders(cluster.nodes, vips) as holders, Rush(cluster.client, vips, rate=rate) as rush:
            until(lambda: rush.answered > rate * _DWELL, "clients to be served")
            began = time.monotonic()
            for _ in range(rounds):
                for script, target in (("pre-stop", second), ("post-start", first)):
                    commands.append((time.monotonic(), target))
                    first.agent.run_script(script)
                    _all_at(target, vips)
                    time.sleep(_DWELL)
            seconds = time.monotonic() - began
            status_ms = _timed(first.status)
        owners = [holders.owners(vip) for vip in vips]
    wanted = [[first.name, second.name][n % 2] for n in range(2 * rounds + 1)]
    moved = all(path(each) == wanted for each in owners)
    nobody = max((span.ms for each in owners for span in each if not span.nodes), default=0.0)
    times = [max(arrived(each, since, target.name) for each in owners) for since, target in commands]
    return Rushed(rush.found, seconds, times[::2], times[1::2], nobody, moved), {
        "status_ms": round(status_ms),
        "deploy_seconds": round(deployed, 1),
    }


def arrived(owners: Sequence[Owners], since: float, node: str) -> float:
    """Return how many ms after ``since`` the VIP was at ``node``. Raises RuntimeError where it never was."""
    for span in owners:
        if span.end > since and node in span.nodes:
            return max(0.0, span.start - since) * 1000
    raise RuntimeError(f"a VIP never was on {node}: nothing to measure")


def path(owners: Sequence[Owners]) -> list[str]:
    """Return who had a VIP alone, one after the other."""
    found: list[str] = []
    for span in owners:
        if len(span.nodes) == 1 and [*span.nodes] != found[-1:]:
            found += span.nodes
    return found


def _all_at(node: Node, vips: Sequence[str]) -> None:
    until(lambda: all(map(node.has, vips)), f"{len(vips)} VIPs to be on {node.name}")


def _merged(*properties: Mapping[str, Any]) -> dict[str, Any]:
    """Put what they say of each job together; of two that say the same the later counts."""
    found: dict[str, Any] = {}
    for each in properties:
        for job, said in each.items():
            found[job] = {**found.get(job, {}), **said}
    return found


def _timed(act: Callable[[], object]) -> float:
    """Return how many ms it takes."""
    began = time.monotonic()
    act()
    return (time.monotonic() - began) * 1000


def _rss_kb(node: Node, command: str) -> int:
    """Return what the processes of that name have in memory together."""
    statuses = ((node.machine.root / f"proc/{pid}/status").read_text() for pid, name in node.machine.pids().items() if name == command)
    return sum(int(line.split()[1]) for status in statuses for line in status.splitlines() if line.startswith("VmRSS"))


def _cpu_seconds(node: Node, argument: str) -> float:
    """Return what the process with this as an argument of its command line has used so far."""
    found = [pid for pid in node.machine.pids() if argument in _command_line(node, pid)]
    fields = [(node.machine.root / f"proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in found]
    return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")


def _command_line(node: Node, pid: int) -> list[str]:
    try:
        return (node.machine.root / f"proc/{pid}/cmdline").read_text().split("\0")
    except OSError:  # it has ended
        return []

"""Every way in which a group is updated, and what happens to one meanwhile, each under the same load: nobody may notice any of it."""

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.clients.load import Found, Load
from lab.fabric.cluster import Cluster, update
from lab.fabric.node import Node
from lab.fabric.wait import until

from .ownership import Owners
from .parallel import parallel_upgrade
from .recorder import Recorder

RATE = 100.0  # new connections per second
KEEP_ALIVE = 20  # clients that stay connected
_AROUND = 1.0  # seconds of load before and after what is played
_LATE = 4.0  # seconds for which a client sends to the old MASTER's MAC
_LONG = 60.0  # seconds that an instance is away: its VM is made anew
_FULL_SECONDS = 3.0  # longer than a hang takes to be found; a client waits for 5
_IDLE = 40  # connections that take what room haproxy has beside the clients that stay connected
_STOPPED_SECONDS = 5.0  # several adverts
_SETTLES = 40.0  # seconds until the VIP is where it belongs, at most: a promotion by the watcher is the longest way
_SMALL = f"""
frontend small
    bind :81 backlog 1000
    maxconn {KEEP_ALIVE + _IDLE}
    http-request return status 200 content-type text/plain string "$INSTANCE"
"""
_FILLERS_PORTS = range(50_000, 50_000 + _IDLE)  # far from those of the load
_IP = "/usr/sbin/ip"


@dataclass(frozen=True)
class Scenario:
    """``play`` has it happen to a group of ``nodes`` instances, the first of which is MASTER, and ends when all is as it was before."""

    name: str
    nodes: int
    play: Callable[[Cluster], object]
    properties: Mapping[str, Any] = field(default_factory=dict)
    port: int = 80


@dataclass(frozen=True)
class Played:
    """What clients felt of a scenario, whose the VIP was, and how long it took from its beginning to its end."""

    name: str
    found: Found
    owners: list[Owners]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Return the row of build/bench/result.json."""
        return {
            "name": self.name,
            "new": {
                "attempted": len(self.found.of("new")),
                "failed": len(self.found.failed("new")),
                "lost_syns": len(self.found.lost_syns()),
            },
            "established": {"requests": len(self.found.of("established")), "broken": len(self.found.failed("established"))},
            "vip": {
                "nobody_ms": round(sum(each.ms for each in self.owners if not each.nodes), 1),
                "two_ms": round(sum(each.ms for each in self.owners if len(each.nodes) > 1), 1),
            },
            "seconds": round(self.seconds, 1),
        }


def play(scenario: Scenario, package: Path) -> Played:
    """Deploy a group, put it under load, and have the scenario happen to it. Raises what the scenario raises: it was not played then."""
    with Cluster(package, scenario.nodes, **scenario.properties) as cluster:
        cluster.create()
        _settle(cluster)
        with (
            Recorder(cluster.nodes, cluster.vip) as recorder,
            Load(cluster.client, cluster.vip, rate=RATE, keep_alive=KEEP_ALIVE, port=scenario.port) as load,
        ):
            until(lambda: load.answered > RATE * _AROUND, "clients to be served")
            began = time.monotonic()
            scenario.play(cluster)
            seconds = time.monotonic() - began
            time.sleep(_AROUND)
        return Played(scenario.name, load.found, recorder.owners(), seconds)


def _settle(cluster: Cluster, seconds: float = _SETTLES) -> None:
    """Wait until the first instance has the VIP alone, where it belongs."""
    until(lambda: cluster.holders() == cluster.nodes[:1], f"{cluster.vip} to be on {cluster.nodes[0].name} alone", seconds)


def _one_at_a_time(cluster: Cluster) -> None:
    parallel_upgrade(cluster, 1)


def _two_at_a_time(cluster: Cluster) -> None:
    parallel_upgrade(cluster, 2)


def _all_at_once(cluster: Cluster) -> None:
    """As a deploy with canaries: 0 and max_in_flight: 100 % does it: nobody has been updated when the last one is asked to leave."""
    parallel_upgrade(cluster, len(cluster.nodes), canaries=0)


def _all_at_once_for_long(cluster: Cluster) -> None:
    parallel_upgrade(cluster, len(cluster.nodes), seconds=_LONG, canaries=0)


def _recreate(cluster: Cluster) -> None:
    """The backup's VM is made anew by the resurrector or cck, which run no post-start; then the MASTER, which has only it, is updated."""
    master, backup = cluster.nodes
    backup.power_off()
    backup.power_on(mac=0x42)
    backup.agent.run_script("pre-start")
    backup.monit.start()
    until(lambda: backup.status()["band"] == "active", f"{backup.name} to take part, though its post-start never comes", _SETTLES)
    update(master)
    _settle(cluster)


def _kill_keepalived(cluster: Cluster) -> None:
    """The process of the MASTER's keepalived that has the VIP is killed, as by the kernel that lacks memory."""
    master, backup = cluster.nodes
    pid = (master.machine.root / "var/vcap/sys/run/keepalived/vrrp.pid").read_text().strip()
    master.machine.run(["kill", "-KILL", pid])
    backup.wait_for(cluster.vip)
    _settle(cluster)


def _stop_keepalived(cluster: Cluster) -> None:
    """All of the MASTER's keepalived stands still, for longer than an election takes; then it goes on, or is begun anew."""
    master, backup = cluster.nodes
    master.machine.run(["killall", "-STOP", "keepalived"])
    backup.wait_for(cluster.vip)
    time.sleep(_STOPPED_SECONDS)  # how long it stands still is the scenario
    master.machine.run(["killall", "-CONT", "keepalived"])
    if "keepalived" not in master.machine.pids().values():  # somebody has ended it, and monit begins it anew
        master.monit.start("keepalived")
    _settle(cluster)


def _fill_haproxy(cluster: Cluster) -> None:
    """Idle clients take all the room that haproxy has left; who comes then waits, and is served when they go."""
    master = cluster.nodes[0]
    with _idle_clients(cluster):
        time.sleep(_FULL_SECONDS)  # how long it is full is the scenario
        holders = cluster.holders()
    if holders != [master]:
        raise RuntimeError(f"{cluster.vip} left {master.name}, whose haproxy is full and not dead")
    until(lambda: "haproxy_saturated on -> off" in master.log(), "the watcher to have seen that haproxy was full, and is not any more")


@contextmanager
def _idle_clients(cluster: Cluster) -> Iterator[None]:
    with ExitStack() as stack:
        cluster.client.in_network(lambda: [stack.enter_context(_connect(cluster.vip, port)) for port in _FILLERS_PORTS])
        yield


def _connect(vip: str, port: int) -> socket.socket:
    return socket.create_connection((vip, 81), 5, ("", port))


def _learn_late(cluster: Cluster) -> None:
    """The client's neighbour entry of the VIP, or its router's, keeps the old MASTER's MAC for seconds after the move."""
    master, backup = cluster.nodes
    pin(cluster, master, "permanent")
    with ThreadPoolExecutor(1) as pool:
        updated = pool.submit(update, master)
        backup.wait_for(cluster.vip)
        time.sleep(_LATE)  # how late the client learns it is the scenario
        pin(cluster, backup, "reachable")
        updated.result()
    _settle(cluster)


def pin(cluster: Cluster, node: Node, state: str) -> None:
    """Have the client send what is for the VIP to ``node``; ``state`` is its entry's, ip-neighbour(8)."""
    entry = [cluster.vip, "lladdr", node.mac, "nud", state, "dev", "eth0"]
    done = cluster.client.run([_IP, "neighbour", "replace", *entry])
    if done.returncode != 0:
        raise RuntimeError(f"the client's neighbour entry could not be set: {done.stderr.strip()}")


def _flush_rules(cluster: Cluster) -> None:
    """Somebody's `nft flush ruleset` on every instance, and an update soon after it."""
    for node in cluster.nodes:
        node.machine.run(["/usr/sbin/nft", "flush", "ruleset"])
    until(lambda: all(node.status()["handoff"] for node in cluster.nodes), "the rules to be back")
    update(cluster.nodes[0])
    _settle(cluster)


SCENARIOS = (
    Scenario("one at a time", 3, _one_at_a_time),
    Scenario("2 of 3", 3, _two_at_a_time),
    Scenario("3 of 3", 3, _all_at_once),
    Scenario("2 of 2 with 60 s", 2, _all_at_once_for_long),
    Scenario("recreate without post-start", 2, _recreate),
    Scenario("keepalived's child killed", 2, _kill_keepalived),
    Scenario("keepalived stopped", 2, _stop_keepalived),
    Scenario(
        "full haproxy",
        2,
        _fill_haproxy,
        {"ha_proxy": {"extra": _SMALL, "keepalive_timeout": 30}, "vrrp_drain": {"health_check": "tcp://127.0.0.1:81"}},
        port=81,
    ),
    Scenario("client that learns 4 s late", 2, _learn_late),
    Scenario("flushed rules", 2, _flush_rules),
)

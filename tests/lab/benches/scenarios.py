"""What docs/keepalived.md of haproxy-boshrelease has operators try by hand, one after the other under load, and what clients felt.

python -m lab.benches.scenarios      the table of docs/scenarios.md; also writes build/bench/scenarios.json
"""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from lab.clients.load import Found, Load
from lab.fabric.cluster import VIP, VIP6, Cluster, compiled_package, update
from lab.fabric.namespace import missing
from lab.fabric.node import Node
from lab.fabric.release import BUILD
from lab.fabric.wait import until

from .claims import Claims, exit_code

RATE = 100.0  # new connections per second
_QUIET = 0.3  # seconds of load before and after each scenario


@dataclass(frozen=True)
class Variant:
    """How the group is set up; ``keepalived`` are its properties beside the VIP."""

    name: str
    vip: str
    keepalived: Mapping[str, Any]
    haproxy_s: float  # that clients may be without the VIP when haproxy stops on the MASTER
    vm_s: float  # and when its VM dies


_QUICK: Mapping[str, Any] = {"vrrp_version": 3, "advert_int": 0.1, "healthcheck_interval": 1}
_PEERS6 = {"unicast": True, "unicast_peers": ["fd00::1", "fd00::2"]}
DEFAULT = Variant("defaults: IPv4, multicast, advert_int 1", VIP, {}, 2.0, 3.6)
FAULT = Variant(
    "IPv4, unicast, healthcheck_interval 1, healthcheck_weight 0",
    VIP,
    {"unicast": True, "healthcheck_interval": 1, "healthcheck_weight": 0},
    2.0,
    3.6,
)
QUICK6 = Variant("IPv6, multicast, advert_int 0.1", VIP6, _QUICK, 1.8, 0.8)
QUICK6_UNICAST = Variant("IPv6, unicast, advert_int 0.1", VIP6, {**_QUICK, **_PEERS6}, 1.8, 0.8)
VARIANTS = (DEFAULT, FAULT, QUICK6, QUICK6_UNICAST)


@dataclass(frozen=True)
class Outcome:
    """After ``scenario``, ``master`` has the VIP (haproxy/N); clients could not connect for ``outage`` seconds."""

    scenario: str
    master: str
    outage: float
    cut: int


def run(package: Path, variant: Variant) -> list[Outcome]:
    """Deploy two instances and try everything."""
    properties: dict[str, Any] = {
        "keepalived": dict(variant.keepalived),
        "ha_proxy": {"bind": ":::80 v4v6"},
        "vrrp_drain": {"health_check": "tcp://127.0.0.1:80"},
    }
    with Cluster(package, 2, vip=variant.vip, **properties) as cluster:
        cluster.create()
        first, second = cluster.nodes
        _settle(cluster, first)
        steps: list[tuple[str, Node, Callable[[], object]]] = [
            ("deploy: the VIP is on the bootstrap instance", first, lambda: None),
            ("stop haproxy on the MASTER", second, lambda: first.monit.stop("haproxy")),
            ("start it again", first, lambda: first.monit.start("haproxy")),
            ("stop the MASTER's instance", second, lambda: stop(first)),
            ("start it again", first, first.start),
            ("the canary is the MASTER", first, lambda: update(first)),
            ("kill the MASTER's VM", second, first.power_off),
            ("bring it back", first, lambda: boot(first)),
        ]
        spans: list[tuple[str, str, float, float]] = []
        with Load(cluster.client, cluster.vip, rate=RATE, keep_alive=0) as load:
            until(lambda: load.answered > 0, "the first answer", 20)
            for name, master, act in steps:
                began = time.monotonic()
                time.sleep(_QUIET)
                act()
                _settle(cluster, master)
                time.sleep(_QUIET)
                spans.append((name, cluster.holders()[0].name, began, time.monotonic()))
        return [_outcome(load.found, *span) for span in spans]


def stop(node: Node) -> None:
    """`bosh stop` of one instance."""
    node.agent.run_script("pre-stop", {"BOSH_DEPLOYMENT_NEXT_STATE": "keep"})
    node.agent.drain()
    node.monit.stop()
    node.agent.run_script("post-stop")


def boot(node: Node) -> None:
    """The VM comes back: monit starts everything, no script runs."""
    node.power_on()
    node.monit.start()


def _settle(cluster: Cluster, master: Node) -> None:
    until(lambda: cluster.holders() == [master], f"{cluster.vip} to be on {master.name} alone", 30)


def _outcome(found: Found, scenario: str, master: str, began: float, ended: float) -> Outcome:
    within = [each for each in found.of("new") if began <= each.t < ended]
    unserved = [each for each in within if each in found.refused() or each in found.lost_syns()]
    outage = unserved[-1].t - unserved[0].t + 1 / RATE if unserved else 0.0
    return Outcome(scenario, master, round(outage, 2), sum(not each.ok and each not in unserved for each in within))


def table(results: Mapping[str, list[Outcome]]) -> str:
    """Return the outcomes as docs/scenarios.md has them: one row a scenario, one column a variant."""
    names = list(results)
    lines = [f"| what happens | VIP then on | {' | '.join(names)} |", "|---|---|" + "---|" * len(names)]
    for row in zip(*results.values(), strict=True):
        lines.append(f"| {row[0].scenario} | {row[0].master} | " + " | ".join(f"{each.outage:g} s" for each in row) + " |")
    return "\n".join(lines)


def claims(variant: Variant, outcomes: Sequence[Outcome]) -> Claims:
    """Planned moves cost clients nothing, a dead haproxy or VM no longer than the election takes; the VIP ends where it belongs."""
    allowed = (0.0, variant.haproxy_s, 0.0, 0.0, 0.0, 0.0, variant.vm_s, 0.0)
    masters = (0, 1, 0, 1, 0, 0, 1, 0)
    return {
        f"{variant.name}: {found.scenario}: haproxy/{master}, {seconds:g} s at most, not {found.master}, {found.outage:g} s": (
            found.outage <= seconds and found.master == f"haproxy/{master}"
        )
        for found, seconds, master in zip(outcomes, allowed, masters, strict=True)
    }


def main() -> int:
    if lack := missing():
        print(lack, file=sys.stderr)
        return 1
    with compiled_package() as package:
        results = {variant.name: run(package, variant) for variant in VARIANTS}
    print(table(results))
    into = BUILD / "bench/scenarios.json"
    into.parent.mkdir(parents=True, exist_ok=True)
    into.write_text(json.dumps({name: [asdict(each) for each in outcomes] for name, outcomes in results.items()}, indent=2) + "\n")
    held = {claim: holds for variant in VARIANTS for claim, holds in claims(variant, results[variant.name]).items()}
    return exit_code(held, Console())


if __name__ == "__main__":
    sys.exit(main())

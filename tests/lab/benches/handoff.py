"""The handoff at scale: many idle connections, many new ones, many VIPs, many instances, and what each packet and each request costs.

python -m lab.benches.handoff [ROW ...]      part of `make bench`: adds `handoff` to build/bench/result.json, or measures the named rows
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from lab.fabric.cluster import VIP, compiled_package
from lab.fabric.namespace import missing
from lab.fabric.release import BUILD
from lab.scenarios import scale, updates
from lab.scenarios.parallel import parallel_upgrade
from lab.scenarios.scale import RATE, RATE_OF_VIPS, VIPS, Row
from lab.scenarios.updates import Scenario

from . import cost, per_packet, results
from .claims import Claims, exit_code
from .results import RUNS

INSTANCES, IN_FLIGHT = 8, 4
PAIRS = max(10, 2 * RUNS)  # of windows: what differs by a few percent shows in many short ones rather than in few long ones
ROUNDS = max(2, RUNS // 2)


class Transport(NamedTuple):
    """A way in which packets are handed on: the properties that choose it, and the rows that are measured with it."""

    name: str
    properties: Mapping[str, Any]
    rows: Sequence[str]


TRANSPORTS = (
    Transport("direct", {}, ("idle", "rush", "vips", "instances", "per_packet")),
    Transport("tunnel", {"vrrp_drain": {"handoff_transport": "tunnel"}}, ("per_packet",)),
)


def rows(package: Path, transport: Transport) -> Mapping[str, Callable[[], Row]]:
    """Return what is measured, by the key of result.json."""
    eight = Scenario("8 instances, 4 at a time", INSTANCES, lambda cluster: parallel_upgrade(cluster, IN_FLIGHT), transport.properties)

    def rushed(vips: Sequence[str], rate: float) -> Row:
        found, looked = scale.rushed(package, transport.properties, vips, rate, ROUNDS)
        return {"vips": len(vips), "rate": rate, **found.as_json(), **looked}

    return {
        "idle": lambda: scale.idle(package, transport.properties),
        "rush": lambda: rushed((VIP,), RATE),
        "vips": lambda: rushed(VIPS, RATE_OF_VIPS),
        "instances": lambda: {
            "instances": INSTANCES,
            "in_flight": IN_FLIGHT,
            "rate": updates.RATE,
            **updates.play(eight, package).as_json(),
        },
        "per_packet": lambda: per_packet.run(package, transport.properties, PAIRS).as_json(),
    }


def claims(found: Mapping[str, Mapping[str, Row]]) -> Claims:
    """Of each transport and each row: there was a load, and none of it noticed."""
    held: dict[str, bool] = {}
    for transport, measured in found.items():
        for key, row in measured.items():
            held |= {f"handoff, {transport}, {key}: {what}": holds for what, holds in _claims(key, row).items()}
    return held


def _claims(key: str, row: Row) -> Claims:
    if key == "idle":
        return {
            "there are as many connections as the machine has room for": row["connections"] == row["wanted"] or bool(row["bounded_by"]),
            "every connection survives": row["connections"] > 0 and row["survived"] == row["connections"],
        }
    if key == "per_packet":
        return {"packets were handed on": row["sent"] > 0}
    return {
        "clients came all the time": row["new"]["attempted"] > 0.8 * row["rate"] * row["seconds"] and row["established"]["requests"] > 0,
        "no new connection failed": row["new"]["failed"] == 0,
        "no first packet was lost": row["new"]["lost_syns"] == 0,
        "no established connection broke": row["established"]["broken"] == 0,
        "every VIP moved, and nothing else did": row.get("all_moved", True),
    }


def main(names: Sequence[str] = ()) -> int:
    console = Console()
    if lack := missing():
        console.print(f"[red]{lack}[/red]")
        return 1
    began = time.monotonic()
    found: dict[str, dict[str, Row]] = {}
    at_rest: Row = {}

    def measured(what: str, measure: Callable[[], Row]) -> Row:
        row = measure()
        console.print(f"[dim]{time.monotonic() - began:5.1f} s[/dim]  handoff, {what}", highlight=False)
        return row

    with compiled_package() as package:
        for transport in TRANSPORTS:
            chosen = {key: measure for key, measure in rows(package, transport).items() if key in (names or transport.rows)}
            found[transport.name] = {key: measured(f"{transport.name}, {key}", measure) for key, measure in chosen.items()}
        if not names or "at_rest" in names:
            at_rest = measured("rules at rest", lambda: cost.rules(package, PAIRS))
    for transport_name, each in found.items():
        console.print(table(transport_name, each))
    if at_rest:
        console.print(cost.table(at_rest))
    if not names:
        written = results.put({"handoff": {**found, "rules_at_rest": at_rest, "runs": RUNS}})
        console.print(f"wrote {written.relative_to(BUILD.parent)}")
    return exit_code(claims(found), console)


def table(transport: str, measured: Mapping[str, Row]) -> Table:
    """Return all figures of one transport for the terminal."""
    shown = Table(title=f"The handoff at scale, {transport}")
    shown.add_column("")
    shown.add_column("")
    shown.add_column("", justify="right")
    for key, row in measured.items():
        for number, (what, figure) in enumerate(_flat(row)):
            shown.add_row("" if number else key, what, figure, end_section=number == len(list(_flat(row))) - 1)
    return shown


def _flat(row: Row) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for what, figure in row.items():
        inside = figure if isinstance(figure, dict) else {}
        found += [(f"{what} {name}", str(each)) for name, each in inside.items()] or [(what, str(figure))]
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

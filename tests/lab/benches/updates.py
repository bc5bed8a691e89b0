"""Updates of all kinds, and what happens to a group meanwhile, under load: that clients feel nothing of any.

python -m lab.benches.updates [NAME ...]      part of `make bench`: adds the table to build/bench/result.json, or plays the named ones
"""

import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lab.fabric.agent import ScriptFailed
from lab.fabric.cluster import compiled_package
from lab.fabric.namespace import missing
from lab.fabric.release import BUILD
from lab.scenarios.updates import KEEP_ALIVE, RATE, SCENARIOS, Scenario, play

from . import results
from .claims import Claims, exit_code

_SIDE_BY_SIDE = 2  # groups at a time: they wait more than they work
_LONGEST_FIRST = ("2 of 2 with 60 s",)

Row = dict[str, Any]


def run(package: Path, scenarios: Sequence[Scenario], console: Console) -> list[Row]:
    """Play ``scenarios``, two at a time; return the rows of those that came to their end, in order, and print what ended the others."""
    began = time.monotonic()

    def one(scenario: Scenario) -> Row | None:
        said = scenario.name
        try:
            return play(scenario, package).as_json()
        except (ScriptFailed, TimeoutError, RuntimeError) as error:
            said = f"[red]{scenario.name} was not played to its end:[/red] {escape(str(error))}"
            return None
        finally:
            console.print(f"[dim]{time.monotonic() - began:5.1f} s[/dim]  {said}", highlight=False)

    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        begun = {each.name: pool.submit(one, each) for each in sorted(scenarios, key=lambda each: each.name not in _LONGEST_FIRST)}
    return [row for each in scenarios if (row := begun[each.name].result()) is not None]


def claims(rows: Sequence[Row], scenarios: Sequence[Scenario]) -> Claims:
    """Of every scenario: it was played, there was a load, and none of it noticed."""
    played = {row["name"] for row in rows}
    return {f"updates, {each.name}: it is played to its end": each.name in played for each in scenarios} | {
        f"updates, {row['name']}: {what}": holds
        for row in rows
        for what, holds in {
            "clients came all the time": row["new"]["attempted"] > 0.8 * RATE * row["seconds"] and row["established"]["requests"] > 0,
            "no new connection failed": row["new"]["failed"] == 0,
            "no first packet was lost": row["new"]["lost_syns"] == 0,
            "no established connection broke": row["established"]["broken"] == 0,
        }.items()
    }


def table(rows: Sequence[Row]) -> Table:
    """Return the table for the terminal."""
    shown = Table(title=f"Updates under load: {RATE:.0f} new connections per second, {KEEP_ALIVE} clients that stay connected")
    shown.add_column("")
    headings = ("new", "failed", "SYNs lost", "established broken", "nobody had the VIP, ms", "two had it, ms", "seconds")
    for heading in headings:
        shown.add_column(heading, justify="right")
    for row in rows:
        cells = [*row["new"].values(), row["established"]["broken"], *row["vip"].values(), row["seconds"]]
        shown.add_row(row["name"], *map(str, cells))
    return shown


def main(names: Sequence[str] = ()) -> int:
    console = Console()
    if lack := missing():
        console.print(f"[red]{lack}[/red]")
        return 1
    scenarios = [each for each in SCENARIOS if not names or each.name in names]
    with compiled_package() as package:
        rows = run(package, scenarios, console)
    console.print(table(rows))
    if not names:
        console.print(f"wrote {results.put({'updates': rows}).relative_to(BUILD.parent)}")
    return exit_code(claims(rows, scenarios), console)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

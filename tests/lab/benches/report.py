"""The demo's result as a table for the terminal and as a page."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jinja2
from rich.table import Table

from lab.clients.traffic import SLOW_MS
from lab.scenarios.upgrade import DOWNLOADS, KEEP_ALIVE, RATE, SLOW_STREAMS, UPLOADS, Upgrade

from . import picture

Cell = tuple[str, bool]
_TRANSFERS = ("downloads", "uploads", "slow_streams")


def rows(upgrades: Sequence[Upgrade]) -> list[tuple[str, list[Cell]]]:
    """Return label and cells, each with whether it is bad news."""
    runs = [upgrade.as_json() for upgrade in upgrades]

    def line(label: str, section: str, key: str) -> tuple[str, list[Cell]]:
        return label, [(f"{run[section][key]}", run[section][key] > 0) for run in runs]

    return [
        ("new connections", [(str(run["new"]["attempted"]), False) for run in runs]),
        line("  failed", "new", "failed"),
        line("  of these not even established", "new", "refused"),
        line("  answered after more than 100 ms", "new", "slow"),
        ("  slowest, ms", [(f"{run['new']['max_ms']:.0f}", run["new"]["max_ms"] > SLOW_MS) for run in runs]),
        ("requests on established connections", [(str(run["established"]["requests"]), False) for run in runs]),
        line("  broken", "established", "reset"),
        line("  answered after more than 100 ms", "established", "slow"),
        ("downloads, uploads, slow streams", [(", ".join(str(run["transfers"][k]) for k in _TRANSFERS), False) for run in runs]),
        line("  broken", "transfers", "broken"),
        ("  longest pause of one, ms", [(f"{run['transfers']['longest_pause_ms']:.0f}", False) for run in runs]),
        *(row for name in dict.fromkeys(name for run in runs for name in run["beside"]) for row in _beside(runs, name)),
        ("the virtual IP moved, times", [(str(len(run["moves"])), False) for run in runs]),
        ("  nobody had it, ms in all", [(picture.ms(run["vip"]["nobody_ms"]), run["vip"]["nobody_ms"] > SLOW_MS) for run in runs]),
        ("  two had it, ms in all", [(picture.ms(run["vip"]["two_ms"]), run["vip"]["two_ms"] > SLOW_MS) for run in runs]),
        ("  handover of the one that leaves, ms", [(_each(run["vip"]["handover_ms"]), False) for run in runs]),
        ("  way back, the other one serves, ms", [(_each(run["vip"]["way_back_ms"]), False) for run in runs]),
        ("drain scripts, seconds", [(", ".join(f"{d['seconds']:.1f}" for d in run["drains"]) or "none", False) for run in runs]),
    ]


def _beside(runs: Sequence[dict[str, Any]], name: str) -> Iterator[tuple[str, list[Cell]]]:
    """Yield the rows of a further load, which not every run has."""

    def cells(key: str, section: str, *, bad: bool) -> list[Cell]:
        found = [run["beside"][name][section][key] if name in run["beside"] else None for run in runs]
        return [("" if each is None else str(each), bad and bool(each)) for each in found]

    yield f"{name}: new connections", cells("attempted", "new", bad=False)
    yield "  failed", cells("failed", "new", bad=True)
    yield "  answered after more than 100 ms", cells("slow", "new", bad=True)
    yield "  established connections broken", cells("reset", "established", bad=True)


def _each(values: Sequence[float]) -> str:
    return ", ".join(map(picture.ms, values)) or "none"


def table(upgrades: Sequence[Upgrade]) -> Table:
    """Return the table for the terminal."""
    found = Table(title="One rolling upgrade of three instances, twice")
    found.add_column("")
    for upgrade in upgrades:
        found.add_column(f"{upgrade.name} vrrp-drain", justify="right")
    for label, cells in rows(upgrades):
        found.add_row(label, *(f"[red]{text}[/red]" if bad else text for text, bad in cells))
    return found


def write(upgrades: Sequence[Upgrade], directory: Path) -> list[Path]:
    """Write result.json, timeline.png and report.html, and return their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    result, timeline, page = (directory / name for name in ("result.json", "timeline.png", "report.html"))
    runs = [upgrade.as_json() for upgrade in upgrades]
    result.write_text(json.dumps({"runs": runs}, indent=2) + "\n")
    picture.draw(upgrades, timeline)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    stall = round(max(run["client_stall_ms"] for run in runs))
    template = environment.get_template("report.html.j2")
    text = template.render(
        runs=runs,
        rows=rows(upgrades),
        rate=round(RATE),
        clients=KEEP_ALIVE,
        transfers=DOWNLOADS + UPLOADS + SLOW_STREAMS,
        slow_ms=round(SLOW_MS),
        stall=stall,
    )
    page.write_text(text + "\n")
    return [result, timeline, page]

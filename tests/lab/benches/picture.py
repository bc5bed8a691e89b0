"""The timeline: one lane per node with its VRRP state and the requests that it answered, one for what clients felt."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from lab.scenarios.upgrade import Upgrade
from vrrp_drain.vrrp.bands import Band

_BIN = 0.5  # seconds
_CLUSTER = 1.0  # seconds: marks closer than this share one label
_HAS_VIP, _LEAVING, _STANDBY, _DOWN = "#1f6f54", "#7fbfa5", "#e4e7ea", "#ffffff"
_FAILED, _SLOW, _RESET, _BROKEN, _LINE = "#c81d25", "#e07a00", "#7a3b9a", "#1d5fc8", "#f2c14e"


@dataclass(frozen=True)
class Span:
    """From ``start`` to ``end`` (monotonic) a node was in ``state``."""

    start: float
    end: float
    state: str


def spans(upgrade: Upgrade, node: str, begin: float, end: float) -> Iterator[Span]:
    """Yield the states of ``node``, one after the other without a gap."""
    vip, leaving, down = False, False, False
    since, state = begin, "standby"
    for mark in upgrade.marks:
        if mark.node != node:
            continue
        vip = {"vip": True, "no-vip": False}.get(mark.what, vip)
        leaving = {f"band {Band.DRAINING.value}": True, f"band {Band.ACTIVE.value}": False}.get(mark.what, leaving)
        down = {"stop": True, "start": False}.get(mark.what, down)
        now = "down" if down and not vip else "leaving" if vip and leaving else "vip" if vip else "standby"
        at = max(mark.t, begin)
        if now != state:
            if at > since:
                yield Span(since, at, state)
            since, state = at, now
    yield Span(since, end, state)


def draw(upgrades: Sequence[Upgrade], path: Path) -> None:
    """Draw the runs one above the other, on one time scale, and write a PNG."""
    lengths = [max(r.t for r in u.found.requests) - min(r.t for r in u.found.requests) for u in upgrades]
    rows = [len(u.nodes) + 1 for u in upgrades]
    figure, panels = plt.subplots(
        len(upgrades), 1, figsize=(13, 0.78 * sum(rows) + 1.3), height_ratios=rows, squeeze=False, layout="constrained"
    )
    for axes, upgrade in zip(panels[:, 0], upgrades, strict=True):
        _panel(axes, upgrade)
        axes.set_xlim(0, max(lengths))
    panels[-1, 0].set_xlabel("seconds")
    handles = [
        Patch(facecolor=_HAS_VIP, label="has the virtual IP (VRRP: MASTER)"),
        Patch(facecolor=_LEAVING, label="has it, priority lowered: still serving"),
        Patch(facecolor=_STANDBY, label="standby (BACKUP)"),
        Patch(facecolor=_DOWN, edgecolor="#98a2a8", hatch="///", label="stopped for its upgrade"),
        Line2D([], [], color=_LINE, linewidth=2, label="requests that it answers"),
        Line2D([], [], color=_FAILED, marker="x", linestyle="", label="new connection failed"),
        Line2D([], [], color=_SLOW, marker="o", linestyle="", label="slow: over 100 ms"),
        Line2D([], [], color=_RESET, marker="|", markersize=10, linestyle="", label="established connection broken"),
        Line2D([], [], color=_BROKEN, marker="d", linestyle="", label="transfer broken"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _panel(axes: Axes, upgrade: Upgrade) -> None:
    begin, end = upgrade.found.requests[0].t, upgrade.found.requests[-1].t
    result = upgrade.as_json()
    new, established = result["new"], result["established"]
    axes.set_title(
        f"{upgrade.name} vrrp-drain: of {new['attempted']} new connections {new['failed']} failed and {new['slow']} were slow; "
        f"{established['reset']} times an established connection broke, {result['transfers']['broken']} transfers did",
        loc="left",
        fontsize=11,
        fontweight="bold",
    )
    top = len(upgrade.nodes)
    for lane, node in enumerate(upgrade.nodes):
        _lane(axes, upgrade, node, top - 1 - lane, begin, end)
    _clients(axes, upgrade, top, begin)
    axes.set_ylim(-0.1, top + 0.95)
    axes.set_yticks([top + 0.4, *(top - 1 - n + 0.4 for n in range(top))], ["clients felt", *upgrade.nodes])
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _lane(axes: Axes, upgrade: Upgrade, node: str, bottom: int, begin: float, end: float) -> None:
    looks: dict[str, dict[str, Any]] = {
        "vip": {"facecolor": _HAS_VIP},
        "leaving": {"facecolor": _LEAVING},
        "standby": {"facecolor": _STANDBY},
        "down": {"facecolor": _DOWN, "edgecolor": "#98a2a8", "hatch": "///"},
    }
    for span in spans(upgrade, node, begin, end):
        axes.broken_barh([(span.start - begin, span.end - span.start)], (bottom, 0.8), linewidth=0, **looks[span.state])
    bins = int((end - begin) / _BIN)
    counts = [0] * bins
    for request in upgrade.found.requests:
        at = int((request.t - begin) / _BIN)
        if request.ok and request.node == node and at < bins:
            counts[at] += 1
    highest = 1.25 * max(1, len([r for r in upgrade.found.requests if r.ok]) / bins)
    heights = [bottom + 0.8 * min(1.0, count / highest) for count in counts]
    if any(counts):
        axes.plot([(n + 0.5) * _BIN for n in range(bins)], heights, color=_LINE, linewidth=1.8)


def _clients(axes: Axes, upgrade: Upgrade, bottom: int, begin: float) -> None:
    axes.axhline(bottom + 0.4, color="#d5dade", linewidth=0.8, zorder=0)
    found = upgrade.found
    for instants, height, color, marker in (
        ([each.t + each.s for each in upgrade.broken], 0.0, _BROKEN, "d"),
        ([each.t for each in found.failed("established")], 0.22, _RESET, "|"),
        ([each.t for each in found.slow("new") + found.slow("established")], 0.5, _SLOW, "o"),
        ([each.t for each in found.failed("new")], 0.78, _FAILED, "x"),
    ):
        times = sorted(instant - begin for instant in instants)
        axes.plot(times, [bottom + height] * len(times), linestyle="", marker=marker, color=color, markersize=7)
        for last, count in _clusters(times):
            axes.text(last + 0.25, bottom + height, str(count), color=color, va="center", fontsize=9)


def _clusters(times: Sequence[float]) -> Iterator[tuple[float, int]]:
    """Yield the last time and the size of every group of marks that lie close together."""
    count = 0
    for n, time in enumerate(times):
        count += 1
        if n + 1 == len(times) or times[n + 1] - time > _CLUSTER:
            yield time, count
            count = 0

"""The timeline: one lane per node with its part in the virtual router and the requests that it answered, one for what clients felt.

Between the lanes stands what each move of the virtual IP was: from the marks of the recorder, which has them from the kernel and the wire.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from lab.scenarios.ownership import Move, Why
from lab.scenarios.upgrade import Upgrade

_BIN = 0.5  # seconds
_OPEN = 0.1  # seconds after which an answer is none to a request that was under way when the VIP went
_NOTICEABLE_MS = 5.0  # less passes between keepalived's advert and its address
_CLUSTER = 1.0  # seconds: marks closer than this share one label
_LANE = 0.64  # of a row; what is left is for the words between two lanes
_HAS_VIP, _FINISHING, _STANDBY, _DOWN, _TURN = "#1f6f54", "#a9d3c1", "#e4e7ea", "#ffffff", "#c9d8e6"
_FAILED, _SLOW, _RESET, _BROKEN, _LINE = "#c81d25", "#e07a00", "#7a3b9a", "#1d5fc8", "#f2b632"
_INK, _QUIET = "#1b2a33", "#5c6b75"


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
    turns = [(move.t - move.ms / 1000, move.t) for move in upgrade.moves if move.target == node and move.why is Why.WAY_BACK]
    changes = [(mark.t, mark.what) for mark in upgrade.marks if mark.node == node] + [(start, "its turn is next") for start, _ in turns]
    answered = [each.t for each in upgrade.found.requests if each.ok and each.node == node]
    for t, what in sorted(changes):
        vip = {"vip": True, "no-vip": False}.get(what, vip)
        if what == "no-vip":
            leaving = any(t + _OPEN < each < t + _BIN for each in answered)  # its connections live on, so it has something to finish
        leaving = leaving and not vip and what != "start"
        down = {"stop": True, "start": False}.get(what, down)
        next_one = any(start <= t < arrival for start, arrival in turns)
        now = "vip" if vip else "down" if down else "turn" if next_one else "finishing" if leaving else "standby"
        at = max(t, begin)
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
        len(upgrades), 1, figsize=(13.5, 0.8 * sum(rows) + 2.2), height_ratios=rows, squeeze=False, layout="constrained"
    )
    for axes, upgrade in zip(panels[:, 0], upgrades, strict=True):
        _panel(axes, upgrade)
        axes.set_xlim(0, max(lengths))
    panels[-1, 0].set_xlabel("seconds")
    handles = [
        Patch(facecolor=_HAS_VIP, label="has the virtual IP (VRRP: MASTER)"),
        Patch(facecolor=_FINISHING, label="gave it away, finishes what is open"),
        Patch(facecolor=_TURN, label="wants it back, the other one serves"),
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


def ms(value: float) -> str:
    """Return milliseconds; of few the tenths too, which is as exact as the recorder is."""
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"


def _panel(axes: Axes, upgrade: Upgrade) -> None:
    begin, end = upgrade.found.requests[0].t, upgrade.found.requests[-1].t
    result = upgrade.as_json()
    new, established = result["new"], result["established"]
    axes.set_title(f"{upgrade.name} vrrp-drain", loc="left", fontsize=13, fontweight="bold", color=_INK, pad=24)
    axes.annotate(
        f"{new['failed']} of {new['attempted']} new connections failed, {new['slow']} were slow; "
        f"established ones broke {established['reset']} times, {result['transfers']['broken']} transfers broke; "
        f"nobody had the virtual IP for {ms(result['vip']['nobody_ms'])} ms, two had it for {ms(result['vip']['two_ms'])} ms",
        (0, 1),
        xytext=(0, 8),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=10,
        color=_INK,
    )
    top = len(upgrade.nodes)
    for lane, node in enumerate(upgrade.nodes):
        _lane(axes, upgrade, node, top - 1 - lane, begin, end)
    for move in upgrade.moves:
        _move(axes, upgrade, move, begin)
    _clients(axes, upgrade, top, begin)
    axes.set_ylim(-0.1, top + 0.95)
    axes.set_yticks([top + 0.4, *(top - 1 - n + _LANE / 2 for n in range(top))], ["clients felt", *upgrade.nodes])
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _lane(axes: Axes, upgrade: Upgrade, node: str, bottom: int, begin: float, end: float) -> None:
    looks: dict[str, dict[str, Any]] = {
        "vip": {"facecolor": _HAS_VIP},
        "finishing": {"facecolor": _FINISHING},
        "turn": {"facecolor": _TURN},
        "standby": {"facecolor": _STANDBY},
        "down": {"facecolor": _DOWN, "edgecolor": "#98a2a8", "hatch": "///"},
    }
    for span in spans(upgrade, node, begin, end):
        axes.broken_barh([(span.start - begin, span.end - span.start)], (bottom, _LANE), linewidth=0, **looks[span.state])
    bins = int((end - begin) / _BIN)
    counts = [0] * bins
    for request in upgrade.found.requests:
        at = int((request.t - begin) / _BIN)
        if request.ok and request.node == node and at < bins:
            counts[at] += 1
    highest = 1.25 * max(1, len([r for r in upgrade.found.requests if r.ok]) / bins)
    heights = [bottom + _LANE * min(1.0, count / highest) for count in counts]
    if any(counts):
        axes.plot([(n + 0.5) * _BIN for n in range(bins)], heights, color=_LINE, linewidth=1.8)


def _move(axes: Axes, upgrade: Upgrade, move: Move, begin: float) -> None:
    """An arrow from lane to lane, and what the move was."""
    rows = {node: len(upgrade.nodes) - 1 - n for n, node in enumerate(upgrade.nodes)}
    source, target = rows[move.source], rows[move.target]
    down = source > target
    tail, head = (source, target + _LANE) if down else (source + _LANE, target)
    at = move.t - begin
    axes.annotate("", (at, head), (at, tail), arrowprops={"arrowstyle": "-|>", "color": _INK, "shrinkA": 0, "shrinkB": 0})
    # below the lane in which a handover ends, so that the way back, which is soon after it in a short run, has the arrows' gap to itself
    height = target - (1 - _LANE) / 2 if down and target > 0 else (tail + head) / 2
    axes.annotate(told(move), (at, height), xytext=(6, 0), textcoords="offset points", va="center", fontsize=8.5, color=_INK)


def told(move: Move) -> str:
    """Return in a line how long ``move`` took, and who served meanwhile."""
    took = {
        Why.HANDOVER: f"handover: {move.ms:.0f} ms",
        Why.WAY_BACK: f"way back: {move.ms / 1000:.1f} s",
        Why.TAKEOVER: f"taken over: {move.ms:.0f} ms",
    }[move.why]
    nobody = f"nobody had it for {move.nobody_ms:.0f} ms of it"
    return f"{took}, " + (nobody if move.nobody_ms >= _NOTICEABLE_MS else f"{move.source} served meanwhile")


def _clients(axes: Axes, upgrade: Upgrade, bottom: int, begin: float) -> None:
    axes.axhline(bottom + 0.4, color="#d5dade", linewidth=0.8, zorder=0)
    found = upgrade.found
    if upgrade.kept and not found.slow("new") + found.slow("established"):
        axes.text(0.25, bottom + 0.4, "nothing", va="center", fontsize=10, color=_QUIET, style="italic", backgroundcolor="white")
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

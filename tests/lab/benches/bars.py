"""The comparison as a picture: above, one panel a figure and one bar a way; below, the bulk connection direct and handed off."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from .bulk import Bulk

if TYPE_CHECKING:
    from .compare import Comparison

_OURS, _THEIRS, _FORWARDED = "#1f6f54", "#98a2a8", "#7fbfa5"
_PANELS = (
    ("failed", "new connections\nfailed", 1.0, "{:.0f}"),
    ("slow", "new connections slow\n(over 100 ms)", 1.0, "{:.0f}"),
    ("reset", "established connections\nbroken", 1.0, "{:.0f}"),
    ("transfers_broken", "downloads, uploads,\nslow streams broken", 1.0, "{:.0f}"),
    ("nobody_ms", "seconds in which\nnobody had the VIP", 0.001, "{:.2f}"),
    ("command_ms", "seconds from command\nto VIP elsewhere", 0.001, "{:.2f}"),
)
_BULK = (("gbit_per_second", "speed, Gbit/s", "{:.1f}"), ("cpu_seconds_per_gb", "CPU seconds per GB", "{:.2f}"))


def draw(comparisons: "Sequence[Comparison]", transfers: Sequence[Bulk], path: Path) -> None:
    """Draw the medians and write a PNG."""
    figure = plt.figure(figsize=(15, 6.2), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(1.1, 1), hspace=0.05)[:, 0]
    colours = [_OURS if each.key == "handoff" else _THEIRS for each in comparisons]
    above.suptitle("The virtual IP leaves a node and comes back, under load", x=0.01, ha="left", fontweight="bold")
    for axes, (what, title, unit, form) in zip(above.subplots(1, len(_PANELS), sharey=True, squeeze=False)[0], _PANELS, strict=True):
        _bars(axes, title, [each.name for each in comparisons], [each.median(what) * unit for each in comparisons], colours, form)
    windows = [(f"{each.kind}, {state}", window) for each in transfers for state, window in each.states()]
    colours = [_FORWARDED if label.endswith("handed off") else _THEIRS for label, _ in windows]
    below.suptitle("One bulk connection, direct and handed off", x=0.01, ha="left", fontweight="bold")
    for axes, (what, title, form) in zip(below.subplots(1, len(_BULK), sharey=True, squeeze=False)[0], _BULK, strict=True):
        _bars(axes, title, [label for label, _ in windows], [getattr(window, what) for _, window in windows], colours, form)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _bars(axes: Axes, title: str, labels: Sequence[str], values: Sequence[float], colours: Sequence[str], form: str) -> None:
    places = range(len(values), 0, -1)
    axes.barh(places, values, color=colours, height=0.7)
    for place, value, colour in zip(places, values, colours, strict=True):
        look: dict[str, Any] = {"color": _OURS, "fontweight": "bold"} if colour == _OURS else {}
        axes.annotate(form.format(value), (value, place), xytext=(4, 0), textcoords="offset points", va="center", **look)
    axes.set_yticks(places, labels)
    axes.set_xlim(0, 1.3 * max(values) or 1)
    axes.set_title(title, loc="left", fontsize=10)
    axes.tick_params(axis="both", length=0)
    axes.set_xticks([])
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)

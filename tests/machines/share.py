"""A plugin of pytest's for a guest: it plays what a kernel proves (the mark ``kernel``), and tells each result as soon as it is there.

Its settings are variables: ``KERNEL_SHARE`` (``all``, ``short``), ``KERNEL_PART`` (``2/3``: the second of every three tests), and
``KERNEL_RESULTS``, the file that gets a line of JSON for each test when it is known that it is to be played, and for each of its phases.
"""

import json
import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

_AREAS: dict[str, str] = {}  # of each test that is played


@pytest.hookimpl(trylast=True)  # of what -m has left
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    share, (part, parts) = os.environ["KERNEL_SHARE"], map(int, os.environ["KERNEL_PART"].split("/"))
    marked = [(item, mark) for item in items if (mark := item.get_closest_marker("kernel"))]
    mine = [(item, mark) for item, mark in marked if is_in(share, item, mark)][part - 1 :: parts]
    played = []
    for item, mark in mine:
        area = mark.args[0]
        if lacks := [module for needs in item.iter_markers("needs") for module in needs.args if not has_module(module)]:
            tell(item.nodeid, area, "missing", why=f"without {', '.join(lacks)}")
            continue
        _AREAS[item.nodeid] = area
        tell(item.nodeid, area, "planned")
        played.append(item)
    config.hook.pytest_deselected(items=[item for item in items if item not in played])
    items[:] = played


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    crash = getattr(report.longrepr, "reprcrash", None)
    why = "" if report.passed else (crash.message if crash else report.longreprtext).strip().partition("\n")[0]
    tell(report.nodeid, _AREAS[report.nodeid], report.outcome, at=report.when, seconds=round(report.duration, 1), why=why)


def is_in(share: str, item: pytest.Item, mark: pytest.Mark) -> bool:
    """Whether a test is of a share, as its mark says: True for all of its parameters, or the names of those that are."""
    wanted = mark.kwargs.get(share, share == "all")
    return wanted is True or (isinstance(item, pytest.Function) and bool(wanted) and item.callspec.id in wanted)


@cache
def has_module(name: str) -> bool:
    """Whether the kernel that runs has a module, built in or to be loaded."""
    return subprocess.run(["modprobe", "--dry-run", "--quiet", name], check=False).returncode == 0


def tell(test: str, area: str, outcome: str, **more: Any) -> None:
    with Path(os.environ["KERNEL_RESULTS"]).open("a") as results:
        results.write(json.dumps({"test": test, "area": area, "outcome": outcome, **more}) + "\n")

"""The picture of the rooms in docs/architecture.md says what lint-imports holds, and the hooks of pre-commit what `make lint` runs."""

import os
import re
import subprocess
from itertools import product
from pathlib import Path

import yaml

import rooms

ROOT = Path(__file__).resolve().parents[2]
ROOMS = [room for floor in rooms.floors() for room in floor]


def test_every_room_is_on_a_floor() -> None:
    """A package of the library that no contract knows is in no picture."""
    packages = {path.parent.name for path in (ROOT / "src/lib/vrrp_drain").glob("*/__init__.py")}
    assert packages == set(ROOMS)


def test_every_room_says_what_it_holds() -> None:
    """The table's second column is the first line of the package's docstring: one whole sentence, of one line."""
    rows = dict(re.findall(r"^\| `(\w+)/` \| (.+) \|$", rooms.table(), re.M))
    assert [*rows] == ROOMS
    assert [room for room, text in rows.items() if not text.endswith((".", ":"))] == []


def test_arrows_lead_to_all_that_a_room_may_import_and_to_nothing_else() -> None:
    """Who follows the arrows of the picture, and leaves out what is crossed, has the contracts."""
    arrows = set(re.findall(r"(\w+) --> (\w+)", rooms.picture()))
    crossed = set(re.findall(r"(\w+) -\. not \.-x (\w+)", rooms.picture()))
    reached = set(arrows)
    while more := {(a, c) for (a, b), (d, c) in product(reached, arrows) if b == d} - reached:
        reached |= more
    assert crossed < reached
    assert reached - crossed == rooms.permitted()


def test_what_a_contract_forbids_is_not_permitted() -> None:
    """Two of the contracts' sentences, in pairs of rooms."""
    assert (
        rooms.permitted() & {("linux", "vrrp"), ("haproxy", "vrrp"), ("notify", "linux"), ("vrrp", "config"), ("doctor", "watcher")}
        == set()
    )
    assert rooms.permitted() >= {("commands", "runtime"), ("handover", "vrrp"), ("keepalived", "linux"), ("notify", "config")}


def test_pre_commit_runs_what_make_lint_runs() -> None:
    """The same commands in the same order, each once for all files, by the tools of .venv."""
    dry = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    listed = subprocess.run(["make", "--dry-run", "lint"], cwd=ROOT, env=dry, capture_output=True, text=True, check=True).stdout
    commands = [line for line in listed.splitlines() if line.startswith(".venv/bin/") and not line.startswith(".venv/bin/python ")]
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks = repository["hooks"]
    assert repository["repo"] == "local"
    assert [hook["entry"].removeprefix("env PYTHONPATH=lib ") for hook in hooks] == commands
    assert all((hook["language"], hook["pass_filenames"]) == ("system", False) for hook in hooks)
    assert len({hook["id"] for hook in hooks}) == len(hooks) == 5

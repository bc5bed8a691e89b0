"""Writes the parts of the documentation that come from the code, between `<!-- NAME -->` and `<!-- /NAME -->`.

python docs/generate.py           write them
python docs/generate.py --check   exit 1 if one is not up to date
"""

import json
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from vrrp_drain import demote, promote
from vrrp_drain.errors import MEANINGS
from vrrp_drain.transitions import Table

ROOT = Path(__file__).resolve().parent.parent
FILES = ("README.md", "docs/handover.md", "docs/deploy.md", "docs/properties.md")


def exit_codes() -> str:
    """Return the exit codes of vrrpctl as a table."""
    return "\n".join(["| code | meaning |", "|---|---|", *(f"| {int(code)} | {text} |" for code, text in MEANINGS.items())])


def diagram(table: Table[Any]) -> str:
    """Return a transition table as a Mermaid diagram."""
    return f"```mermaid\n{table.mermaid()}```"


def rows(table: Table[Any]) -> str:
    """Return a transition table as a table, actions and reasons included."""
    lines = ["| in | when | then | does | says |", "|---|---|---|---|---|"]
    for row in table.rows:
        does = ", ".join(action.value for action in row.actions)
        lines.append(f"| {row.state.name} | {row.sign.value} | {row.next.name} | {does} | {row.reason} |")
    return "\n".join(lines)


def operations() -> str:
    """Return the operations files as a table: each says in its first line what it does."""
    files = sorted((ROOT / "manifests/operations").glob("*.yml"))
    return "\n".join(["| file | what it does |", "|---|---|", *(f"| `{path.name}` | {sentence(path)} |" for path in files)])


def sentence(path: Path) -> str:
    """Return the comment that is the first line of a file."""
    return path.read_text().partition("\n")[0].removeprefix("# ")


def properties(job: str) -> str:
    """Return the properties of a job's spec as a table."""
    spec = yaml.safe_load((ROOT / "jobs" / job / "spec").read_text())
    lines = [" ".join(spec["description"].split()), "", "| property | default | what it is | example |", "|---|---|---|---|"]
    for name, each in spec["properties"].items():
        default = f"`{json.dumps(each['default'])}`" if "default" in each else ""
        example = f"`{json.dumps(each['example'])}`" if "example" in each else ""
        lines.append(f"| `{name}` | {default} | {' '.join(each['description'].split())} | {example} |".replace("  ", " "))
    return "\n".join(lines)


PARTS: dict[str, Callable[[], str]] = {
    "exit-codes": exit_codes,
    "demote-diagram": lambda: diagram(demote.TABLE),
    "demote-table": lambda: rows(demote.TABLE),
    "promote-diagram": lambda: diagram(promote.TABLE),
    "promote-table": lambda: rows(promote.TABLE),
    "operations": operations,
    **{f"properties-{job}": partial(properties, job) for job in ("keepalived", "vrrp-drain", "vip-demote", "vip-promote")},
}


def filled(text: str) -> str:
    """Return ``text`` with every part between its marks written anew."""

    def part(match: re.Match[str]) -> str:
        name = match[1]
        return f"<!-- {name} -->\n{PARTS[name]()}\n<!-- /{name} -->"

    return re.sub(r"<!-- ([a-z-]+) -->\n.*?<!-- /\1 -->", part, text, flags=re.DOTALL)


def stale() -> Iterator[Path]:
    """Yield the files that are not up to date."""
    for name in FILES:
        path = ROOT / name
        if filled(path.read_text()) != path.read_text():
            yield path


def main() -> int:
    outdated = list(stale())
    if "--check" in sys.argv[1:]:
        for path in outdated:
            print(f"{path.relative_to(ROOT)} is not what the code says: run make docs", file=sys.stderr)
        return 1 if outdated else 0
    for path in outdated:
        path.write_text(filled(path.read_text()))
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

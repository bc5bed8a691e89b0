"""Writes the parts of the documentation and of the jobs that come from the code, between `<!-- NAME -->` and `<!-- /NAME -->`.

python docs/generate.py           write them
python docs/generate.py --check   exit 1 if one is not up to date
"""

import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_type_hints

import yaml

import properties
import rooms
from vrrp_drain import doctor
from vrrp_drain.commands.status_report import Status
from vrrp_drain.handoff.situation import Situation
from vrrp_drain.handover import demote, promote
from vrrp_drain.handover.transitions import Table
from vrrp_drain.notify.notice import CAUSES, Cause, Kind, Notice
from vrrp_drain.notify.notifier import Counts
from vrrp_drain.runtime.errors import MEANINGS
from vrrp_drain.vrrp.bands import Band
from vrrp_drain.vrrp.state import VrrpState
from vrrp_drain.watcher.metrics import Metrics

ROOT = Path(__file__).resolve().parent.parent
FILES = (
    "README.md",
    *(f"docs/{name}.md" for name in ("handover", "deploy", "properties", "metrics", "doctor", "operate", "notifications", "architecture")),
    *(f"jobs/{job}/{file}" for job, template in properties.TEMPLATES.items() for file in ("spec", f"templates/{template}")),
)
_JSON = {
    str: "text",
    VrrpState: "text",
    int: "number",
    float: "number",
    bool: "true or false",
    list[str]: "list of text",
    type(None): "null",
}


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


def metrics() -> str:
    """Return what a scrape finds once everything has happened, as a table."""
    all_of_them = Metrics(254, lambda: Situation(families=(4,), tables=(4,)), int, lambda: {"hooks[0]": Counts()})
    all_of_them.notice(Notice(0.0, "haproxy/0", "10.0.0.10", Kind.STATE, "backup", "master", Cause.PREEMPT, "", None, 254))
    all_of_them.see(VrrpState.MASTER, Band.ACTIVE, 254, True)
    lines = ["| metric | type | labels | what it is |", "|---|---|---|---|"]
    for family in sorted(all_of_them.registry.collect(), key=lambda family: family.name):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {f"`{label}`": None for sample in family.samples for label in sample.labels if label != "le"}
        lines.append(f"| `{name}` | {family.type} | {', '.join(labels)} | {family.documentation} |".replace("  ", " "))
    return "\n".join(lines)


def alerts() -> str:
    """Return the alerts as a table, with the labels that they name for themselves."""
    groups = yaml.safe_load((ROOT / "manifests/prometheus/alerts.yml").read_text())["groups"]
    lines = ["| alert | severity | after | what it says |", "|---|---|---|---|"]
    for rule in (rule for group in groups for rule in group["rules"]):
        says = re.sub(r"{{ \$(?:labels\.)?(\w+)[^}]*}}", lambda match: match[1].upper(), rule["annotations"]["summary"])
        lines.append(f"| `{rule['alert']}` | {rule['labels']['severity']} | {rule.get('for', 'at once')} | {says} |")
    return "\n".join(lines)


def checks() -> str:
    """Return doctor's checks as a table, in their order."""
    rows = [*((name, what, False) for name, what in doctor.FIRST.items()), *((c.name, c.fine, c.early is not None) for c in doctor.TABLE)]
    lines = ["| check | ok means | also in pre-start |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| `{name}` | {what} | {'yes' if at_start else ''} |" for name, what, at_start in rows)])


def status_fields() -> str:
    """Return the fields of `vrrpctl status --json` as a table."""
    lines = ["| field | type | what it is |", "|---|---|---|"]
    for name, hint in get_type_hints(Status, include_extras=True).items():
        kind, what = get_args(hint)
        lines.append(f"| `{name}` | {_json_type(kind)} | {what} |")
    return "\n".join([*lines, "| `drainable` | true or false | whether there is no obstacle |"])


def _json_type(kind: Any) -> str:
    return " or ".join(_JSON[each] for each in (get_args(kind) if isinstance(kind, UnionType) else (kind,)))


def causes() -> str:
    """Return the causes of a notice as a table."""
    return "\n".join(["| cause | |", "|---|---|", *(f"| `{cause.value}` | {meaning} |" for cause, meaning in CAUSES.items())])


PARTS: dict[str, Callable[[], str]] = {
    "exit-codes": exit_codes,
    "demote-diagram": lambda: diagram(demote.TABLE),
    "demote-table": lambda: rows(demote.TABLE),
    "promote-diagram": lambda: diagram(promote.TABLE),
    "promote-table": lambda: rows(promote.TABLE),
    "operations": operations,
    "metrics": metrics,
    "alerts": alerts,
    "checks": checks,
    "status-fields": status_fields,
    "causes": causes,
    "rooms": rooms.table,
    "imports": rooms.picture,
    "contracts": rooms.sentences,
    **{f"{part.__name__}-{job}": partial(part, job) for job in properties.TEMPLATES for part in properties.PARTS},
}


def filled(text: str) -> str:
    """Return ``text`` with every part between its marks written anew."""

    def part(match: re.Match[str]) -> str:
        name = match[1]
        return f"<!-- {name} -->\n{PARTS[name]()}\n{match[2]}<!-- /{name} -->"

    return re.sub(r"<!-- ([a-z-]+) -->\n.*?(#? *)<!-- /\1 -->", part, text, flags=re.DOTALL)


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
            print(f"{path.relative_to(ROOT)} is not what the code says: run make generate", file=sys.stderr)
        return 1 if outdated else 0
    for path in outdated:
        path.write_text(filled(path.read_text()))
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

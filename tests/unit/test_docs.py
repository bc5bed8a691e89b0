"""The documentation says what the code says."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.scenarios.matrix import NETWORKS, REASONS, TWO_MASTERS
from vrrp_drain import doctor
from vrrp_drain.notify.delivery import Message
from vrrp_drain.notify.notice import Cause, Kind, Notice

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")), *sorted((ROOT / "docs").rglob("*.md"))]
RUNBOOK = (ROOT / "docs/runbook.md").read_text()
ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((ROOT / "manifests/prometheus/alerts.yml").read_text())["groups"] for rule in group["rules"]
]
UNTOLD = {"ConfigError", "AdvertError"}  # one names the property and what is allowed, the other is a packet that is ignored


def test_generated_parts_are_up_to_date() -> None:
    """Exit codes, diagrams and transition tables in the documentation are those of the code."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs/generate.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT / "lib")},
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every link to a file of the repository finds it, and every anchor its heading."""
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file.read_text()), target


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_every_alert_leads_into_the_runbook(rule: dict[str, Any]) -> None:
    """Where its annotation leads, the section names the alert and says what to do."""
    file, _, anchor = rule["annotations"]["runbook"].partition("#")
    sections = {anchor_of(heading): text for heading, text in re.findall(r"^#+ (.+)\n((?:(?!#+ ).*\n)*)", (ROOT / file).read_text(), re.M)}
    assert f"`{rule['alert']}`" in sections[anchor]
    assert "**Do.**" in sections[anchor]


def test_every_line_of_the_log_is_in_the_runbook() -> None:
    """Whatever is logged as a warning or an error, and every error that becomes such a line, has its row there."""
    rows = patterns()
    assert [text for text in sorted(set(told())) if not any(row.fullmatch(text) for row in rows)] == []


def test_the_runbook_knows_no_line_that_is_not_logged() -> None:
    """A row whose line is gone from the code would only mislead."""
    texts = set(told())
    assert [row.pattern for row in patterns() if not any(row.fullmatch(text) for text in texts)] == []


def test_every_check_of_the_doctor_is_explained() -> None:
    """docs/doctor.md says of each check what it finds, what that means for clients, and the mend."""
    page = (ROOT / "docs/doctor.md").read_text()
    rows = page.partition("| finding | for clients | mend |\n")[2].partition("\n\n")[0].splitlines()[1:]
    explained = {name for row in rows for name in re.findall(r"^\| `([a-z-]+)`", row)}
    assert explained == {*doctor.FIRST, *(check.name for check in doctor.TABLE)}


def test_every_field_of_a_notice_is_explained() -> None:
    """docs/notifications.md has all that a receiver gets, and nothing else; so have its kinds."""
    page = (ROOT / "docs/notifications.md").read_text()
    notice = Notice(0.0, "haproxy/0", "10.0.0.10", Kind.STATE, "backup", "master", Cause.DRAIN, "", None, None)
    assert first_column(page, "| field | what it is |") == {*Message(notice).as_json()}
    assert first_column(page, "| kind | when | `previous`, `state` |") == {kind.value for kind in Kind}


def told() -> Iterator[str]:
    """Yield what is logged as a warning or worse, or raised as an error of ours, with … for what is only known at run time.

    Where that is all of it (the text of an error that is passed on) there is nothing to hold against the runbook.
    """
    for path in sorted((ROOT / "src/lib/vrrp_drain").rglob("*.py")):
        tree = ast.parse(path.read_text())
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            if (said := said_by(call)) is not None and constant(said).strip("… :()"):
                yield constant(said)


def said_by(call: ast.Call) -> ast.expr | None:
    match call.func:
        case ast.Attribute(value=ast.Name(id="log" | "_LOG"), attr="warning" | "error" | "exception" | "critical"):
            return call.args[0]
        case ast.Attribute(attr="about"):
            return call.args[1]
        case ast.Name(id="complain"):  # a caller's warning, or what it says once
            return call.args[0]
        case ast.Name(id=name) if name in ERRORS:
            return call.args[0]
    return None


def errors() -> set[str]:
    """Return the names of our errors that an operator reads, wherever they are defined."""
    classes = [
        node
        for path in (ROOT / "src/lib/vrrp_drain").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    ]
    found = {"VrrpDrainError"}
    while more := {each.name for each in classes if any(isinstance(b, ast.Name) and b.id in found for b in each.bases)} - found:
        found |= more
    return found - UNTOLD


ERRORS = errors()


def constant(expression: ast.expr) -> str:
    """Return the text of an expression, with … for each part that is not constant."""
    match expression:
        case ast.Constant(value=str(text)):
            return re.sub(r"%(\.\d)?[sdrgf]", "…", text)
        case ast.JoinedStr(values=parts):
            return "".join(constant(part) for part in parts)
    return "…"


def patterns() -> list[re.Pattern[str]]:
    """Return the lines in the first column of the runbook's tables; … in them stands for anything."""
    cells = re.findall(r"^\| (`.+?`) \|", RUNBOOK.partition("## Lines of the log\n")[2], re.M)
    lines = [line for cell in cells for line in re.findall(r"`([^`]+)`", cell)]
    assert lines
    assert all(len(line.replace("…", "").strip()) >= 8 for line in lines), "a row that matches anything explains nothing"
    return [re.compile(".*".join(re.escape(part) for part in line.split("…")), re.DOTALL) for line in lines]


def first_column(page: str, header: str) -> set[str]:
    """Return the names in the first column of the table with this header."""
    rows = page.partition(f"{header}\n")[2].partition("\n\n")[0].splitlines()[1:]
    return {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}


def anchors(page: str) -> set[str]:
    return {anchor_of(heading) for heading in re.findall(r"^#+ (.+)$", page, re.M)}


def anchor_of(heading: str) -> str:
    """Return what GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_the_table_of_moves_is_what_the_lab_plays() -> None:
    """Its columns are the networks of the lab's matrix, its rows the reasons, and each cell says what the test of it asserts."""
    lines = (ROOT / "docs/how-it-works.md").read_text().splitlines()
    begin = next(n for n, line in enumerate(lines) if line.startswith("| why the VIP moves |"))
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in takewhile(lambda line: line, lines[begin:])]
    assert head[1:] == [each.name for each in NETWORKS]
    assert [row[0] for row in rows] == [each.name for each in REASONS]
    for row, reason in zip(rows, REASONS, strict=True):
        assert all(cell.startswith("survive") for cell in row[1:]), row
        assert {"quiet" in cell for cell in row[1:]} == {reason.cut_off}, row
        for cell, network in zip(row[1:], NETWORKS, strict=True):
            assert ("opened meanwhile may get a reset" in cell) is ((reason.name, network.name) in TWO_MASTERS), row
        assert {"wait" in cell for cell in row[1:]} == {reason.waits and not reason.cut_off}, row

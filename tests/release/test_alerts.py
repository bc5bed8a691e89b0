"""manifests/prometheus and manifests/grafana: checked by promtool, and held against the metrics that there are."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest

from lab.fabric.release import BUILD, REPOSITORY
from release.conftest import lacking
from vrrp_drain.handoff.situation import Situation
from vrrp_drain.notify.notifier import Counts
from vrrp_drain.vrrp.bands import Band
from vrrp_drain.vrrp.peer_table import AdvertVerdict
from vrrp_drain.vrrp.state import VrrpState
from vrrp_drain.watcher.metrics import CONDITIONS, OUTCOMES, Metrics

ALERTS = REPOSITORY / "manifests/prometheus/alerts.yml"
TESTS = REPOSITORY / "manifests/prometheus/alerts_test.yml"
RULES: list[dict[str, Any]] = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
DASHBOARD: dict[str, Any] = json.loads((REPOSITORY / "manifests/grafana/vrrp-drain.json").read_text())
EXPRESSIONS: dict[str, str] = {rule["alert"]: rule["expr"] for rule in RULES} | {
    f"{panel['title']} {target['refId']}": target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]
}
SELECTOR = re.compile(r"(vrrp_drain_\w+)(?:\{([^}]*)\})?")
LABEL_VALUE = re.compile(r'(\w+)="(\w+)"')
VALUES: dict[str, list[str]] = {
    "state": [*VrrpState],
    "band": [str(band) for band in Band],
    "verdict": [*AdvertVerdict],
    "outcome": [*OUTCOMES],
}


@pytest.fixture(scope="session")
def promtool() -> str:
    """Give Prometheus' own checker."""
    program = shutil.which("promtool", path=f"{os.environ['PATH']}:{BUILD / 'prometheus'}")
    return program or lacking("the alerts are checked with promtool: `make promtool` gets it on Debian and Ubuntu")


def _run(*command: str | Path, text: str = "") -> None:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_are_valid(promtool: str) -> None:
    """Expressions and templates parse, and no two rules are the same."""
    _run(promtool, "check", "rules", "--lint=all", "--lint-fatal", ALERTS)


def test_alerts_fire_when_they_should(promtool: str) -> None:
    """Every case of alerts_test.yml, in Prometheus' own engine."""
    _run(promtool, "test", "rules", TESTS)


def test_every_alert_is_tried_both_ways() -> None:
    """Each has a case in which it fires and one in which it does not."""
    cases = [each for test in yaml.safe_load(TESTS.read_text())["tests"] for each in test["alert_rule_test"]]
    tried = {(each["alertname"], bool(each["exp_alerts"])) for each in cases}
    assert tried == {(rule["alert"], fires) for rule in RULES for fires in (True, False)}


def test_the_dashboards_expressions_are_valid(promtool: str, tmp_path: Path) -> None:
    """promtool parses each, with Grafana's variables filled in."""
    rules = [
        {
            "record": f"panel:{n}",
            "expr": expr.replace("$__rate_interval", "5m").replace("$deployment", "cf").replace("$vip", "10[.]0[.]0[.]10"),
        }
        for n, expr in enumerate(EXPRESSIONS.values())
    ]
    file = tmp_path / "dashboard.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    _run(promtool, "check", "rules", file)


def test_metrics_are_named_as_prometheus_wants(promtool: str) -> None:
    """promtool's linter: units, suffixes and help texts, of all metrics at once."""
    _run(promtool, "check", "metrics", text=generate_latest(_metrics().registry).decode())


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_what_is_asked_for_exists(name: str) -> None:
    """Every metric that a rule or a panel names is one of ours, and so is every label value."""
    names = {sample.name for family in _metrics().registry.collect() for sample in family.samples}
    found = list(SELECTOR.finditer(EXPRESSIONS[name]))
    assert found
    assert {match[1] for match in found} <= names
    for label, value in LABEL_VALUE.findall(" ".join(match[2] or "" for match in found)):
        assert value in VALUES[label]


def test_every_condition_has_an_alert_and_a_panel() -> None:
    """What the watcher sees to be wrong is seen by people as well."""
    panels = " ".join(target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"])
    alerts = " ".join(rule["expr"] for rule in RULES)
    for kind in CONDITIONS:
        assert f"vrrp_drain_{kind.value}" in panels
        assert f"vrrp_drain_{kind.value}" in alerts


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    """A severity, one sentence with its consequence, and a place in the runbook; the labels it names are there."""
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"].keys() == {"summary", "runbook"}
    assert re.fullmatch(r"docs/runbook\.md#[a-z-]+", rule["annotations"]["runbook"])
    assert ": " in rule["annotations"]["summary"]
    assert rule["annotations"]["summary"].endswith(".")


def test_panels_do_not_overlap() -> None:
    """Each has an id, a title and a description of its own, and its place in Grafana's grid of 24 columns."""
    panels = DASHBOARD["panels"]
    for key in ("id", "title", "description"):
        assert len({panel[key] for panel in panels}) == len(panels)
    for one, other in combinations([panel["gridPos"] for panel in panels], 2):
        assert not (set(_span(one, "x", "w")) & set(_span(other, "x", "w")) and set(_span(one, "y", "h")) & set(_span(other, "y", "h")))
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)


def test_the_dashboard_is_bound_to_no_grafana() -> None:
    """The data source is chosen where it is imported, and every query follows the choice of deployment and VIP."""
    assert {source["uid"] for source in _found(DASHBOARD, "datasource")} == {"${datasource}"}
    assert "id" not in DASHBOARD
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            for match in SELECTOR.finditer(target["expr"]):
                assert 'deployment=~"$deployment", vip=~"$vip"' in (match[2] or ""), panel["title"]


def _span(attachment: dict[str, int], start: str, length: str) -> Iterable[int]:
    return range(attachment[start], attachment[start] + attachment[length])


def _found(value: Any, key: str) -> Iterator[Any]:
    """Yield what stands under ``key``, however deep."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == key:
                yield inner
            yield from _found(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from _found(inner, key)


def _metrics() -> Metrics:
    """Return metrics of which nothing is unknown."""
    metrics = Metrics(254, lambda: Situation(families=(4,), tables=(4,)), int, lambda: {"webhooks[0]": Counts()})
    metrics.see(VrrpState.MASTER, Band.ACTIVE, 254, True)
    return metrics

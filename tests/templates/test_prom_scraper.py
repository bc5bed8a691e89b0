"""The file in which Cloud Foundry's prom_scraper looks up where this job's metrics are."""

from pathlib import Path

import pytest
import yaml

from templates.conftest import Render

FILE = "config/prom_scraper_config.yml"
DEFAULT_GLOB = "*/config/prom_scraper_config.yml"  # below /var/vcap/jobs, config_globs of its job


def test_metrics_are_where_the_watcher_serves_them(render: Render) -> None:
    """By default it is plain HTTP at 9922, with the instance's id, and the VIP on every metric."""
    directory = render("vrrp-drain", instance=1)
    assert (directory / FILE).match(DEFAULT_GLOB)
    assert yaml.safe_load((directory / FILE).read_text()) == {
        "port": 9922,
        "source_id": "vrrp-drain",
        "instance_id": "id-1",
        "scheme": "http",
        "path": "/metrics",
        "labels": {"vip": "10.0.0.10"},
    }


@pytest.mark.parametrize(("given", "vip"), [("10.0.0.10/24", "10.0.0.10"), ("2001:db8::10/64", "2001:db8::10")])
def test_the_vip_is_a_plain_address_and_a_string(render: Render, given: str, vip: str) -> None:
    """Without the prefix length, and quoted where YAML would make something else of it; the port is the property's."""
    written = yaml.safe_load(_rendered(render, metrics_port=9100, vip=given))
    assert (written["port"], written["labels"]) == (9100, {"vip": vip})


@pytest.mark.parametrize("provider", ["keepalived", "upstream-keepalived"])
def test_either_job_gives_the_vip(render: Render, provider: str) -> None:
    """The link of haproxy-boshrelease's job has it as well."""
    written = render("vrrp-drain", provider=provider) / FILE
    assert yaml.safe_load(written.read_text())["labels"] == {"vip": "10.0.0.10"}


def test_without_metrics_the_file_is_empty(render: Render) -> None:
    """prom_scraper skips a file that has no port; BOSH cannot leave a file out."""
    assert _rendered(render, metrics_port=0).strip() == ""


def _rendered(render: Render, metrics_port: int, vip: str = "10.0.0.10") -> str:
    directory: Path = render("vrrp-drain", vrrp_drain={"metrics_port": metrics_port}, keepalived={"vip": vip})
    return (directory / FILE).read_text()

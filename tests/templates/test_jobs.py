"""The jobs' templates, rendered through Ruby, give what the library accepts and BOSH runs."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab.fabric import release
from lab.fabric.release import Rendering
from templates.conftest import GROUP, Render
from unit.support.refusals import PEM
from vrrp_drain.config.model import Config
from vrrp_drain.vrrp import bands

CONFIG = {"keepalived": "config/keepalived.json", "vrrp-drain": "config/vrrp-drain.json"}


@pytest.mark.parametrize("job", CONFIG)
def test_defaults_are_a_valid_configuration(render: Render, job: str) -> None:
    """With nothing but the VIP given, both jobs render a configuration that the library accepts, and the same one."""
    config = Config.load(render(job) / CONFIG[job])
    assert str(config.vip) == "10.0.0.10"
    assert (config.keepalived.virtual_router_id, config.keepalived.vrrp_version, config.keepalived.advert_int) == (1, 2, 1.0)
    assert (config.keepalived.healthcheck_name, config.keepalived.healthcheck_command) == ("check_haproxy", "killall -0 haproxy")
    assert (config.keepalived.interface, config.keepalived.dont_track_primary) == ("auto", False)
    assert (config.drain.on_no_successor, config.drain.post_start_timeout) == ("proceed", 120)


@pytest.mark.parametrize("instance", range(3))
def test_both_jobs_agree_on_the_virtual_router(render: Render, instance: int) -> None:
    """What vrrp-drain learns through the link is what the keepalived job was given, down to this instance's priority."""
    given = {"vip": "10.0.0.10/24", "virtual_router_id": 51, "vrrp_version": 3, "advert_int": 0.5, "interface": "eth1"}
    left, right = (Config.load(render(job, instance, keepalived=given) / file) for job, file in CONFIG.items())
    assert left.keepalived == right.keepalived
    assert left.keepalived.priority == bands.HIGHEST - instance
    assert (left.me, left.instances) == (right.me, right.instances)


def test_every_property_reaches_the_configuration(render: Render) -> None:
    """No property of the specs is parsed and then ignored."""
    given = {
        "interface": "eth1",
        "virtual_router_id": 7,
        "vrrp_version": 3,
        "advert_int": 0.2,
        "priority": 230,
        "healthcheck_name": "check_port",
        "healthcheck_command": "/bin/nc -z 127.0.0.1 80",
        "healthcheck_interval": 3,
        "healthcheck_timeout": 2,
        "healthcheck_rise": 4,
        "healthcheck_fall": 5,
        "healthcheck_weight": 0,
        "garp_master_refresh": 30,
        "garp_master_delay": 6,
        "dont_track_primary": True,
    }
    rendered = json.loads((render("keepalived", keepalived=given) / CONFIG["keepalived"]).read_text())
    assert {name: rendered["keepalived"][name] for name in given} == given
    drain = {
        "handover_timeout": 9,
        "post_start_timeout": 60,
        "successor_timeout": 600,
        "on_no_successor": "fail",
        "takeover_proof": "command",
        "takeover_command": ["/bin/true", ""],
        "fast_handover": False,
        "connection_handoff": False,
        "handoff_window": 600,
        "handoff_mark": 1 << 27,
        "quic_ports": [443, 8443],
        "handoff_transport": "tunnel",
        "handoff_tunnel_port": 4790,
        "drain_timeout": 30,
        "quiet_time": 2,
        "promote_after": 300,
        "haproxy_soft_stop": False,
        "haproxy_pid_file": "/run/haproxy.pid",
        "health_check": "http://127.0.0.1:8080/health",
        "health_interval": 0.5,
        "health_fall": 3,
        "health_rise": 4,
        "metrics_port": 0,
        "hooks": [{"command": ["/bin/true", ""], "timeout": 1}],
        "webhooks": [{"url": "https://a.example.org", "headers": {"X-Token": "a"}, "ca_cert": PEM, "timeout": 1, "retry_for": 0}],
    }
    rendered = json.loads((render("vrrp-drain", vrrp_drain=drain) / CONFIG["vrrp-drain"]).read_text())
    assert rendered["vrrp_drain"] == drain


def test_without_a_vip_nothing_is_rendered(tmp_path: Path) -> None:
    """The one property without a default is asked for by its name, before BOSH stops anything."""
    with pytest.raises(release.RenderError, match=r"Can't find property 'keepalived\.vip'"):
        release.render(Rendering("keepalived", GROUP[0], GROUP, {}, tmp_path))


@pytest.mark.parametrize("script", ["pre-start", "post-start", "pre-stop", "drain", "post-stop", "vrrpctl"])
def test_scripts_only_exec_the_program(render: Render, script: str) -> None:
    """A lifecycle script is executable, parses, and has no logic: it becomes vrrpctl."""
    path = render("vrrp-drain") / "bin" / script
    assert path.stat().st_mode & 0o111
    assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0
    first, second = path.read_text().splitlines()
    assert first == "#!/bin/bash"
    command = "vrrpctl" if script == "vrrpctl" else f"vrrpctl {script}"
    assert second == f'exec /var/vcap/packages/vrrp-drain/bin/{command} "$@"'


UPSTREAM_MANIFEST: dict[str, Any] = {
    "vip": "10.234.250.201",
    "healthcheck_name": "check_haproxy",
    "healthcheck_command": "killall -0 haproxy",
    "interface": "auto",
    "virtual_router_id": 12,
    "dont_track_primary": True,
}


@pytest.mark.parametrize("given", [{"vip": "10.234.250.201"}, UPSTREAM_MANIFEST], ids=["the VIP alone", "everything"])
def test_a_manifest_for_haproxy_boshreleases_job_is_one_for_ours(render: Render, given: dict[str, Any]) -> None:
    """What its keepalived job takes, ours takes, and vrrp-drain hears of it through either link; the VRRP version stays what it was."""
    config = Config.load(render("keepalived", keepalived=given) / CONFIG["keepalived"])
    assert str(config.vip) == "10.234.250.201"
    assert (config.keepalived.vrrp_version, config.keepalived.advert_int) == (2, 1.0)
    assert config.keepalived.virtual_router_id == given.get("virtual_router_id", 1)
    beside = render("vrrp-drain", provider="upstream-keepalived", keepalived=given)
    theirs = json.loads((beside / CONFIG["vrrp-drain"]).read_text())
    assert theirs["keepalived"] == {"vip": "10.234.250.201"}
    assert theirs["vrrp_drain"]["keepalived_config"] == "/var/vcap/jobs/keepalived/config/keepalived.config"


@pytest.mark.parametrize(
    ("job", "properties", "command"),
    [
        ("vip-demote", {}, "demote"),
        ("vip-demote", {"vip_demote": {"timeout": 30, "keep": True}}, "demote --timeout 30 --keep"),
        ("vip-demote", {"vip_demote": {"until_promoted": True}}, "demote --until-promoted --by 'the errand vip-demote'"),
        ("vip-promote", {}, "promote"),
        ("vip-promote", {"vip_promote": {"timeout": 0.5}}, "promote --timeout 0.5"),
    ],
)
def test_errands(render: Render, job: str, properties: dict[str, Any], command: str) -> None:
    """An errand is vrrpctl with what the manifest gives, and nothing that its template needed to check that."""
    assert (render(job, **properties) / "bin/run").read_text() == f"#!/bin/bash\nexec /var/vcap/packages/vrrp-drain/bin/vrrpctl {command}\n"

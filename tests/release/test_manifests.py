"""manifests/: the real bosh CLI interpolates them, every operations file makes the one change that its name says."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pytest

from lab.fabric import release
from lab.fabric.release import REPOSITORY, Rendering, load_yaml
from release.conftest import Bosh
from templates.conftest import GROUP

MANIFEST = REPOSITORY / "manifests/haproxy-vip.yml"
OPERATIONS = {path.stem: path for path in sorted((REPOSITORY / "manifests/operations").glob("*.yml"))}
VARIABLES = {"haproxy_vip": "10.0.0.10", "haproxy_backend_servers": "[10.0.1.1]", "haproxy_backend_port": "80"}
MORE_VARIABLES = {
    "add-ipv6-vip": {"haproxy_ipv6_vip": "2001:db8::10/64"},
    "add-vip": {"haproxy_further_vip": "10.0.0.11"},
    "add-webhook": {"webhook_url": "https://chat.example.org/hooks/vip", "webhook_headers": "{X-Token: token}"},
    "enable-email": {
        "notification_email": "[operators@example.org]",
        "notification_email_from": "keepalived@example.org",
        "smtp_server": "mail.example.org:25",
    },
    "set-advert-interval": {"advert_interval": "2"},
    "set-close-spread-time": {"close_spread_time": "20s"},
    "set-health-check": {"health_check": "http://127.0.0.1:8080/health", "healthcheck_command": "/usr/bin/nc -z 127.0.0.1 8080"},
    "set-virtual-router-id": {"virtual_router_id": "51"},
    "use-elastic-ip": {"elastic_ip_allocation_id": "eipalloc-1"},
}
# what is set below `properties` of the jobs keepalived, vrrp-drain and haproxy
PROPERTIES: dict[str, dict[str, Any]] = {
    "add-ipv6-vip": {"keepalived": {"vips": ["2001:db8::10/64"]}},
    "add-vip": {"keepalived": {"vips": ["10.0.0.11"]}},
    "add-webhook": {"vrrp_drain": {"webhooks": [{"url": "https://chat.example.org/hooks/vip", "headers": {"X-Token": "token"}}]}},
    "disable-preemption": {"keepalived": {"preempt": False}},
    "enable-email": {
        "keepalived": {
            "notification_email": ["operators@example.org"],
            "notification_email_from": "keepalived@example.org",
            "smtp_server": "mail.example.org:25",
        }
    },
    "enable-handoff-tunnel": {"vrrp_drain": {"handoff_transport": "tunnel"}},
    "enable-unicast": {"keepalived": {"unicast": True}},
    "fail-without-successor": {"vrrp_drain": {"on_no_successor": "fail"}},
    "set-advert-interval": {"keepalived": {"advert_int": 2}},
    "set-close-spread-time": {"ha_proxy": {"global_config": "close-spread-time 20s"}},
    "set-health-check": {
        "keepalived": {"healthcheck_command": "/usr/bin/nc -z 127.0.0.1 8080"},
        "vrrp_drain": {"health_check": "http://127.0.0.1:8080/health"},
    },
    "set-virtual-router-id": {"keepalived": {"virtual_router_id": 51}},
    "use-elastic-ip": {
        "vrrp_drain": {
            "hooks": [
                {"command": ["/usr/bin/env", "ALLOCATION_ID=eipalloc-1", "/var/vcap/packages/vrrp-drain/hooks/move-elastic-ip"]},
            ]
        }
    },
    "use-fast-failover": {"keepalived": {"vrrp_version": 3, "advert_int": 0.1, "healthcheck_interval": 1}},
    "use-vmac": {"keepalived": {"use_vmac": True}},
}
JOBS = {"add-errands": [{"name": name, "release": "vrrp-drain"} for name in ("vip-demote", "vip-promote")]}
RELEASES = {"use-upstream-keepalived": "haproxy"}

TOGETHER = {
    "ours": OPERATIONS.keys() - {"use-upstream-keepalived", "set-advert-interval"},  # use-fast-failover sets the interval as well
    "upstream": {"use-upstream-keepalived", "add-errands", "fail-without-successor", "set-health-check", "set-virtual-router-id"},
}
CHOICES: dict[str, Collection[str]] = {"none": (), **{name: (name,) for name in OPERATIONS}, **TOGETHER}


class Manifest:
    """An interpolated manifest."""

    def __init__(self, text: str) -> None:
        self.content: dict[str, Any] = load_yaml(text)
        (self.group,) = self.content["instance_groups"]
        self.jobs: dict[str, dict[str, Any]] = {job["name"]: job for job in self.group["jobs"]}

    def ours(self) -> list[str]:
        """Return the jobs that our release has to have."""
        return [name for name, job in self.jobs.items() if job["release"] == "vrrp-drain"]

    def properties(self) -> dict[str, Any]:
        """Return the properties of all jobs in one."""
        return {name: value for job in self.jobs.values() for name, value in job.get("properties", {}).items()}


def _interpolated(bosh: Bosh, operations: Collection[str]) -> Manifest:
    variables = {**VARIABLES, **{name: value for each in operations for name, value in MORE_VARIABLES.get(each, {}).items()}}
    files = [argument for each in sorted(operations) for argument in ("--ops-file", OPERATIONS[each])]
    values = [argument for name, value in variables.items() for argument in ("--var", f"{name}={value}")]
    return Manifest(bosh("interpolate", MANIFEST, *files, *values, "--var-errs", "--var-errs-unused"))


@pytest.fixture(scope="module", params=CHOICES)
def manifest(bosh: Bosh, request: pytest.FixtureRequest) -> Manifest:
    """Give the manifest without an operations file, with each, and with all that go together."""
    return _interpolated(bosh, CHOICES[request.param])


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operations_file_makes_its_change_and_no_other(bosh: Bosh, name: str) -> None:
    """Without the change that is expected of it, the manifest is the one without it."""
    expected = _interpolated(bosh, ())
    for prefix, values in PROPERTIES.get(name, {}).items():
        job = expected.jobs[{"keepalived": "keepalived", "vrrp_drain": "vrrp-drain", "ha_proxy": "haproxy"}[prefix]]
        job.setdefault("properties", {}).setdefault(prefix, {}).update(values)
    expected.group["jobs"] += JOBS.get(name, [])
    expected.jobs["keepalived"]["release"] = RELEASES.get(name, "vrrp-drain")
    assert _interpolated(bosh, [name]).content == expected.content
    assert name in {**PROPERTIES, **JOBS, **RELEASES}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operations_file_says_what_it_does(name: str) -> None:
    """Its name begins with a verb, its first line is one sentence: the documentation shows both."""
    assert name.partition("-")[0] in {"add", "disable", "enable", "fail", "set", "use"}
    assert re.fullmatch(r"# [A-Z][^.]*([.]\d[^.]*)*\.", OPERATIONS[name].read_text().splitlines()[0])


def test_instances_are_updated_one_by_one(bosh: Bosh) -> None:
    """Two or more instances, one canary, one at a time: nobody waits for another one's update."""
    manifest = _interpolated(bosh, ())
    update = manifest.content["update"]
    assert manifest.group["instances"] >= 2
    assert (update["canaries"], update["max_in_flight"], update["serial"]) == (1, 1, True)


def test_all_go_together(bosh: Bosh) -> None:
    """No operations file undoes what another one does."""
    together = _interpolated(bosh, TOGETHER["ours"]).properties()
    for name in TOGETHER["ours"]:
        for prefix, values in PROPERTIES.get(name, {}).items():
            for key, value in values.items():
                found = together[prefix][key]
                assert all(each in found for each in value) if isinstance(value, list) else value == found, (name, key)


def test_jobs_of_ours_exist(manifest: Manifest) -> None:
    """Every job named from our release is in jobs/."""
    assert [name for name in manifest.ours() if not (REPOSITORY / "jobs" / name / "spec").exists()] == []


def test_properties_are_known_to_their_job(manifest: Manifest) -> None:
    """BOSH ignores what a job's spec does not name; we do not: neither for our jobs nor for upstream's keepalived."""
    for name, job in manifest.jobs.items():
        spec = _spec(name, job)
        if spec is not None:
            known = load_yaml(spec.read_text()).get("properties", {}).keys()
            given = {f"{prefix}.{key}" for prefix, values in job.get("properties", {}).items() for key in values}
            assert given <= known, name


def test_properties_render(manifest: Manifest, tmp_path: Path) -> None:
    """No template refuses what the manifest says, on any instance."""
    provider = "keepalived" if "keepalived" in manifest.ours() else "upstream-keepalived"
    release.render(
        *(
            Rendering(job, instance, GROUP, manifest.properties(), tmp_path / instance.id / job, provider)
            for instance in GROUP
            for job in manifest.ours()
        )
    )


def _spec(name: str, job: Mapping[str, Any]) -> Path | None:
    """Return the spec of a job, None if only another release has it."""
    if job["release"] == "vrrp-drain":
        return REPOSITORY / "jobs" / name / "spec"
    return release.JOBS["upstream-keepalived"] / "spec" if name == "keepalived" else None

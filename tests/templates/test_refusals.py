"""What BOSH says while it renders, before anything is stopped: the property as the manifest has it, the value, and what is allowed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.fabric.release import Rendering, Spec, refusals
from templates.conftest import GROUP

VIP = "10.0.0.10"


def rendering(into: Path, job: str, given: Mapping[str, Any], group: Sequence[Spec] = GROUP, **more: Any) -> Rendering:
    properties = {**given, "keepalived": {"vip": VIP, **given.get("keepalived", {})}}
    return Rendering(job, group[0], group, properties, into, **more)


def test_a_group_that_is_too_large(tmp_path: Path) -> None:
    """The thirty-fourth instance has no priority, so the manifest is refused for all of them."""
    group = [Spec("haproxy", n, f"id-{n}", f"10.0.1.{n + 1}", n == 0) for n in range(34)]
    for said in refusals([rendering(tmp_path, job, {}, group) for job in ("keepalived", "vrrp-drain")]):
        assert "instances is 34: at most 33 can share one VIP" in str(said)


@pytest.mark.parametrize("job", ["keepalived", "vrrp-drain"])
def test_a_link_to_another_group(tmp_path: Path, job: str) -> None:
    """A keepalived link without this instance would give wrong priorities and peers."""
    others = [replace(each, id=f"other-{each.index}") for each in GROUP]
    request = replace(rendering(tmp_path, job, {}, others), spec=GROUP[0])
    assert 'instance.id is "id-0": must be one of the keepalived link\'s instances' in str(refusals([request])[0])


@pytest.mark.parametrize("job", ["keepalived", "vrrp-drain"])
def test_a_link_with_dns_names(tmp_path: Path, job: str) -> None:
    """BOSH can render links with DNS names; adverts come from addresses, so the manifest is told how to get these."""
    group = [replace(each, address=f"q-s0.{each.name}.default.cf.bosh") for each in GROUP]
    request = replace(rendering(tmp_path, job, {}, group), spec=GROUP[0])
    assert "must be an IP address: give the job consumes: {keepalived: {from: keepalived, ip_addresses: true}}" in str(
        refusals([request])[0]
    )


def test_files_of_another_job_beside_ours(tmp_path: Path) -> None:
    """vrrp_drain.keepalived_config says that keepalived is another release's, the link says that it is ours."""
    drain = {"vrrp_drain": {"keepalived_config": "/var/vcap/jobs/keepalived/config/keepalived.config"}}
    said = refusals([rendering(tmp_path, "vrrp-drain", drain), rendering(tmp_path, "vrrp-drain", drain, provider="upstream-keepalived")])
    assert "vrrp_drain.keepalived_config is" in str(said[0])
    assert "is for another release's keepalived job, but the keepalived link comes from this release's" in str(said[0])
    assert said[1] is None


@pytest.mark.parametrize(
    ("job", "given", "expected"),
    [
        ("vip-demote", {"vip_demote": {"timeout": 0}}, "vip_demote.timeout is 0: must be a number from 0.1 to 3600"),
        ("vip-demote", {"vip_demote": {"keep": "yes"}}, 'vip_demote.keep is "yes": must be true or false'),
        ("vip-promote", {"vip_promote": {"timeout": "30"}}, 'vip_promote.timeout is "30": must be a number from 0.1 to 3600'),
    ],
)
def test_errands(tmp_path: Path, job: str, given: dict[str, Any], expected: str) -> None:
    """The errands' properties are checked like all others."""
    assert expected in str(refusals([rendering(tmp_path, job, given)])[0])

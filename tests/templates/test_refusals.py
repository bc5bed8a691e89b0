"""What an operator gets wrong is refused while BOSH renders, before anything is stopped, and as vrrpctl would refuse it."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.fabric.release import Rendering, Spec, refusals
from templates.conftest import GROUP
from unit.support.refusals import CONTRADICTIONS, WRONG
from vrrp_drain.config.model import Config
from vrrp_drain.runtime.errors import ConfigError

VIP = "10.0.0.10"
JOB = {"keepalived": "keepalived", "vrrp_drain": "vrrp-drain"}
NOT_SEEN_BY_RUBY: list[tuple[str, object]] = [  # Python alone looks this closely; what slips through is refused by pre-start
    ("vrrp_drain.health_check", "tcp://127.0.0.1:65536"),
    ("vrrp_drain.health_check", "http://127.0.0.1:port/"),
    ("vrrp_drain.health_check", "http://[::1"),
]


@pytest.fixture(scope="module", autouse=True)
def _ruby() -> None:
    if not shutil.which("ruby"):
        message = "templates are rendered through Ruby: `make deps` installs it"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)


def rendering(into: Path, job: str, given: Mapping[str, Any], group: Sequence[Spec] = GROUP, **more: Any) -> Rendering:
    properties = {**given, "keepalived": {"vip": VIP, **given.get("keepalived", {})}}
    return Rendering(job, group[0], group, properties, into, **more)


def wrong_values() -> Iterator[tuple[str, object]]:
    for name, values in WRONG.items():
        yield from ((name, value) for value in values)


def test_every_wrong_value_is_refused_by_its_property(tmp_path: Path) -> None:
    """For each value that vrrpctl refuses the render fails too: with the property as the manifest has it, and what is allowed."""
    cases = [(name, value) for name, value in wrong_values() if (name, value) not in NOT_SEEN_BY_RUBY]
    given = [rendering(tmp_path, JOB[name.split(".")[0]], {name.split(".")[0]: {name.split(".")[1]: value}}) for name, value in cases]
    said = dict(zip([f"{name}={value!r}" for name, value in cases], refusals(given), strict=True))
    wrong = {
        case: what for case, what in said.items() if f": {case.split('=')[0]} is " not in (what or "") or ": must be " not in (what or "")
    }
    versions = {
        case: what for case, what in wrong.items() if "version 2 of VRRP takes" not in (what or "") and "must be longer" not in (what or "")
    }
    assert versions == {}


@pytest.mark.parametrize(("given", "name"), CONTRADICTIONS)
def test_contradictions_are_refused_in_the_words_of_vrrpctl(tmp_path: Path, given: dict[str, Any], name: str) -> None:
    """Values that are right by themselves, but not together, get the sentence that vrrpctl would log on the instance."""
    instances = [{"name": s.name, "index": s.index, "id": s.id, "address": s.address, "bootstrap": s.bootstrap} for s in GROUP]
    with pytest.raises(ConfigError) as refused:
        Config.parse(
            {"instance": instances[0], "instances": instances, "keepalived": {"vip": VIP, **given.get("keepalived", {})}}
            | {key: value for key, value in given.items() if key != "keepalived"}
        )
    job = "vrrp-drain" if name.startswith("vrrp_drain.") else "keepalived"
    (said,) = refusals([rendering(tmp_path, job, given)])
    assert said is not None
    assert f": {name} is " in said
    assert "secret" not in said
    allowed = str(refused.value).split(": ", 1)[1]
    assert said.endswith(allowed)


def test_a_group_that_is_too_large(tmp_path: Path) -> None:
    """The thirty-fourth instance has no priority, so the manifest is refused for all of them."""
    group = [Spec("haproxy", n, f"id-{n}", f"10.0.1.{n + 1}", n == 0) for n in range(34)]
    for job, expected in (("keepalived", "instances is 34: at most 33 can share one VIP"),):
        assert expected in str(refusals([rendering(tmp_path, job, {}, group)])[0])


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

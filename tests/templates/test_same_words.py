"""A template refuses what vrrpctl would refuse on the instance, and nothing else, in the same words."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.fabric.release import Rendering, Spec
from templates.conftest import GROUP, Answer
from unit.support.fakes import IPV6_VIP, OTHER_SETTINGS, VIP
from unit.support.refusals import CONTRADICTIONS, WRONG
from unit.support.values import ADDRESSES, NO_ADDRESSES, PREFIXES, any_of, right
from vrrp_drain.config.check import Wrong, check
from vrrp_drain.config.kinds import Boolean, Choice, Integer, Number
from vrrp_drain.config.model import Config
from vrrp_drain.config.objects import Derived, Object, Objects, Property, Rule
from vrrp_drain.config.schema import JOBS
from vrrp_drain.config.schema_drain import VRRP_DRAIN, WEBHOOK
from vrrp_drain.config.schema_keepalived import KEEPALIVED
from vrrp_drain.runtime.errors import ConfigError

TEMPLATES = {"keepalived": "keepalived.json.erb", "vrrp-drain": "vrrp-drain.json.erb", "vip-demote": "run.erb", "vip-promote": "run.erb"}
LINKED = {each.name for each in KEEPALIVED.properties if each.linked}
QUICK = {**OTHER_SETTINGS, "vrrp_version": 3, "advert_int": 0.01}  # Master_Down_Interval is less than any timeout that is allowed
V6_GROUP = [replace(each, address=f"2001:db8::{each.index + 1}") for each in GROUP]
GROUPS = [
    *(GROUP, GROUP, GROUP, V6_GROUP, GROUP[:1], GROUP[1:]),
    [replace(GROUP[0], address="0.haproxy.default.cf.bosh")],
    [replace(GROUP[0], address="fe80::1%eth0"), GROUP[1]],
    [Spec("haproxy", n, f"id-{n}", f"10.0.1.{n + 1}", n == 0) for n in range(34)],
]


def effective(kind: Object, values: Mapping[str, Any], *, beside: bool = False) -> dict[str, Any]:
    """Return what a template gets of a section: BOSH fills in the defaults of the spec."""
    found = {}
    for each in kind.properties:
        value = values.get(each.name)
        if value is None:
            value = each.beside if beside else None
        if value is None and not isinstance(each.default, Derived):
            value = each.default
        if value is not None:
            found[each.name] = value
    return found


def member(spec: Spec, ip: str = "") -> dict[str, Any]:
    """Return what the template makes of an instance: with the address of the link, or ``ip``, if that is another."""
    found = asdict(spec)
    del found["ip"]
    return {**found, "address": ip or spec.address}


def document(rendering: Rendering) -> dict[str, Any]:
    """Return what the template should make of it for vrrpctl."""
    job, properties = JOBS[rendering.job], rendering.properties
    section = effective(job.properties, properties.get(job.section, {}), beside=rendering.provider != "keepalived")
    group = {"instance": member(rendering.spec, rendering.spec.ip), "instances": [*map(member, rendering.group)]}
    keepalived = effective(KEEPALIVED, properties.get("keepalived", {}))
    if rendering.provider != "keepalived":
        keepalived = {"vip": keepalived["vip"]}
    linked = {name: value for name, value in keepalived.items() if name in LINKED}
    found = {
        "keepalived": {**group, "keepalived": keepalived},
        "vrrp-drain": {**group, "keepalived": linked, "vrrp_drain": section},
    }.get(rendering.job, {job.section: section})
    read: dict[str, Any] = json.loads(json.dumps(found))
    return read


def compare(answer: Answer, rendering: Rendering) -> None:
    """Fail unless Ruby and Python say the same of it, each writing values as its language does."""
    expected, refused = document(rendering), None
    try:
        check(JOBS[rendering.job].document, expected)
    except Wrong as error:
        refused = error
    answered = answer(rendering, TEMPLATES[rendering.job], [refused.value, *refused.problem.entry] if refused else [])
    if refused is None:
        assert "said" not in answered, expected
    else:
        value, *entry = answered.get("written", [None])
        allowed = "".join(f"entry {each} " for each in entry) + refused.problem.allowed
        assert answered.get("said") == f"{refused.name} is {value}: {allowed}"
    if "instance" in expected:
        assert what_vrrpctl_says(expected) == (str(refused) if refused else None)
        assert refused or json.loads(answered["rendered"]) == expected


def what_vrrpctl_says(found: object) -> str | None:
    try:
        Config.parse(found, read=lambda job: QUICK)
    except ConfigError as error:
        return str(error)
    return None


def rendering(job: str, given: Mapping[str, Any], group: Sequence[Spec] = GROUP, provider: str = "keepalived") -> Rendering:
    """Return it for the bootstrap instance; a VIP is always given."""
    properties = {**given, "keepalived": {"vip": VIP, **given.get("keepalived", {})}}
    us = next((each for each in group if each.id == GROUP[0].id), GROUP[0])
    return Rendering(job, us, group, properties, Path("/nonexistent"), provider)


JOB = {"keepalived": "keepalived", "vrrp_drain": "vrrp-drain"}
OF_EACH_KIND = {
    (job, type(each.kind), json.dumps(vars(each.kind), default=lambda inner: vars(inner) if hasattr(inner, "__dict__") else repr(inner))): (
        job,
        each,
    )
    for job, its in JOBS.items()
    for each in its.properties.properties
}
EXAMPLES = {Boolean: 6, Integer: 12, Number: 20, Choice: 12, Objects: 120}  # of the others 40
THEIR_TIMES = ("advert_int", "vrrp_version", "preempt_delay")  # what Master_Down_Interval follows from


def examples(number: int) -> settings:
    return settings(max_examples=number, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize(("job", "one"), OF_EACH_KIND.values(), ids=lambda each: getattr(each, "name", None))
def test_whatever_a_value_is(answer: Answer, job: str, one: Property) -> None:
    """Each kind of property by itself: right values, edges, near misses, and what has nothing to do with it."""

    @examples(EXAMPLES.get(type(one.kind), 40))
    @given(any_of(one.kind) if one.required else st.none() | any_of(one.kind))
    def holds(value: object) -> None:
        compare(answer, rendering(job, {JOBS[job].section: {one.name: value}}))

    holds()


@pytest.mark.parametrize("rule", KEEPALIVED.rules, ids=lambda rule: f"{rule.on} {rule.allowed[:30]}")
def test_whatever_is_together(answer: Answer, rule: Rule) -> None:
    """The properties that a rule looks at, each right by itself, in groups of either family."""
    names = {rule.on, *(each.of for each in rule.when), *(each.than for each in rule.when)}
    section = st.fixed_dictionaries({each.name: right(each.kind) for each in KEEPALIVED.properties if each.name in names})

    @examples(20)
    @given(section, st.sampled_from([VIP, f"{VIP}/24", IPV6_VIP]), st.sampled_from(GROUPS[:5]))
    def holds(values: dict[str, Any], vip: str, group: Sequence[Spec]) -> None:
        compare(answer, rendering("keepalived", {"keepalived": {"vip": vip, **values}}, group))

    holds()


@examples(100)
@given(
    st.fixed_dictionaries({each.name: right(each.kind) for each in KEEPALIVED.properties if each.name in THEIR_TIMES}),
    st.dictionaries(st.sampled_from(["handover_timeout", "post_start_timeout"]), st.integers(1, 9) | st.floats(1, 1800)),
    st.sampled_from(["keepalived", "keepalived", "upstream-keepalived"]),
)
def test_whatever_the_timeouts_are(answer: Answer, keepalived: dict[str, Any], drain: dict[str, Any], provider: str) -> None:
    """Master_Down_Interval is the same in both languages, and nobody minds it where another release's job has the interval."""
    compare(answer, rendering("vrrp-drain", {"keepalived": keepalived, "vrrp_drain": drain}, provider=provider))


@examples(150)
@given(st.sampled_from(list(JOBS)), st.data(), st.sampled_from(GROUPS), st.sampled_from(["keepalived", "upstream-keepalived"]))
def test_whatever_a_manifest_says(answer: Answer, job: str, data: st.DataObject, group: Sequence[Spec], provider: str) -> None:
    """Several properties at a time, some of them wrong, beside either keepalived job, in groups of all sorts."""
    values: dict[str, dict[str, Any]] = {}
    for section, kind in {"keepalived": KEEPALIVED, JOBS[job].section: JOBS[job].properties}.items():
        some = data.draw(st.lists(st.sampled_from(kind.properties), max_size=4, unique_by=lambda each: each.name))
        values[section] = {each.name: data.draw(right(each.kind) | any_of(each.kind)) for each in some}
    compare(answer, rendering(job, values, group, provider if job == "vrrp-drain" else "keepalived"))


@pytest.mark.parametrize("name", ["vip", "unicast_src_ip", "smtp_server"])
def test_known_spellings_of_addresses(answer: Answer, name: str) -> None:
    """What ipaddress reads and Ruby's IPAddr does not, or the other way round, is read alike; so is what stands behind a slash."""
    prefixed = [f"{address}{prefix}" for address in ADDRESSES[:4] for prefix in PREFIXES]
    for value in [*ADDRESSES, *NO_ADDRESSES, *prefixed, *(f"[{address}]:25" for address in [*ADDRESSES, *NO_ADDRESSES])]:
        compare(answer, rendering("keepalived", {"keepalived": {name: value}}))


@pytest.mark.parametrize("name", WRONG)
def test_known_wrong_values(answer: Answer, name: str) -> None:
    """Whatever tests of the configuration know to be wrong, the templates refuse as well."""
    section, key = name.split(".")
    for value in WRONG[name]:
        one = rendering(JOB[section], {section: {key: value}})
        with pytest.raises(Wrong):
            check(JOBS[one.job].document, document(one))
        compare(answer, one)


def test_known_contradictions(answer: Answer) -> None:
    """Values that are right by themselves, but not together; they meet every rule of the schema, so none of them is dead."""
    said = set()
    for values, name in CONTRADICTIONS:
        one = rendering(JOB[name.split(".")[0]], values)
        with pytest.raises(Wrong) as refused:
            check(JOBS[one.job].document, document(one))
        compare(answer, one)
        said.add(refused.value.problem.allowed)
    rules = (*KEEPALIVED.rules, *VRRP_DRAIN.rules, *WEBHOOK.rules)
    patterns = {re.sub(r"\\{\w+\\}", ".+", re.escape(rule.allowed)) for rule in rules}
    assert {each for each in patterns if not any(re.fullmatch(each, text) for text in said)} == set()

"""Holds what a job's template rendered against the schema. check.rb does the same in the templates, method by method.

The first value that is wrong is refused: properties in the order of the schema, then what the schema does not know, then the rules.
"""

import math
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from vrrp_drain.vrrp import bands
from vrrp_drain.vrrp.timing import master_down_interval

from . import objects
from .kinds import Kind, Problem, address
from .objects import Derived, Headers, Object, Objects, Property, Rule, Where

HIDDEN: Final = "(hidden)"  # in messages, which end up in logs
Values = dict[str, Any]


class Tell(Enum):
    """What an error may tell of a value. Behind a misspelt key of a secret object may be a credential."""

    ALL = 0
    NUMBERS = 1
    NOTHING = 2

    def shown(self, value: object) -> object:
        return value if self is Tell.ALL or (self is Tell.NUMBERS and isinstance(value, int | float)) else HIDDEN


class Wrong(Exception):
    """``name`` as the manifest has it, the value as it may be told, and what is wrong with it."""

    def __init__(self, name: str, value: object, problem: Problem) -> None:
        super().__init__(f"{name} is {value!r}: {problem}")
        self.name, self.value, self.problem = name, value, problem


def check(document: Object, raw: object) -> Values:
    """Return the values of ``document``, defaults filled in. Raises Wrong."""
    return _object(document, "", raw, Tell.ALL, {})


def _object(kind: Object, name: str, raw: object, tell: Tell, facts: Values) -> Values:
    tell = Tell.NUMBERS if kind.secret else tell
    if not isinstance(raw, Mapping):
        raise Wrong(name or "configuration", tell.shown(raw), Problem(kind.allowed))
    values: Values = {}
    for each in kind.properties:
        value = raw.get(each.name)
        if value is None:
            value = _default(each, name, facts | values)
        if value is not None:
            value = _taken(each, _full(name, each.name), value, tell, facts)
        values[each.name] = value
        if not name:
            facts |= _learned(each.name, raw, values)
    known = {each.name for each in kind.properties}
    for key, value in raw.items():
        if key not in known:
            raise Wrong(_full(name, key), tell.shown(value), Problem("is not a property that this version knows"))
    secrets = {each.name for each in kind.properties if each.secret}
    scope = facts | values
    for rule in kind.rules:
        _obey(rule, name, scope, Tell.NOTHING if rule.on in secrets else tell)
    return values


def _default(one: Property, name: str, scope: Values) -> Any:
    if one.required:
        raise Wrong(_full(name, one.name), None, Problem("must be given"))
    if not isinstance(one.default, Derived):
        return one.default
    if one.default.same_as:
        return scope[one.default.same_as]
    return next((value for when, value in one.default.cases if all(_holds(each, scope) for each in when)), None)


def _taken(one: Property, name: str, value: Any, tell: Tell, facts: Values) -> Any:
    """Return the value of a property, with the defaults inside of it."""
    kind = one.kind
    tell = Tell.NOTHING if one.secret else tell
    if isinstance(kind, Object):
        return _object(kind, name, value, tell, facts)
    if isinstance(kind, Objects):
        if not isinstance(value, list) or (kind.at_least_one and not value):
            raise Wrong(name, tell.shown(value), Problem(kind.allowed))
        return [_object(kind.of, f"{name}[{place}]", each, tell, {}) for place, each in enumerate(value)]
    if isinstance(kind, Headers):
        _headers(kind, name, value, tell)
    else:
        _accept(kind, name, value, tell)
    return value


def _headers(kind: Headers, name: str, raw: object, tell: Tell) -> None:
    if not isinstance(raw, Mapping):
        raise Wrong(name, tell.shown(raw), Problem(kind.allowed))
    for key, value in raw.items():
        _accept(kind.names, name, key, Tell.NOTHING)
        if key.lower() in kind.reserved:
            raise Wrong(f"{name}.{key}", HIDDEN, Problem(kind.reserved_allowed))
        if value is None:
            raise Wrong(f"{name}.{key}", None, Problem("must be given"))
        _accept(kind.of, f"{name}.{key}", value, tell)


def _accept(kind: Kind, name: str, value: Any, tell: Tell) -> None:
    if (problem := kind.problem(value)) is not None:
        raise Wrong(name, tell.shown(value), Problem(problem.allowed, tuple(map(tell.shown, problem.entry))))


def _learned(key: str, raw: Mapping[str, Any], values: Values) -> Values:
    """Return what the rules want to know of the section ``key``."""
    if key == "instance":
        own, group = values["instance"]["id"], values["instances"]
        return {
            "id": own,
            "ids": [each["id"] for each in group],
            "count": len(group),
            "peers": [each["address"] for each in group if each["id"] != own],
            "members": [(f"{each['name']}/{each['index']}", address(each["address"])) for each in group],
        }
    if key == "keepalived":
        interval, version, delay = (values[key][name] for name in ("advert_int", "vrrp_version", "preempt_delay"))
        slowest = slowest_takeover(interval, version, delay)
        plus = f" and preempt_delay {delay:g}" if delay else ""
        read = "weight" in values[key]  # by upstream_job.py, from another release's job; until then its advert_int is not known
        ours = not read and any(name != "vip" and value is not None for name, value in raw[key].items())
        return {
            "slowest": slowest if read or not _beside(raw.get("vrrp_drain")) else None,
            "takeover": f"{slowest:.2f} s at keepalived.advert_int {interval:g}{plus}",
            "ours": ours,
        }
    return {}


def _beside(drain: object) -> bool:
    """Tell whether another release's keepalived job is beside ours."""
    return isinstance(drain, Mapping) and all(drain.get(file) is not None for file in ("keepalived_config", "keepalived_pid_file"))


def slowest_takeover(advert_int: float, vrrp_version: int, preempt_delay: float) -> float:
    """Return how many seconds a successor may wait: Master_Down_Interval of the lowest priority, and what preempt_delay adds."""
    return master_down_interval(bands.LOWEST_BASE, advert_int, vrrp_version) + preempt_delay


def _obey(rule: Rule, name: str, scope: Values, tell: Tell) -> None:
    for value in scope[rule.on] if rule.each else [scope.get(rule.shows or rule.on)]:
        inside = {**scope, rule.on: value, "all": scope[rule.on]} if rule.each else scope
        if all(_holds(each, inside) for each in rule.when):
            members = [member for member, where in inside.get("members", []) if isinstance(value, str) and where == _bare(value)]
            allowed = rule.allowed.format_map({**inside, "member": "".join(members[:1])})
            raise Wrong(_full(name, rule.on), tell.shown(value), Problem(allowed))


def _holds(where: Where, scope: Values) -> bool:
    predicate = where.predicate.removeprefix(objects.NOT)
    value = scope.get(where.of)
    if value is None and predicate != objects.GIVEN:
        return False
    return _so(predicate, value, where.than, scope) is (predicate == where.predicate)


def _so(predicate: str, value: Any, than: Any, scope: Values) -> bool:
    match predicate:
        case objects.GIVEN:
            return value is not None and value != []
        case objects.IS:
            return bool(value == than)
        case objects.ABOVE:
            return bool(value > than)
        case objects.LONGER:
            return scope[than] is None or bool(value > scope[than])
        case objects.WHOLE:
            return bool(value == math.floor(value))
        case objects.HUNDREDTHS:
            return bool(abs(value * 100 - math.floor(value * 100 + 0.5)) < 5e-7)
        case objects.FAMILY:
            return any((6 if ":" in each else 4) == than for each in (value if isinstance(value, list) else [value]))
        case objects.MEMBER:
            return _bare(value) in [where for _, where in scope["members"]]
        case objects.REPEATED:
            return [_bare(each) for each in (scope[than], *scope["all"])].count(_bare(value)) > 1
        case objects.BEGINS:
            return bool(value.startswith(than))
        case objects.AMONG:
            return bool(value in scope[than])
    raise ValueError(f"no such predicate: {predicate}")


def _bare(text: str) -> object:
    """Return the address in front of a prefix length."""
    return address(text.partition("/")[0])


def _full(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key

"""What comes from the schema of the properties: parts of the jobs' specs, of their templates, and of docs/properties.md."""

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from vrrp_drain.config import check
from vrrp_drain.config.objects import Derived, Headers, Object, Objects, Property
from vrrp_drain.config.schema import JOBS
from vrrp_drain.vrrp import bands

TEMPLATES = {"keepalived": "keepalived.json.erb", "vrrp-drain": "vrrp-drain.json.erb", "vip-demote": "run.erb", "vip-promote": "run.erb"}
_CHECK = Path(check.__file__).with_suffix(".rb")
_WIDTH = 130
_OBVIOUS = ("true or false", "a list", "a JSON object")


def link(job: str) -> str:
    """Return the properties that the job's link gives, for its spec."""
    section = JOBS[job].section
    return "\n".join(f"  - {section}.{each.name}" for each in JOBS[job].properties.properties if each.linked)


def spec(job: str) -> str:
    """Return the properties of the job's spec."""
    return "properties:\n" + "".join(_specified(JOBS[job].section, each) for each in JOBS[job].properties.properties).rstrip()


def _specified(section: str, one: Property) -> str:
    lines = [f"  {section}.{one.name}:"]
    text = textwrap.wrap(" ".join(_sentences(one)), _WIDTH - 6, break_on_hyphens=False) + list(_of_its_entries(one))
    lines += ["    description: |", *(f"      {line}" for line in text)]
    if one.default is not None and not isinstance(one.default, Derived):
        lines.append(_yaml("default", one.default))
    if one.example is not None:
        lines.append(_yaml("example", one.example))
    return "\n".join(lines) + "\n"


def _sentences(one: Property) -> Iterator[str]:
    yield one.text
    if allowed := _allowed(one):
        yield f"Allowed: {allowed}."
    if isinstance(one.default, Derived):
        yield f"When not set: {one.default.words}."


def _of_its_entries(one: Property) -> Iterator[str]:
    """Yield a line for each property of the objects in a list."""
    for each in _inside(one):
        default = "required" if each.required else f"default {json.dumps(each.default)}" if each.default is not None else ""
        about = "; ".join(filter(None, (each.text, _allowed(each), default)))
        yield from textwrap.wrap(f"- {each.name}: {about}", _WIDTH - 6, subsequent_indent="  ", break_on_hyphens=False)


def _inside(one: Property) -> tuple[Property, ...]:
    return one.kind.of.properties if isinstance(one.kind, Objects) else ()


def _allowed(one: Property) -> str:
    """Return what is allowed, where the default does not make it plain."""
    kind = one.kind
    allowed = kind.allowed.removeprefix("must be ")
    if not isinstance(kind, Object | Objects | Headers) and (of := getattr(kind, "of", None)) is not None:
        return f"a list, of which each entry is {of.allowed.removeprefix('must be ')}, and none is there twice"
    return "" if allowed in _OBVIOUS else allowed


def _yaml(key: str, value: object) -> str:
    if isinstance(value, str) and "\n" in value:
        return f"    {key}: |\n" + textwrap.indent(value.rstrip("\n"), "      ")
    written: str = yaml.safe_dump({key: value}, default_flow_style=None, sort_keys=False, width=_WIDTH)
    if not isinstance(value, list | dict):
        written = yaml.safe_dump({key: value}, sort_keys=False, width=_WIDTH)
    elif not any(isinstance(each, dict) for each in value):
        written = f"{key}: {json.dumps(value)}\n"
    return textwrap.indent(written.rstrip("\n"), "    ")


def properties(job: str) -> str:
    """Return the properties of a job for docs/properties.md."""
    described = yaml.safe_load((Path(__file__).parent.parent / "jobs" / job / "spec").read_text())["description"]
    lines = [" ".join(described.split()), "", "| property | default | what it is | allowed | example |", "|---|---|---|---|---|"]
    for one in JOBS[job].properties.properties:
        lines.append(_row(f"{JOBS[job].section}.{one.name}", one))
        lines += [_row(f"{JOBS[job].section}.{one.name}[].{each.name}", each) for each in _inside(one)]
    return "\n".join(lines)


def _row(name: str, one: Property) -> str:
    derived = isinstance(one.default, Derived)
    default = "required" if one.required else "" if derived or one.default is None else f"`{json.dumps(one.default)}`"
    about = f"{one.text} When not set: {one.default.words}." if isinstance(one.default, Derived) else one.text
    example = f"`{json.dumps(one.example)}`" if one.example is not None else ""
    return f"| `{name}` | {default} | {about} | {_allowed(one).replace('|', '&#124;')} | {example} |".replace("  ", " ")


def checks(job: str) -> str:
    """Return what checks the job's properties in its templates: check.rb, and the table that it goes by."""
    rows = {**_row_of(JOBS[job].document), "lowest_priority": bands.LOWEST_BASE}
    part = f"require 'json'\n\n{_CHECK.read_text()}\nschema = schema.new(JSON.parse(<<'TABLE'))\n{_lines(rows)}\nTABLE"
    if "%>" in part or not part.isascii():
        raise ValueError("ERB would end at a %>, and not everybody reads a template as UTF-8")
    return part


def _row_of(kind: Any) -> dict[str, Any]:
    public = {name: getattr(kind, name) for name in dir(kind) if not name.startswith("_") and not callable(getattr(kind, name))}
    return {"kind": type(kind).__name__, **{name: _value_of(value) for name, value in public.items() if value is not False and value != ""}}


def _value_of(value: Any) -> Any:
    if isinstance(value, Property):
        rest = {"name": value.name, "kind": _row_of(value.kind), **{n: getattr(value, n) for n in ("required", "secret", "beside")}}
        if isinstance(value.default, Derived) and (value.default.same_as or value.default.cases):
            rest["derived"] = {"same_as": value.default.same_as or None, "cases": value.default.cases}
        elif not isinstance(value.default, Derived) and value.default is not None:
            rest["default"] = value.default
        return {key: each for key, each in rest.items() if each or key == "default"}
    if hasattr(value, "_asdict"):  # a rule
        return {key: each for key, each in value._asdict().items() if each}
    if isinstance(value, tuple):
        return [_value_of(each) for each in value]
    return value if isinstance(value, str | int | float | list | dict) else _row_of(value)


def _lines(value: Any, depth: int = 0) -> str:
    """Return JSON with a line for each property and each rule, so that a change is one."""
    plain = json.dumps(value)
    if len(plain) <= 160 - depth or not isinstance(value, dict | list) or not value:
        return plain
    if isinstance(value, dict):
        inside = [f"{json.dumps(key)}: {_lines(each, depth + 1)}" for key, each in value.items()]
    else:
        inside = [_lines(each, depth + 1) for each in value]
    start, end = "{}" if isinstance(value, dict) else "[]"
    return start + "\n" + ",\n".join(" " * (depth + 1) + each for each in inside) + "\n" + " " * depth + end


PARTS = (spec, link, checks, properties)

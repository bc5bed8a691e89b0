"""The rooms of the library and which may import which, read from the contracts that lint-imports holds (pyproject.toml)."""

import ast
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_ROOT = Path(__file__).resolve().parent.parent
_PACKAGE = "vrrp_drain"

Pairs = set[tuple[str, str]]


def contracts() -> list[dict[str, Any]]:
    """Return the contracts as they stand in pyproject.toml."""
    found: list[dict[str, Any]] = tomllib.loads((_ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return found


def floors() -> list[list[str]]:
    """Return the rooms from the top down; those beside each other know nothing of each other."""
    layers = next(each["layers"] for each in contracts() if each["type"] == "layers")
    return [[room.strip() for room in layer.split("|")] for layer in layers]


def table() -> str:
    """Return what each room holds, in the words of its package's docstring, from the top down."""
    lines = ["| room | holds |", "|---|---|"]
    return "\n".join([*lines, *(f"| `{room}/` | {_first_line(room)} |" for floor in floors() for room in floor)])


def picture() -> str:
    """Return the allowed imports as a Mermaid graph: who follows the arrows comes to what he may import, but for what is crossed."""
    allowed = permitted()
    direct = {(a, b) for a, b in allowed if not any((a, c) in allowed and (c, b) in allowed for c in _rooms())}
    crossed = {(a, b) for a, b in forbidden() if b in _reached(a, direct)}
    lines = ["```mermaid", "flowchart TD"]
    lines += [f"    {a} --> {b}" for a, b in _in_order(direct)]
    lines += [f"    {a} -. not .-x {b}" for a, b in _in_order(crossed)]
    return "\n".join([*lines, "```"])


def sentences() -> str:
    """Return the contracts by their names, each of which is a sentence."""
    return "\n".join(f"- {each['name']}." for each in contracts())


def permitted() -> Pairs:
    """Return who may import whom."""
    levels = floors()
    downwards = {pair for n, floor in enumerate(levels) for lower in levels[n + 1 :] for pair in product(floor, lower)}
    return downwards - forbidden()


def forbidden() -> Pairs:
    """Return who may not import whom although that is further down."""
    pairs = (
        pair for each in contracts() if each["type"] == "forbidden" for pair in product(each["source_modules"], each["forbidden_modules"])
    )
    return {(_room(a), _room(b)) for a, b in pairs if b.startswith(_PACKAGE)}


def _rooms() -> list[str]:
    return [room for floor in floors() for room in floor]


def _room(module: str) -> str:
    return module.removeprefix(f"{_PACKAGE}.")


def _reached(start: str, arrows: Pairs) -> set[str]:
    found: set[str] = set()
    fresh = {start}
    while fresh := {b for a, b in arrows if a in fresh} - found:
        found |= fresh
    return found


def _in_order(pairs: Pairs) -> Iterator[tuple[str, str]]:
    rooms = _rooms()
    yield from sorted(pairs, key=lambda pair: (rooms.index(pair[0]), rooms.index(pair[1])))


def _first_line(room: str) -> str:
    docstring = ast.get_docstring(ast.parse((_ROOT / "lib" / _PACKAGE / room / "__init__.py").read_text())) or ""
    return docstring.partition("\n")[0]

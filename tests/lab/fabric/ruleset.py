"""What nft lists, by its meaning: each version of it has a wording of its own for the same rules."""

import json
import re
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

from .namespace import Namespace

_PATH = {"PATH": "/usr/sbin:/sbin:/usr/bin"}
_BITS = re.compile(r"@(\w+),(\d+),(\d+) & (\d+)")
_FLAGS = re.compile(r"tcp flags & \((\w+) \| (\w+)\) (==|!=) (\w+)")
_WORD = re.compile(r'"[^"]*"|@?[\w:.,/]+')


def objects(machine: Namespace, *what: str) -> list[dict[str, Any]]:
    """Return what `nft -j list WHAT` tells; versions before 1.1 leave out of it what our rules put into maps."""
    done = machine.run(["nft", "-j", "list", *what], _PATH)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["nftables"]
    return found


def counted(listed: Iterable[dict[str, Any]]) -> int:
    """Return how many packets the counters of all rules among these objects have seen."""
    parts = (part for each in listed if "rule" in each for part in each["rule"]["expr"])
    return sum(int(part["counter"]["packets"]) for part in parts if "counter" in part)


def held(listed: Iterable[dict[str, Any]]) -> list[Any]:
    """Return the elements of all sets and maps among these objects."""
    return [element for each in listed for kind in ("set", "map") for element in each.get(kind, {}).get("elem", [])]


def normal(text: str) -> str:
    """Put into one wording what `nft list` or a person wrote.

    Numbers and addresses are decimal numbers, the lowest bits of a field are a field, flags are named before their mask, and to be
    equal is not mentioned.
    """
    text = _WORD.sub(lambda word: _number(word[0]), text.replace(" [invalid type]", ""))
    text = _BITS.sub(_field, text)
    text = _FLAGS.sub(lambda found: f"tcp flags {'!= ' * (found[3] == '!=')}{found[4]} / {found[1]},{found[2]}", text)
    return text.replace(" == ", " ")


def _number(word: str) -> str:
    """Return a number or an address as a decimal number, anything else as it is."""
    if re.fullmatch(r"0x[0-9a-f]+", word):
        return str(int(word, 16))
    try:
        return str(int(ip_address(word)))
    except ValueError:
        return word


def _field(found: re.Match[str]) -> str:
    """Return the lowest bits of a field as the field that they are, with other bits what it was."""
    base, offset, size, mask = found[1], *map(int, found.groups()[1:])
    bits = mask.bit_length()
    return f"@{base},{offset + size - bits},{bits}" if mask == (1 << bits) - 1 else found[0]

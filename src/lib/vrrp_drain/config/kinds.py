"""What the value of a property can be, as data with a check.

``make generate`` writes the data into the jobs' templates, where check.rb does in Ruby what is done here. So patterns use only what
Python's ``re`` and Ruby's regular expressions mean alike: no ``.``, ``\\s``, ``\\d``, ``\\w``, ``^`` or ``$``.
"""

import ipaddress
import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from vrrp_drain.runtime.ip import IPAddress

# Every separator of str.splitlines is among the control characters (C0, DEL, C1) and U+2028, U+2029: a line of keepalived.conf ends at
# none of them. The rest of BLANK is what else is blank in Unicode.
CONTROL: Final = r"\u0000-\u001f\u007f-\u009f\u2028\u2029"
BLANK: Final = CONTROL + r" \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
CONTROL_IN_LINES: Final = r"\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029"  # tab and newline may be there
NOT_UNICAST: Final = ("0.0.0.0/32", "127.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32", "::/127", "ff00::/8")


class Problem(NamedTuple):
    """What is allowed instead of a value, and in a list the one entry that is not."""

    allowed: str
    entry: tuple[object, ...] = ()

    def __str__(self) -> str:
        return f"entry {self.entry[0]!r} {self.allowed}" if self.entry else self.allowed


class Kind:
    """A kind of values. ``allowed`` follows "NAME is VALUE: " in an error, and stands in docs/properties.md."""

    allowed: str

    def accepts(self, value: Any) -> bool:
        raise NotImplementedError

    def problem(self, value: Any) -> Problem | None:
        return None if self.accepts(value) else Problem(self.allowed)

    def identity(self, value: Any) -> Any:
        """Return what must differ between the entries of a list."""
        return value

    def typed(self, value: Any) -> Any:
        """Return an accepted value in the type that the program works with."""
        return value


class Boolean(Kind):
    allowed = "must be true or false"

    def accepts(self, value: Any) -> bool:
        return isinstance(value, bool)


class Integer(Kind):
    """1, but neither 1.0 nor true."""

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high
        self.allowed = f"must be a whole number from {low} to {high}"

    def accepts(self, value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high


class Number(Kind):
    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high
        self.allowed = f"must be a number from {low:g} to {high:g}"

    def accepts(self, value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high


class Choice(Kind):
    """One of some whole numbers, or of some texts."""

    def __init__(self, *values: int | str) -> None:
        self.values = values
        self.allowed = f"must be {' or '.join(map(str, values))}"

    def accepts(self, value: Any) -> bool:
        return any(value == each and type(value) is type(each) for each in self.values)


class Text(Kind):
    """Text that ``pattern`` describes from end to end; what a group of it holds is an IPv6 address."""

    def __init__(self, pattern: str, allowed: str, *, verb: str = "must be", into: Callable[[str], Any] = str) -> None:
        self.pattern, self.allowed, self._into = pattern, f"{verb} {allowed}", into

    def accepts(self, value: Any) -> bool:
        found = re.fullmatch(self.pattern, value) if isinstance(value, str) else None
        return found is not None and all(isinstance(address(each), ipaddress.IPv6Address) for each in found.groups() if each)

    def typed(self, value: Any) -> Any:
        return self._into(value)


class Lines(Kind):
    """Lines of a keepalived.conf, in which every block that is opened is closed; what follows # or ! is a comment."""

    allowed = "must be text in which every { has its }"

    def __init__(self) -> None:
        self.pattern = f"[^{CONTROL_IN_LINES}]*"

    def accepts(self, value: Any) -> bool:
        if not isinstance(value, str) or not re.fullmatch(self.pattern, value):
            return False
        depth = 0
        for brace in re.findall(r"[{}]", re.sub(r"[#!][^\n]*", "", value)):
            depth += 1 if brace == "{" else -1
            if depth < 0:
                return False
        return depth == 0


class Words(Kind):
    """A command: ``first``, then any number of ``others``."""

    allowed = "must be a list of text: the absolute path of a program, then its arguments"

    def __init__(self) -> None:
        self.first, self.others = r"/[^\u0000]*", r"[^\u0000]*"

    def accepts(self, value: Any) -> bool:
        if not isinstance(value, list) or not value:
            return False
        return all(
            isinstance(word, str) and re.fullmatch(pattern, word) is not None
            for word, pattern in zip(value, [self.first, *[self.others] * len(value)], strict=False)
        )

    def typed(self, value: Any) -> tuple[str, ...]:
        return tuple(value)


class Address(Kind):
    """An IP address without a scope. ``prefix``: with a prefix length or without. ``network``: nothing is set behind the prefix.

    ``unicast`` is what is allowed instead of an address that is of one of ``not_unicast``; without it such a one is accepted too.
    """

    def __init__(self, allowed: str, *, prefix: bool = False, network: bool = False, unicast: str = "") -> None:
        self.allowed = f"must be {allowed}"
        self.prefix, self.network = prefix, network
        self.unicast = f"must be {unicast}" if unicast else ""
        self.not_unicast = NOT_UNICAST if unicast else ()

    def accepts(self, value: Any) -> bool:
        return self.problem(value) is None

    def problem(self, value: Any) -> Problem | None:
        found = self.identity(value)
        if found is None:
            return Problem(self.allowed)
        if any(found[0] in ipaddress.ip_network(each) for each in self.not_unicast):
            return Problem(self.unicast)
        return None

    def identity(self, value: Any) -> tuple[IPAddress, int] | None:
        """Return address and prefix length, None of what is not of this kind."""
        text, slash, digits = value.partition("/") if isinstance(value, str) else ("", "", "")
        found = address(text)
        if found is None or (slash and not (self.prefix and re.fullmatch("0|[1-9][0-9]{0,2}", digits))):
            return None
        length = int(digits) if slash else found.max_prefixlen
        behind = found.max_prefixlen - length
        if behind < 0 or (self.network and int(found) % (1 << behind)):
            return None
        return found, length

    def typed(self, value: Any) -> Any:
        if self.network:
            return ipaddress.ip_network(value)
        return ipaddress.ip_interface(value) if self.prefix else ipaddress.ip_address(value)


class ListOf(Kind):
    """A list in which nothing is twice; with ``or_one`` also a single entry, written as text."""

    allowed = "must be a list"
    twice = "is there twice"

    def __init__(self, of: Kind, *, or_one: bool = False) -> None:
        self.of, self.or_one = of, or_one

    def entries(self, value: Any) -> Any:
        return [value] if self.or_one and isinstance(value, str) else value

    def accepts(self, value: Any) -> bool:
        return self.problem(value) is None

    def problem(self, value: Any) -> Problem | None:
        value = self.entries(value)
        if not isinstance(value, list):
            return Problem(self.allowed)
        for each in value:
            if (problem := self.of.problem(each)) is not None:
                return Problem(problem.allowed, (each,))
        identities = list(map(self.of.identity, value))
        for each, identity in zip(value, identities, strict=True):
            if identities.count(identity) > 1:
                return Problem(self.twice, (each,))
        return None

    def typed(self, value: Any) -> tuple[Any, ...]:
        return tuple(map(self.of.typed, self.entries(value)))


def address(text: str) -> IPAddress | None:
    """Return the address that ``text`` is, None of anything else: a scope (fe80::1%eth0) does not belong to it."""
    if not re.fullmatch("[0-9A-Fa-f:.]+", text):
        return None
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None

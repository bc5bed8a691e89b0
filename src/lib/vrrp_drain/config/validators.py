"""Checks of single values: each returns the value in its final type, or raises ValueError with what is allowed."""

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit

from vrrp_drain.runtime.errors import ConfigError
from vrrp_drain.runtime.ip import IPAddress, IPInterface, IPNetwork

T = TypeVar("T")
Check = Callable[[Any], T]
_BROADCAST = ipaddress.IPv4Address("255.255.255.255")
HIDDEN = "(hidden)"  # in messages, which end up in logs
_SECRETS = ("auth_pass", "webhooks")
# Ruby's \\s is ASCII alone, Python's is not; these are the same in both, and stand in the jobs' templates too. Every separator of
# str.splitlines is among the control characters (C0, DEL, C1) and U+2028, U+2029; the rest of _BLANK is what else is blank in Unicode.
_CONTROL = r"\u0000-\u001f\u007f-\u009f\u2028\u2029"
_BLANK = _CONTROL + r" \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
_CONTROL_IN_LINES = r"[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029]"  # tab and newline may be there
_INTERFACE_NAME = rf"[^{_BLANK}/:{{}}\"#!]{{1,15}}"


class Section:
    """A JSON object of which every key is taken once; null counts as not given.

    Of a ``secret`` one errors tell numbers alone: a misspelt key may have a credential behind it.
    """

    def __init__(self, name: str, raw: object, *, secret: bool = False) -> None:
        self._name = name
        self._secret = secret
        if not isinstance(raw, Mapping):
            raise ConfigError(name or "configuration", self._shown("", raw), "must be a JSON object")
        self._left = dict(raw)

    def take(self, key: str, check: Check[T], default: T | None = None) -> T:
        """Return the checked value of ``key``, or the default. Raises ConfigError, also where it is required."""
        value = self.take_if_given(key, check)
        if value is not None:
            return value
        if default is None:
            raise ConfigError(self._full(key), None, "must be given")
        return default

    def take_if_given(self, key: str, check: Check[T]) -> T | None:
        """Return the checked value of ``key``, or None. Raises ConfigError."""
        value = self._left.pop(key, None)
        if value is None:
            return None
        try:
            return check(value)
        except (ValueError, TypeError) as error:
            raise ConfigError(self._full(key), self._shown(key, value), str(error)) from None

    def refuse_the_rest(self) -> None:
        for key, value in self._left.items():
            raise ConfigError(self._full(key), self._shown(key, value), "is not a property that this version knows")

    def __iter__(self) -> Iterator[str]:
        """Yield the keys that are left, also while they are being taken."""
        return iter(tuple(self._left))

    def _shown(self, key: str, value: object) -> object:
        return HIDDEN if key in _SECRETS or (self._secret and not isinstance(value, int | float)) else value

    def _full(self, key: str) -> str:
        return f"{self._name}.{key}" if self._name else key


def anything(value: object) -> object:
    return value


def at_least_one(value: object) -> list[object]:
    if not isinstance(value, list) or not value:
        raise ValueError("must be a list with at least one entry")
    return value


def entries(value: object) -> list[object]:
    """A list, of which the caller checks every entry by its place."""
    if not isinstance(value, list):
        raise ValueError("must be a list")
    return value


def list_of(check: Check[T]) -> Check[tuple[T, ...]]:
    """Every entry as ``check`` wants it, and none twice."""

    def check_all(value: object) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise ValueError("must be a list")
        checked = []
        for each in value:
            try:
                checked.append(check(each))
            except ValueError as error:
                raise ValueError(f"entry {each!r} {error}") from None
        for each in checked:
            if checked.count(each) > 1:
                raise ValueError(f"entry {str(each)!r} is there twice")
        return tuple(checked)

    return check_all


def boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def matching(pattern: str, allowed: str) -> Check[str]:
    def check(value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise ValueError(f"must be {allowed}")
        return value

    return check


def choice(*allowed: T) -> Check[T]:
    def check(value: object) -> T:
        for each in allowed:
            if value == each and type(value) is type(each):
                return each
        raise ValueError(f"must be {' or '.join(map(str, allowed))}")

    return check


def integer(low: int, high: int) -> Check[int]:
    def check(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    return check


def number(low: float, high: float) -> Check[float]:
    def check(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError(f"must be a number from {low:g} to {high:g}")
        return value

    return check


word = matching(rf"[^{_BLANK}\"{{}}#!]+", "text without blanks")
interface_name = matching(_INTERFACE_NAME, "the name of an interface")
interface_or_auto = matching(_INTERFACE_NAME, "auto, or the name of an interface")
check_name = matching(r"[A-Za-z0-9_.-]{1,64}", "1 to 64 letters, digits, '_', '.', '-'")
command = matching(rf"[^{_CONTROL}\"]*[^{_BLANK}\"][^{_CONTROL}\"]*", "one line without double quotes")
process_name = matching(r"[A-Za-z0-9_.+-]{1,15}", "the name of a process: 1 to 15 letters, digits, '_', '.', '+', '-'")
password = matching(r"[A-Za-z0-9_.,:;/@%^&*()<>?=+~$-]{1,8}", "1 to 8 characters: letters, digits and _.,:;/@%^&*()<>?=+~$-")
mail_address = matching(rf"[^{_BLANK}@\"{{}}#!<>]+@[^{_BLANK}@\"{{}}#!<>]+", "an e-mail address")
path = matching(rf"/[^{_BLANK}\"]+", "an absolute path")


def member_address(value: object) -> IPAddress:
    """An address of the keepalived link."""
    try:
        return ipaddress.ip_address(str(value))
    except ValueError:
        raise ValueError(
            "must be an IP address: give the job consumes: {keepalived: {from: keepalived, ip_addresses: true}} in the manifest"
        ) from None


def peer_address(value: object) -> IPAddress:
    allowed = "must be a unicast IP address"
    try:
        address = ipaddress.ip_address(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError(allowed) from None
    if not _is_unicast(address) or "%" in str(value):
        raise ValueError(allowed)
    return address


def network(value: object) -> IPNetwork:
    """An address, or the network in which every instance has one."""
    try:
        return ipaddress.ip_network(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError("must be an address of this instance, or a network (10.0.0.0/24) in which it has one") from None


def vip(value: object) -> IPInterface:
    try:
        found = ipaddress.ip_interface(str(value))
    except ValueError:
        raise ValueError("must be an IPv4 or IPv6 address, with a prefix length or without") from None
    if "%" in str(value) or not _is_unicast(found.ip):
        raise ValueError("must be a unicast address that clients can reach")
    return found


def _is_unicast(address: IPAddress) -> bool:
    return not (address.is_multicast or address.is_loopback or address.is_unspecified or address == _BROADCAST)


def mail_addresses(value: object) -> tuple[str, ...]:
    """One address, or a list of them."""
    return list_of(mail_address)([value] if isinstance(value, str) else value)


def server(value: object) -> tuple[str, int]:
    """HOST or HOST:PORT; an IPv6 address stands in brackets where a port follows."""
    allowed = "must be HOST or HOST:PORT"
    found = re.fullmatch(
        r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+)|([0-9A-Fa-f:.]+))(?::(\d{1,5}))?", value if isinstance(value, str) else ""
    )
    if not found or not 1 <= int(found[4] or 25) <= 65535:
        raise ValueError(allowed)
    return found[1] or found[2] or found[3], int(found[4] or 25)


def keepalived_lines(value: object) -> str:
    """Lines for keepalived.conf; every block that is opened in them is closed in them."""
    allowed = "must be text in which every { has its }"
    if not isinstance(value, str) or re.search(_CONTROL_IN_LINES, value):
        raise ValueError(allowed)
    depth = 0
    for character in "\n".join(re.split(r"[#!]", line)[0] for line in value.splitlines()):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth < 0:
            raise ValueError(allowed)
    if depth:
        raise ValueError(allowed)
    return value


def health_check(value: object) -> SplitResult:
    allowed = "must be tcp://HOST:PORT, http://HOST[:PORT]/PATH, or unix:///PATH of haproxy's stats socket"
    if not isinstance(value, str) or re.search(f"[{_BLANK}]", value):
        raise ValueError(allowed)
    try:
        url = urlsplit(value)
        port = url.port
    except ValueError:
        raise ValueError(allowed) from None
    host_given = bool(url.hostname)
    valid = {
        "tcp": host_given and bool(port) and url.path in ("", "/"),
        "http": host_given,
        "unix": not host_given and url.path.startswith("/") and len(url.path) > 1,
    }
    if not valid.get(url.scheme, False):
        raise ValueError(allowed)
    return url

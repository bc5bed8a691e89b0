"""The one configuration object: read from a job's JSON file, valid once built, frozen.

Errors name the property as the operator wrote it in the manifest, the value, and what is allowed. Unknown keys
are refused. Both jobs render the same ``instance``, ``instances`` and ``keepalived`` sections from the keepalived
link; the vrrp-drain job adds its own section.
"""

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit

from . import bands
from .advert import IPAddress
from .errors import ConfigError
from .timing import master_down_interval

T = TypeVar("T")
_NOTHING: object = {}
MAX_INSTANCES = bands.WIDTH
_BROADCAST = ipaddress.IPv4Address("255.255.255.255")
GRACE = 2.0  # seconds that a handover gets on top of Master_Down_Interval


@dataclass(frozen=True)
class Instance:
    """One member of the instance group, as the keepalived link describes it."""

    name: str
    index: int
    id: str
    address: IPAddress
    bootstrap: bool

    def __str__(self) -> str:
        return f"{self.name}/{self.index}"


@dataclass(frozen=True)
class Keepalived:
    """The properties ``keepalived.*``; times in seconds."""

    vip: ipaddress.IPv4Interface | ipaddress.IPv6Interface
    interface: str
    virtual_router_id: int
    vrrp_version: int
    advert_int: float
    priority: int
    healthcheck_name: str
    healthcheck_command: str
    healthcheck_interval: int
    healthcheck_timeout: int
    healthcheck_rise: int
    healthcheck_fall: int
    healthcheck_weight: int
    garp_master_refresh: int
    garp_master_delay: int
    dont_track_primary: bool


@dataclass(frozen=True)
class VrrpDrain:
    """The properties ``vrrp_drain.*``; times in seconds."""

    handover_timeout: float
    post_start_timeout: float
    on_no_successor: str
    health_check: SplitResult


@dataclass(frozen=True)
class Config:
    """All that one instance knows of itself, its peers and its virtual router."""

    me: Instance
    instances: tuple[Instance, ...]
    keepalived: Keepalived
    drain: VrrpDrain

    @property
    def vip(self) -> IPAddress:
        return self.keepalived.vip.ip

    @property
    def peers(self) -> tuple[Instance, ...]:
        return tuple(i for i in self.instances if i.id != self.me.id)

    @classmethod
    def load(cls, path: Path) -> "Config":
        """Read and check ``path``. Raises ConfigError."""
        try:
            raw = json.loads(path.read_bytes())
        except OSError as error:
            raise ConfigError("configuration file", str(path), f"must be readable ({error.strerror})") from None
        except ValueError as error:
            raise ConfigError("configuration file", str(path), f"must be JSON ({error})") from None
        return cls.parse(raw)

    @classmethod
    def parse(cls, raw: object) -> "Config":
        """Check what the job's template rendered. Raises ConfigError."""
        top = _Section("", raw)
        instances = tuple(_instance(f"instances[{n}]", each) for n, each in enumerate(top.take("instances", _list)))
        me = _instance("instance", top.take("instance", _anything))
        keepalived = _keepalived(top.take("keepalived", _anything), _rank(me, instances))
        drain = _vrrp_drain(top.take("vrrp_drain", _anything, default=_NOTHING), keepalived)
        top.refuse_the_rest()
        for each in instances:
            if each.address == keepalived.vip.ip:
                raise ConfigError("keepalived.vip", str(keepalived.vip), f"must not be the address of an instance ({each})")
        return cls(me, instances, keepalived, drain)


def _rank(me: Instance, instances: tuple[Instance, ...]) -> int:
    """Return our place among the instances: the bootstrap instance first, then by index."""
    if len(instances) > MAX_INSTANCES:
        raise ConfigError("instances", len(instances), f"at most {MAX_INSTANCES} can share one VIP")
    ordered = sorted(instances, key=lambda i: (not i.bootstrap, i.index))
    for rank, each in enumerate(ordered):
        if each.id == me.id:
            return rank
    raise ConfigError("instance.id", me.id, "must be one of the keepalived link's instances: does the link lead to another instance group?")


def _instance(where: str, raw: object) -> Instance:
    section = _Section(where, raw)
    instance = Instance(
        name=section.take("name", _text),
        index=section.take("index", _integer(0, 1_000_000)),
        id=section.take("id", _text),
        address=section.take("address", _address),
        bootstrap=section.take("bootstrap", _boolean),
    )
    section.refuse_the_rest()
    return instance


def _keepalived(raw: object, rank: int) -> Keepalived:
    section = _Section("keepalived", raw)
    vip = section.take("vip", _vip)
    version = section.take("vrrp_version", _choice(2, 3), default=2 if vip.version == 4 else 3)
    if version == 2 and vip.version == 6:
        raise ConfigError("keepalived.vrrp_version", 2, f"must be 3, because keepalived.vip {vip} is IPv6")
    interval = section.take("advert_int", _number(0.01, 255), default=1.0)
    if version == 2 and interval != int(interval):
        raise ConfigError(
            "keepalived.advert_int", interval, "version 2 of VRRP takes whole seconds from 1 to 255; set keepalived.vrrp_version to 3"
        )
    if version == 3 and (interval > 40.95 or round(interval * 100) != round(interval * 100, 6)):
        raise ConfigError("keepalived.advert_int", interval, "version 3 of VRRP takes 0.01 to 40.95 seconds in steps of 0.01")
    check_every = section.take("healthcheck_interval", _integer(1, 3600), default=2)
    keepalived = Keepalived(
        vip=vip,
        interface=section.take("interface", _matching(r"[^\s/:{}\"#!]{1,15}", "auto, or the name of an interface"), default="auto"),
        virtual_router_id=section.take("virtual_router_id", _integer(1, 255), default=1),
        vrrp_version=version,
        advert_int=float(interval),
        priority=section.take("priority", _integer(bands.LOWEST_BASE, bands.HIGHEST), default=bands.base_of_rank(rank)),
        healthcheck_name=section.take(
            "healthcheck_name", _matching(r"[A-Za-z0-9_.-]{1,64}", "1 to 64 letters, digits, '_', '.', '-'"), default="check_haproxy"
        ),
        healthcheck_command=section.take(
            "healthcheck_command", _matching(r"[^\n\"]*[^\s\"][^\n\"]*", "one line without double quotes"), default="killall -0 haproxy"
        ),
        healthcheck_interval=check_every,
        healthcheck_timeout=section.take("healthcheck_timeout", _integer(1, 3600), default=check_every),
        healthcheck_rise=section.take("healthcheck_rise", _integer(1, 100), default=1),
        healthcheck_fall=section.take("healthcheck_fall", _integer(1, 100), default=1),
        healthcheck_weight=section.take("healthcheck_weight", _choice(bands.UNHEALTHY_WEIGHT, 0), default=bands.UNHEALTHY_WEIGHT),
        garp_master_refresh=section.take("garp_master_refresh", _integer(0, 86400), default=60),
        garp_master_delay=section.take("garp_master_delay", _integer(1, 3600), default=5),
        dont_track_primary=section.take("dont_track_primary", _boolean, default=False),
    )
    section.refuse_the_rest()
    return keepalived


def _vrrp_drain(raw: object, keepalived: Keepalived) -> VrrpDrain:
    section = _Section("vrrp_drain", raw)
    slowest = master_down_interval(bands.LOWEST_BASE, keepalived.advert_int, keepalived.vrrp_version)
    drain = VrrpDrain(
        handover_timeout=section.take("handover_timeout", _number(0.1, 3600), default=slowest + GRACE),
        post_start_timeout=section.take("post_start_timeout", _number(1, 3600), default=max(120.0, 2 * slowest)),
        on_no_successor=section.take("on_no_successor", _choice("proceed", "fail"), default="proceed"),
        health_check=section.take("health_check", _health_check, default=urlsplit("tcp://127.0.0.1:80")),
    )
    section.refuse_the_rest()
    for name, value in (("handover_timeout", drain.handover_timeout), ("post_start_timeout", drain.post_start_timeout)):
        if value <= slowest:
            raise ConfigError(
                f"vrrp_drain.{name}",
                value,
                f"must be longer than Master_Down_Interval, {slowest:.2f} s at keepalived.advert_int {keepalived.advert_int:g}",
            )
    return drain


class _Section:
    """A JSON object of which every key is taken once; null counts as not given."""

    def __init__(self, name: str, raw: object) -> None:
        if not isinstance(raw, Mapping):
            raise ConfigError(name or "configuration", raw, "must be a JSON object")
        self._name = name
        self._left = dict(raw)

    def take(self, key: str, check: Callable[[Any], T], default: T | None = None) -> T:
        """Return the checked value of ``key``, or the default. Raises ConfigError, also where it is required."""
        value = self._left.pop(key, None)
        if value is None:
            if default is None:
                raise ConfigError(self._full(key), None, "must be given")
            return default
        try:
            return check(value)
        except (ValueError, TypeError) as error:
            raise ConfigError(self._full(key), value, str(error)) from None

    def refuse_the_rest(self) -> None:
        for key, value in self._left.items():
            raise ConfigError(self._full(key), value, "is not a property that this version knows")

    def _full(self, key: str) -> str:
        return f"{self._name}.{key}" if self._name else key


# Checks: each returns the value in its final type, or raises ValueError with what is allowed.


def _anything(value: object) -> object:
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list) or not value:
        raise ValueError("must be a list with at least one entry")
    return value


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _text(value: object) -> str:
    return _matching(r"[^\s\"{}#!]+", "text without blanks")(value)


def _matching(pattern: str, allowed: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise ValueError(f"must be {allowed}")
        return value

    return check


def _choice(*allowed: T) -> Callable[[object], T]:
    def check(value: object) -> T:
        for each in allowed:
            if value == each and type(value) is type(each):
                return each
        raise ValueError(f"must be {' or '.join(map(str, allowed))}")

    return check


def _integer(low: int, high: int) -> Callable[[object], int]:
    def check(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    return check


def _number(low: float, high: float) -> Callable[[object], float]:
    def check(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError(f"must be a number from {low:g} to {high:g}")
        return value

    return check


def _address(value: object) -> IPAddress:
    try:
        return ipaddress.ip_address(str(value))
    except ValueError:
        raise ValueError("must be an IP address: the keepalived link must be rendered with addresses, not DNS names") from None


def _vip(value: object) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    try:
        vip = ipaddress.ip_interface(str(value))
    except ValueError:
        raise ValueError("must be an IPv4 or IPv6 address, with a prefix length or without") from None
    if "%" in str(value) or vip.ip.is_multicast or vip.ip.is_loopback or vip.ip.is_unspecified or vip.ip == _BROADCAST:
        raise ValueError("must be a unicast address that clients can reach")
    return vip


def _health_check(value: object) -> SplitResult:
    allowed = "must be tcp://HOST:PORT, http://HOST[:PORT]/PATH, or unix:///PATH of haproxy's stats socket"
    if not isinstance(value, str):
        raise ValueError(allowed)
    url = urlsplit(value)
    try:
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

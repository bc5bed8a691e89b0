"""Another release's keepalived job beside ours, and what its configuration says under the names of our properties.

haproxy-boshrelease's job writes keepalived.config from keepalived.config.template at every start. What we write there is
keepalived/upstream_config.py's.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from vrrp_drain.runtime.errors import ConfigError, what_happened

LOWERED_BY = 20  # from 100 or 101 into the draining band, below what an unhealthy instance of that job has
UNHEALTHY_BY = 50  # into our unhealthy band
_PROPERTY = "vrrp_drain.keepalived_config"
PRIORITY = re.compile(
    r"^(?P<before>[ \t]*priority[ \t]+)(?P<now>\d+)"
    r"(?:[ \t]*# vrrp-drain lowered it from (?P<original>\d+)(?: \((?P<why>[a-z, ]+)\))?)?[ \t]*$",
    re.MULTILINE,
)


Number = TypeVar("Number", int, float)


class _Unusual(Exception):
    """A setting that keepalived would not take."""


@dataclass(frozen=True)
class UpstreamJob:
    """Where that job keeps what we need of it."""

    config: Path
    pid_file: Path

    @property
    def present(self) -> list[Path]:
        """Return the template, which is what the next start reads, and the configuration, which is what runs; if they are there."""
        return [path for path in (self.config.with_name(f"{self.config.name}.template"), self.config) if path.exists()]


def read(job: UpstreamJob) -> Mapping[str, Any]:
    """Return the settings of its vrrp_instance under the names of our properties, with ``priority`` and ``weight`` of its own.

    Raises ConfigError where the file cannot be read or is not of the kind that can be steered.
    """
    path = next(iter(job.present), None)
    if path is None:
        raise ConfigError(_PROPERTY, str(job.config), "must be the configuration file of the keepalived job beside vrrp-drain")
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(_PROPERTY, str(path), f"must be readable ({what_happened(error)})") from None
    try:
        return _settings_of_instance(path, text)
    except _Unusual as error:
        raise ConfigError(_PROPERTY, str(path), f"must have settings that keepalived understands: {error}") from None


def _settings_of_instance(path: Path, text: str) -> Mapping[str, Any]:
    settings = list(_settings(text))
    names = {block[0] for block, _ in settings if block and block[0].startswith("vrrp_instance ")}
    if len(names) != 1 or len(PRIORITY.findall(text)) != 1:
        raise ConfigError(_PROPERTY, str(path), f"must have one vrrp_instance with one priority; it has {len(names)}")
    (name,) = names
    ours = {words[0]: words for block, words in settings if block == (name,)}

    def within(block: str) -> list[str]:
        return [words[0] for path, words in settings if path == (name, block)]

    weights = [_number(words, int) for block, words in settings if block[0].startswith("vrrp_script ") and words[0] == "weight"]
    passwords = [words for block, words in settings if block == (name, "authentication") and words[0] == "auth_pass"]
    return {
        "interface": (ours.get("interface", [])[1:] or ["auto"])[0],
        "virtual_router_id": _number(ours.get("virtual_router_id", ["", "51"]), int),
        "vrrp_version": _number(ours.get("version", ["", "2"]), int),
        "advert_int": _number(ours.get("advert_int", ["", "1"]), float),
        "priority": next(int(each["original"] or each["now"]) for each in PRIORITY.finditer(text)),
        "weight": weights[0] if weights else 0,
        "preempt": "nopreempt" not in ours,
        "healthcheck_weight": 0,
        "unicast": bool(within("unicast_peer")),
        "unicast_peers": within("unicast_peer"),
        "auth_pass": passwords[0][1] if passwords and passwords[0][1:] else None,
    }


def _number(words: Sequence[str], kind: type[Number]) -> Number:
    """Return the number of a setting: its name, and its value. Raises _Unusual."""
    try:
        return kind(words[1])
    except (ValueError, IndexError):
        given = repr(words[1]) if words[1:] else "empty"
        raise _Unusual(f"{words[0]} is {given}, must be a {'whole ' if kind is int else ''}number") from None


def _settings(text: str) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """Yield every setting of a keepalived.conf with the blocks that it stands in (keepalived.conf(5), CONFIGURATION PARSER)."""
    path: list[str] = []
    for line in text.splitlines():
        words = re.split(r"[#!]", line)[0].split()
        if not words:
            continue
        if words[-1] == "{":
            path.append(" ".join(words[:-1]))
        elif words == ["}"]:
            path = path[:-1]
        else:
            yield tuple(path) or ("",), words

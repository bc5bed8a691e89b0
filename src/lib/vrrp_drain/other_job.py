"""Another release's keepalived job beside ours: its settings, and its priority as our lever.

haproxy-boshrelease's job writes keepalived.config from keepalived.config.template at every start. We lower the
``priority`` in both and have keepalived read its configuration again (SIGHUP): it stays MASTER across that and adverts the
new priority. Both are lowered, because an instance that has just been updated must start lowered too. The original number
stands in a comment beside ours, so that it is put back even by a vrrpctl that knows of nothing else.
"""

import os
import re
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .bands import LOWEST, Band
from .errors import ConfigError, SystemFault
from .process import running

LOWERED_BY = 20  # from 100 or 101 into the draining band, below what an unhealthy instance of that job has
UNHEALTHY_BY = 50  # into our unhealthy band
_DRAINING, _UNHEALTHY = "draining", "unhealthy"
_PROPERTY = "vrrp_drain.keepalived_config"
_PRIORITY = re.compile(
    r"^(?P<before>[ \t]*priority[ \t]+)(?P<now>\d+)"
    r"(?:[ \t]*# vrrp-drain lowered it from (?P<original>\d+)(?: \((?P<why>[a-z, ]+)\))?)?[ \t]*$",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Files:
    """Where that job keeps what we need of it."""

    config: Path
    pid_file: Path

    @property
    def present(self) -> list[Path]:
        """Return the template, which is what the next start reads, and the configuration, which is what runs; if they are there."""
        return [path for path in (self.config.with_name(f"{self.config.name}.template"), self.config) if path.exists()]


def read(files: Files) -> Mapping[str, Any]:
    """Return the settings of its vrrp_instance under the names of our properties, with ``priority`` and ``weight`` of its own.

    Raises ConfigError where the file cannot be read or is not of the kind that can be steered.
    """
    path = next(iter(files.present), None)
    if path is None:
        raise ConfigError(_PROPERTY, str(files.config), "must be the configuration file of the keepalived job beside vrrp-drain")
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(_PROPERTY, str(path), f"must be readable ({error})") from None
    try:
        return _settings_of_instance(path, text)
    except (ValueError, IndexError) as error:
        raise ConfigError(_PROPERTY, str(path), f"must have settings that keepalived understands ({error})") from None


def _settings_of_instance(path: Path, text: str) -> Mapping[str, Any]:
    settings = list(_settings(text))
    names = {block[0] for block, _ in settings if block and block[0].startswith("vrrp_instance ")}
    if len(names) != 1 or len(_PRIORITY.findall(text)) != 1:
        raise ConfigError(_PROPERTY, str(path), f"must have one vrrp_instance with one priority; it has {len(names)}")
    (name,) = names
    ours = {words[0]: words[1:] for block, words in settings if block == (name,)}

    def within(block: str) -> list[str]:
        return [words[0] for path, words in settings if path == (name, block)]

    weights = [int(words[1]) for block, words in settings if block[0].startswith("vrrp_script ") and words[0] == "weight"]
    return {
        "interface": (ours.get("interface") or ["auto"])[0],
        "virtual_router_id": _whole(ours, "virtual_router_id", 51),
        "vrrp_version": _whole(ours, "version", 2),
        "advert_int": float(ours.get("advert_int", ["1"])[0]),
        "priority": next(int(each["original"] or each["now"]) for each in _PRIORITY.finditer(text)),
        "weight": weights[0] if weights else 0,
        "preempt": "nopreempt" not in ours,
        "healthcheck_weight": 0,
        "unicast": bool(within("unicast_peer")),
        "unicast_peers": within("unicast_peer"),
        "auth_pass": next((words[1] for block, words in settings if block == (name, "authentication") and words[0] == "auth_pass"), None),
    }


def _whole(settings: Mapping[str, list[str]], key: str, default: int) -> int:
    return int(settings.get(key, [str(default)])[0])


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


class ConfigLever:
    """Sets the band through that job's configuration; the counterpart of BandFile."""

    def __init__(self, files: Files) -> None:
        self._files = files

    @property
    def path(self) -> Path:
        return self._files.config

    def read(self) -> Band | None:
        """Return the band that the configuration has, or None where there is none yet. Raises SystemFault."""
        lowered = self._lowered()
        return lowered and lowered[0]

    def write(self, band: Band) -> None:
        """Make ``band`` the band, and have keepalived read it. Raises SystemFault; what was there before then still holds."""
        self._lower(band, self.unhealthy(), str(band))

    def unhealthy(self) -> bool:
        """Tell whether the watcher has marked haproxy as dead. Raises SystemFault."""
        lowered = self._lowered()
        return lowered is not None and lowered[1]

    def mark(self, *, unhealthy: bool) -> None:
        """Have keepalived advert a priority of the unhealthy band, or no longer. Raises SystemFault; nothing is changed then."""
        self._lower(self.read() or Band.ACTIVE, unhealthy, "unhealthy" if unhealthy else "healthy")

    def _lowered(self) -> tuple[Band, bool] | None:
        """Return the band, and whether haproxy is marked as dead; None where there is no configuration yet. Raises SystemFault."""
        try:
            texts = [path.read_text() for path in self._files.present]
        except (OSError, UnicodeDecodeError) as error:
            raise SystemFault(f"cannot read {self.path}: {error}") from error
        whys = [each["why"] or _DRAINING for text in texts for each in _PRIORITY.finditer(text) if each["original"]]
        draining, unhealthy = (any(word in why for why in whys) for word in (_DRAINING, _UNHEALTHY))
        return (Band.DRAINING if draining else Band.ACTIVE, unhealthy) if texts else None

    def _lower(self, band: Band, unhealthy: bool, meaning: str) -> None:
        why = [_DRAINING] * (band is Band.DRAINING) + [_UNHEALTHY] * unhealthy
        try:
            changed = [_rewrite(path, why) for path in self._files.present]
            pid = running(self._files.pid_file)
            if any(changed) and pid is not None:
                with suppress(ProcessLookupError):  # it ended meanwhile
                    os.kill(pid, signal.SIGHUP)
        except (OSError, UnicodeDecodeError) as error:
            raise SystemFault(f"cannot change the priority in {self.path} to {meaning}: {error}; the priority is unchanged") from error

    def changed_at(self) -> float | None:
        """Return when the configuration was written, in seconds since the epoch, or None where there is none."""
        try:
            return self.path.stat().st_mtime
        except OSError:
            return None


def _rewrite(path: Path, why: Sequence[str]) -> bool:
    """Replace the file as a whole, owner and mode kept; tell whether anything had to change."""

    def line(match: re.Match[str]) -> str:
        original = int(match["original"] or match["now"])
        if not why:
            return f"{match['before']}{original}"
        now = max(LOWEST, original - LOWERED_BY * (_DRAINING in why) - UNHEALTHY_BY * (_UNHEALTHY in why))
        said = f" ({', '.join(why)})" if _UNHEALTHY in why else ""
        return f"{match['before']}{now} # vrrp-drain lowered it from {original}{said}"

    before = path.read_text()
    after = _PRIORITY.sub(line, before)
    if after == before:
        return False
    scratch = path.with_name(f".{path.name}.new")
    scratch.write_text(after)
    shutil.copymode(path, scratch)
    found = path.stat()
    os.chown(scratch, found.st_uid, found.st_gid)
    scratch.replace(path)
    return True

"""What an operator has said once and stands: that this instance stays out until it is promoted, or that BOSH may stop it as the last one.

Each is a file with who said it and when. The first is on the disk, where a reboot leaves it, and a cut of the power as soon as it was said;
the second on tmpfs.
"""

import json
import math
import os
import pwd
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from . import files
from .errors import SystemFault
from .paths import Paths
from .plain import plain, utc

_LONGEST = 64  # characters of a name
_NOBODY = 2**32 - 1  # the login uid of what nobody has logged in for
_LOGIN_UID = Path("/proc/self/loginuid")
_LATEST = 253402300800.0  # seconds since the epoch: the year 10000


@dataclass(frozen=True)
class Order:
    """``at`` is when it was given, ``until`` when it ends by itself, in seconds since the epoch; None where it does not."""

    who: str
    at: float
    until: float | None = None

    def __str__(self) -> str:
        until = "" if self.until is None else f", until {utc(self.until)}"
        return f"said by {self.who} at {utc(self.at)}{until}"


class StandingOrder:
    """One of the two; whoever acts on it looks at the moment of use."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def stay_out(cls, paths: Paths) -> "StandingOrder":
        """Return that of `vrrpctl demote --until-promoted`."""
        return cls(paths.disk / "stay-out")

    @classmethod
    def let_go(cls, paths: Paths) -> "StandingOrder":
        """Return that of `vrrpctl let-go`."""
        return cls(paths.drain_run / "let-go")

    def read(self) -> Order | None:
        """Return the order that stands. One whose file is damaged stands all the same: nobody has taken it back."""
        try:
            text = files.read_text(self._path)
        except UnicodeDecodeError:
            text = ""
        except OSError:  # there is none, or somebody who is not root has put something else there
            return None
        order = _parsed(text) or Order("somebody (the file is damaged)", files.changed_at(self._path) or 0.0)
        return order if order.until is None or time.time() < order.until else None

    def give(self, who: str, seconds: float | None = None) -> Order:
        """Have it stand, for ``seconds`` or until it is taken back. Raises SystemFault where it cannot be kept."""
        now = time.time()
        order = Order(bounded(who), now, None if seconds is None else now + seconds)
        try:
            files.replace(self._path, json.dumps(asdict(order)), durable=True)
        except OSError as error:
            raise SystemFault(f"cannot write {self._path}: {error.strerror}; nothing was changed") from error
        return order

    def take_back(self) -> None:
        """Have it stand no more. Raises SystemFault where it cannot be removed."""
        try:
            files.remove(self._path, durable=True)
        except OSError as error:
            raise SystemFault(f"cannot remove {self._path}: {error.strerror}; what it says still stands") from error


def _parsed(text: str) -> Order | None:
    try:
        found = json.loads(text)
        order = Order(bounded(found["who"]), float(found["at"]), None if found["until"] is None else float(found["until"]))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None
    times = (order.at, *(() if order.until is None else (order.until,)))
    return order if all(math.isfinite(each) and 0 <= each < _LATEST for each in times) else None


def whoever_runs_this(environment: Mapping[str, str]) -> str:
    """Return for people who asked: by sudo, by login, or as whom this runs."""
    if by_sudo := environment.get("SUDO_USER"):
        return bounded(by_sudo)
    uid = os.getuid()
    with suppress(OSError, ValueError):
        login = int(_LOGIN_UID.read_text())
        uid = uid if login == _NOBODY else login
    try:
        return bounded(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return f"uid {uid}"


def bounded(who: str) -> str:
    """Return a name as one short line, whatever somebody has put into it."""
    shown = plain(" ".join(who.split()))
    return (shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…") or "somebody"

"""How haproxy closes what is open when it is told to finish: what its configuration says of that (haproxy's configuration manual, 3.1).

Without ``close-spread-time`` idle connections over HTTP/2 are told in the same moment, whatever their number, and their clients come to
the new MASTER all at once.
"""

import math
import re
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

from .config_files import SECTION

_TIME = re.compile(r"([0-9]+)(us|ms|s|m|h|d)?")
_UNITS = {"us": 1e-6, "ms": 1e-3, "": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}  # 2.5 time format
_NEVER = "infinite"


@dataclass(frozen=True)
class Closing:
    """In seconds: ``spread`` is over how many it closes, 0 for at once and infinity for never; ``hard`` after how many it ends anyway.

    ``http2`` tells whether clients may speak HTTP/2, which are those that are told at once.
    """

    spread: float = 0.0
    hard: float = math.inf
    http2: bool = False


def parse(text: str) -> Closing:
    """Read a configuration; a line that is not understood is passed over, and the last one counts."""
    found, section, http2 = dict[str, float](), "", False
    for line in text.splitlines():
        with suppress(ValueError):  # a quote that is not closed
            words = shlex.split(line, comments=True)
            http2 = http2 or (words[:1] == ["bind"] and _speaks_http2(words))
            if words and SECTION.fullmatch(words[0]):
                section = words[0]
            elif section == "global" and len(words) > 1 and (seconds := _seconds(words[1])) is not None:
                found[words[0]] = seconds
    return Closing(found.get("close-spread-time", 0.0), found.get("hard-stop-after", math.inf), http2)


def _speaks_http2(bind: Sequence[str]) -> bool:
    """Where TLS agrees on the protocol, or by itself; from haproxy 2.8 on TLS does without being told (5.1, alpn and proto)."""
    given = dict(pairwise(bind))
    return given.get("proto") == "h2" or ("ssl" in bind and "no-alpn" not in bind and "h2" in given.get("alpn", "h2").split(","))


def _seconds(word: str) -> float | None:
    if word == _NEVER:
        return math.inf
    time = _TIME.fullmatch(word)
    return int(time[1]) * _UNITS[time[2] or ""] if time else None

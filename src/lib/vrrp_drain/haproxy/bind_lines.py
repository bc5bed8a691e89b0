"""What haproxy's own configuration says of its ports: which want a PROXY header first, and which connect to a server by themselves.

The kernel tells where haproxy listens, but not what it wants to hear there. What this finds is advice: a line that is not understood, or a
file that cannot be read, is passed over (haproxy's configuration manual, 2.2 quoting, 5.1 bind options, "tcp-request connection").
"""

import ipaddress
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from vrrp_drain.runtime.ip import IPAddress

from . import config_files

_WANTED = re.compile(rf"[ \t]*(?:{config_files.SECTION.pattern}|bind|mode|tcp-request|setenv|presetenv)(?![\w-])")
_TAKE_CLIENTS = ("frontend", "listen")
_TCP = re.compile(r"(?:(?:ipv4@|ipv6@|tcp@|tcp4@|tcp6@)?(?P<host>[^@]*):)?(?P<low>[0-9]+)(?:-(?P<high>[0-9]+))?")
_VARIABLE = re.compile(r"\$(?:\{(?P<braced>\w+)[^}]*\}|(?P<bare>\w+))")
_FROM_ELSEWHERE = (["unless", "LOCALHOST"], ["if", "!LOCALHOST"])  # haproxy's own ACL for 127.0.0.0/8 and ::1
_EXPECT = ["connection", "expect-proxy", "layer4"]


class Proxy(IntEnum):
    """From whom a port wants a PROXY header (haproxy's proxy-protocol.txt) before anything else."""

    NOBODY = 0
    ELSEWHERE = 1  # from all but this machine itself
    EVERYBODY = 2


@dataclass(frozen=True)
class BindLine:
    """Where one frontend listens; ``host`` is None for every address. ``relays``: a connection that says nothing reaches a server."""

    host: IPAddress | None
    ports: range
    proxy: Proxy
    relays: bool


@dataclass(frozen=True)
class Configuration:
    """``unix`` tells whether a frontend listens at a socket in the file system."""

    lines: tuple[BindLine, ...] = ()
    unix: bool = False

    def about(self, address: IPAddress, port: int) -> list[BindLine]:
        """Return the lines that made a listener at ``address``: those that name it, or those for every address."""
        there = [each for each in self.lines if port in each.ports]
        return [each for each in there if each.host == address] or [each for each in there if each.host is None or each.host.is_unspecified]


def of_process(pid: int) -> Configuration:
    """Return what the files say with which haproxy was started."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_text(errors="replace").split("\0")
    except OSError:  # it has ended
        environment = []
    return parse(config_files.text_of(pid), dict(each.partition("=")[::2] for each in environment))


def parse(text: str, environment: Mapping[str, str]) -> Configuration:
    """Read a configuration; ``environment`` is what its variables mean before it sets some itself."""
    known, lines, unix = dict(environment), list[BindLine](), False
    for section in _sections(text):
        known |= {words[1]: words[2] for words in section.lines if words[0] in ("setenv", "presetenv") and len(words) == 3}
        if section.kind not in _TAKE_CLIENTS:
            continue
        expects = max((_expects(words) for words in section.lines), default=Proxy.NOBODY)
        for _, where, *options in (words for words in section.lines if words[0] == "bind" and len(words) > 1):
            proxy = Proxy.EVERYBODY if "accept-proxy" in options else expects
            for each in _expanded(where, known).split(","):
                unix = unix or each.startswith(("/", "unix@"))
                if (place := _place(each)) is not None:
                    lines.append(BindLine(*place, proxy, relays=section.relays and "ssl" not in options))
    return Configuration(tuple(lines), unix)


@dataclass(frozen=True)
class _Section:
    kind: str
    lines: list[list[str]]
    relays: bool  # its mode is tcp


def _sections(text: str) -> Iterator[_Section]:
    """Yield the sections, with the mode that holds there: its own, that of the defaults which it names, or of those before it."""
    modes, last = dict[str, str](), ""
    for head, lines in _grouped(text):
        named = modes.get(head[head.index("from") + 1], last) if "from" in head[:-1] else last
        mode = next(
            (words[1] for words in reversed(lines) if words[0] == "mode" and len(words) > 1), named if head[0] != "defaults" else ""
        )
        if head[0] == "defaults":
            last = mode or (named if "from" in head else "")
            modes |= {name: last for name in head[1:2] if name != "from"}
        yield _Section(head[0], lines, relays=(mode or "tcp") == "tcp")


def _grouped(text: str) -> Iterator[tuple[list[str], list[list[str]]]]:
    head, lines = [""], list[list[str]]()
    for line in filter(_WANTED.match, text.splitlines()):
        with suppress(ValueError):  # a quote that is not closed
            words = shlex.split(line, comments=True)
            if words and config_files.SECTION.fullmatch(words[0]):
                yield head, lines
                head, lines = words, []
            elif words:
                lines.append(words)
    yield head, lines


def _expanded(word: str, known: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda found: known.get(found["braced"] or found["bare"], ""), word)


def _expects(words: Sequence[str]) -> Proxy:
    """Return what a line says of PROXY headers; under a condition of its own it cannot be told from here."""
    if words[0] != "tcp-request" or words[1:4] != _EXPECT:
        return Proxy.NOBODY
    if words[4:] in _FROM_ELSEWHERE:
        return Proxy.ELSEWHERE
    return Proxy.NOBODY if words[4:] else Proxy.EVERYBODY


def _place(word: str) -> tuple[IPAddress | None, range] | None:
    """Return address and ports of the first word after ``bind``, None where it is no place that TCP knows."""
    found = _TCP.fullmatch(word)
    if found is None:
        return None
    low, high, host = int(found["low"]), int(found["high"] or found["low"]), (found["host"] or "").strip("[]")
    ports = range(low, high + 1)
    if host in ("", "*"):
        return None, ports
    try:
        return ipaddress.ip_address(host), ports
    except ValueError:  # a name: whatever address it stands for
        return None, ports

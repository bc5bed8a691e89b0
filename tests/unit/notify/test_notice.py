"""A notice: what its JSON and its line say, and when it is a warning."""

import json
import math
from dataclasses import fields, replace

import pytest

from unit.support.samples import MOVED
from vrrp_drain.notify.notice import CAUSES, CONDITIONS, Cause, Kind, Notice


def test_json_has_every_field_and_the_time() -> None:
    """The keys are those of the fields; the kind is its value, and the time is UTC with milliseconds."""
    found = json.loads(json.dumps(MOVED.as_json()))
    assert found.pop("time") == "2026-11-23T04:05:06.789Z"
    assert found == {each.name: getattr(MOVED, each.name) for each in fields(Notice)}
    assert found["kind"] == "state"


@pytest.mark.parametrize(
    ("notice", "line"),
    [
        (MOVED, "state backup -> master, peer_lost: nobody adverts (0.50 s)"),
        (replace(MOVED, previous="", seconds=None), "state master, peer_lost: nobody adverts"),
        (replace(MOVED, reason="two\n lines\r\n", seconds=0.0), "state backup -> master, peer_lost: two lines (0.00 s)"),
    ],
)
def test_a_notice_is_one_line(notice: Notice, line: str) -> None:
    """Whatever the reason has in it, the log gets one line."""
    assert notice.line() == line


@pytest.mark.parametrize("text", ["\x1b[2J", "\x9b31m", "\u202e", "\u2066", "\x07", "\x7f", "\u200b", "\ud800", "\x00"])
def test_a_line_does_nothing_to_a_terminal(text: str) -> None:
    """What would clear the screen, ring, or turn the line around is shown as Python writes it; whichever field it stands in."""
    for field in ("previous", "state", "reason"):
        line = replace(MOVED, **{field: f"before{text}after"}).line()  # type: ignore[arg-type]
        assert f"before{text.encode('unicode_escape').decode()}after" in line
        assert line.isprintable()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("reason", None), ("reason", 5), ("reason", ["text"]), ("reason", {})),
        *(("at", math.inf), ("at", math.nan), ("at", -1), ("at", 1e300), ("at", "1"), ("at", None), ("at", True)),
        *(("seconds", "1"), ("seconds", math.nan), ("seconds", math.inf), ("seconds", -0.5), ("seconds", [])),
        *(("master", 5), ("master", ["10.0.0.1"]), ("priority", "254"), ("priority", 1.5)),
        *(("kind", "nonsense"), ("kind", None), ("kind", [])),
    ],
)
def test_json_that_is_no_notice_is_refused(field: str, value: object) -> None:
    """A file that anybody may have written is no reason for a traceback later on."""
    with pytest.raises((KeyError, TypeError, ValueError)):
        Notice.from_json({**MOVED.as_json(), field: value})


def test_a_cause_of_a_later_version_is_unknown() -> None:
    """After a roll back the history has words that this version never wrote: the move is told all the same, and looked at."""
    found = Notice.from_json({**MOVED.as_json(), "cause": "struck_by_lightning"})
    assert found == replace(MOVED, cause=Cause.UNKNOWN)
    assert found.severity == "warning"


def test_every_cause_has_its_meaning() -> None:
    """The table of the documentation is made of them."""
    assert [*CAUSES] == [*Cause]


@pytest.mark.parametrize(
    ("kind", "state", "cause", "severity"),
    [
        *((kind, "on", Cause.UNKNOWN, "warning") for kind in sorted(CONDITIONS)),
        *((kind, "off", Cause.UNKNOWN, "info") for kind in sorted(CONDITIONS)),
        (Kind.STATE, "backup", Cause.DRAIN, "info"),
        (Kind.STATE, "master", Cause.PEER_LOST, "warning"),
        (Kind.STATE, "stopped", Cause.KEEPALIVED_STOPPED, "warning"),
        (Kind.MASTER_MOVED, "backup", Cause.PREEMPT, "info"),
        (Kind.HAPROXY, "off", Cause.HAPROXY_DIED, "warning"),
        (Kind.HAPROXY, "on", Cause.HAPROXY_BACK, "info"),
        (Kind.BAND, "active", Cause.UNKNOWN, "info"),
        (Kind.WATCHER, "", Cause.START, "info"),
        (Kind.WATCHER, "", Cause.UNKNOWN, "warning"),
    ],
)
def test_severity(kind: Kind, state: str, cause: Cause, severity: str) -> None:
    """A condition that begins and a change that nobody asked for are warnings, all else is information."""
    assert replace(MOVED, kind=kind, state=state, cause=cause).severity == severity

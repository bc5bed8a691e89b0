"""What a deploy would meet, as one instance can tell: how many at a time BOSH makes of it, who is left, and how long it may take."""

from dataclasses import replace
from typing import Any

import pytest

from unit.support.fakes import VIP, rendered
from unit.support.samples import MOVED
from vrrp_drain.config.model import Config
from vrrp_drain.handover.prospects import Outlook
from vrrp_drain.notify.notice import Cause, Kind, Notice
from vrrp_drain.rehearsal.deploy import Forecast, MaxInFlight, Prospect, last_update

BOTH = Outlook(able=("haproxy/1", "haproxy/2"), healthy=("haproxy/1", "haproxy/2"))
ONE_OUT = Outlook(able=("haproxy/1",), healthy=("haproxy/1",), ended=("haproxy/2",))


@pytest.mark.parametrize(
    ("text", "instances", "at_a_time"),
    [
        ("1", 3, 1),
        ("2", 3, 2),
        ("7", 3, 3),
        ("0", 3, 1),
        ("50%", 3, 1),
        ("50%", 4, 2),
        ("67%", 3, 2),
        ("100%", 5, 5),
        ("300%", 5, 5),
        ("1%", 5, 1),
        ("0%", 5, 1),
        ("33%", 10, 3),
        (" 2 ", 3, 2),
    ],
)
def test_how_many_at_a_time(text: str, instances: int, at_a_time: int) -> None:
    """As the director reckons: per cent are rounded down, one is the least, and there are no more than there are."""
    asked = MaxInFlight.parse(text)
    assert asked.of(instances) == at_a_time
    assert str(asked) == text.strip()


@pytest.mark.parametrize("text", ["", "-1", "1.5", "50 %", "half", "%", "1%%", "٣", "1" * 10])
def test_what_is_no_number_is_refused(text: str) -> None:
    """With what is allowed."""
    with pytest.raises(ValueError, match="must be a number of instances, or a percentage of them"):
        MaxInFlight.parse(text)


def forecast(at_a_time: str | None, outlook: Outlook = BOTH, took: float | None = None, **drain: Any) -> Forecast:
    config = Config.parse(rendered(3, vrrp_drain=drain))
    return Forecast(VIP, 3, MaxInFlight.parse(at_a_time) if at_a_time else None, outlook, config.drain, took)


@pytest.mark.parametrize(
    ("found", "prospect"),
    [
        (forecast(None), None),
        (forecast("1"), Prospect.SMOOTH),
        (forecast("2"), Prospect.SMOOTH),
        (forecast("3"), Prospect.WAITS),
        (forecast("100%"), Prospect.WAITS),
        (forecast("2", ONE_OUT), Prospect.WAITS),
        (forecast("1", ONE_OUT), Prospect.SMOOTH),
        (forecast("2", took=400.0), Prospect.SMOOTH),
        (forecast("3", took=299.0), Prospect.WAITS),
        (forecast("3", took=301.0), Prospect.LOST),
        (forecast("3", took=400.0, successor_timeout=600), Prospect.WAITS),
        (forecast("3", took=1.0, successor_timeout=0), Prospect.LOST),
        (forecast("2", ONE_OUT, took=400.0), Prospect.LOST),
    ],
)
def test_what_becomes_of_the_vip(found: Forecast, prospect: Prospect | None) -> None:
    """As many as can take it over may be away at a time; with more the last one waits, as long as it may."""
    assert found.prospect is prospect
    assert found.felt == (prospect is Prospect.LOST)
    assert found.as_json()["prospect"] == prospect


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            forecast(None),
            [
                f"haproxy/1, haproxy/2 could take {VIP} over now",
                "with max_in_flight up to 2 of 3 there is always somebody; --max-in-flight tells of more",
            ],
        ),
        (
            forecast("67%"),
            [
                f"haproxy/1, haproxy/2 could take {VIP} over now",
                "max_in_flight 67% is 2 of 3 at a time: there is always somebody who can take the VIP over, and nobody waits",
            ],
        ),
        (
            forecast("3", took=41.4),
            [
                f"haproxy/1, haproxy/2 could take {VIP} over now",
                "max_in_flight 3 is 3 of 3 at a time: the last one serves on until the first is back, for at most 300 s "
                "(vrrp_drain.successor_timeout)",
                "the last update of this instance took 41 s",
            ],
        ),
        (
            forecast("2", ONE_OUT, took=400.0),
            [
                f"haproxy/1 could take {VIP} over now; taken out or stopped, until somebody starts them: haproxy/2",
                "max_in_flight 2 is 2 of 3 at a time: the last one serves on until the first is back, for at most 300 s "
                "(vrrp_drain.successor_timeout)",
                "the last update of this instance took 400 s, which is longer: the last one is stopped with its clients "
                "(vrrp_drain.on_no_successor)",
            ],
        ),
    ],
)
def test_what_it_says(found: Forecast, said: list[str]) -> None:
    """Who is there, how many at a time that is, and how long the last one can wait."""
    assert [*found.sentences()] == said


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (forecast("3", took=400.0, on_no_successor="fail"), "the last one is kept, and the deploy fails"),
        (forecast("3"), "a new VM, or a watch time of the director's, may take longer"),
        (forecast("3", drain_timeout=600), "our scripts alone may wait 720 s (vrrp_drain.drain_timeout and post_start_timeout), which is"),
    ],
)
def test_what_is_not_known_is_said(found: Forecast, said: str) -> None:
    """Without an update in the history the properties tell what they can; with one, what the policy makes of it."""
    assert said in [*found.sentences()][-1]


def band(at: float, state: str) -> Notice:
    before = "active" if state == "draining" else "draining"
    return replace(MOVED, at=at, kind=Kind.BAND, previous=before, state=state, cause=Cause.DRAIN if state == "draining" else Cause.PROMOTE)


def watcher(at: float, cause: Cause = Cause.START) -> Notice:
    return replace(MOVED, at=at, kind=Kind.WATCHER, previous="", state="stopped", cause=cause)


STOPPED = replace(MOVED, at=12.0, kind=Kind.STATE, previous="backup", state="stopped", cause=Cause.DRAIN)


@pytest.mark.parametrize(
    ("story", "took"),
    [
        ([], None),
        ([band(10, "draining"), watcher(30), band(51.5, "active")], 41.5),
        ([band(10, "draining"), STOPPED, band(40, "active")], 30.0),
        ([band(10, "draining"), band(40, "active")], None),
        ([band(10, "draining"), watcher(30, Cause.REBOOT), band(40, "active")], None),
        ([band(10, "draining"), STOPPED, watcher(30, Cause.REBOOT), band(40, "active")], None),
        ([band(10, "draining"), watcher(30)], None),
        ([watcher(30), band(40, "active")], None),
        ([band(10, "draining"), watcher(30), band(70, "active"), band(80, "draining"), band(90, "active")], 60.0),
        ([band(10, "draining"), watcher(30), band(70, "active"), band(80, "draining"), STOPPED, band(90, "active")], 10.0),
        ([band(50, "draining"), watcher(30), band(40, "active")], 0.0),
    ],
    ids=range(11),
)
def test_how_long_the_last_update_took(story: list[Notice], took: float | None) -> None:
    """From the demotion to the promotion, where all was stopped in between: what an operator did, a drill and a reboot are none."""
    assert last_update(story) == took

"""Whose the VIP was, and why it went: what the demo and the benches tell of a move, from the marks of the recorder."""

import pytest

from lab.scenarios.ownership import Mark, Owners, Why, moves, owners

STARTED = [Mark(0.9, "a", "advert 254"), Mark(1.0, "a", "vip"), Mark(1.0, "a", "announced")]
AWAY = [
    Mark(10.0, "a", "pre-stop"),
    Mark(10.3, "a", "band 99"),
    Mark(10.301, "a", "advert 99"),
    Mark(10.302, "a", "advert 0"),
    Mark(10.315, "b", "advert 253"),
    Mark(10.316, "a", "no-vip"),
    Mark(10.318, "b", "vip"),
    Mark(10.319, "b", "announced"),
    Mark(10.4, "a", "advert 99"),
]
BACK = [
    Mark(20.0, "a", "start"),
    Mark(21.0, "a", "band 254"),
    Mark(23.9, "a", "advert 254"),
    Mark(23.901, "a", "vip"),
    Mark(23.902, "a", "announced"),
    Mark(23.904, "b", "no-vip"),
]


def test_who_had_it() -> None:
    """From the first owner on every instant belongs to somebody, to nobody or to two, until the end."""
    found = list(owners([*STARTED, *AWAY, *BACK], 30.0))
    assert found == [
        Owners(1.0, 10.316, frozenset("a")),
        Owners(10.316, 10.318, frozenset()),
        Owners(10.318, 23.901, frozenset("b")),
        Owners(23.901, 23.904, frozenset("ab")),
        Owners(23.904, 30.0, frozenset("a")),
    ]


def test_a_handover_and_a_way_back_are_told_apart() -> None:
    """A handover counts from the leaver's lowered priority, the way back from the raised one: seconds in which somebody serves."""
    away, back = moves([*STARTED, *AWAY, *BACK], 30.0)
    assert (away.source, away.target, away.why) == ("a", "b", Why.HANDOVER)
    assert (away.ms, away.nobody_ms, away.two_ms, away.announced_ms) == pytest.approx((18, 2, 0, 1))
    assert (back.source, back.target, back.why) == ("b", "a", Why.WAY_BACK)
    assert (back.ms, back.nobody_ms, back.two_ms, back.announced_ms) == pytest.approx((2901, 0, 3, 1))


def test_a_vip_that_nobody_has_at_the_end() -> None:
    """An outage without an end counts until the end; it is no move."""
    marks = [*STARTED, Mark(5.0, "a", "no-vip")]
    assert list(owners(marks, 8.0))[-1] == Owners(5.0, 8.0, frozenset())
    assert moves(marks, 8.0) == []


def test_one_that_is_told_to_stop_and_resigns() -> None:
    """keepalived that is stopped gives the VIP up, and then nobody has it for a while: a handover all the same, with an outage in it."""
    marks = [
        *STARTED,
        Mark(5.0, "a", "stop"),
        Mark(5.3, "a", "advert 0"),
        Mark(5.3, "a", "no-vip"),
        Mark(5.9, "b", "advert 253"),
        Mark(5.9, "b", "vip"),
    ]
    (move,) = moves(marks, 8.0)
    assert (move.why, move.announced_ms) == (Why.HANDOVER, None)
    assert (move.ms, move.nobody_ms) == pytest.approx((900, 600))


def test_one_that_nobody_told_to_leave() -> None:
    """Where its band was left alone, a handover begins with the leaver's own word: its haproxy died, and the watcher saw it."""
    marks = [*STARTED, Mark(50.0, "a", "advert 66"), Mark(50.02, "b", "advert 253"), Mark(50.02, "b", "vip"), Mark(50.03, "a", "no-vip")]
    (move,) = moves(marks, 60.0)
    assert move.why is Why.HANDOVER
    assert (move.ms, move.two_ms) == pytest.approx((20, 10))


def test_one_that_fell_silent() -> None:
    """Whoever takes the VIP of one that says nothing any more, with a lower priority than that one's, was not handed anything."""
    marks = [*STARTED, Mark(5.0, "a", "no-vip"), Mark(8.0, "b", "advert 253"), Mark(8.0, "b", "vip")]
    (move,) = moves(marks, 9.0)
    assert move.why is Why.TAKEOVER
    assert move.nobody_ms == pytest.approx(3000)


def test_what_an_earlier_term_said_is_forgotten() -> None:
    """An instance that left once and came back has not lowered its priority again by being outranked."""
    marks = [
        *STARTED,
        *AWAY,
        *BACK,
        Mark(40.0, "c", "band 254"),
        Mark(42.0, "c", "advert 255"),
        Mark(42.0, "c", "vip"),
        Mark(42.0, "a", "no-vip"),
    ]
    assert [move.why for move in moves(marks, 50.0)] == [Why.HANDOVER, Why.WAY_BACK, Why.WAY_BACK]

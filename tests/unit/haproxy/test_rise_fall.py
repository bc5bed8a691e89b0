"""When haproxy counts as dead and as alive: rise, fall and pace."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vrrp_drain.haproxy.rise_fall import RiseFall

FALLS = st.integers(1, 20)
LOOKS = st.lists(st.booleans(), max_size=60)


def alive(fall: int = 2, rise: int = 2, interval: float = 1.0) -> RiseFall:
    """Return rise and fall of a haproxy that answers."""
    rise_fall = RiseFall(interval, fall, rise)
    assert rise_fall.looked(True, 0.0)
    return rise_fall


@given(LOOKS, FALLS, FALLS)
def test_dead_after_fall_and_alive_after_rise(looks: list[bool], fall: int, rise: int) -> None:
    """It is dead from the ``fall``-th failure in a row on and never before, and alive again from the ``rise``-th success in a row."""
    rise_fall, expected, row, last = alive(fall, rise), True, 0, True
    for n, ok in enumerate(looks):
        row, last = (row + 1 if ok is last and n else 1), ok
        before = expected
        if row >= (rise if ok else fall):
            expected = ok
        assert rise_fall.looked(ok, float(n)) is (expected is not before)
        assert rise_fall.alive is expected


@given(LOOKS, FALLS, FALLS)
def test_full_after_fall_and_over_after_rise(looks: list[bool], fall: int, rise: int) -> None:
    """It counts as full from the ``fall``-th look in a row that says so, until the ``rise``-th that does not, and is alive all the time."""
    rise_fall, expected, row = alive(fall, rise), False, 0
    for n, full in enumerate(looks):
        row = row + 1 if n and full is looks[n - 1] else 1
        if row >= (fall if full else rise):
            expected = full
        assert not rise_fall.looked(True, float(n), full=full)
        assert rise_fall.full is expected


@given(LOOKS, FALLS, FALLS)
def test_what_was_never_alive_cannot_die(looks: list[bool], fall: int, rise: int) -> None:
    """Before the first success nothing is known, whatever ends or fails; the first success is enough."""
    rise_fall = RiseFall(1.0, fall, rise)
    for n, ok in enumerate(looks):
        rise_fall.process_died(float(n))
        rise_fall.looked(ok, float(n))
        assert rise_fall.alive is not False or True in looks[:n]
        if ok and True not in looks[:n]:
            assert rise_fall.alive is True


@pytest.mark.parametrize(("after", "dead"), [(0.0, True), (0.99, True), (1.0, False)])
def test_a_process_that_died_makes_one_failure_decide(after: float, dead: bool) -> None:
    """Within a second of a death the first look that fails is the last; later ``fall`` counts again."""
    rise_fall = alive(fall=20)
    rise_fall.process_died(5.0)
    assert rise_fall.looked(False, 5.0 + after) is dead
    assert (rise_fall.alive, rise_fall.died) == (not dead, dead)


def test_a_process_that_died_is_not_yet_a_service_that_died() -> None:
    """A reload ends processes too: as long as the looks succeed it is alive."""
    rise_fall = alive(fall=1)
    rise_fall.process_died(5.0)
    assert not rise_fall.looked(True, 5.1)
    assert rise_fall.alive


def test_who_hangs_has_not_died() -> None:
    """Failures without a death before them are told apart from those with one."""
    rise_fall = alive()
    rise_fall.looked(False, 5.0)
    assert rise_fall.looked(False, 5.5)
    assert not rise_fall.died


@given(st.floats(0.1, 60.0), FALLS, st.floats(0.0, 1.0))
def test_a_hang_is_found_in_time(interval: float, fall: int, phase: float) -> None:
    """However it falls between two looks, it is dead within ``fall`` intervals and 0.2 s, or one look's patience if that is longer."""
    rise_fall = alive(fall, 1, interval)
    hangs = phase * interval
    began = rise_fall.pause(0.0)  # the look before was at 0, and succeeded
    while rise_fall.alive:
        now = began + rise_fall.patience  # every look takes as long as it may
        rise_fall.looked(False, now)
        began += rise_fall.pause(now)
    assert now - hangs <= interval * fall + max(0.2, rise_fall.patience) + 1e-6


def test_the_bound_of_the_defaults() -> None:
    """With an interval of 1 s and fall 2: after 1.7 s at the latest, and not before a second look has failed."""
    rise_fall = alive(2, 2, 1.0)
    first = rise_fall.pause(0.0)
    assert not rise_fall.looked(False, first + rise_fall.patience)
    second = first + rise_fall.pause(first + rise_fall.patience)
    assert rise_fall.looked(False, second + rise_fall.patience)
    assert second + rise_fall.patience == pytest.approx(1.7)


@pytest.mark.parametrize(("interval", "patience"), [(0.1, 0.1), (0.5, 0.1), (1.0, 0.2), (5.0, 1.0), (60.0, 1.0)])
def test_patience(interval: float, patience: float) -> None:
    """A look may take a fifth of the interval, between 0.1 s and 1 s."""
    assert RiseFall(interval, 2, 2).patience == pytest.approx(patience)


def test_pace() -> None:
    """Once an interval; sooner after a failure; at once, again and again, after a death, until that is decided."""
    rise_fall = alive(fall=3)
    assert rise_fall.pause(0.0) == 1.0
    rise_fall.looked(False, 1.0)
    assert rise_fall.pause(1.0) == 0.5
    rise_fall.looked(True, 1.5)
    assert rise_fall.pause(1.5) == 1.0
    rise_fall.process_died(2.0)
    assert (rise_fall.pause(2.0), rise_fall.pause(2.99), rise_fall.pause(3.0)) == (0.02, 0.02, 1.0)
    rise_fall.looked(False, 2.5)
    assert (rise_fall.alive, rise_fall.pause(2.5)) == (False, 1.0)

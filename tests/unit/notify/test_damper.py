"""A storm of notices: what goes out at once, what is summed up, and that the last word is always told."""

from dataclasses import replace

from vrrp_drain.notify.damper import BURST, EVERY, Damper
from vrrp_drain.notify.notice import Cause, Kind, Notice

MOVED = Notice(0.0, "haproxy/0", "10.0.0.10", Kind.MASTER_MOVED, "10.0.0.2", "10.0.0.3", Cause.PREEMPT, "", None, 254)


def moved(n: int, kind: Kind = Kind.MASTER_MOVED) -> Notice:
    return replace(MOVED, kind=kind, reason=str(n))


def test_what_an_update_makes_goes_out_at_once() -> None:
    """A burst, and then one every ten seconds for ever: nothing is held back, nothing is added."""
    damper = Damper()
    told = [notice for n in range(BURST) for notice in damper.take(moved(n), 0.0)]
    for n in range(BURST, 100):
        now = (n - BURST + 1) * EVERY
        told += [*damper.take(moved(n), now), *damper.due(now)]
    assert told == [moved(n) for n in range(100)]


def test_a_storm_is_summed_up() -> None:
    """Four a second for a minute: a burst, then every ten seconds how many there were, and the last of them."""
    damper = Damper()
    told: list[Notice] = []
    for n in range(240):
        told += damper.take(moved(n), n / 4)
        told += damper.due(n / 4)
    told += damper.rest(60.0)
    assert told[:BURST] == [moved(n) for n in range(BURST)]
    assert len(told) <= BURST + 2 * (60 / EVERY + 2)
    sums = [each for each in told if each.cause == "damped"]
    assert {(each.kind, each.state, each.severity) for each in sums} == {(Kind.WATCHER, "master_moved", "warning")}
    counted = sum(int(each.reason.split()[0]) for each in sums)
    singles = len(told) - 2 * len(sums)
    assert counted + singles == 240, "every one is told or counted"
    assert told[-1] == moved(239), "the last one is always told"


def test_one_kind_does_not_hold_back_another() -> None:
    """haproxy's death is told at once however often somebody else becomes MASTER."""
    damper = Damper()
    for n in range(100):
        list(damper.take(moved(n), 0.0))
    assert list(damper.take(moved(0, Kind.HAPROXY), 0.0)) == [moved(0, Kind.HAPROXY)]


def test_order_is_kept() -> None:
    """While one is held back nothing of its kind overtakes it, though there is room again."""
    damper = Damper()
    for n in range(BURST + 1):
        list(damper.take(moved(n), 0.0))
    assert list(damper.take(moved(BURST + 1), 5 * EVERY)) == []
    assert [each.reason for each in damper.due(5 * EVERY)][-1] == str(BURST + 1)


def test_a_single_one_that_was_held_back_is_told_as_it_is() -> None:
    """Nothing is lost, so nothing is said of it."""
    damper = Damper()
    for n in range(BURST + 1):
        list(damper.take(moved(n), 0.0))
    assert list(damper.due(0.0)) == []
    assert list(damper.due(EVERY)) == [moved(BURST)]
    assert list(damper.rest(EVERY)) == []

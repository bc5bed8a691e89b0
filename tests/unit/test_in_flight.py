"""The lab's director: which instances are updated at the same time."""

import threading

import pytest

from lab.scenarios.parallel import in_flight


class Updates:
    """Updates that take until as many are under way as there should be at once; says how many there were and who had ended before whom."""

    def __init__(self, at_once: dict[int, int], failing: int | None = None) -> None:
        self._at_once, self._failing = at_once, failing
        self._changed = threading.Condition()
        self._under_way: set[int] = set()
        self._full: set[int] = set()
        self.most = 0
        self.ended_before: dict[int, set[int]] = {}
        self._ended: set[int] = set()

    def __call__(self, instance: int) -> int:
        with self._changed:
            self.ended_before[instance] = set(self._ended)
            self._under_way.add(instance)
            self.most = max(self.most, len(self._under_way))
            if len(self._under_way) >= self._at_once[instance]:
                self._full |= self._under_way
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: instance in self._full, timeout=10), f"{instance} is alone"
            self._under_way.discard(instance)
            self._ended.add(instance)
        if instance == self._failing:
            raise RuntimeError(f"{instance} failed")
        return instance * 10


@pytest.mark.parametrize(
    ("instances", "max_in_flight", "canaries", "at_once", "most"),
    [
        (3, 1, 1, [1, 1, 1], 1),
        (3, 2, 1, [1, 2, 2], 2),
        (3, 3, 1, [1, 2, 2], 2),
        (3, 3, 3, [3, 3, 3], 3),
        (2, 2, 2, [2, 2], 2),
        (5, 5, 0, [5, 5, 5, 5, 5], 5),
        (5, 2, 2, [2, 2, 2, 2, 1], 2),
        (5, 2, 1, [1, 2, 2, 1, 1], 2),  # of the last two either may come when the others have ended
        (4, 1, 2, [1, 1, 1, 1], 1),
        (2, 5, 7, [2, 2], 2),
    ],
)
def test_who_is_updated_at_once(instances: int, max_in_flight: int, canaries: int, at_once: list[int], most: int) -> None:
    """As many as there may be and no more; the canaries, several at once too, before all others; the results are in order."""
    updates = Updates(dict(enumerate(at_once)))
    found = in_flight(updates, range(instances), max_in_flight, canaries)
    assert found == [n * 10 for n in range(instances)]
    assert updates.most == most
    for instance in range(canaries, instances):
        assert updates.ended_before[instance] >= set(range(canaries)), instance


def test_one_ends_and_the_next_begins() -> None:
    """It is a pool, not a wave: the third begins when the second has ended, though the first is still under way."""
    third = threading.Event()

    def act(instance: int) -> bool:
        if instance == 2:
            third.set()
        return instance != 0 or third.wait(10)

    assert in_flight(act, range(3), 2, 0) == [True, True, True]


def test_a_failure_ends_it() -> None:
    """Who is under way is brought to its end, nobody else begins, and the failure is what the director is told."""
    updates = Updates(dict.fromkeys(range(6), 2), failing=1)
    with pytest.raises(RuntimeError, match="1 failed"):
        in_flight(updates, range(6), 2, 2)
    assert set(updates.ended_before) == {0, 1}

"""Values that are looked up on demand: seldom enough, never twice at a time, and a fault costs no more than the value."""

import threading

import pytest

from unit.support.fakes import Clock
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.throttled import Throttled


class Looks:
    """A value that takes ``cost`` seconds to look up: how often it was looked up so far."""

    def __init__(self, clock: Clock, cost: float = 0.0) -> None:
        self.clock = clock
        self.cost = cost
        self.count = 0
        self.fault: Exception | None = None

    def __call__(self) -> int:
        self.count += 1
        self.clock.sleep(self.cost)
        if self.fault is not None:
            raise self.fault
        return self.count


@pytest.mark.parametrize(("cost", "rest"), [(0.0, 1.0), (0.002, 1.0), (2.0, 200.0)])
def test_looking_takes_a_hundredth_of_the_time(clock: Clock, cost: float, rest: float) -> None:
    """Not more than once a second, and the longer it takes the less often."""
    looks = Looks(clock, cost)
    paced = Throttled("the number of looks", looks)
    assert [paced.value(), paced.value()] == [1, 1]
    clock.sleep(rest - 0.01)
    assert paced.value() == 1
    clock.sleep(0.02)
    assert paced.value() == 2


def test_nobody_waits_for_another_ones_look() -> None:
    """While one thread is looking, another one gets what was known before."""
    begun, go_on = threading.Event(), threading.Event()

    def look() -> int:
        begun.set()
        assert go_on.wait(10)
        return 7

    paced = Throttled("a slow value", look)
    thread = threading.Thread(target=paced.value)
    thread.start()
    assert begun.wait(10)
    assert paced.value() is None
    go_on.set()
    thread.join()
    assert paced.value() == 7


@pytest.mark.parametrize("fault", [SystemFault("the kernel does not tell"), ValueError("a surprise")])
def test_a_fault_is_said_once(clock: Clock, log: pytest.LogCaptureFixture, fault: Exception) -> None:
    """The value is unknown meanwhile; one line says since when, one that it is over."""
    looks = Looks(clock)
    paced = Throttled("the number of looks", looks)
    assert paced.value() == 1
    looks.fault = fault
    for _ in range(3):
        clock.sleep(1.01)
        assert paced.value() is None
    looks.fault = None
    clock.sleep(1.01)
    assert paced.value() == 5
    assert log.messages == [
        f"metrics are without the number of looks until it can be read again: {fault}",
        "metrics have the number of looks again",
    ]

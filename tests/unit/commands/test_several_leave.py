"""Several instances are updated at the same time, in frozen time, with BOSH's five scripts over simulated machines: no order of theirs
leaves clients without anybody, and none has two wait for each other."""

import itertools
import logging
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from unit.support.fakes import Clock
from unit.support.simulation import Segment, SimulatedMachine, settled
from vrrp_drain.commands import finishing, lifecycle
from vrrp_drain.haproxy.health import Health
from vrrp_drain.runtime.signals import Cancellation

KEEP = {"BOSH_VM_NEXT_STATE": "keep", "BOSH_INSTANCE_NEXT_STATE": "keep", "BOSH_DEPLOYMENT_NEXT_STATE": "keep"}
NewSegment = Callable[[int], Segment]
A_MOVE = 0.003  # seconds for which nobody has the VIP where one takes it over from another
GAPS = (0.0, 0.05, 0.4, 2.0)  # seconds from the beginning of one update to that of the next
AGENT = 0.3  # seconds from one script to the next


@pytest.fixture
def new_segment(clock: Clock, tmp_path: Path, cancellation: Cancellation, monkeypatch: pytest.MonkeyPatch) -> NewSegment:
    monkeypatch.setattr("vrrp_drain.doctor.at_start", lambda services: [])  # it asks the machine that runs the tests
    roots = itertools.count()

    def make(instances: int) -> Segment:
        segment = Segment(clock, tmp_path / str(next(roots)), cancellation, instances)
        settled(segment)
        return segment

    return make


def leave(machine: SimulatedMachine, job_change: str, cancellation: Cancellation) -> None:
    """Stop one instance as the director does."""
    services = machine.services
    lifecycle.pre_stop(services, KEEP, lifecycle.Bounds.of(services))
    machine.sleep(AGENT)
    if lifecycle.drain(services, [job_change, "hash_unchanged"], lifecycle.Bounds.of(services)):
        finishing.finish_connections(services, cancellation)
    machine.health = Health("haproxy is stopped")
    machine.daemon.stop()
    machine.sleep(AGENT)
    lifecycle.post_stop(services)


def update(machine: SimulatedMachine, seconds: float, cancellation: Cancellation) -> None:
    """Update one instance as the director does; ``seconds`` is how long it is stopped."""
    leave(machine, "job_changed", cancellation)
    machine.sleep(seconds)
    lifecycle.pre_start(machine.services)
    machine.daemon.start()
    machine.health = Health()
    lifecycle.post_start(machine.services, cancellation)


def update_all(segment: Segment, begins: Sequence[float], seconds: float, cancellation: Cancellation) -> float:
    """Update every instance, each beginning after so many seconds; return how long all took."""

    def act(machine: SimulatedMachine, begin: float) -> None:
        machine.sleep(begin)
        update(machine, seconds, cancellation)

    began = time.monotonic()
    segment.world.together([partial(act, *each) for each in zip(segment.machines, begins, strict=True)], 1000.0)
    return time.monotonic() - began


def vacant(segment: Segment, began: float) -> float:
    """Return for how long, at most, nobody had the VIP whose haproxy served."""
    story = segment.since(began)
    return max((later - at for (at, found), (later, _) in pairwise(story) if not found), default=0.0)


def assert_nobody_noticed(segment: Segment, began: float, log: pytest.LogCaptureFixture, which: object) -> None:
    """Check that there was always somebody who has the VIP, and that no instance gave up waiting."""
    assert vacant(segment, began) < A_MOVE, which
    assert [each.getMessage() for each in log.records if each.levelno >= logging.WARNING] == [], which


@pytest.mark.parametrize(
    ("instances", "seconds", "gaps"),
    [(2, 5.0, GAPS), (2, 60.0, GAPS), (3, 5.0, GAPS), (3, 60.0, GAPS[:1])],
    ids=["2, 5 s", "2, 60 s", "3, 5 s", "3, 60 s"],
)
def test_no_order_leaves_clients_alone(
    new_segment: NewSegment,
    cancellation: Cancellation,
    instances: int,
    seconds: float,
    gaps: Sequence[float],
    log: pytest.LogCaptureFixture,
) -> None:
    """Whoever begins first, and however soon the next one follows: all are updated, nobody waits in vain or for two updates."""
    for order in itertools.permutations(range(instances)):
        for gap in gaps:
            log.clear()
            segment = new_segment(instances)
            began = time.monotonic()
            took = update_all(segment, [order.index(each) * gap for each in range(instances)], seconds, cancellation)
            assert_nobody_noticed(segment, began, log, (order, gap))
            assert took < instances * gap + 2 * (seconds + 20), (order, gap)


@pytest.mark.parametrize("seed", range(8))
def test_five_at_any_time(new_segment: NewSegment, cancellation: Cancellation, seed: int, log: pytest.LogCaptureFixture) -> None:
    """Five of five, each beginning at any moment of the others' updates."""
    begins = [round(random.Random(seed + 100 * each).uniform(0, 12), 2) for each in range(5)]
    segment = new_segment(5)
    began = time.monotonic()
    update_all(segment, begins, 5.0, cancellation)
    assert_nobody_noticed(segment, began, log, begins)


@pytest.mark.parametrize("instances", [1, 2, 3])
def test_nobody_waits_for_those_who_do_not_come(new_segment: NewSegment, cancellation: Cancellation, instances: int) -> None:
    """`bosh stop` of a whole group, in any order: the last one finds that nobody comes, and ends at once."""
    for order in itertools.permutations(range(instances)):
        for gap in (0.0, 0.4, 2.0):
            segment = new_segment(instances)

            def stop(machine: SimulatedMachine, begin: float) -> None:
                machine.sleep(begin)
                leave(machine, "job_shutdown", cancellation)

            began = time.monotonic()
            segment.world.together([partial(stop, segment.machines[each], at * gap) for at, each in enumerate(order)], 1000.0)
            assert time.monotonic() - began < instances * (gap + 15), (order, gap)

"""Priority bands: disjoint for every instance, and named."""

from itertools import pairwise

import pytest

from vrrp_drain.vrrp.bands import HIGHEST, LOWEST, LOWEST_BASE, UNHEALTHY_WEIGHT, WIDTH, Band, base_of_rank, describe, effective, is_active

BASES = range(LOWEST_BASE, HIGHEST + 1)
OFFSETS = (Band.ACTIVE.value, Band.DRAINING.value, UNHEALTHY_WEIGHT, Band.DRAINING.value + UNHEALTHY_WEIGHT)


@pytest.mark.parametrize(("better", "worse"), list(pairwise(OFFSETS)))
def test_bands_never_overlap(better: int, worse: int) -> None:
    """The worst node of a band outranks the best node of the next band, so no two nodes of different bands tie."""
    assert min(BASES) + better > max(BASES) + worse


def test_every_priority_is_valid_on_the_wire() -> None:
    """Whatever the band, no priority is 0 (a resignation) or 255 (the owner of the address)."""
    assert {effective(base + offset) for base in BASES for offset in OFFSETS} <= set(range(1, 255))


@pytest.mark.parametrize(("rank", "base"), [(0, 254), (1, 253), (WIDTH - 1, 222)])
def test_base_of_rank(rank: int, base: int) -> None:
    """The bootstrap instance has 254, and the last of thirty-three still has a base of the active band."""
    assert base_of_rank(rank) == base
    assert base in BASES


@pytest.mark.parametrize(
    ("priority", "active"), [(254, True), (222, True), (103, True), (102, True), (101, False), (99, False), (0, False)]
)
def test_active_begins_where_a_healthy_instance_may_be(priority: int, active: bool) -> None:
    """102 is the lowest of a healthy instance with haproxy-boshrelease's job, 222 the lowest of ours; nothing else has as much."""
    assert is_active(priority) is active


@pytest.mark.parametrize(
    ("name", "priorities"),
    [
        ("active", (254, 222)),
        ("draining", (99, 67)),
        ("unhealthy", (66, 34)),
        ("draining and unhealthy", (1, 1)),
        ("of no band of ours", (221, 100)),
        ("of no band of ours", (33, 2)),
        ("resigned", (0, 0)),
    ],
)
def test_describe_names_the_band(name: str, priorities: tuple[int, int]) -> None:
    """Both ends of a band carry its name."""
    assert [describe(priority) for priority in priorities] == [name, name]


def test_a_band_prints_as_operators_call_it() -> None:
    """Bands are written in small letters in logs and in JSON."""
    assert [str(band) for band in Band] == ["active", "draining"]


def test_a_group_that_moves_from_haproxy_boshrelease_is_safe_at_every_step() -> None:
    """Its healthy instances (102, 103) beat ours that leave or are unhealthy; ours that are active beat all of its."""
    theirs_healthy, theirs_highest = 102, 103
    assert max(BASES) + Band.DRAINING.value < theirs_healthy
    assert max(BASES) + UNHEALTHY_WEIGHT < theirs_healthy
    assert min(BASES) > theirs_highest


def test_keepalived_knows_no_priority_below_one() -> None:
    """A draining node whose check fails has 1, whatever its base."""
    assert {effective(base + Band.DRAINING.value + UNHEALTHY_WEIGHT) for base in BASES} == {LOWEST}

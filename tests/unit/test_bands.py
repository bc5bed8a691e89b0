"""Priority bands: disjoint for every instance, and named."""

from itertools import pairwise

import pytest

from vrrp_drain.bands import HIGHEST, LOWEST_BASE, UNHEALTHY_WEIGHT, WIDTH, Band, base_of_rank, describe, is_active

BASES = range(LOWEST_BASE, HIGHEST + 1)
OFFSETS = (Band.ACTIVE.value, Band.DRAINING.value, UNHEALTHY_WEIGHT, Band.DRAINING.value + UNHEALTHY_WEIGHT)


@pytest.mark.parametrize(("better", "worse"), list(pairwise(OFFSETS)))
def test_bands_never_overlap(better: int, worse: int) -> None:
    """The worst node of a band outranks the best node of the next band, so no two nodes of different bands tie."""
    assert min(BASES) + better > max(BASES) + worse


def test_every_priority_is_valid_on_the_wire() -> None:
    """Whatever the band, no priority is 0 (a resignation) or 255 (the owner of the address)."""
    assert {base + offset for base in BASES for offset in OFFSETS} <= set(range(1, 255))


@pytest.mark.parametrize(("rank", "base"), [(0, 254), (1, 253), (WIDTH - 1, 205)])
def test_base_of_rank(rank: int, base: int) -> None:
    """The bootstrap instance has 254, and the last of fifty still has a base of the active band."""
    assert base_of_rank(rank) == base
    assert base in BASES


@pytest.mark.parametrize(("priority", "active"), [(254, True), (205, True), (204, False), (0, False)])
def test_active_begins_at_the_lowest_base(priority: int, active: bool) -> None:
    """205 is the lowest priority that an active peer adverts."""
    assert is_active(priority) is active


@pytest.mark.parametrize(
    ("name", "priorities"),
    [
        ("active", (254, 205)),
        ("draining", (204, 155)),
        ("unhealthy", (154, 105)),
        ("draining and unhealthy", (104, 55)),
        ("of no band of ours", (54, 1)),
        ("resigned", (0, 0)),
    ],
)
def test_describe_names_the_band(name: str, priorities: tuple[int, int]) -> None:
    """Both ends of a band carry its name."""
    assert [describe(priority) for priority in priorities] == [name, name]


def test_a_band_prints_as_operators_call_it() -> None:
    """Bands are written in small letters in logs and in JSON."""
    assert [str(band) for band in Band] == ["active", "draining"]

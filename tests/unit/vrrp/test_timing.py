"""The election's clock, against the numbers of the RFCs."""

import pytest

from vrrp_drain.vrrp.timing import master_down_interval, skew


@pytest.mark.parametrize(
    ("priority", "advert_int", "version", "expected"),
    [
        (100, 1, 2, 0.609375),
        (100, 10, 2, 0.609375),
        (254, 1, 2, 0.0078125),
        (100, 1, 3, 0.609375),
        (100, 0.1, 3, 0.0609375),
        (253, 1, 3, 0.01171875),
    ],
)
def test_skew(priority: int, advert_int: float, version: int, expected: float) -> None:
    """Skew_Time is (256 - priority) / 256 seconds in RFC 3768 and that share of the interval in RFC 5798."""
    assert skew(priority, advert_int, version) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("priority", "advert_int", "version", "expected"),
    [(100, 1, 2, 3.609375), (100, 10, 2, 30.609375), (100, 1, 3, 3.609375), (100, 0.1, 3, 0.3609375), (255, 1, 3, 3.00390625)],
)
def test_master_down_interval(priority: int, advert_int: float, version: int, expected: float) -> None:
    """Master_Down_Interval is three advert intervals plus the skew."""
    assert master_down_interval(priority, advert_int, version) == pytest.approx(expected)

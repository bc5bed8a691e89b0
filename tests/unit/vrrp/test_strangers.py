"""Who is a stranger: not one packet, nor one and its copies."""

from ipaddress import ip_address

import pytest

from unit.support.fakes import OWN, STRANGER, VIP, carries
from vrrp_drain.vrrp.advert import Advert
from vrrp_drain.vrrp.election import Electorate, Heard, Standing
from vrrp_drain.vrrp.strangers import Strangers

SOURCE = ip_address(STRANGER)
US = Electorate(1, 3, 1.0, ip_address(VIP), frozenset({ip_address(OWN)}), frozenset())


def heard(source: str, at: float, advert_int: float = 1.0) -> Heard:
    """An advert of another cluster."""
    found = US.classify(carries(Advert(3, 1, 100, advert_int, (ip_address("10.0.0.99"),)), source), at)
    assert found.standing is Standing.STRANGER
    return found


@pytest.mark.parametrize(
    ("ours", "theirs", "at", "confirmed"),
    [
        (1.0, 1.0, (0.0,), False),
        (1.0, 1.0, (0.0, 0.001, 0.002, 0.49), False),
        (1.0, 1.0, (0.0, 0.5), True),
        (1.0, 0.2, (0.0, 0.1), True),
        (0.2, 5.0, (0.0, 0.1), True),
        (1.0, 0.01, (0.0, 0.03), False),
        (1.0, 0.01, (0.0, 0.03, 0.06), True),
        (1.0, 1.0, (0.0, 11.0), False),
        (1.0, 1.0, (0.0, 9.0), True),
        (20.0, 20.0, (0.0, 60.0), True),
    ],
    ids=str,
)
def test_a_stranger_is_heard_again_an_interval_later(ours: float, theirs: float, at: tuple[float, ...], confirmed: bool) -> None:
    """Half of the shorter interval, and no less than copies of one packet take; after a long silence it begins anew."""
    strangers = Strangers(ours)
    for now in at:
        strangers.hear(heard(STRANGER, now, theirs))
    assert bool(strangers.confirmed(at[-1])) is confirmed
    assert [each.source for each in strangers.heard(at[-1])] == [SOURCE]


def test_invented_addresses_push_no_real_stranger_out() -> None:
    """Forty are remembered, and whoever was heard twice longer than those that were not."""
    strangers = Strangers(1.0)
    for now in (0.0, 1.0):
        strangers.hear(heard(STRANGER, now))
    for n in range(1000):
        strangers.hear(heard(f"10.1.{n // 256}.{n % 256}", 1.0 + n / 1000))
    assert len(strangers.heard(2.0)) == 40
    assert [each.source for each in strangers.confirmed(2.0)] == [SOURCE]

"""What haproxy-boshrelease's docs have operators try by hand: where the VIP is afterwards, and for how long clients were without it.

Two of the variants that `make bench` tries: the defaults, and what differs from them most.
"""

from pathlib import Path

import pytest

from lab.benches import scenarios
from lab.benches.scenarios import DEFAULT, QUICK6_UNICAST, Variant

PLANNED = 0.0


@pytest.mark.parametrize(
    ("variant", "haproxy", "vm"),
    [
        # seconds that clients may be without the VIP when haproxy stops, and when the VM dies
        pytest.param(DEFAULT, 2.0, 3.6, id="IPv4 multicast, defaults"),
        pytest.param(QUICK6_UNICAST, 1.8, 0.8, id="IPv6 unicast, advert_int 0.1"),
    ],
)
@pytest.mark.timeout(240)
def test_scenarios(package: Path, variant: Variant, haproxy: float, vm: float) -> None:
    """Planned moves cost clients nothing, a dead haproxy or VM no longer than the election takes; the VIP ends where it belongs."""
    outcomes = scenarios.run(package, variant)
    print(scenarios.table({variant.name: outcomes}))
    bounds = [PLANNED, haproxy, PLANNED, PLANNED, PLANNED, PLANNED, vm, PLANNED]
    for outcome, bound in zip(outcomes, bounds, strict=True):
        assert outcome.outage <= bound, outcome
    masters = [outcome.master for outcome in outcomes]
    assert masters == [f"haproxy/{index}" for index in (0, 1, 0, 1, 0, 0, 1, 0)]

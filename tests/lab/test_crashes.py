"""haproxy fails on the MASTER, adverts a second apart: clients wait for the watcher, not for an election.

Here beside haproxy-boshrelease's keepalived job; `make bench` measures it with ours, and fails where an outage is too long.
"""

from pathlib import Path

import pytest

from lab.benches.crashes import KILLED, outages

pytestmark = pytest.mark.long

MASTER_DOWN = 3.0  # seconds, three adverts; that job's skew of 0.6 s comes on top of it


@pytest.mark.thorough
def test_a_dead_haproxy_beside_haproxy_boshreleases_keepalived_job(package: Path) -> None:
    """There a successor's low priority makes its skew 0.6 s, which is what clients wait: for no check, and for no election."""
    (killed,) = outages(package, KILLED, jobs=("upstream-keepalived", "vrrp-drain", "haproxy"))
    assert killed is not None
    assert killed < MASTER_DOWN

"""haproxy fails on the MASTER, adverts a second apart: clients wait for the watcher, not for an election.

The bounds are those of a busy machine; `make bench` has the figures.
"""

from pathlib import Path

from lab.benches.crashes import HUNG, KILLED, outages

MASTER_DOWN = 3.0  # seconds, three adverts; that job's skew of 0.6 s comes on top of it
NOTICED = 2.0  # seconds, health_interval x health_fall


def test_a_dead_or_hung_haproxy(package: Path) -> None:
    """A death costs clients a moment, a hang what its health checks take; an election of three seconds comes on top of neither."""
    killed, hung = outages(package, KILLED, HUNG)
    assert killed is not None
    assert killed < 1
    assert hung is not None
    assert hung < NOTICED + 1


def test_a_dead_haproxy_beside_haproxy_boshreleases_keepalived_job(package: Path) -> None:
    """There a successor's low priority makes its skew 0.6 s, which is what clients wait: for no check, and for no election."""
    (killed,) = outages(package, KILLED, jobs=("upstream-keepalived", "vrrp-drain", "haproxy"))
    assert killed is not None
    assert killed < MASTER_DOWN

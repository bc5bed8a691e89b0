"""Priority bands: which part of 1..254 says what about a node.

    active      222..254   healthy, may hold the VIP
    draining     67..99    healthy but leaving, or started and not yet promoted
    unhealthy    34..66    keepalived's check fails
    both              1    keepalived takes anything below 1 as 1

A band is ``base`` plus an offset, and every base lies in 222..254, so the bands of two nodes never overlap: a
draining node never beats an active one, and an unhealthy one never beats a draining one. The high numbers keep
the skew of a successor short (timing.skew). The gap is where haproxy-boshrelease's keepalived job lives (100 and 101,
and 2 more while its check succeeds): while a group moves from that job to ours, its healthy nodes beat ours that are
leaving or unhealthy, and ours that are active beat all of its.
"""

from enum import Enum

HIGHEST = 254
LOWEST_BASE = 222
WIDTH = HIGHEST - LOWEST_BASE + 1
UNHEALTHY_WEIGHT = -188  # of keepalived's vrrp_script
LOWEST = 1  # what keepalived makes of everything below
UPSTREAM_BASE = 100  # of haproxy-boshrelease's instances, but for the bootstrap instance's 101
UPSTREAM_WEIGHT = 2  # what its check adds while it succeeds
LOWEST_ACTIVE = UPSTREAM_BASE + UPSTREAM_WEIGHT


class Band(Enum):
    """What vrrp-drain asks of keepalived; the value is the offset in the track file."""

    ACTIVE = 0
    DRAINING = -155

    def __str__(self) -> str:
        return self.name.lower()


def base_of_rank(rank: int) -> int:
    """Return the base priority of the instance at ``rank`` (0 = bootstrap instance)."""
    return HIGHEST - rank


def effective(priority: int) -> int:
    """Return what keepalived adverts for a sum of base, weights and track file."""
    return max(LOWEST, priority)


def is_active(priority: int) -> bool:
    """Tell whether a peer that adverts ``priority`` is healthy and stays, of our jobs or of haproxy-boshrelease's."""
    return priority >= LOWEST_ACTIVE


def describe(priority: int) -> str:
    """Return the name of the band that ``priority`` lies in."""
    if priority == 0:
        return "resigned"
    for name, lowest in (
        ("active", LOWEST_BASE),
        ("of no band of ours", HIGHEST + Band.DRAINING.value + 1),
        ("draining", LOWEST_BASE + Band.DRAINING.value),
        ("unhealthy", LOWEST_BASE + UNHEALTHY_WEIGHT),
    ):
        if priority >= lowest:
            return name
    return "draining and unhealthy" if priority == LOWEST else "of no band of ours"

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

from vrrp_drain.runtime.str_enum import StrEnum

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


class Claim(StrEnum):
    """What an instance says of itself by the priority that it adverts. The value stands in texts for people."""

    RESIGNED = "resigned"
    ACTIVE = "active"
    DRAINING = "draining"
    UNHEALTHY = "unhealthy"
    BOTH = "draining and unhealthy"
    NOT_OURS = "of no band of ours"


_LOWEST_OF = (
    (Claim.ACTIVE, LOWEST_BASE),
    (Claim.NOT_OURS, HIGHEST + Band.DRAINING.value + 1),
    (Claim.DRAINING, LOWEST_BASE + Band.DRAINING.value),
    (Claim.UNHEALTHY, LOWEST_BASE + UNHEALTHY_WEIGHT),
    (Claim.NOT_OURS, LOWEST + 1),
    (Claim.BOTH, LOWEST),
    (Claim.RESIGNED, 0),
)


def describe(priority: int) -> Claim:
    """Return what ``priority`` says of whoever adverts it."""
    return next(each for each, lowest in _LOWEST_OF if priority >= lowest)

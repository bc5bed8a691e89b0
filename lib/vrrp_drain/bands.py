"""Priority bands: which part of 1..254 says what about a node.

    active      205..254   healthy, may hold the VIP
    draining    155..204   healthy but leaving, or started and not yet promoted
    unhealthy   105..154   keepalived's check fails
    both         55..104

A band is ``base`` plus an offset, and every base lies in 205..254, so the bands of two nodes never overlap: a
draining node never beats an active one, and an unhealthy one never beats a draining one. The high numbers keep
the skew of a successor short (timing.skew).
"""

from enum import Enum

HIGHEST = 254
LOWEST_BASE = 205
WIDTH = HIGHEST - LOWEST_BASE + 1
UNHEALTHY_WEIGHT = -2 * WIDTH  # of keepalived's vrrp_script


class Band(Enum):
    """What vrrp-drain asks of keepalived; the value is the offset in the track file."""

    ACTIVE = 0
    DRAINING = -WIDTH

    def __str__(self) -> str:
        return self.name.lower()


def base_of_rank(rank: int) -> int:
    """Return the base priority of the instance at ``rank`` (0 = bootstrap instance)."""
    return HIGHEST - rank


def is_active(priority: int) -> bool:
    """Tell whether a peer that adverts ``priority`` is healthy and stays."""
    return priority >= LOWEST_BASE


def describe(priority: int) -> str:
    """Return the name of the band that ``priority`` lies in."""
    for name, lowest in (
        ("active", LOWEST_BASE),
        ("draining", LOWEST_BASE - WIDTH),
        ("unhealthy", LOWEST_BASE - 2 * WIDTH),
        ("draining and unhealthy", LOWEST_BASE - 3 * WIDTH),
    ):
        if priority >= lowest:
            return name
    return "resigned" if priority == 0 else "of no band of ours"

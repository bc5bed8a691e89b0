"""Why nothing passes through an interface."""

from vrrp_drain.runtime.str_enum import StrEnum


class Obstacle(StrEnum):
    """The value is what a text says of the interface."""

    DOWN = "is down"
    NO_CARRIER = "has no carrier"

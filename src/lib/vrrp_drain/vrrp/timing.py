"""The election's clock: how long a backup waits before it takes over. Pure arithmetic, seconds throughout."""


def skew(priority: int, advert_int: float, version: int) -> float:
    """Return Skew_Time in seconds: what a lower priority waits on top.

    RFC 3768 section 6.1 has it independent of the interval; RFC 5798 section 6.1 scales it by the interval.
    """
    share = (256 - priority) / 256
    return share if version == 2 else share * advert_int


def master_down_interval(priority: int, advert_int: float, version: int) -> float:
    """Return Master_Down_Interval in seconds: how long a backup hears nothing before it takes over."""
    return 3 * advert_int + skew(priority, advert_int, version)

"""Whether an interface takes IPv6 addresses: a kernel may be without IPv6, and stemcells have it switched off (networking/ip-sysctl)."""

from pathlib import Path

from vrrp_drain.runtime.str_enum import StrEnum


class Ipv6Obstacle(StrEnum):
    """Why an interface takes none. The value is what a text says of the interface."""

    NO_KERNEL = "has no IPv6, as nothing here has: the kernel was started with ipv6.disable=1, or lacks the module ipv6"
    SWITCHED_OFF = "has IPv6 switched off (disable_ipv6 is 1)"
    NOT_OFFERED = "has no IPv6: its MTU is below 1280, or it is gone"  # RFC 8200 section 5


class Doubt(StrEnum):
    """What the search for duplicates found of an address (RFC 4862 section 5.4). The value is what a text says of it.

    With optimistic DAD (RFC 4429) the kernel answers for one that it is still looking for.
    """

    TENTATIVE = "the kernel still looks for another machine that has it, and does not answer for it (tentative)"
    DUPLICATE = "the kernel has found another machine that has it, and does not answer for it (dadfailed)"


def obstacle(conf: Path, interface: str) -> Ipv6Obstacle | None:
    """Return why ``interface`` takes no IPv6 address, or None; ``conf`` is /proc/sys/net/ipv6/conf.

    Its own setting alone counts: what is written to that of ``all`` the kernel writes to each, and ``default`` is for those that come.
    """
    try:
        return Ipv6Obstacle.SWITCHED_OFF if int((conf / interface / "disable_ipv6").read_text()) else None
    except (OSError, ValueError):
        return Ipv6Obstacle.NOT_OFFERED if conf.is_dir() else Ipv6Obstacle.NO_KERNEL

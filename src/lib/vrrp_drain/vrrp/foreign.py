"""Why an advert of our virtual router is none of our group's: what keepalived here would ignore, and become a second MASTER. Pure."""

from dataclasses import dataclass
from enum import Enum, auto

from vrrp_drain.runtime.ip import IPAddress


class Difference(Enum):
    """In what somebody who uses our virtual router ID differs from us."""

    VIP = auto()
    VERSION = auto()
    INTERVAL = auto()
    AUTHENTICATION = auto()
    CASTING = auto()  # unicast or multicast
    VIP_LIST = auto()
    MEMBERSHIP = auto()


@dataclass(frozen=True)
class Foreign:
    """``source`` uses ``vrid`` and differs from us: ``theirs`` is what it has, ``ours`` what we have."""

    difference: Difference
    source: IPAddress
    vrid: int
    ours: str
    theirs: str = ""

    @property
    def what(self) -> str:
        """Say how it differs."""
        match self.difference:
            case Difference.VIP:
                return f"{self.source} uses VRID {self.vrid} on this segment for {self.theirs}, not for our {self.ours}"
            case Difference.VERSION:
                return f"{self.source} speaks VRRP version {self.theirs} for VRID {self.vrid}, we speak {self.ours}"
            case Difference.INTERVAL:
                return f"{self.source} adverts VRID {self.vrid} every {self.theirs} s, we every {self.ours} s"
            case Difference.AUTHENTICATION:
                return f"{self.source} adverts VRID {self.vrid} with another authentication than ours"
            case Difference.CASTING:
                return f"{self.source} adverts VRID {self.vrid} {self.theirs}, we {self.ours}"
            case Difference.VIP_LIST:
                return f"{self.source} adverts VRID {self.vrid} for {self.theirs}, we for {self.ours} alone"
            case Difference.MEMBERSHIP:
                return f"{self.source} adverts VRID {self.vrid} for our {self.ours} and is no instance of this group"

    @property
    def mend(self) -> str:
        """Say what follows from it, and what to change."""
        return _MEND[self.difference]

    def __str__(self) -> str:
        return f"{self.what}: {self.mend}"


_STOPPED_FIRST = "(to change it, stop the whole instance group first)"
_MEND = {
    Difference.VIP: "give one of the two clusters another keepalived.virtual_router_id",
    Difference.VERSION: (
        f"they do not hear each other and both become MASTER; give all instances the same keepalived.vrrp_version {_STOPPED_FIRST}"
    ),
    Difference.INTERVAL: (
        "version 2 ignores such adverts and both become MASTER; give all instances the same keepalived.advert_int " + _STOPPED_FIRST
    ),
    Difference.AUTHENTICATION: (
        "keepalived ignores such adverts and both become MASTER; give all instances the same keepalived.auth_pass " + _STOPPED_FIRST
    ),
    Difference.CASTING: (
        f"they do not hear each other and both become MASTER; give all instances the same keepalived.unicast {_STOPPED_FIRST}"
    ),
    Difference.VIP_LIST: ("keepalived ignores a list that differs and both become MASTER; give all instances the same keepalived.vip"),
    Difference.MEMBERSHIP: (
        "clients reach it or us, whatever we do; find out whose machine it is (another deployment, a VM left over), and give one of the "
        "two another keepalived.vip and keepalived.virtual_router_id"
    ),
}

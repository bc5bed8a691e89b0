"""What the kernel must know of the virtual router: all that the rules are made of."""

from dataclasses import dataclass

from vrrp_drain.linux.nftables.objects import (
    FAMILIES,
)
from vrrp_drain.runtime.ip import IPAddress

from .tunnel import Tunnel


@dataclass(frozen=True)
class Group:
    """What the kernel must know of the virtual router.

    ``vips`` has the one first that stands in adverts. ``members`` may arm the handoff; in a ``closed`` group keepalived hears nobody else.
    ``token`` makes a member of who says it in a hello, ``nobody`` has the addresses that can be no member's. Members are at most ``hops``
    routers away. ``window`` is for how many seconds a leaver gets its connections, 0 without a handoff. ``rank`` is our place among the
    instances, ``ranks`` are the others' with their addresses, as far as the keepalived link names them. ``mark`` is what connections of
    frontends that are bound to a VIP get, 0 for none. Connections of QUIC to ``quic_ports`` are handed on as those of TCP are. With a
    ``tunnel`` packets go through that, otherwise as they are.
    ``virtual`` is the interface with the VIP's MAC, if it has one of its own: the VIPs of the first one's family are there. After
    ``silence`` a MASTER is gone, and ``grace`` later has announced the VIP twice, in seconds.
    """

    vips: tuple[IPAddress, ...]
    interface: str
    vrid: int
    vrrp_version: int
    token: bytes
    members: frozenset[IPAddress] = frozenset()
    nobody: frozenset[IPAddress] = frozenset()
    closed: bool = False
    hops: int = 0
    window: float = 0.0
    rank: int = 0
    ranks: tuple[tuple[IPAddress, int], ...] = ()
    mark: int = 0
    quic_ports: tuple[int, ...] = ()
    tunnel: Tunnel | None = None
    virtual: str = ""
    silence: float = 0.0
    grace: float = 0.0

    def of(self, version: int) -> tuple[IPAddress, ...]:
        """Return the VIPs of one IP version."""
        return tuple(vip for vip in self.vips if vip.version == version)

    @property
    def announces_mac(self) -> bool:
        """Tell whether the MASTER says by ARP where the VIP's own MAC is."""
        return bool(self.virtual) and self.vips[0].version == 4

    @property
    def versions(self) -> tuple[int, ...]:
        """Return the IP versions that there are VIPs of."""
        return tuple(version for version in FAMILIES if self.of(version))

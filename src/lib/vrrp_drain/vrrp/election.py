"""What an advert means for us: the only place where packets from the network become proof. Pure.

Ignored without a sign: other virtual routers, our own source address, resignations, priorities below ours, and peers
known from the link that still have another VIP (the VIP property is being changed node by node).

In a closed group (docs/decisions/0012-who-is-heard.md) the kernel keeps from keepalived what does not come from a member, so nobody
else is a peer's here either.
"""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass

from vrrp_drain.handover.transitions import Event, Sign
from vrrp_drain.runtime.ip import IPAddress, Packet

from . import bands
from .advert import RESIGN, Advert
from .foreign import Difference, Foreign

_RENEW_EVERY = 1.0  # seconds between two looks for a new member, whoever else advertises
_LIMITED_BROADCAST = ipaddress.IPv4Address("255.255.255.255")


@dataclass(frozen=True)
class Electorate:
    """Who we are in the election: the virtual router, our addresses, the peers the link names.

    ``members`` are those peers, and who has proven since that he is one (vrrp/hello.py). In a ``closed`` group nobody else is heard.
    ``nobody`` are addresses that no router sends from: VIPs, broadcast addresses.
    """

    vrid: int
    version: int
    advert_int: float
    vip: IPAddress
    own_addresses: frozenset[IPAddress]
    peers: frozenset[IPAddress]
    unicast: bool = False
    authentication: tuple[int, bytes] = (0, bytes(8))  # type and data, of version 2 alone
    members: frozenset[IPAddress] = frozenset()
    closed: bool = False
    nobody: frozenset[IPAddress] = frozenset()

    def judge(self, advert: Advert, packet: Packet, our_priority: int) -> Event | None:
        """Return the sign that ``advert``, which came in ``packet``, is while we have ``our_priority``, or None."""
        source = packet.source
        if not self.concerns(advert, packet) or self.keeps_out(source):
            return None
        if stranger := self.foreign(advert, packet):
            return Event(Sign.FOREIGN, {"peer": source, "why": stranger})
        if advert.addresses != (self.vip,) or advert.priority == RESIGN or advert.priority < our_priority:
            return None
        sign = Sign.SUCCESSOR if bands.is_active(advert.priority) else Sign.LEAVER
        return Event(sign, {"peer": source, "priority": advert.priority})

    def concerns(self, advert: Advert, packet: Packet) -> bool:
        """Tell whether this is somebody else's advert of our virtual router, and came to us."""
        return advert.vrid == self.vrid and self._may_send(packet.source) and self._reaches_us(packet.destination)

    def keeps_out(self, source: IPAddress) -> bool:
        """Tell whether keepalived here hears nothing of ``source``, because it is no member of a closed group."""
        return self.closed and source not in self.members

    def is_peers(self, advert: Advert, packet: Packet) -> bool:
        """Tell whether this is an advert of a peer for our VIP, as keepalived here takes it."""
        return self.concerns(advert, packet) and not self.foreign(advert, packet) and advert.addresses == (self.vip,)

    def _may_send(self, source: IPAddress) -> bool:
        impossible = source.is_multicast or source.is_unspecified or source.is_loopback or source == _LIMITED_BROADCAST
        return not impossible and source not in self.own_addresses and source not in self.nobody

    def _reaches_us(self, destination: IPAddress) -> bool:
        return destination.is_multicast or destination in self.own_addresses

    def foreign(self, advert: Advert, packet: Packet) -> Foreign | None:
        """Return why whoever sent this is not of our cluster, or None."""
        return self._stranger(advert, packet.source, packet.destination) if self.concerns(advert, packet) else None

    def _stranger(self, advert: Advert, source: IPAddress, destination: IPAddress) -> Foreign | None:
        """Return why keepalived here would ignore this advert and become a second master, or None."""
        same_vip = self.vip in advert.addresses
        theirs = ", ".join(map(str, advert.addresses))

        def foreign(difference: Difference, ours: object, theirs: object = "") -> Foreign:
            return Foreign(difference, source, self.vrid, str(ours), str(theirs))

        if not same_vip and source not in self.peers and source not in self.members:
            return foreign(Difference.VIP, self.vip, theirs)
        if advert.version != self.version:
            return foreign(Difference.VERSION, self.version, advert.version)
        if advert.version == 2 and advert.advert_int != self.advert_int:
            return foreign(Difference.INTERVAL, f"{self.advert_int:g}", f"{advert.advert_int:g}")
        if advert.version == 2 and (advert.auth_type, advert.auth_data) != self.authentication:
            return foreign(Difference.AUTHENTICATION, "")
        if destination.is_multicast is self.unicast:
            ways = ("to each peer", "to the multicast group")
            return foreign(Difference.CASTING, *(ways if self.unicast else reversed(ways)))
        if same_vip and advert.addresses != (self.vip,):
            return foreign(Difference.VIP_LIST, self.vip, theirs)
        return foreign(Difference.MEMBERSHIP, self.vip) if self.keeps_out(source) else None


class Register:
    """The electorate as it is known now; asked for anew where somebody speaks who is not in it, and no more often than is cheap."""

    def __init__(self, ask: Callable[[], Electorate]) -> None:
        self._ask = ask
        self._next = float("-inf")
        self.current = ask()

    def renew(self) -> Electorate:
        """Ask now, and return the answer."""
        self.current = self._ask()
        return self.current

    def hearing(self, advert: Advert, packet: Packet, now: float) -> Electorate:
        """Return the electorate to judge ``advert`` by; ``now`` is monotonic."""
        if now >= self._next and self.current.concerns(advert, packet) and self.current.keeps_out(packet.source):
            self._next = now + _RENEW_EVERY
            self.renew()
        return self.current

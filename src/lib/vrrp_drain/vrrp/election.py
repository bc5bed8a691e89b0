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

    def foreign(self, advert: Advert, packet: Packet) -> str:
        """Return why whoever sent this is not of our cluster, and what to change, or nothing."""
        return self._stranger(advert, packet.source, packet.destination) if self.concerns(advert, packet) else ""

    def _stranger(self, advert: Advert, source: IPAddress, destination: IPAddress) -> str:
        """Return why keepalived here would ignore this advert and become a second master, or nothing."""
        same_vip = self.vip in advert.addresses
        if not same_vip and source not in self.peers and source not in self.members:
            theirs = ", ".join(str(a) for a in advert.addresses)
            return (
                f"{source} uses VRID {self.vrid} on this segment for {theirs}, not for our {self.vip}: "
                "give one of the two clusters another keepalived.virtual_router_id"
            )
        if advert.version != self.version:
            return (
                f"{source} speaks VRRP version {advert.version} for VRID {self.vrid}, we speak {self.version}: "
                "they do not hear each other and both become MASTER; give all instances the same keepalived.vrrp_version "
                "(to change it, stop the whole instance group first)"
            )
        if advert.version == 2 and advert.advert_int != self.advert_int:
            return (
                f"{source} adverts VRID {self.vrid} every {advert.advert_int:g} s, we every {self.advert_int:g} s: version 2 "
                "ignores such adverts and both become MASTER; give all instances the same keepalived.advert_int "
                "(to change it, stop the whole instance group first)"
            )
        if advert.version == 2 and (advert.auth_type, advert.auth_data) != self.authentication:
            return (
                f"{source} adverts VRID {self.vrid} with another authentication than ours: keepalived ignores such adverts and both "
                "become MASTER; give all instances the same keepalived.auth_pass (to change it, stop the whole instance group first)"
            )
        if destination.is_multicast is self.unicast:
            they, we = ("to the multicast group", "to each peer") if self.unicast else ("to each peer", "to the multicast group")
            return (
                f"{source} adverts VRID {self.vrid} {they}, we {we}: they do not hear each other and both become MASTER; give all "
                "instances the same keepalived.unicast (to change it, stop the whole instance group first)"
            )
        if same_vip and advert.addresses != (self.vip,):
            theirs = ", ".join(str(a) for a in advert.addresses)
            return (
                f"{source} adverts VRID {self.vrid} for {theirs}, we for {self.vip} alone: keepalived ignores a list that "
                "differs and both become MASTER; give all instances the same keepalived.vip"
            )
        if self.keeps_out(source):
            return (
                f"{source} adverts VRID {self.vrid} for our {self.vip} and is no instance of this group: clients reach it or us, whatever "
                "we do; find out whose machine it is (another deployment, a VM left over), and give one of the two another keepalived.vip "
                "and keepalived.virtual_router_id"
            )
        return ""


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

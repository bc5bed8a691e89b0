"""Who an advert is from, and what it means for us: the only place where packets from the network become proof. Pure.

In a closed group (docs/decisions/0012-who-is-heard.md) the kernel keeps from keepalived what does not come from a member, so nobody
else is a peer's here either.
"""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum

from vrrp_drain.runtime.errors import AdvertError
from vrrp_drain.runtime.ip import TTL, IPAddress, Packet

from . import hello
from .advert import Advert, parse
from .foreign import Difference, Foreign

_RENEW_EVERY = 1.0  # seconds between two looks for a new member, whoever else advertises
_LIMITED_BROADCAST = ipaddress.IPv4Address("255.255.255.255")


class Standing(Enum):
    """What a packet of protocol 112 is to us."""

    PEER = "a peer's advert for our VIP, as keepalived here takes it"
    CHANGING = "an advert of a peer that has another VIP: the property is being changed instance by instance"
    STRANGER = "an advert with our VRID that is not of our group, or that keepalived here ignores"
    HELLO = "an instance of our group says from where its adverts come"
    ELSEWHERE = "none of our business: another virtual router's, our own, or not for us"
    FAR = "an advert of a peer, over more routers than are allowed: keepalived here does not get it"
    DAMAGED = "no valid advert"


@dataclass(frozen=True)
class Electorate:
    """Who we are in the election: the virtual router, our addresses, the peers the link names.

    ``members`` are those peers, and who has proven since that he is one (hello.py). In a ``closed`` group nobody else is heard.
    With ``unicast`` they may be ``hops`` routers away. ``nobody`` are addresses that no router sends from: VIPs, broadcast addresses.
    ``token`` is what a hello for us holds.
    """

    vrid: int
    version: int
    advert_int: float
    vip: IPAddress
    own_addresses: frozenset[IPAddress]
    peers: frozenset[IPAddress]
    unicast: bool = False
    hops: int = 0
    authentication: tuple[int, bytes] = (0, bytes(8))  # type and data, of version 2 alone
    members: frozenset[IPAddress] = frozenset()
    closed: bool = False
    nobody: frozenset[IPAddress] = frozenset()
    token: bytes = b""

    def classify(self, packet: Packet, at: float) -> "Heard":
        """Say what ``packet``, which came ``at`` monotonic seconds, is to us: the one place where that is decided."""
        if self.token and hello.introduces(packet, self.token, self.vrid, self.hops):
            return Heard(packet, None, Standing.HELLO, at, self)
        if packet.payload[1:2] == bytes((hello.NO_ROUTER,)):
            return Heard(packet, None, Standing.ELSEWHERE, at, self)
        try:
            advert = parse(packet, self.hops)
        except AdvertError:
            return Heard(packet, None, Standing.FAR if self._is_far(packet) else Standing.DAMAGED, at, self)
        if advert.vrid != self.vrid or not self._may_send(packet.source) or not self._reaches_us(packet.destination):
            return Heard(packet, advert, Standing.ELSEWHERE, at, self)
        if difference := self._difference(advert, packet):
            return Heard(packet, advert, Standing.STRANGER, at, self, difference)
        standing = Standing.PEER if advert.addresses == (self.vip,) else Standing.CHANGING
        return Heard(packet, advert, standing, at, self)

    def _is_far(self, packet: Packet) -> bool:
        """Tell whether all that is wrong with what a peer has sent us is how far it has come."""
        if not self.unicast or packet.source not in self.members or packet.destination not in self.own_addresses:
            return False
        try:
            return parse(packet, TTL).vrid == self.vrid
        except AdvertError:
            return False

    def keeps_out(self, source: IPAddress) -> bool:
        """Tell whether keepalived here hears nothing of ``source``, because it is no member of a closed group."""
        return self.closed and source not in self.members

    def _may_send(self, source: IPAddress) -> bool:
        impossible = source.is_multicast or source.is_unspecified or source.is_loopback or source == _LIMITED_BROADCAST
        return not impossible and source not in self.own_addresses and source not in self.nobody

    def _reaches_us(self, destination: IPAddress) -> bool:
        return destination.is_multicast or destination in self.own_addresses

    def _difference(self, advert: Advert, packet: Packet) -> Difference | None:
        """Return why keepalived here would ignore this advert and become a second master, or None."""
        source, same_vip = packet.source, self.vip in advert.addresses
        if not same_vip and source not in self.peers and source not in self.members:
            return Difference.VIP
        if advert.version != self.version:
            return Difference.VERSION
        if advert.version == 2 and advert.advert_int != self.advert_int:
            return Difference.INTERVAL
        if advert.version == 2 and (advert.auth_type, advert.auth_data) != self.authentication:
            return Difference.AUTHENTICATION
        if packet.destination.is_multicast is self.unicast:
            return Difference.CASTING
        if same_vip and advert.addresses != (self.vip,):
            return Difference.VIP_LIST
        return Difference.MEMBERSHIP if self.keeps_out(source) else None


@dataclass(frozen=True, slots=True)
class Heard:
    """A packet, the advert in it if there is one, and what it is to us; ``at`` is when it came, in monotonic seconds."""

    packet: Packet
    advert: Advert | None
    standing: Standing
    at: float
    by: Electorate = field(repr=False, compare=False)
    difference: Difference | None = None

    @property
    def source(self) -> IPAddress:
        return self.packet.source

    @property
    def routers(self) -> int:
        """Return how many routers it has crossed."""
        return TTL - self.packet.ttl

    @property
    def reaches_keepalived(self) -> bool:
        return not self.by.keeps_out(self.source)

    @property
    def foreign(self) -> Foreign | None:
        """Return in what whoever sent this differs from us; None where he is no stranger."""
        if self.difference is None or self.advert is None:
            return None
        return Foreign(self.difference, self.source, self.by.vrid, *_compared(self.difference, self.advert, self.by))

    @property
    def why(self) -> str:
        """Return why whoever sent this is a stranger, and what to change; nothing where he is none."""
        return str(self.foreign or "")


def _compared(difference: Difference, advert: Advert, us: Electorate) -> tuple[str, str]:
    """Return what we have and what the sender has, where that is told."""
    match difference:
        case Difference.VERSION:
            return str(us.version), str(advert.version)
        case Difference.INTERVAL:
            return f"{us.advert_int:g}", f"{advert.advert_int:g}"
        case Difference.AUTHENTICATION:
            return "", ""
        case Difference.CASTING:
            each, group = "to each peer", "to the multicast group"
            return (each, group) if us.unicast else (group, each)
    return str(us.vip), ", ".join(map(str, advert.addresses))


class Register:
    """The electorate as it is known now; asked for anew where somebody speaks who is not in it, and no more often than is cheap."""

    def __init__(self, ask: Callable[[], Electorate]) -> None:
        self._ask = ask
        self._next = float("-inf")
        self.introduced: frozenset[IPAddress] = frozenset()  # who has said hello to us
        self.adverts = 0  # of peers, addressed to us or to the group
        self.current = ask()

    def renew(self) -> Electorate:
        """Ask now, and return the answer."""
        found = self._ask()
        self.current = replace(found, members=found.members | self.introduced)
        return self.current

    def introduce(self, source: IPAddress) -> None:
        """Take ``source`` for a member from now on: it has said hello to us."""
        self.introduced |= {source}
        self.current = replace(self.current, members=self.current.members | self.introduced)

    def hear(self, packet: Packet, now: float) -> Heard:
        """Say what ``packet``, which has just come, is to us; ``now`` is monotonic."""
        heard = self.current.classify(packet, now)
        concerns = heard.standing in (Standing.PEER, Standing.CHANGING, Standing.STRANGER)
        if concerns and heard.source not in self.current.members and now >= self._next:
            self._next = now + _RENEW_EVERY
            heard = self.renew().classify(packet, now)
        self.adverts += heard.standing in (Standing.PEER, Standing.CHANGING)
        return heard

"""VXLAN devices whose ways to others are told by whoever made them (RFC 7348): nothing is learnt, nothing is flooded.

A packet that is sent out of such a device to a neighbour goes to the address of the way to that neighbour, in UDP. What the routes of the
machine say does not matter: a rule has whatever is to leave by the device look into a routing table of its own, where each neighbour is one
hop away. There is nothing else in it: IPv6 has a reset leave by where the packet came from, unless no route there leads to the client.

Sources: linux/if_link.h, linux/neighbour.h, linux/fib_rules.h, linux/rtnetlink.h, the kernel's vxlan_core.c.
"""

import errno
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address

from vrrp_drain.runtime.ip import IPAddress

from .netlink import ACK, CREATE, DUMP, EXCL, HEADER, REQUEST, ROUTE, Answer, Conversation, attribute, attributes, message

_NEWLINK, _DELLINK, _GETLINK, _NEWADDR, _NEWROUTE = 16, 17, 18, 20, 24  # RTM_*
_NEWNEIGH, _GETNEIGH, _NEWRULE, _DELRULE, _GETRULE = 28, 30, 32, 33, 34
_REPLACE = 0x100  # NLM_F_*
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, which of the flags are meant
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix length, flags, scope, index
_NEIGHBOUR = struct.Struct("=BxxxiHBB")  # struct ndmsg: family, index, state, flags, type
_ROUTE = struct.Struct("=BBBBBBBBI")  # struct rtmsg: family, lengths of target and source, TOS, table, protocol, scope, type, flags
_RULE = struct.Struct("=BBBBBxxBI")  # struct fib_rule_hdr: family, lengths of target and source, TOS, table, action, flags
_NUMBER, _PORT = struct.Struct("=I"), struct.Struct("!H")
_UP = 0x1  # IFF_UP
_IFNAME, _MAC, _MTU, _LINKINFO, _INFO_KIND, _INFO_DATA = 3, 1, 4, 18, 1, 2  # IFLA_*
_VXLAN_ID, _VXLAN_LINK, _VXLAN_TTL, _VXLAN_LEARNING, _VXLAN_PORT = 1, 3, 5, 7, 15  # IFLA_VXLAN_*
_VXLAN_LOCAL = {4: 4, 6: 17}
_NESTED = 0x8000  # NLA_F_NESTED
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_NDA_DST, _NDA_LLADDR, _NDA_IFINDEX = 1, 2, 8
_NTF_SELF, _NUD_PERMANENT, _NUD_NOARP = 0x02, 0x80, 0x40
_RTA_DST, _RTA_OIF, _RTA_TABLE = 1, 4, 15
_RTPROT_STATIC, _SCOPE_LINK, _SCOPE_HOST, _UNICAST = 4, 253, 254, 1
_FRA_OIFNAME, _FRA_TABLE, _TO_TABLE = 17, 15, 1
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
HEADERS = {4: 20 + 8 + 8 + 14, 6: 40 + 8 + 8 + 14}  # bytes that a packet gets longer by: IP, UDP, VXLAN, Ethernet
TTL = 255  # of what carries the packets: who is nearer than it says is known by it (RFC 5082)


@dataclass(frozen=True)
class Device:
    """A VXLAN device of one family: ``local`` is the own end, ``lower`` the interface that it sends by, ``number`` its VNI.

    ``index`` is chosen by us, so that who names the device by it need not be told when it is made anew. ``table`` is its routing table.
    """

    name: str
    index: int
    mac: bytes
    local: IPAddress
    lower: str
    number: int
    port: int
    mtu: int
    table: int

    @property
    def family(self) -> int:
        return int(_FAMILY[self.local.version])


class Vxlan:
    """``make`` opens a netlink socket. All methods raise OSError."""

    def __init__(self, make: Callable[[], Conversation] = lambda: Conversation(ROUTE)) -> None:
        self._make = make

    def mtu(self, interface: str) -> int:
        """Return the longest packet that ``interface`` takes, in bytes."""
        found = self._link(socket.if_nametoindex(interface))
        return int(_NUMBER.unpack(dict(attributes(found[HEADER.size + _LINK.size :]))[_MTU])[0])

    def create(self, device: Device) -> None:
        """Make it; it is down, and has no way to anybody. Modules that it needs the kernel loads."""
        version, lower = device.local.version, socket.if_nametoindex(device.lower)
        told = [
            attribute(_VXLAN_ID, _NUMBER.pack(device.number)),
            attribute(_VXLAN_LOCAL[version], device.local.packed),
            *([attribute(_VXLAN_LINK, _NUMBER.pack(lower))] if device.local.is_link_local else []),
            attribute(_VXLAN_TTL, bytes((TTL,))),
            attribute(_VXLAN_LEARNING, b"\0"),
            attribute(_VXLAN_PORT, _PORT.pack(device.port)),
        ]
        kind = attribute(_INFO_KIND, b"vxlan\0") + attribute(_INFO_DATA | _NESTED, b"".join(told))
        self._ask(
            *(_NEWLINK, CREATE | EXCL, _LINK.pack(0, 0, device.index, 0, 0)),
            attribute(_IFNAME, device.name.encode() + b"\0"),
            attribute(_MAC, device.mac),
            attribute(_MTU, _NUMBER.pack(device.mtu)),
            attribute(_LINKINFO | _NESTED, kind),
        )

    def start(self, device: Device, address: IPv4Address | None) -> None:
        """Have it up, with ``address`` if one is given."""
        if address is not None:
            header = _ADDRESS.pack(device.family, 32, 0, _SCOPE_HOST, device.index)
            self._ask(_NEWADDR, CREATE | EXCL, header, attribute(_IFA_LOCAL, address.packed), attribute(_IFA_ADDRESS, address.packed))
        self._ask(_NEWLINK, 0, _LINK.pack(0, 0, device.index, _UP, _UP))

    def select(self, device: Device) -> None:
        """Have what is to leave by it look into its routing table before others."""
        if not self.has_rule(device):
            self._ask(_NEWRULE, CREATE | EXCL, _RULE.pack(device.family, 0, 0, 0, 0, _TO_TABLE, 0), *_selects(device.name, device.table))

    def remove(self, version: int, name: str, table: int) -> None:
        """Take the device away with all that is on it, and its rule; it is no error where there is none."""
        if found := _index(name):
            self._ask(_DELLINK, 0, _LINK.pack(0, 0, found, 0, 0))
        for _ in range(self._rules(version, name, table)):
            self._ask(_DELRULE, 0, _RULE.pack(_FAMILY[version], 0, 0, 0, 0, _TO_TABLE, 0), *_selects(name, table))

    def is_up(self, device: Device) -> bool:
        """Tell whether it is there, as it was made."""
        try:
            found = self._link(device.index)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            return False
        (*_, flags, _), told = _LINK.unpack_from(found, HEADER.size), dict(attributes(found[HEADER.size + _LINK.size :]))
        is_whole = told[_IFNAME].rstrip(b"\0").decode() == device.name and told[_MAC] == device.mac
        return bool(flags & _UP) and is_whole and _NUMBER.unpack(told[_MTU])[0] == device.mtu

    def has_rule(self, device: Device) -> bool:
        return self._rules(device.local.version, device.name, device.table) > 0

    def ways(self, device: Device) -> set[IPAddress]:
        """Return whom it has a whole way to: the neighbour, and where in the world that is."""
        neighbours = {ip_address(address) for index, address, _ in self._neighbours(device.family) if index == device.index}
        there = {ip_address(address) for index, address, _ in self._neighbours(socket.AF_BRIDGE) if index == device.index}
        return neighbours & there

    def add_ways(self, device: Device, peers: Iterable[tuple[IPAddress, bytes]]) -> None:
        """Have packets to each of ``peers``, who has a device with that MAC, go there."""
        lower = socket.if_nametoindex(device.lower)
        for peer, mac in peers:
            end = [attribute(_NDA_DST, peer.packed), attribute(_NDA_LLADDR, mac)]
            by = [attribute(_NDA_IFINDEX, _NUMBER.pack(lower))] if peer.is_link_local else []
            to = _NEIGHBOUR.pack(socket.AF_BRIDGE, device.index, _NUD_NOARP | _NUD_PERMANENT, _NTF_SELF, 0)
            self._ask(_NEWNEIGH, CREATE | _REPLACE, to, *end, *by)
            self._ask(_NEWNEIGH, CREATE | _REPLACE, _NEIGHBOUR.pack(device.family, device.index, _NUD_PERMANENT, 0, 0), *end)
            one = _ROUTE.pack(device.family, peer.max_prefixlen, 0, 0, 0, _RTPROT_STATIC, _SCOPE_LINK, _UNICAST, 0)
            out = attribute(_RTA_OIF, _NUMBER.pack(device.index)), attribute(_RTA_TABLE, _NUMBER.pack(device.table))
            self._ask(_NEWROUTE, CREATE | _REPLACE, one, attribute(_RTA_DST, peer.packed), *out)

    def _neighbours(self, family: int) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield index, address and MAC of all neighbours of ``family``; of a bridge's, what stands in its forwarding table."""
        for each in self._dump(_GETNEIGH, _NEIGHBOUR.pack(family, 0, 0, 0, 0)):
            _, index, *_ = _NEIGHBOUR.unpack_from(each, HEADER.size)
            told = dict(attributes(each[HEADER.size + _NEIGHBOUR.size :]))
            if _NDA_DST in told and _NDA_LLADDR in told:
                yield index, told[_NDA_DST], told[_NDA_LLADDR]

    def _rules(self, version: int, name: str, table: int) -> int:
        wanted, found = (name.encode(), table), 0
        try:
            rules = self._dump(_GETRULE, _RULE.pack(_FAMILY[version], 0, 0, 0, 0, 0, 0))
        except OSError as error:
            if error.errno != errno.EAFNOSUPPORT:
                raise
            return 0  # there is no such family here
        for each in rules:
            told = dict(attributes(each[HEADER.size + _RULE.size :]))
            found += (told.get(_FRA_OIFNAME, b"").rstrip(b"\0"), *_NUMBER.unpack(told.get(_FRA_TABLE, bytes(4)))) == wanted
        return found

    def _link(self, index: int) -> Answer:
        with self._make() as kernel:
            found = kernel.ask(message(_GETLINK, REQUEST, _LINK.pack(0, 0, index, 0, 0)))
        if found is None:
            raise OSError(errno.ENODEV, "No such device")
        return found

    def _ask(self, kind: int, flags: int, header: bytes, *told: bytes) -> None:
        with self._make() as kernel:
            kernel.ask(message(kind, REQUEST | ACK | flags, header + b"".join(told)))

    def _dump(self, kind: int, header: bytes) -> list[Answer]:
        with self._make() as kernel:
            return kernel.dump(message(kind, REQUEST | DUMP, header))


def _index(name: str) -> int:
    """Return the index of a link, 0 where there is none of that name."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def _selects(name: str, table: int) -> tuple[bytes, bytes]:
    return attribute(_FRA_OIFNAME, name.encode() + b"\0"), attribute(_FRA_TABLE, _NUMBER.pack(table))

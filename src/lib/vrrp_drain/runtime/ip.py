"""What is IP and nothing else: addresses, the packets of protocol 112 as sockets give them, checksums.

All rooms speak in these types, so they stand below them all.
"""

import ipaddress
import struct
from dataclasses import dataclass
from typing import Final

from .errors import AdvertError

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPInterface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

PROTOCOL: Final = 112  # RFC 5798 section 5.1.1.4
GROUP_V4: Final = ipaddress.IPv4Address("224.0.0.18")
GROUP_V6: Final = ipaddress.IPv6Address("ff02::12")
ALL_HOSTS_V4: Final = ipaddress.IPv4Address("224.0.0.1")  # RFC 1112 section 4; keepalived hears its own group alone (IP_MULTICAST_ALL)
ALL_HOSTS_V6: Final = ipaddress.IPv6Address("ff02::1")  # RFC 4291 section 2.7.1
TTL: Final = 255  # as adverts are sent, RFC 9568 section 5.1.1.3: each router that one crosses takes 1 (RFC 5082, section 3)

_FRAGMENT: Final = 0x3FFF  # more fragments, or an offset: RFC 791 section 3.1


@dataclass(frozen=True, slots=True)
class Packet:
    """One IP packet of protocol 112 as it came off the wire, header already read."""

    source: IPAddress
    destination: IPAddress
    ttl: int
    payload: bytes

    @classmethod
    def from_ipv4(cls, datagram: bytes) -> "Packet":
        """Read header, options and payload (RFC 791 section 3.1), of a raw or a packet socket (ip(7), packet(7)).

        The length is the header's: what follows is what Ethernet pads a short frame with. A fragment is no whole advert, and nobody
        sends one that needs them. Raises AdvertError when the header is not a whole and undamaged IPv4 header.
        """
        if len(datagram) < 20:
            raise AdvertError("IPv4 packet length", f"{len(datagram)} bytes", "at least 20")
        version, header_bytes = datagram[0] >> 4, (datagram[0] & 0x0F) * 4
        if version != 4:
            raise AdvertError("IP version", version, 4)
        if not 20 <= header_bytes <= len(datagram):
            raise AdvertError("IPv4 header length", f"{header_bytes} bytes", f"20 to {len(datagram)}")
        total = int.from_bytes(datagram[2:4], "big")
        if not header_bytes <= total <= len(datagram):
            raise AdvertError("IPv4 total length", f"{total} bytes", f"{header_bytes} to {len(datagram)}")
        if int.from_bytes(datagram[6:8], "big") & _FRAGMENT:
            raise AdvertError("IPv4 packet", "a fragment", "a whole one")
        if internet_checksum(datagram[:header_bytes]):
            raise AdvertError("IPv4 header checksum", datagram[10:12].hex(), "the sum of the header")
        return cls(
            source=ipaddress.IPv4Address(datagram[12:16]),
            destination=ipaddress.IPv4Address(datagram[16:20]),
            ttl=datagram[8],
            payload=datagram[header_bytes:total],
        )

    @classmethod
    def from_ipv6(cls, datagram: bytes) -> "Packet":
        """Read a datagram without extension headers (RFC 8200 section 3), its payload as long as its header says.

        Raises AdvertError when it is shorter than that, or holds something else than VRRP.
        """
        if len(datagram) < 40:
            raise AdvertError("IPv6 packet length", f"{len(datagram)} bytes", "at least 40")
        if datagram[0] >> 4 != 6:
            raise AdvertError("IP version", datagram[0] >> 4, 6)
        if datagram[6] != PROTOCOL:
            raise AdvertError("IPv6 next header", datagram[6], PROTOCOL)
        end = 40 + int.from_bytes(datagram[4:6], "big")
        if end > len(datagram):
            raise AdvertError("IPv6 payload length", f"{end - 40} bytes", f"0 to {len(datagram) - 40}")
        return cls(
            source=ipaddress.IPv6Address(datagram[8:24]),
            destination=ipaddress.IPv6Address(datagram[24:40]),
            ttl=datagram[7],
            payload=datagram[40:end],
        )


def host_port(address: IPAddress, port: int | None = None) -> str:
    """Return them as in a URL: 10.0.0.10:80, [fd00::10]:80, or without a port (RFC 3986 section 3.2.2)."""
    host = f"[{address}]" if address.version == 6 else str(address)
    return f"{host}:{port}" if port else host


def internet_checksum(data: bytes) -> int:
    """Return the one's complement sum of 16-bit words (RFC 1071); 0 over data that holds its own sum."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def pseudo_header(source: IPAddress, destination: IPAddress, length: int, protocol: int = PROTOCOL) -> bytes:
    """Return what a checksum covers besides the payload. IPv4: as in TCP (RFC 9293 section 3.1); IPv6: RFC 8200 section 8.1."""
    if source.version == 4:
        return source.packed + destination.packed + struct.pack("!BBH", 0, protocol, length)
    return source.packed + destination.packed + struct.pack("!I3xB", length, protocol)

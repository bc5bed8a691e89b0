"""VRRP adverts: bytes in, frozen values out, and back. No socket, no clock, no logger.

Version 2 is RFC 3768 (IPv4 only, whole seconds); version 3 is RFC 5798 and its successor RFC 9568 (IPv4
and IPv6, centiseconds).
"""

import ipaddress
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from vrrp_drain.runtime.errors import AdvertError
from vrrp_drain.runtime.ip import TTL, IPAddress, Packet, internet_checksum, pseudo_header

TYPE_ADVERT: Final = 1
RESIGN: Final = 0  # priority 0: the master has stopped participating, RFC 5798 section 5.2.4

_HEADER: Final = struct.Struct("!BBBB2sH")
_AUTH_NONE, _AUTH_SIMPLE = 0, 1
_V2_AUTH_BYTES: Final = 8  # RFC 3768 section 5.3.10: present whatever the authentication type


@dataclass(frozen=True, slots=True)
class Advert:
    """What one VRRP router says of one virtual router.

    ``advert_int`` is in seconds; ``addresses`` is the VIP list in the order of the packet.
    """

    version: int
    vrid: int
    priority: int
    advert_int: float
    addresses: tuple[IPAddress, ...]
    auth_type: int = 0
    auth_data: bytes = bytes(_V2_AUTH_BYTES)


def parse(packet: Packet, hops: int = 0) -> Advert:
    """Read an advert that has crossed at most ``hops`` routers, cheapest check first (RFC 5798 section 7.1, RFC 3768 section 7.1).

    Raises AdvertError, naming the field, for every byte string that is not a valid advert.
    """
    payload = packet.payload
    if len(payload) < _HEADER.size:
        raise AdvertError("length", f"{len(payload)} bytes", f"at least {_HEADER.size}")
    if packet.ttl < TTL - hops:
        raise AdvertError("TTL or hop limit", packet.ttl, f"at least {TTL - hops}" if hops else TTL)
    version_type, vrid, priority, count, timing, _ = _HEADER.unpack_from(payload)
    version, kind = version_type >> 4, version_type & 0x0F
    is_ipv6 = isinstance(packet.source, ipaddress.IPv6Address)
    if version not in (2, 3):
        raise AdvertError("version", version, "2 or 3")
    if version == 2 and is_ipv6:
        raise AdvertError("version", 2, "3 on IPv6")
    if kind != TYPE_ADVERT:
        raise AdvertError("type", kind, TYPE_ADVERT)
    if vrid == 0:
        raise AdvertError("VRID", vrid, "1 to 255")
    if count == 0:
        raise AdvertError("address count", count, "1 to 255")
    address_bytes = 16 if is_ipv6 else 4
    expected = _HEADER.size + count * address_bytes + (_V2_AUTH_BYTES if version == 2 else 0)
    if len(payload) != expected:
        raise AdvertError("length", f"{len(payload)} bytes", f"{expected} for {count} addresses")
    _check_sum(packet, version)
    end = _HEADER.size + count * address_bytes
    addresses = tuple(ipaddress.ip_address(payload[at : at + address_bytes]) for at in range(_HEADER.size, end, address_bytes))
    if version == 2:
        if timing[1] == 0:
            raise AdvertError("advert interval", "0 s", "1 to 255 s")
        return Advert(2, vrid, priority, float(timing[1]), addresses, timing[0], payload[end:])
    centiseconds = int.from_bytes(timing, "big") & 0x0FFF
    if centiseconds == 0:
        raise AdvertError("advert interval", "0 cs", "1 to 4095 cs")
    return Advert(3, vrid, priority, centiseconds / 100, addresses)


def authentication(password: str | None) -> tuple[int, bytes]:
    """Return type and data of version 2's simple password (RFC 2338 section 5.3.6), as keepalived's auth_type PASS sends it."""
    return (_AUTH_NONE, bytes(_V2_AUTH_BYTES)) if password is None else (_AUTH_SIMPLE, password.encode().ljust(_V2_AUTH_BYTES, b"\0"))


def valid(packets: Iterable[Packet]) -> Iterator[tuple[Advert, Packet]]:
    """Yield the adverts among ``packets``, each with its packet; what is damaged is dropped."""
    for packet in packets:
        with suppress(AdvertError):
            yield parse(packet), packet


def build(advert: Advert, source: IPAddress, destination: IPAddress) -> bytes:
    """Return the advert as the payload of an IP packet from ``source`` to ``destination``.

    Raises AdvertError when a field does not fit its place on the wire.
    """
    for field, value, low, high in (
        ("VRID", advert.vrid, 1, 255),
        ("priority", advert.priority, 0, 255),
        ("address count", len(advert.addresses), 1, 255),
    ):
        if not low <= value <= high:
            raise AdvertError(field, value, f"{low} to {high}")
    if len({source.version, destination.version, *(a.version for a in advert.addresses)}) != 1:
        raise AdvertError("address family", "mixed", "one family per virtual router")
    if advert.version == 2:
        if source.version == 6:
            raise AdvertError("version", 2, "3 on IPv6")
        if advert.advert_int not in range(1, 256):
            raise AdvertError("advert interval", f"{advert.advert_int} s", "1 to 255 whole seconds")
        if len(advert.auth_data) != _V2_AUTH_BYTES or not 0 <= advert.auth_type <= 255:
            raise AdvertError("authentication", advert.auth_data, f"{_V2_AUTH_BYTES} bytes and a type of 0 to 255")
        timing = bytes((advert.auth_type, int(advert.advert_int)))
        tail = advert.auth_data
    elif advert.version == 3:
        centiseconds = round(advert.advert_int * 100)
        if not 1 <= centiseconds <= 4095:
            raise AdvertError("advert interval", f"{advert.advert_int} s", "0.01 to 40.95 s")
        timing = centiseconds.to_bytes(2, "big")
        tail = b""
    else:
        raise AdvertError("version", advert.version, "2 or 3")
    first = advert.version << 4 | TYPE_ADVERT
    body = b"".join(a.packed for a in advert.addresses) + tail
    head = _HEADER.pack(first, advert.vrid, advert.priority, len(advert.addresses), timing, 0)
    covered = head + body
    if advert.version == 3:
        covered = pseudo_header(source, destination, len(covered)) + covered
    return head[:6] + internet_checksum(covered).to_bytes(2, "big") + body


def _check_sum(packet: Packet, version: int) -> None:
    """Version 3 over IPv4 is sent with a pseudo header by keepalived, without one by others: take both."""
    plain = internet_checksum(packet.payload) == 0
    if version == 2:
        valid = plain
    else:
        pseudo = pseudo_header(packet.source, packet.destination, len(packet.payload))
        valid = internet_checksum(pseudo + packet.payload) == 0
        valid = valid or (plain and packet.source.version == 4)
    if not valid:
        got = int.from_bytes(packet.payload[6:8], "big")
        raise AdvertError("checksum", f"{got:#06x}", "the sum of the packet")

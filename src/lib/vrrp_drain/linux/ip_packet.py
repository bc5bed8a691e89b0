"""IP packets of our own making, for packet sockets: where the kernel's routing would keep them here, or give them another source."""

import struct

from vrrp_drain.runtime.ip import IPAddress, internet_checksum

_HOPS = 64


def ip_packet(source: IPAddress, destination: IPAddress, protocol: int, payload: bytes) -> bytes:
    """Return ``payload`` behind a header without options (RFC 791 section 3.1, RFC 8200 section 3)."""
    if source.version == 6:
        return struct.pack("!IHBB16s16s", 6 << 28, len(payload), protocol, _HOPS, source.packed, destination.packed) + payload
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0, _HOPS, protocol, 0, source.packed, destination.packed)
    return header[:10] + internet_checksum(header).to_bytes(2, "big") + header[12:] + payload

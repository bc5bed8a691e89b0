"""The first packets of a TCP connection, built and read by hand (RFC 9293): a SYN, what answers it, and the RST that ends it there.

No socket can do that: the VIP is on lo of every instance, so that whatever this machine connects to it stays here. Our kernel knows
nothing of such a connection, and may drop the answer (its source is an address of this machine), so the RST is ours to send.
"""

import ipaddress
import struct
from dataclasses import dataclass

from vrrp_drain.linux.ip_packet import ip_packet
from vrrp_drain.runtime.ip import IPAddress, internet_checksum, pseudo_header

TCP = 6
_HEADER = struct.Struct("!HHIIBBHHH")
_RST, _SYN, _ACK = 0x04, 0x02, 0x10
_FLAGS = _RST | _SYN | _ACK
_WINDOW = 64240
_SEGMENT_SIZE = bytes((2, 4)) + (1220).to_bytes(2, "big")  # option MSS; fits everywhere, and nothing is sent anyway
_FRAGMENT = 0x1FFF  # the offset, RFC 791 section 3.1
_MODULO = 1 << 32


@dataclass(frozen=True)
class Syn:
    """An opening of ours. ``sequence`` is random, so that nobody who did not see it can answer."""

    source: IPAddress
    source_port: int
    vip: IPAddress
    port: int
    sequence: int

    def packet(self) -> bytes:
        """Return it from the IP header on."""
        return self._peer_table(_SYN, self.sequence, _SEGMENT_SIZE)

    def reset(self) -> bytes:
        """Return the RST that ends what the SYN opened, whether its answer arrived or not."""
        return self._peer_table(_RST, self._next, b"")

    def answered_by(self, answer: "Answer") -> bool:
        return (answer.port, answer.acknowledged) == (self.source_port, self._next)

    @property
    def _next(self) -> int:
        return (self.sequence + 1) % _MODULO

    def _peer_table(self, flags: int, sequence: int, options: bytes) -> bytes:
        offset = (_HEADER.size + len(options)) // 4 << 4
        peer_table = _HEADER.pack(self.source_port, self.port, sequence, 0, offset, flags, _WINDOW if flags & _SYN else 0, 0, 0) + options
        checksum = internet_checksum(pseudo_header(self.source, self.vip, len(peer_table), TCP) + peer_table)
        return ip_packet(self.source, self.vip, TCP, peer_table[:16] + checksum.to_bytes(2, "big") + peer_table[18:])


@dataclass(frozen=True)
class Answer:
    """What came back to our ``port``: SYN-ACK (accepted) or RST; ``acknowledged`` is the sequence number that it expects next."""

    port: int
    acknowledged: int
    accepted: bool


def read(packet: bytes, vip: IPAddress, port: int, own: IPAddress) -> Answer | None:
    """Return the answer of ``vip`` at ``port`` to ``own``, or None where ``packet`` is anything else.

    Checksums are not looked at: a virtual interface leaves them to be filled in by hardware that there is none of.
    """
    peer_table = _payload(packet, vip, own)
    if peer_table is None or len(peer_table) < _HEADER.size:
        return None
    source_port, our_port, _, acknowledged, _, flags, _, _, _ = _HEADER.unpack_from(peer_table)
    if source_port != port or flags & _FLAGS not in (_SYN | _ACK, _RST | _ACK):
        return None
    return Answer(our_port, acknowledged, bool(flags & _SYN))


def _payload(packet: bytes, source: IPAddress, destination: IPAddress) -> bytes | None:
    """Return what a TCP packet between the two carries."""
    if isinstance(source, ipaddress.IPv6Address):
        fits = len(packet) >= 40 and (packet[0] >> 4, packet[6]) == (6, TCP)
        return packet[40:] if fits and (packet[8:24], packet[24:40]) == (source.packed, destination.packed) else None
    length = (packet[0] & 0x0F) * 4 if packet else 0
    if length < 20 or len(packet) < length or (packet[0] >> 4, packet[9]) != (4, TCP):
        return None
    if int.from_bytes(packet[6:8], "big") & _FRAGMENT or (packet[12:16], packet[16:20]) != (source.packed, destination.packed):
        return None
    return packet[length:]

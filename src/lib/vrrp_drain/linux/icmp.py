"""ICMP of both families: echo requests, and what a raw socket hears (RFC 792, RFC 4443 section 4, RFC 3542 section 3)."""

import socket
import struct

from vrrp_drain.runtime.ip import internet_checksum

ECHO_REQUEST = {4: 8, 6: 128}
ECHO_REPLY = {4: 0, 6: 129}
HEADER = struct.Struct("!BBHHH")  # of both: type, code, checksum, identifier, sequence number
_FILTER_V6 = 1  # ICMP6_FILTER, linux/icmpv6.h


def echo_request(version: int, identifier: int, sequence: int, payload: bytes = b"", covered: bytes | None = b"") -> bytes:
    """Return the message. Its checksum is of ``covered`` too, IPv6's pseudo-header; with None the kernel fills it in (section 3.1)."""
    message = HEADER.pack(ECHO_REQUEST[version], 0, 0, identifier, sequence) + payload
    if covered is None:
        return message
    return message[:2] + internet_checksum(covered + message).to_bytes(2, "big") + message[4:]


def hear_only(opened: socket.socket, *kinds: int) -> None:
    """Have a raw socket of ICMPv6 get messages of these types alone."""
    blocked = [0xFFFFFFFF] * 8  # one bit per type
    for kind in kinds:
        blocked[kind // 32] &= ~(1 << kind % 32)
    opened.setsockopt(socket.IPPROTO_ICMPV6, _FILTER_V6, struct.pack("=8I", *blocked))

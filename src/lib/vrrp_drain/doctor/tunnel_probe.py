"""Does what is handed on through the tunnel arrive at our peers, full-size packets too?

Needs nothing at a peer but its kernel and its tunnel. An echo request to the VIP, from our own address, is wrapped as the kernel wraps
what it hands on, and sent to the peer, which has the VIP on lo: it answers us, as it is or through the tunnel. An echo request as it is,
to the peer's own address, is the control: a peer that answers this one alone was sent the other in vain. Nothing is changed anywhere.
"""

import os
import selectors
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from vrrp_drain.handoff.tunnel import INNER_AT, Tunnel, wrapped
from vrrp_drain.linux import icmp
from vrrp_drain.linux.ip_packet import ip_packet
from vrrp_drain.linux.vxlan import TTL
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import IPAddress

from .foreign_source import echo_request

SECONDS = 0.6  # for the answers
_AGAIN = 0.2  # seconds between two rounds of requests
_ETH_P = {4: 0x0800, 6: 0x86DD}
_ICMP = {4: socket.IPPROTO_ICMP, 6: socket.IPPROTO_ICMPV6}
_HEADER = {4: 20, 6: 40}
_SMALL = 64  # bytes of a packet that is never too long
_IP_MTU_DISCOVER, _NEVER = 10, 0  # linux/in.h: IP_PMTUDISC_DONT, what is too long is sent in fragments, as the tunnel does
_PLAIN, _THROUGH, _FULL = _KINDS = range(3)  # what a request is, in its sequence number with the peer's place


@dataclass
class Outcome:
    """Of the peers that were asked: who answered our own address, who through the tunnel, and who a full-size packet in it."""

    plain: set[IPAddress] = field(default_factory=set)
    through: set[IPAddress] = field(default_factory=set)
    full: set[IPAddress] = field(default_factory=set)


def probe(tunnel: Tunnel, end: IPAddress, vip: IPAddress, peers: Sequence[IPAddress], size: int) -> Outcome:
    """Ask ``peers`` from ``end``, our end of the tunnel; ``size`` is that of a full-size packet in bytes. Raises SystemFault."""
    try:
        return _ask(tunnel, end, vip, peers, size)
    except OSError as error:
        raise SystemFault(f"cannot ask the peers through the tunnel: {os.strerror(error.errno or 0)}") from error


def reply_in(packet: bytes, port: int, identifier: int) -> int | None:
    """Return the sequence number of the echo reply with ``identifier`` that ``packet`` is, or holds if it went to ``port``; or None."""
    version = packet[0] >> 4 if packet else 0
    if version not in _HEADER:
        return None
    start = (packet[0] & 0x0F) * 4 if version == 4 else _HEADER[6]
    if len(packet) < max(start, _HEADER[version]) + icmp.HEADER.size:
        return None
    protocol = packet[9] if version == 4 else packet[6]
    if protocol == socket.IPPROTO_UDP and packet[start + 2 : start + 4] == port.to_bytes(2, "big"):
        return reply_in(packet[start + INNER_AT :], 0, identifier)
    kind, _, _, theirs, sequence = icmp.HEADER.unpack_from(packet, start)
    return int(sequence) if (protocol, kind, theirs) == (_ICMP[version], icmp.ECHO_REPLY[version], identifier) else None


def _ask(tunnel: Tunnel, end: IPAddress, vip: IPAddress, peers: Sequence[IPAddress], size: int) -> Outcome:
    version, identifier, outcome = end.version, os.getpid() & 0xFFFF, Outcome()
    kinds = {_PLAIN: outcome.plain, _THROUGH: outcome.through, _FULL: outcome.full}
    index = socket.if_nametoindex(tunnel.interface)
    with ExitStack() as stack:
        wire = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK))
        wire.bind((tunnel.interface, _ETH_P[version]))
        ping = stack.enter_context(_sender(end, index, socket.SOCK_RAW, _ICMP[version]))
        datagrams = stack.enter_context(_sender(end, index, socket.SOCK_DGRAM, 0))
        selector = stack.enter_context(selectors.DefaultSelector())
        selector.register(wire, selectors.EVENT_READ)
        until, next_round = time.monotonic() + SECONDS, 0.0
        while (now := time.monotonic()) < until and not all(len(each) == len(peers) for each in kinds.values()):
            if now >= next_round:
                next_round = now + _AGAIN
                for place, peer in enumerate(peers):
                    for opened, data, port in _requests(tunnel, end, vip, peer, size, identifier, place):
                        with suppress(OSError):  # no way to that peer: it does not count as having answered
                            (ping if opened else datagrams).sendto(data, _at(peer, port, index))
            selector.select(max(0.0, min(until, next_round) - time.monotonic()))
            for packet in _arrived(wire):
                if (sequence := reply_in(packet, tunnel.port, identifier)) is not None and sequence // len(kinds) < len(peers):
                    kinds[sequence % len(kinds)].add(peers[sequence // len(kinds)])
    return outcome


def _requests(
    tunnel: Tunnel, end: IPAddress, vip: IPAddress, peer: IPAddress, size: int, identifier: int, place: int
) -> Iterator[tuple[bool, bytes, int]]:
    """Yield what goes to one peer: whether it is sent as it is, the data, and the port."""
    version = end.version
    yield True, echo_request(end, peer, identifier, place * len(_KINDS) + _PLAIN), 0
    for kind, length in ((_THROUGH, _SMALL), (_FULL, size)):
        payload = bytes(length - _HEADER[version] - icmp.HEADER.size)
        inner = ip_packet(end, vip, _ICMP[version], echo_request(end, vip, identifier, place * len(_KINDS) + kind, payload))
        yield False, wrapped(tunnel, peer, inner), tunnel.port


def _sender(end: IPAddress, index: int, kind: int, protocol: int) -> socket.socket:
    opened = socket.socket(socket.AF_INET if end.version == 4 else socket.AF_INET6, kind | socket.SOCK_NONBLOCK, protocol)
    if end.version == 4:
        opened.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _NEVER)
        opened.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, TTL)
    else:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, TTL)
    opened.bind(_at(end, 0, index))
    return opened


def _at(address: IPAddress, port: int, index: int) -> tuple[str, int] | tuple[str, int, int, int]:
    return (str(address), port) if address.version == 4 else (str(address), port, 0, index if address.is_link_local else 0)


def _arrived(wire: socket.socket) -> Iterable[bytes]:
    with suppress(BlockingIOError):
        while True:
            yield wire.recv(65536)

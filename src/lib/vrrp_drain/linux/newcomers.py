"""Who opens a connection to a VIP on this machine: SYNs as they arrive from the network (packet(7), RFC 9293 section 3.5).

Neither nftables nor the handoff is needed to see them, and nothing is left in the kernel by whoever is killed while he looks. What
a peer hands on to us (handoff/forwarding.py) is of connections that are open: a SYN alone stays where it arrives, so each one that
is seen here was sent to us by somebody who holds this machine for the one that has the VIP.
"""

import ipaddress
import os
import socket
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import NamedTuple

from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import IPAddress

from . import bpf
from .bpf import Condition

_ETHER_TYPE = {4: 0x0800, 6: 0x86DD}
_PROTOCOL_AT = {4: 9, 6: 6}  # offset of the protocol in the header, RFC 791 section 3.1, RFC 8200 section 3
_SOURCE_AT = {4: slice(12, 16), 6: slice(8, 24)}
_DESTINATION_AT = {4: 16, 6: 24}
_V6_HEADER, _FLAGS_AT = 40, 13  # bytes
_SYN, _SYN_OR_ACK = 0x02, 0x12
_HOST = 0  # PACKET_HOST, linux/if_packet.h: to this machine
_HEADER = 64  # bytes: no more of a packet is looked at
_BURST = 1024


class Newcomer(NamedTuple):
    """A client, and the MAC of the machine that sent its packet here: its own, or its router's."""

    client: IPAddress
    mac: str


class Newcomers:
    """Collects from its making on; needs CAP_NET_RAW. ``close`` it. Raises SystemFault."""

    def __init__(self, vips: Collection[IPAddress]) -> None:
        self._sockets: dict[int, socket.socket] = {}
        try:
            for version in sorted({each.version for each in vips}):
                ether_type = socket.htons(
                    _ETHER_TYPE[version]
                )  # given here, it is heard on every interface: a VIP may be reached through any
                opened = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, ether_type)
                self._sockets[version] = opened
                bpf.attach(opened, bpf.program(*(_opens(vip) for vip in vips if vip.version == version)))
                _discard(opened)
        except OSError as error:
            self.close()
            raise SystemFault(f"cannot see who opens connections here: {os.strerror(error.errno or 0)}; run as root") from error

    def latest(self) -> Newcomer | None:
        """Return the last one that has come since the last call, None where nobody has. Raises SystemFault."""
        found: Newcomer | None = None
        for version, opened in self._sockets.items():
            found = next(iter(deque(_received(version, opened), maxlen=1)), found)
        return found

    def close(self) -> None:
        for each in self._sockets.values():
            each.close()


def _discard(opened: socket.socket) -> None:
    """Forget what came before the filter was there."""
    with suppress(BlockingIOError):
        while True:
            opened.recv(1)


def _received(version: int, opened: socket.socket) -> Iterator[Newcomer]:
    """Yield what is there; when more comes than is taken, the kernel drops it, and what was taken is enough to know."""
    for _ in range(_BURST):
        try:
            packet, (interface, _, _, _, mac) = opened.recvfrom(_HEADER)
        except BlockingIOError:
            return
        except OSError as error:
            raise SystemFault(f"cannot see any more who opens connections here: {os.strerror(error.errno or 0)}") from error
        if interface != "lo":  # this machine's own programs find it wherever the VIP is
            with suppress(ValueError):  # cut short
                yield Newcomer(ipaddress.ip_address(packet[_SOURCE_AT[version]]), mac.hex(":"))


def _opens(vip: IPAddress) -> list[Condition]:
    """Match a SYN alone to ``vip``."""
    flags = bpf.byte_behind_ipv4 if vip.version == 4 else _byte_behind_ipv6
    at = _DESTINATION_AT[vip.version]
    return [
        bpf.packet_type(_HOST),
        bpf.byte(_PROTOCOL_AT[vip.version], socket.IPPROTO_TCP),
        *(bpf.word(at + word, vip.packed[word : word + 4]) for word in range(0, len(vip.packed), 4)),
        bpf.masked(flags(_FLAGS_AT, _SYN), _SYN_OR_ACK),
    ]


def _byte_behind_ipv6(offset: int, value: int) -> Condition:
    return bpf.byte(_V6_HEADER + offset, value)

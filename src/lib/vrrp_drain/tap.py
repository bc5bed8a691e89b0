"""VRRP packets on the wire itself: what arrives before this machine's firewall sees it, and what this machine sends.

Beside what a listener hears it tells an advert that was lost on the way from one that a rule here drops (packet(7)).
"""

import os
import socket
from contextlib import suppress

from . import packet_filter
from .advert import PROTOCOL, Packet
from .errors import AdvertError, SystemFault

_ETH_P_ALL = 3  # linux/if_ether.h; a tap of one protocol does not see what is sent
_ETHER_TYPE = {4: 0x0800, 6: 0x86DD}
_PROTOCOL_AT = {4: 9, 6: 6}  # offset of the protocol in the header, RFC 791 section 3.1, RFC 8200 section 3
_OUTGOING = 4  # PACKET_OUTGOING, linux/if_packet.h


class Tap:
    """Collects from its making on; needs CAP_NET_RAW. ``interface`` must exist. Raises SystemFault."""

    def __init__(self, interface: str, family: int) -> None:
        """``family`` is 4 or 6."""
        self._read = Packet.from_ipv4 if family == 4 else Packet.from_ipv6
        try:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)  # protocol 0: nothing yet
            wanted = (packet_filter.ether_type(_ETHER_TYPE[family]), packet_filter.byte(_PROTOCOL_AT[family], PROTOCOL))
            packet_filter.attach(self._socket, packet_filter.program(wanted))  # a busy balancer's packets stay in the kernel
            self._socket.bind((interface, _ETH_P_ALL))
        except OSError as error:
            raise SystemFault(f"cannot look at the packets on {interface}: {os.strerror(error.errno or 0)}; run as root") from error

    def receive(self) -> list[tuple[Packet, bool]]:
        """Return what there is, and of each whether this machine sent it."""
        found = []
        with suppress(BlockingIOError):
            while True:
                datagram, where = self._socket.recvfrom(65536)
                with suppress(AdvertError):
                    found.append((self._read(datagram), where[2] == _OUTGOING))
        return found

    def close(self) -> None:
        self._socket.close()

"""Announcements: who has an address tells the segment its MAC unasked (RFC 5227 section 2.3, RFC 4861 section 7.2.6).

keepalived sends these when it becomes MASTER; here are those that are sent beside it.
"""

import ipaddress
import os
import socket

from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import ALL_HOSTS_V6, IPAddress

from .neighbour import arp_announcement, unsolicited_advertisement

_ETH_P_ARP = 0x0806
_HOPS = 255


def announce(interface: str, mac: str, address: IPAddress) -> None:
    """Have every cache on the segment of ``interface``, which has ``mac``, know that ``address`` is here. Raises SystemFault."""
    own = bytes.fromhex(mac.replace(":", ""))
    try:
        if isinstance(address, ipaddress.IPv4Address):
            _announce_v4(interface, own, address)
        else:
            _announce_v6(interface, own, address)
    except OSError as error:
        raise SystemFault(f"cannot announce {address} on {interface}: {os.strerror(error.errno or 0)}") from error


def _announce_v4(interface: str, mac: bytes, address: ipaddress.IPv4Address) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as opened:  # protocol 0: nothing is received
        opened.bind((interface, 0))
        opened.send(arp_announcement(mac, address))


def _announce_v6(interface: str, mac: bytes, address: ipaddress.IPv6Address) -> None:
    index = socket.if_nametoindex(interface)
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _HOPS)
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
        opened.sendto(unsolicited_advertisement(mac, address), (str(ALL_HOSTS_V6), 0, 0, index))

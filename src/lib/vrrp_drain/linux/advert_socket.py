"""Hearing what keepalived hears: a raw socket of protocol 112 on the VIP's interface, multicast group joined (unicast comes too).

It stands behind this machine's rules, as keepalived's own socket does: a peer's advert that is heard here is proof of what
keepalived knows. Who wants to know of those that the rules keep out listens on the wire (linux/packet_capture.py).
"""

import errno
import ipaddress
import os
import socket
import struct
import sys

from vrrp_drain.runtime.errors import AdvertError, SystemFault
from vrrp_drain.runtime.ip import GROUP_V4, GROUP_V6, PROTOCOL, IPAddress, Packet

_IP_MULTICAST_ALL, _IPV6_MULTICAST_ALL = 49, 29  # linux/in.h, linux/in6.h
_BURST = 64  # packets taken per wake-up, so that a flood cannot keep us from anything else


class AdvertListener:
    """Packets of protocol 112 that reach ``interface``. Needs CAP_NET_RAW. Packets are not checked here."""

    def __init__(self, interface: str, family: int) -> None:
        """``family`` is 4 or 6. Raises SystemFault when the socket cannot be had."""
        self._family = family
        address_family = socket.AF_INET if family == 4 else socket.AF_INET6
        try:
            self._socket = socket.socket(address_family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, PROTOCOL)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
            join(self._socket, family, socket.if_nametoindex(interface))
            if family == 4:
                self._socket.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)  # its group alone, as keepalived
            else:
                self._socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise SystemFault(f"cannot hear VRRP adverts on {interface}: {reason}; run as root") from error

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self) -> list[Packet]:
        """Return the packets that wait, at most a burst of them; what is not even IP is dropped."""
        packets = []
        for _ in range(_BURST):
            try:
                packets.append(self._receive_v4() if self._family == 4 else self._receive_v6())
            except BlockingIOError:
                break
            except AdvertError:
                continue
            except OSError as error:
                if error.errno not in (errno.ENETDOWN, errno.ENODEV):  # the interface went: others will say so
                    raise
                break
        return packets

    def close(self) -> None:
        self._socket.close()

    def _receive_v4(self) -> Packet:
        return Packet.from_ipv4(self._socket.recv(65536))

    def _receive_v6(self) -> Packet:
        payload, ancillary, _, sender = self._socket.recvmsg(65536, 256)
        hop_limit, destination = -1, ipaddress.IPv6Address(0)
        for level, kind, data in ancillary:
            if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_HOPLIMIT:
                hop_limit = int.from_bytes(data[:4], sys.byteorder)
            if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
                destination = ipaddress.IPv6Address(data[:16])
        return Packet(_unscoped(sender[0]), destination, hop_limit, payload)


def join(opened: socket.socket, family: int, index: int) -> None:
    """Have the interface with this number take the VRRP group's packets as long as ``opened`` is open. Raises OSError."""
    if family == 4:
        opened.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack("4s4si", GROUP_V4.packed, bytes(4), index))
    else:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, struct.pack("16si", GROUP_V6.packed, index))


def _unscoped(address: str) -> IPAddress:
    return ipaddress.IPv6Address(address.partition("%")[0])

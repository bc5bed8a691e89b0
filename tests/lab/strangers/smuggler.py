"""Somebody who wraps packets as an instance that hands them on does, and should not."""

import socket
import struct
from ipaddress import ip_address

from lab.fabric.namespace import Namespace
from vrrp_drain.handoff import tunnel
from vrrp_drain.linux.ip_packet import ip_packet
from vrrp_drain.runtime.ip import internet_checksum

PORT, NUMBER = 9923, 1  # the default port, and the VRID of the lab
_TUNNEL = tunnel.Tunnel(PORT, NUMBER, "eth0", ())
_SOCKET = {4: (socket.AF_INET, socket.IPPROTO_IP, socket.IP_TTL), 6: (socket.AF_INET6, socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)}


def echo_to(destination: str, source: str) -> bytes:
    """Return an ICMP echo request as a packet of its own; IPv6's has no checksum, and need not have one to be seen."""
    message = struct.pack("!BBHHH", 8 if "." in destination else 128, 0, 0, 7, 7)
    message = message[:2] + internet_checksum(message).to_bytes(2, "big") + message[4:]
    protocol = socket.IPPROTO_ICMP if "." in destination else socket.IPPROTO_ICMPV6
    return ip_packet(ip_address(source), ip_address(destination), protocol, message)


def smuggle(sender: Namespace, target: str, inner: bytes, *, hops: int = 255, source: str = "") -> None:
    """Send ``inner`` to the tunnel's end at ``target``, on the sender's own segment; from ``source``, whoever has that."""
    sender.in_network(lambda: _smuggle(target, tunnel.wrapped(_TUNNEL, ip_address(target), inner), hops, source))


def _smuggle(target: str, payload: bytes, hops: int, source: str) -> None:
    to = ip_address(target)
    where = (target, PORT) if to.version == 4 else (target, PORT, 0, socket.if_nametoindex("eth0"))
    family, level, option = _SOCKET[to.version]
    with socket.socket(family, socket.SOCK_RAW if source else socket.SOCK_DGRAM, socket.IPPROTO_RAW if source else 0) as opened:
        if source:
            datagram = struct.pack("!HHHH", 50_000, PORT, 8 + len(payload), 0) + payload
            packet = bytearray(ip_packet(ip_address(source), to, socket.IPPROTO_UDP, datagram))
            packet[8] = hops  # the kernel writes the checksum of a raw packet's header, ip(7)
            opened.sendto(packet, (target, 0))
        else:
            opened.setsockopt(level, option, hops)
            opened.sendto(payload, where)

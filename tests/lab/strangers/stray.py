"""A packet of a connection that nobody has."""

import itertools
import socket
import struct
import time
from contextlib import suppress
from ipaddress import ip_address

from lab.fabric.cluster import Cluster
from vrrp_drain.runtime.ip import internet_checksum, pseudo_header

_PORTS = itertools.count(40_000)
_RST, _ACK = 0x04, 0x10  # RFC 9293 section 3.1
_SECONDS = 1.0


def stray(cluster: Cluster, vip: str = "10.0.0.10", *, hops: int = 64) -> bool:
    """Send an ACK to ``vip`` from the client, with ``hops`` left; tell whether a RST comes back within a second."""
    port = next(_PORTS)
    is_v6 = ":" in vip
    source, target = ip_address("fd00::200" if is_v6 else "10.0.0.200"), ip_address(vip)
    segment = struct.pack("!HHIIBBHHH", port, 80, 1, 1, 5 << 4, _ACK, 1024, 0, 0)
    total = internet_checksum(pseudo_header(source, target, len(segment), socket.IPPROTO_TCP) + segment)
    family = socket.AF_INET6 if is_v6 else socket.AF_INET
    option = (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS) if is_v6 else (socket.IPPROTO_IP, socket.IP_TTL)
    with cluster.client.in_network(lambda: socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_TCP)) as raw:
        raw.settimeout(_SECONDS)
        raw.setsockopt(*option, hops)
        raw.sendto(segment[:16] + struct.pack("!H", total) + segment[18:], (vip, 0))
        end = time.monotonic() + _SECONDS
        with suppress(TimeoutError):
            while time.monotonic() < end:  # others' packets come here too
                packet = raw.recv(65536)
                answer = packet if is_v6 else packet[20:]
                if answer[:4] == struct.pack("!HH", 80, port):
                    return bool(answer[13] & _RST)
    return False

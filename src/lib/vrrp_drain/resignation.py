"""Adverts of our own on the wire: a lowered priority, then priority 0, while keepalived here keeps the VIP.

Priority 0 says "the current MASTER has stopped participating" (RFC 5798 section 5.2.4): every backup then waits its skew
alone, whether it preempts or not.
"""

import socket

from .advert import GROUP_V4, GROUP_V6, PROTOCOL, RESIGN, TTL, Advert, IPAddress, build
from .config import Config
from .errors import SystemFault
from .place import Place

_AUTH_NONE, _AUTH_SIMPLE = 0, 1  # RFC 2338 section 5.3.6, as keepalived's auth_type PASS


def send(config: Config, place: Place, priority: int) -> None:
    """Advert ``priority`` once, and then 0, to the group or to the unicast peers. Raises SystemFault.

    The first says why: one of the draining band tells the peers to leave us the connections that are open.
    """
    ours = config.keepalived
    if place.source is None:
        raise SystemFault(f"{place.interface} has no address to send an advert from")
    destinations = place.peers or (GROUP_V4 if config.vip.version == 4 else GROUP_V6,)
    try:
        with _open(place.interface, place.source) as sender:
            for each in (priority, RESIGN):
                advert = Advert(
                    ours.vrrp_version, ours.virtual_router_id, each, ours.advert_int, (config.vip,), *authentication(ours.auth_pass)
                )
                for destination in destinations:
                    sender.sendto(build(advert, place.source, destination), (str(destination), 0))
    except OSError as error:
        raise SystemFault(f"cannot send an advert on {place.interface}: {error.strerror}") from error


def authentication(password: str | None) -> tuple[int, bytes]:
    """Return type and data of version 2's simple password."""
    return (_AUTH_NONE, bytes(8)) if password is None else (_AUTH_SIMPLE, password.encode().ljust(8, b"\0"))


def _open(interface: str, source: IPAddress) -> socket.socket:
    """Return a socket whose multicast does not come back to our own keepalived."""
    sender = socket.socket(socket.AF_INET if source.version == 4 else socket.AF_INET6, socket.SOCK_RAW, PROTOCOL)
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
    index = socket.if_nametoindex(interface)
    if source.version == 4:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, TTL)
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, TTL)
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        sender.bind((str(source), 0))
    else:
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, TTL)
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, TTL)
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        sender.bind((str(source), 0, 0, index))
    return sender

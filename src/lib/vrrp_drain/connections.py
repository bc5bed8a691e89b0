"""TCP connections that end here, asked of the kernel (sock_diag(7))."""

import ipaddress
import socket
from collections.abc import Collection

from pyroute2 import DiagSocket
from pyroute2.netlink.diag import SS_CLOSE_WAIT, SS_ESTABLISHED, SS_FIN_WAIT1, SS_SYN_RECV
from pyroute2.netlink.exceptions import NetlinkError

from .advert import IPAddress
from .errors import SystemFault

_ALIVE = 1 << SS_ESTABLISHED | 1 << SS_SYN_RECV | 1 << SS_FIN_WAIT1 | 1 << SS_CLOSE_WAIT  # somebody still has something to send


def count(vips: Collection[IPAddress]) -> int:
    """Return how many connections of clients with ``vips`` end at this machine. Raises SystemFault."""
    found = 0
    try:
        with DiagSocket() as diag:
            diag.bind()
            for family in {socket.AF_INET if vip.version == 4 else socket.AF_INET6 for vip in vips} | {socket.AF_INET6}:
                found += sum(_plain(each["idiag_src"]) in vips for each in diag.get_sock_stats(states=_ALIVE, family=family))
    except (OSError, NetlinkError) as error:
        raise SystemFault(f"the kernel does not tell its connections ({error})") from error
    return found


def _plain(address: str) -> IPAddress:
    """Return the address; a socket that is open for both families has the IPv4 one in an IPv6 one (RFC 4291 section 2.5.5.2)."""
    found = ipaddress.ip_address(address)
    return found.ipv4_mapped or found if found.version == 6 else found

"""Who listens, asked of the kernel.

Connections of a listener on every address are told from it by that; those of a frontend that listens on a VIP itself by a mark
(handoff/sockets.py).
"""

import ipaddress
from collections.abc import Collection, Sequence

from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import IPAddress

from . import proc_net
from .sock_diag import SockDiag, Socket

_ANY4, _ANY6 = ipaddress.IPv4Address(0), ipaddress.IPv6Address(0)


def bound_to(vips: Collection[IPAddress]) -> list[Socket]:
    """Return who listens on one of ``vips`` itself, by port and each once: haproxy has a socket for each thread. Raises SystemFault."""
    found = {(each.port, each.address.version, each.address.packed): each for each in all_of_them() if each.address in vips}
    return [found[each] for each in sorted(found)]


def ports(inodes: Collection[int], vip: IPAddress) -> set[int]:
    """Return the ports where connections to ``vip`` reach one of the sockets with ``inodes``. Raises SystemFault."""
    reached = {vip, _ANY4 if vip.version == 4 else _ANY6}
    return {
        each.port
        for each in all_of_them()
        if each.inode in inodes and (each.address in reached or (each.address == _ANY6 and not each.ipv6_only))
    }


def listening(inodes: Collection[int]) -> bool:
    """Tell whether one of the sockets with ``inodes`` listens. Raises SystemFault."""
    return any(each.inode in inodes for each in all_of_them())


def advice(bound: Sequence[str]) -> str:
    """Return what it means for clients that there are such listeners of which the kernel does not tell connections, and the mend."""
    wide = dict.fromkeys(f"bind {'::' if '[' in each else '*'}:{each.rpartition(':')[2]}" for each in bound)
    are, them, their = ("is", "it", "its") if len(bound) == 1 else ("are", "them", "their")
    return (
        f"{', '.join(bound)} {are} bound to the VIP itself, and the kernel does not tell {their} connections from the listener: "
        f"a move cuts them. Bind {them} to every address instead, in haproxy: {', '.join(wide)}"
    )


def all_of_them() -> list[Socket]:
    """Return all listeners of this machine. Raises SystemFault."""
    try:
        with SockDiag() as diag:
            return diag.listeners()
    except OSError as error:
        try:
            return proc_net.listeners()  # a kernel without inet_diag
        except (OSError, ValueError):
            raise SystemFault(f"the kernel does not tell who listens ({error})") from error

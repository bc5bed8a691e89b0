"""Who listens, asked of the kernel.

The open connections of a frontend that listens on a VIP itself are cut by a move. A listener on every address is none of
them: the rules of handoff/forwarding.py tell its connections from it.
"""

import ipaddress
from collections.abc import Collection, Sequence

from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import IPAddress

from . import proc_net
from .sock_diag import SockDiag, Socket

_ANY4, _ANY6 = ipaddress.IPv4Address(0), ipaddress.IPv6Address(0)


def bound_to(vips: Collection[IPAddress]) -> list[str]:
    """Return where somebody listens on one of ``vips`` itself, as 10.0.0.10:80 or [fd00::10]:80, by port. Raises SystemFault."""
    found = {(each.port, each.address) for each in all_of_them() if each.address in vips}
    in_order = sorted(found, key=lambda each: (each[0], each[1].version, each[1].packed))
    return [f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}" for port, address in in_order]


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
    """Return what it means for clients that there are such listeners, and the mend."""
    wide = dict.fromkeys(f"bind {'::' if '[' in each else '*'}:{each.rpartition(':')[2]}" for each in bound)
    are, them, their = ("is", "it", "its") if len(bound) == 1 else ("are", "them", "their")
    return (
        f"{', '.join(bound)} {are} bound to the VIP itself: a move cuts {their} open connections. "
        f"Bind {them} to every address instead, in haproxy: {', '.join(wide)}"
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

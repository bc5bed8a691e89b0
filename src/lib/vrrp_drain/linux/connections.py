"""TCP connections that end here, counted by the kernel."""

from collections.abc import Collection

from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import IPAddress

from .sock_diag import CLOSE_WAIT, ESTABLISHED, FIN_WAIT1, SYN_RECV, SockDiag

_ALIVE = (ESTABLISHED, SYN_RECV, FIN_WAIT1, CLOSE_WAIT)  # somebody still has something to send


def count(vips: Collection[IPAddress]) -> int:
    """Return how many connections of clients with ``vips`` end at this machine. Raises SystemFault."""
    try:
        with SockDiag() as diag:
            return sum(diag.count(vip, _ALIVE) for vip in vips)
    except OSError as error:
        raise SystemFault(f"the kernel does not tell its connections ({error.strerror or error})") from error

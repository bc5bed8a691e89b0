"""Connections that end here, asked of the kernel: those of TCP, and of QUIC that have a socket of their own (handoff/quic.py)."""

import errno
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import IPAddress

from .sock_diag import CLOSE_WAIT, CLOSING, ESTABLISHED, FIN_WAIT1, FIN_WAIT2, LAST_ACK, SYN_RECV, End, SockDiag

_ALIVE = (ESTABLISHED, SYN_RECV, FIN_WAIT1, CLOSE_WAIT)  # somebody still has something to send
_KNOWN = (*_ALIVE, FIN_WAIT2, LAST_ACK, CLOSING)  # a socket here has their packets
_NOBODY_TO_ASK = errno.ENOENT  # no module tells of that protocol's sockets: inet_diag, and tcp_diag or udp_diag


def count(vips: Collection[IPAddress], quic_ports: Collection[int] = ()) -> int:
    """Return how many connections of clients with ``vips`` end at this machine. Raises SystemFault.

    Where the kernel cannot tell those of UDP, those of TCP are counted all the same: to wait for them is better than for nobody.
    """
    with _asking() as diag:
        return diag.count(vips, _ALIVE) + _if_told(lambda: diag.count(vips, (), quic_ports))


def some(vips: Collection[IPAddress], quic_ports: Collection[int] = ()) -> bool:
    """Tell whether any does, which costs next to nothing where there are many. Raises SystemFault."""
    with _asking() as diag:
        return diag.some(vips, _ALIVE) or bool(_if_told(lambda: diag.some(vips, (), quic_ports)))


def some_of_quic(vips: Collection[IPAddress], quic_ports: Collection[int]) -> bool:
    """The same of QUIC alone. Raises SystemFault."""
    with _asking("udp_diag") as diag:
        return diag.some(vips, (), quic_ports)


def unmarked(there: Collection[End]) -> list[tuple[End, End]]:
    """Return the connections to ``there`` that have no mark: the client, and the end here. Raises SystemFault."""
    with _asking() as diag:
        found = {*diag.unmarked({address for address, _ in there}, _KNOWN)}
    return [each for each in found if each[1] in there]


@contextmanager
def _asking(module: str = "tcp_diag") -> Iterator[SockDiag]:
    try:
        with SockDiag() as diag:
            yield diag
    except OSError as error:
        why = f"it has no {module}" if error.errno == _NOBODY_TO_ASK else error.strerror or error
        raise SystemFault(f"the kernel does not tell its connections ({why})") from error


def _if_told(ask: Callable[[], int]) -> int:
    try:
        return ask()
    except OSError as error:
        if error.errno != _NOBODY_TO_ASK:
            raise
        return 0

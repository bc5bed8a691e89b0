"""Whether a process takes the connections that the kernel opens in its name: one that hangs does not.

A listener's kernel completes handshakes by itself, so that connecting proves nothing about the process. A connection that
no process has accepted yet has no inode; the kernel tells (linux/sock_diag.py).
"""

import ipaddress
import socket
import struct
import time
from contextlib import suppress

from vrrp_drain.linux.sock_diag import CLOSE_WAIT, ESTABLISHED, End, SockDiag

_OPEN = (ESTABLISHED, CLOSE_WAIT)  # with defer-accept a connection is not established yet
_RESET = struct.pack("ii", 1, 0)  # struct linger (socket(7)): on, for no time; then closing it is a reset
_SILENT = 1.0  # seconds that the kernel may take: it is asked while somebody waits
_LOOK_EVERY = 0.002  # seconds


class NotAccepted(TimeoutError):
    """A listener of this machine is there, but its process took no connection in time: it hangs, or is full."""


def connect(host: str, port: int, timeout: float, header: bytes = b"") -> None:
    """Open a connection, send ``header``, and close it once a process has accepted it, as far as it ends at this machine.

    Raises OSError: NotAccepted when nobody accepts it within ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    with opened(host, port, timeout) as client:
        with suppress(ConnectionError):  # who hangs up at once has accepted it
            client.sendall(header)
        while True:
            late = time.monotonic() >= deadline  # looked up before the look: a machine that stood still proves nothing
            if not waits(client):
                return
            if late:
                abandon(client)
                raise NotAccepted(f"the port is open, but the process did not accept a connection within {timeout:g} s")
            time.sleep(_LOOK_EVERY)


def abandon(client: socket.socket) -> None:
    """Have a connection that nobody accepted end without a trace: else each waits for the end of a process that hangs, at both its ends."""
    with suppress(OSError):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def opened(host: str, port: int, timeout: float) -> socket.socket:
    """Return a connection. Raises OSError: NotAccepted where the queue of a listener here is full, so that the kernel opens none."""
    try:
        return socket.create_connection((host, port), timeout)
    except TimeoutError as error:
        if not is_here(host, port):
            raise
        raise NotAccepted(f"the port is open, but its queue is full, and the process accepted nobody within {timeout:g} s") from error


def waits(client: socket.socket) -> bool:
    """Tell whether the other end of a connection is at this machine, and no process has accepted it, as far as the kernel tells."""
    try:
        server, own = client.getpeername()[:2], client.getsockname()[:2]
    except OSError:  # it is closed
        return False
    return _waits((ipaddress.ip_address(server[0]), server[1]), (ipaddress.ip_address(own[0]), own[1]))


def is_here(host: str, port: int) -> bool:
    """Tell whether an address is this machine's: then the kernel talks to it from itself. Nothing is sent."""
    for family, kind, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM):
        with socket.socket(family, kind) as probe, suppress(OSError):
            probe.connect(address)
            there, own = ipaddress.ip_address(probe.getpeername()[0]), ipaddress.ip_address(probe.getsockname()[0])
            return there == own or there.is_loopback
    return False


def _waits(here: End, there: End) -> bool:
    """Tell whether the connection's end ``here`` is at this machine, and not accepted yet, as far as the kernel tells."""
    try:
        with SockDiag(_SILENT) as diag:
            found = diag.connection(here, there)
    except OSError:  # also where the end is elsewhere, or gone
        return False
    return found.state in _OPEN and found.inode == 0

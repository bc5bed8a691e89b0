"""Whether a process takes the connections that the kernel opens in its name: one that hangs does not.

A listener's kernel completes handshakes by itself, so that connecting proves nothing about the process. A connection that
no process has accepted yet has no inode; the kernel tells (sock_diag(7), struct inet_diag_msg in linux/inet_diag.h).
"""

import ipaddress
import socket
import struct
import time
from contextlib import suppress

from pyroute2.netlink import NETLINK_SOCK_DIAG, NLM_F_REQUEST, NLMSG_ERROR
from pyroute2.netlink.diag import SOCK_DIAG_BY_FAMILY, SS_CLOSE_WAIT, SS_ESTABLISHED

from vrrp_drain.runtime.ip import IPAddress

_OPEN = (SS_ESTABLISHED, SS_CLOSE_WAIT)  # with defer-accept a connection is not established yet
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBxI2s2s16s16sIII")
_ANSWER = struct.Struct("=BBBB48xIIIII")
_NO_COOKIE = 0xFFFFFFFF
_LOOK_EVERY = 0.002  # seconds


class NotAccepted(TimeoutError):
    """A listener of this machine is there, but its process took no connection in time: it hangs, or is full."""


def connect(host: str, port: int, timeout: float) -> None:
    """Open a connection and close it once a process has accepted it, as far as it ends at this machine.

    Raises OSError: NotAccepted when nobody accepts it within ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    with opened(host, port, timeout) as client:
        while True:
            late = time.monotonic() >= deadline  # looked up before the look: a machine that stood still proves nothing
            if not waits(client):
                return
            if late:
                raise NotAccepted(f"the port is open, but the process did not accept a connection within {timeout:g} s")
            time.sleep(_LOOK_EVERY)


def opened(host: str, port: int, timeout: float) -> socket.socket:
    """Return a connection. Raises OSError: NotAccepted where the queue of a listener here is full, so that the kernel opens none."""
    try:
        return socket.create_connection((host, port), timeout)
    except TimeoutError as error:
        if not _is_here(host, port):
            raise
        raise NotAccepted(f"the port is open, but its queue is full, and the process accepted nobody within {timeout:g} s") from error


def waits(client: socket.socket) -> bool:
    """Tell whether the other end of a connection is at this machine, and no process has accepted it, as far as the kernel tells."""
    try:
        server, own = client.getpeername()[:2], client.getsockname()[:2]
    except OSError:  # it is closed
        return False
    return _waits((ipaddress.ip_address(server[0]), server[1]), (ipaddress.ip_address(own[0]), own[1]))


def _is_here(host: str, port: int) -> bool:
    """Tell whether an address is this machine's: then the kernel talks to it from itself. Nothing is sent."""
    for family, kind, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM):
        with socket.socket(family, kind) as probe, suppress(OSError):
            probe.connect(address)
            there, own = ipaddress.ip_address(probe.getpeername()[0]), ipaddress.ip_address(probe.getsockname()[0])
            return there == own or there.is_loopback
    return False


def _waits(here: tuple[IPAddress, int], there: tuple[IPAddress, int]) -> bool:
    """Tell whether the connection's end ``here`` is at this machine, and not accepted yet, as far as the kernel tells."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as diag:
            diag.settimeout(1.0)
            diag.send(_question(here, there))
            answer = diag.recv(4096)
    except OSError:
        return False
    _, kind, *_ = _HEADER.unpack_from(answer)
    if kind == NLMSG_ERROR:
        return False  # ENOENT: the end is elsewhere, or gone
    _, state, _, _, _, _, _, _, inode = _ANSWER.unpack_from(answer, _HEADER.size)
    return state in _OPEN and inode == 0


def _question(here: tuple[IPAddress, int], there: tuple[IPAddress, int]) -> bytes:
    (address, port), (peer, peer_port) = here, there
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    ports = (struct.pack("!H", port), struct.pack("!H", peer_port))
    ends = (address.packed.ljust(16, b"\0"), peer.packed.ljust(16, b"\0"))
    body = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0xFFFFFFFF, *ports, *ends, 0, _NO_COOKIE, _NO_COOKIE)
    return _HEADER.pack(_HEADER.size + len(body), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 0, 0) + body

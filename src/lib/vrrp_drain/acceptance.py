"""Whether a process takes the connections that the kernel opens in its name: one that hangs does not.

A listener's kernel completes handshakes by itself, so that connecting proves nothing about the process. A connection that
no process has accepted yet has no inode; the kernel tells (sock_diag(7), struct inet_diag_msg in linux/inet_diag.h).
"""

import ipaddress
import socket
import struct
import time

from pyroute2.netlink import NETLINK_SOCK_DIAG, NLM_F_REQUEST, NLMSG_ERROR
from pyroute2.netlink.diag import SOCK_DIAG_BY_FAMILY, SS_CLOSE_WAIT, SS_ESTABLISHED

from .advert import IPAddress

_OPEN = (SS_ESTABLISHED, SS_CLOSE_WAIT)  # with defer-accept a connection is not established yet
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBxI2s2s16s16sIII")
_ANSWER = struct.Struct("=BBBB48xIIIII")
_NO_COOKIE = 0xFFFFFFFF
_LOOK_EVERY = 0.002  # seconds


def connect(host: str, port: int, timeout: float) -> None:
    """Open a connection and close it once a process has accepted it, as far as it ends at this machine.

    Raises OSError: TimeoutError when nobody accepts it within ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    with socket.create_connection((host, port), timeout) as client:
        server, own = client.getpeername()[:2], client.getsockname()[:2]
        while True:
            late = time.monotonic() >= deadline  # looked up before the look: a machine that stood still proves nothing
            if not _waits((ipaddress.ip_address(server[0]), server[1]), (ipaddress.ip_address(own[0]), own[1])):
                return
            if late:
                raise TimeoutError(f"the port is open, but the process did not accept a connection within {timeout:g} s: it hangs")
            time.sleep(_LOOK_EVERY)


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

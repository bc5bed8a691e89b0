"""Whether a machine is there that answers no ARP of ours: ICMP echo (RFC 792, RFC 4443 section 4.1).

An answer proves that its kernel runs. Silence proves nothing where a firewall may stand between: who asks has to know that.
"""

import os
import socket
import struct

from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import IPAddress

from . import icmp
from .neighbour import Inquiry

_ICMP_FILTER = 1  # linux/icmp.h: the types that the socket does not get
_SOL_RAW = 255
_BURST = 64


def echo(interface: str, target: IPAddress) -> Inquiry:
    """Return an inquiry that ``target`` itself answers, with its address. A link-local one is asked on ``interface``.

    Needs CAP_NET_RAW. Raises SystemFault.
    """
    try:
        return _Echo(interface, target)
    except OSError as error:
        raise SystemFault(f"cannot ask whether {target} is there: {os.strerror(error.errno or 0)}; run as root") from error


class _Echo:
    def __init__(self, interface: str, target: IPAddress) -> None:
        self._target, self._version = target, target.version
        self._identifier, self._number = int.from_bytes(os.urandom(2), "big"), 0
        family, protocol = (socket.AF_INET, socket.IPPROTO_ICMP) if target.version == 4 else (socket.AF_INET6, socket.IPPROTO_ICMPV6)
        self._socket = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
        if target.version == 4:
            self._socket.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", 0xFFFFFFFF & ~(1 << icmp.ECHO_REPLY[4])))
        else:
            icmp.hear_only(self._socket, icmp.ECHO_REPLY[6])
        scope = (0, socket.if_nametoindex(interface)) if target.is_link_local and target.version == 6 else ()
        self._socket.connect((str(target), 0, *scope))  # its packets alone are heard

    def fileno(self) -> int:
        return self._socket.fileno()

    def ask(self) -> None:
        self._number = (self._number + 1) & 0xFFFF
        covered = b"" if self._version == 4 else None
        self._socket.send(icmp.echo_request(self._version, self._identifier, self._number, covered=covered))

    def answers(self) -> list[str]:
        found = []
        for _ in range(_BURST):
            try:
                message = self._socket.recv(2048)
            except BlockingIOError:
                break
            except OSError:  # an ICMP error for what was asked before: nobody answers there
                continue
            if self._version == 4:
                message = message[(message[0] & 0x0F) * 4 :] if message else b""
            if len(message) >= icmp.HEADER.size and icmp.HEADER.unpack_from(message)[0] == icmp.ECHO_REPLY[self._version]:
                found += [str(self._target)] * (icmp.HEADER.unpack_from(message)[3] == self._identifier)
        return found

    def close(self) -> None:
        self._socket.close()

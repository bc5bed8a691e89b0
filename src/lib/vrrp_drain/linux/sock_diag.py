"""The machine's TCP sockets, asked of the kernel (sock_diag(7)).

The kernel picks them by state and address, and where only their number is wanted, nothing of its messages is read: that keeps a look
at ten thousand connections down to milliseconds. Sources: linux/inet_diag.h, the kernel's inet_diag.c.
"""

import ipaddress
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from vrrp_drain.runtime.ip import IPAddress

from .netlink import DUMP, HEADER, REQUEST, SOCK_DIAG, Answer, Conversation, attributes, message

ESTABLISHED, SYN_RECV, FIN_WAIT1, CLOSE_WAIT, LISTEN = 1, 3, 4, 8, 10  # TCP_*, the kernel's tcp_states.h
_FAMILIES = {4: (socket.AF_INET, socket.AF_INET6), 6: (socket.AF_INET6,)}  # a socket that is open for both has IPv4 clients as well
_BY_FAMILY = 20  # SOCK_DIAG_BY_FAMILY
_REQUEST = struct.Struct("=BBBxI2s2s16s16sIII")  # struct inet_diag_req_v2: family, protocol, extensions, states, inet_diag_sockid
# struct inet_diag_msg: family, state, of the inet_diag_sockid the source, lengths of its queues, inode
_SOCKET = struct.Struct("=BBxxH2x16s32xII4xI")
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr
_OPERATION = struct.Struct("=BBH")  # struct inet_diag_bc_op: code, how far to go where it is so, and where it is not
_CONDITION = struct.Struct("=BBxxi")  # struct inet_diag_hostcond: family, prefix length, port; the address follows
_BYTECODE, _SOURCE_IS, _ANY_PORT = 1, 7, -1  # INET_DIAG_REQ_BYTECODE, INET_DIAG_BC_S_COND
_IPV6_ONLY = 11  # INET_DIAG_SKV6ONLY: one byte, of listeners
_ALL_STATES = _NO_COOKIE = 0xFFFFFFFF  # INET_DIAG_NOCOOKIE
_SILENT = 5.0  # seconds

End = tuple[IPAddress, int]  # of a connection: address and port


@dataclass(frozen=True)
class Socket:
    """``address`` and ``port`` are its own; ``inode`` is 0 where no process has it, not yet or not any more.

    Of a listener ``waiting`` connections are to be accepted; with more than ``most`` the kernel opens none. One at an IPv6 address that
    is not ``ipv6_only`` has IPv4 clients as well.
    """

    state: int
    address: IPAddress
    port: int
    inode: int
    waiting: int = field(default=0, compare=False)
    most: int = field(default=0, compare=False)
    ipv6_only: bool = field(default=False, compare=False)


class SockDiag(Conversation):
    """Questions about sockets; use it as a context manager. Everything raises OSError."""

    def __init__(self, patience: float = _SILENT) -> None:
        super().__init__(SOCK_DIAG, patience)

    def connection(self, here: End, there: End) -> Socket:
        """Return the socket that is the end ``here`` of a connection with ``there``. FileNotFoundError where this machine has none."""
        answer = self.ask(message(_BY_FAMILY, REQUEST, _request(_family(here[0]), _ALL_STATES, here, there)))
        if answer is None:
            raise FileNotFoundError
        return _read(answer)

    def listeners(self) -> list[Socket]:
        """Return who listens, in both families."""
        questions = [_request(family, 1 << LISTEN) for family in (socket.AF_INET, socket.AF_INET6)]
        return [_read(answer) for each in questions for answer in self.dump(message(_BY_FAMILY, REQUEST | DUMP, each))]

    def count(self, address: IPAddress, states: Iterable[int]) -> int:
        """Return how many sockets in one of ``states`` have ``address`` as their own."""
        wanted = sum(1 << each for each in states)
        questions = [_request(family, wanted) + _own_address_is(address) for family in _FAMILIES[address.version]]
        return sum(len(self.dump(message(_BY_FAMILY, REQUEST | DUMP, each))) for each in questions)


def _family(address: IPAddress) -> int:
    return _FAMILIES[address.version][0]


def _request(family: int, states: int, here: End | None = None, there: End | None = None) -> bytes:
    """Ask for one socket of TCP by its two ends, in a dump for all of them."""
    ports = (each[1].to_bytes(2, "big") if each else bytes(2) for each in (here, there))
    addresses = (each[0].packed if each else b"" for each in (here, there))  # filled up with zeros
    return _REQUEST.pack(family, socket.IPPROTO_TCP, 0, states, *ports, *addresses, 0, *([_NO_COOKIE if here else 0] * 2))


def _own_address_is(address: IPAddress) -> bytes:
    """Have the kernel pick by address; it finds an IPv4 one in its IPv6 form too, ::ffff:a.b.c.d."""
    condition = _CONDITION.pack(_family(address), address.max_prefixlen, _ANY_PORT) + address.packed
    size = _OPERATION.size + len(condition)
    bytecode = _OPERATION.pack(_SOURCE_IS, size, size + _OPERATION.size) + condition  # to the end is yes, beyond it is no
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + size, _BYTECODE) + bytecode


def _read(answer: Answer) -> Socket:
    family, state, port, source, waiting, most, inode = _SOCKET.unpack_from(answer, HEADER.size)
    address = ipaddress.ip_address(source if family == socket.AF_INET6 else source[:4])
    plain = address.ipv4_mapped or address if address.version == 6 else address  # RFC 4291 section 2.5.5.2
    return Socket(state, plain, socket.ntohs(port), inode, waiting, most, _is_ipv6_only(answer[HEADER.size + _SOCKET.size :]))


def _is_ipv6_only(found: Answer) -> bool:
    return any(kind == _IPV6_ONLY and any(value) for kind, value in attributes(found))

"""The machine's sockets of TCP, and those of UDP that are connected, asked of the kernel (sock_diag(7)).

The kernel picks them by state and address, all addresses in one walk through its sockets. Where only their number is wanted, nothing of
its messages is read; where only whether there is one, no more than its first. Sources: linux/inet_diag.h, the kernel's inet_diag.c.
"""

import ipaddress
import socket
import struct
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from vrrp_drain.runtime.ip import IPAddress

from .netlink import DUMP, HEADER, REQUEST, SOCK_DIAG, Answer, Conversation, attributes, message

ESTABLISHED, SYN_RECV, FIN_WAIT1, CLOSE_WAIT, LISTEN = 1, 3, 4, 8, 10  # TCP_*, the kernel's tcp_states.h
FIN_WAIT2, LAST_ACK, CLOSING = 5, 9, 11
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_BY_FAMILY = 20  # SOCK_DIAG_BY_FAMILY
_REQUEST = struct.Struct("=BBBxI2s2s16s16sIII")  # struct inet_diag_req_v2: family, protocol, extensions, states, inet_diag_sockid
# struct inet_diag_msg: family, state, of the inet_diag_sockid the ports and addresses of both ends, lengths of the queues, inode
_SOCKET = struct.Struct("=BBxxHH16s16s16xII4xI")
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr
_OPERATION = struct.Struct("=BBH")  # struct inet_diag_bc_op: code, how far to go where it is so, and where it is not
_CONDITION = struct.Struct("=BBxxi")  # struct inet_diag_hostcond: family, prefix length, port; the address follows
_MARK_IS = struct.Struct("=II")  # struct inet_diag_markcond: mark, and the bits of it that count
_BYTECODE, _ANY_PORT = 1, -1  # INET_DIAG_REQ_BYTECODE
_JUMP, _SOURCE, _MARK = 1, 7, 10  # INET_DIAG_BC_JMP, INET_DIAG_BC_S_COND, INET_DIAG_BC_MARK_COND
_IPV6_ONLY, _HAS_MARK = 11, 15  # INET_DIAG_SKV6ONLY: one byte, of listeners; INET_DIAG_MARK
_ALL_STATES = _ALL_BITS = _NO_COOKIE = 0xFFFFFFFF  # INET_DIAG_NOCOOKIE
_SILENT = 5.0  # seconds

End = tuple[IPAddress, int]  # of a connection: address and port


@dataclass(frozen=True)
class Socket:
    """``address`` and ``port`` are its own; ``inode`` is 0 where no process has it, not yet or not any more.

    Of a listener ``waiting`` connections are to be accepted; with more than ``most`` the kernel opens none. One at an IPv6 address that
    is not ``ipv6_only`` has IPv4 clients as well. ``mark`` is what its packets have.
    """

    state: int
    address: IPAddress
    port: int
    inode: int
    waiting: int = field(default=0, compare=False)
    most: int = field(default=0, compare=False)
    ipv6_only: bool = field(default=False, compare=False)
    mark: int = field(default=0, compare=False)

    @property
    def end(self) -> End:
        """Return its own address and port."""
        return self.address, self.port


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

    def count(self, addresses: Collection[IPAddress], states: Iterable[int], udp_ports: Collection[int] = ()) -> int:
        """Return how many sockets of TCP in one of ``states``, and connected ones of UDP at ``udp_ports``, have one of ``addresses``."""
        return sum(len(self.dump(each)) for each in _by_own_address(addresses, states, udp_ports))

    def some(self, addresses: Collection[IPAddress], states: Iterable[int], udp_ports: Collection[int] = ()) -> bool:
        """Tell whether there is any of them; nothing can be asked here after that."""
        return any(self.tells(each) for each in _by_own_address(addresses, states, udp_ports))

    def unmarked(self, addresses: Collection[IPAddress], states: Iterable[int]) -> Iterator[tuple[End, End]]:
        """Yield the connections in one of ``states`` at one of ``addresses`` that have no mark: the other end, and our own."""
        for question in _by_own_address(addresses, states, (), (_MARK, _MARK_IS.pack(0, _ALL_BITS))):
            for answer in self.dump(question):
                family, _, port, their_port, own, theirs, *_ = _SOCKET.unpack_from(answer, HEADER.size)
                yield (_address(family, theirs), socket.ntohs(their_port)), (_address(family, own), socket.ntohs(port))


def _by_own_address(
    addresses: Collection[IPAddress], states: Iterable[int], udp_ports: Collection[int], *further: tuple[int, bytes]
) -> Iterator[bytes]:
    """Yield the questions: a socket that is open for both families has IPv4 clients as well."""
    of_tcp = sum(1 << each for each in states)
    for protocol, ports, wanted in ((socket.IPPROTO_TCP, [_ANY_PORT], of_tcp), (socket.IPPROTO_UDP, [*udp_ports], 1 << ESTABLISHED)):
        if not wanted:
            continue
        for family, found in ((socket.AF_INET, [each for each in addresses if each.version == 4]), (socket.AF_INET6, [*addresses])):
            if ends := [(address, port) for address in found for port in ports]:
                yield message(_BY_FAMILY, REQUEST | DUMP, _request(family, wanted, protocol=protocol) + _picked(ends, *further))


def _family(address: IPAddress) -> int:
    return _FAMILIES[address.version]


def _request(family: int, states: int, here: End | None = None, there: End | None = None, protocol: int = socket.IPPROTO_TCP) -> bytes:
    """Ask for one socket by its two ends, in a dump for all of them."""
    ports = (each[1].to_bytes(2, "big") if each else bytes(2) for each in (here, there))
    addresses = (each[0].packed if each else b"" for each in (here, there))  # filled up with zeros
    return _REQUEST.pack(family, protocol, 0, states, *ports, *addresses, 0, *([_NO_COOKIE if here else 0] * 2))


def _operation(code: int, condition: bytes, *, beyond: int) -> bytes:
    """Go on to the next operation where ``condition`` is true; where not, over the ``beyond`` bytes that follow and a jump."""
    size = _OPERATION.size + len(condition)
    return _OPERATION.pack(code, size, size + beyond + _OPERATION.size) + condition


def _picked(ends: Sequence[End], *further: tuple[int, bytes]) -> bytes:
    """Return the bytecode that picks where the own end is one of ``ends`` and all ``further`` conditions are true.

    An IPv4 address is found in its IPv6 form too, ::ffff:a.b.c.d. To the end of the bytecode is yes, beyond it is no. What an operation
    goes on to where it is so is always the next one, which is how the kernel checks them: a jump to what is further follows each end
    but the last.
    """
    after = b""
    for code, condition in reversed(further):
        after = _operation(code, condition, beyond=len(after)) + after
    found = b""
    for address, port in reversed(ends):
        condition = _CONDITION.pack(_family(address), address.max_prefixlen, port) + address.packed
        if found:
            found = _operation(_SOURCE, condition, beyond=0) + _OPERATION.pack(_JUMP, _OPERATION.size, _OPERATION.size + len(found)) + found
        else:
            found = _operation(_SOURCE, condition, beyond=len(after))
    bytecode = found + after
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(bytecode), _BYTECODE) + bytecode


def _read(answer: Answer) -> Socket:
    family, state, port, _, source, _, waiting, most, inode = _SOCKET.unpack_from(answer, HEADER.size)
    more = {kind: value for kind, value in attributes(answer[HEADER.size + _SOCKET.size :]) if kind in (_IPV6_ONLY, _HAS_MARK)}
    is_ipv6_only, mark = any(more.get(_IPV6_ONLY, b"")), int.from_bytes(more.get(_HAS_MARK, b""), sys.byteorder)
    return Socket(state, _address(family, source), socket.ntohs(port), inode, waiting, most, is_ipv6_only, mark)


def _address(family: int, packed: bytes) -> IPAddress:
    address = ipaddress.ip_address(packed if family == socket.AF_INET6 else packed[:4])
    return address.ipv4_mapped or address if address.version == 6 else address  # RFC 4291 section 2.5.5.2

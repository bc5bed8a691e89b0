"""TCP connections that end here, counted by asking the kernel (sock_diag(7)).

The kernel picks them by their address, and of each one that it names only the header is read: that keeps a look at ten
thousand connections down to milliseconds. Sources: linux/inet_diag.h, linux/netlink.h, the kernel's inet_diag.c.
"""

import os
import socket
import struct
from collections.abc import Collection, Iterator

from pyroute2.netlink import NETLINK_SOCK_DIAG, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR
from pyroute2.netlink.diag import SOCK_DIAG_BY_FAMILY, SS_CLOSE_WAIT, SS_ESTABLISHED, SS_FIN_WAIT1, SS_SYN_RECV

from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import IPAddress

_ALIVE = 1 << SS_ESTABLISHED | 1 << SS_SYN_RECV | 1 << SS_FIN_WAIT1 | 1 << SS_CLOSE_WAIT  # somebody still has something to send
_PATIENCE = 5.0  # seconds that the kernel may take for one part of its answer
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_STATUS = struct.Struct("=i")  # what follows the header of an end or an error: 0, or a negative errno
_REQUEST = struct.Struct("=BBxxI48x")  # struct inet_diag_req_v2: family, protocol, states, any socket
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr
_OPERATION = struct.Struct("=BBH")  # struct inet_diag_bc_op: code, how far to go where it is so, and where it is not
_CONDITION = struct.Struct("=BBxxi")  # struct inet_diag_hostcond: family, prefix length, port; the address follows
_BYTECODE, _SOURCE_IS, _ANY_PORT = 1, 7, -1  # INET_DIAG_REQ_BYTECODE, INET_DIAG_BC_S_COND
_FAMILIES = {4: (socket.AF_INET, socket.AF_INET6), 6: (socket.AF_INET6,)}  # a socket that is open for both has IPv4 clients as well


def count(vips: Collection[IPAddress]) -> int:
    """Return how many connections of clients with ``vips`` end at this machine. Raises SystemFault."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as diag:
            diag.settimeout(_PATIENCE)
            return sum(_answers(diag, _question(vip, family)) for vip in vips for family in _FAMILIES[vip.version])
    except OSError as error:
        raise SystemFault(f"the kernel does not tell its connections ({error.strerror or error})") from error


def _question(vip: IPAddress, family: socket.AddressFamily) -> bytes:
    """Ask for the sockets of ``family`` whose own address is ``vip``; the kernel finds an IPv4 one in its IPv6 form too, ::ffff:a.b.c.d."""
    condition = _CONDITION.pack(_FAMILIES[vip.version][0], vip.max_prefixlen, _ANY_PORT) + vip.packed
    size = _OPERATION.size + len(condition)
    bytecode = _OPERATION.pack(_SOURCE_IS, size, size + _OPERATION.size) + condition  # to the end is yes, beyond it is no
    body = _REQUEST.pack(family, socket.IPPROTO_TCP, _ALIVE) + _ATTRIBUTE.pack(_ATTRIBUTE.size + size, _BYTECODE) + bytecode
    return _HEADER.pack(_HEADER.size + len(body), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 0, 0) + body


def _answers(diag: socket.socket, question: bytes) -> int:
    """Return how many sockets the kernel names. Raises OSError, also where it says in its last message that it could not."""
    diag.send(question)
    found = 0
    while True:
        for kind, status in _messages(diag.recv(65536)):
            if kind == SOCK_DIAG_BY_FAMILY:
                found += 1
            elif status:
                raise OSError(-status, os.strerror(-status))
            elif kind == NLMSG_DONE:
                return found


def _messages(data: bytes) -> Iterator[tuple[int, int]]:
    """Split ``data`` into messages: the kind of each, and the status of an end or an error."""
    offset = 0
    while offset < len(data):
        length, kind, *_ = _HEADER.unpack_from(data, offset)
        yield kind, _STATUS.unpack_from(data, offset + _HEADER.size)[0] if kind in (NLMSG_DONE, NLMSG_ERROR) else 0
        offset += (length + 3) & ~3

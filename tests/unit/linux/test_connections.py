"""Counting the connections that end here, on a kernel that is not there."""

import errno
import socket
import struct
from ipaddress import ip_address

import pytest

from unit.support.fakes import FakeSocket
from vrrp_drain.linux import connections
from vrrp_drain.runtime.errors import SystemFault

VIP, OTHER, VIP6 = ip_address("10.0.0.10"), ip_address("10.0.0.11"), ip_address("fd00::10")
ERROR, DONE, SOCKET = 2, 3, 20  # NLMSG_ERROR, NLMSG_DONE, SOCK_DIAG_BY_FAMILY
IPV4, IPV6 = socket.AF_INET, socket.AF_INET6


def message(kind: int, body: bytes) -> bytes:
    """Return it as the kernel sends it: what follows begins at a multiple of four bytes."""
    return struct.pack("=IHHII", 16 + len(body), kind, 2, 0, 0) + body + bytes(-len(body) % 4)


FOUND, END = message(SOCKET, bytes(77)), message(DONE, struct.pack("=i", 0))


def asked(raw_socket: FakeSocket) -> list[tuple[int, bytes]]:
    """Return the family and the address of each question."""
    return [(question[16], question[16 + 56 + 4 + 4 + 8 :]) for (question,) in raw_socket.sent]


def test_what_is_found_is_added_up(raw_socket: FakeSocket) -> None:
    """An answer comes in several parts, each with several messages, until the kernel says that it is done."""
    raw_socket.inbox = [FOUND * 3, FOUND, END, FOUND + END]
    assert connections.count([VIP]) == 5
    assert raw_socket.opened == (socket.AF_NETLINK, socket.SOCK_RAW, 4)
    assert raw_socket.timeout == 5
    assert raw_socket.closed


def test_who_is_asked_for(raw_socket: FakeSocket) -> None:
    """An IPv4 VIP also has clients at sockets that are open for both families; each VIP is asked for by itself."""
    raw_socket.inbox = [END] * 5
    assert connections.count([VIP, VIP6, OTHER]) == 0
    addresses = [(IPV4, VIP), (IPV6, VIP), (IPV6, VIP6), (IPV4, OTHER), (IPV6, OTHER)]
    assert asked(raw_socket) == [(family, vip.packed) for family, vip in addresses]


def test_which_states_count(raw_socket: FakeSocket) -> None:
    """One that somebody still has something to send on counts, a listener and one that only waits for its end do not."""
    raw_socket.inbox = [END] * 2
    connections.count([VIP])
    (states,) = struct.unpack_from("=I", raw_socket.sent[0][0], 20)
    assert states == sum(1 << number for number in (1, 3, 4, 8))  # established, SYN received, FIN wait 1, close wait; tcp_states.h


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (OSError(errno.EPROTONOSUPPORT, "Protocol not supported"), "Protocol not supported"),
        (TimeoutError("timed out"), "timed out"),
        (message(ERROR, struct.pack("=i", -errno.EPERM) + bytes(16)), "Operation not permitted"),
        (FOUND + message(DONE, struct.pack("=i", -errno.ENOENT)), "No such file or directory"),
    ],
    ids=["no socket", "no answer", "refused", "could not"],
)
def test_a_kernel_that_does_not_tell(raw_socket: FakeSocket, answer: bytes | Exception, said: str) -> None:
    """It is a fault of the system, said in one line: what was not counted is never taken for none."""
    raw_socket.inbox = [answer]
    with pytest.raises(SystemFault, match=rf"^the kernel does not tell its connections \({said}\)$"):
        connections.count([VIP])

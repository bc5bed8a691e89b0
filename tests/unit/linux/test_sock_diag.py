"""Questions about sockets: what is asked of a kernel that is not there, and what the real one says about sockets of this test."""

import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path

import pytest

from unit.support.netlink import END, ERROR, FakeKernel, message, status
from vrrp_drain.linux.sock_diag import CLOSE_WAIT, ESTABLISHED, LISTEN, SockDiag, Socket

V4, V6 = ip_address("127.0.0.1"), ip_address("::1")
SOCKET = 20  # SOCK_DIAG_BY_FAMILY
FOUND = message(SOCKET, bytes(72))


@pytest.fixture(params=[("127.0.0.1", False), ("::1", False), ("::", True)], ids=["IPv4", "IPv6", "dual stack by IPv4"])
def server(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    host, dual = request.param
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family, dualstack_ipv6=dual) as listening:
        yield listening


def test_one_connection_is_asked_for_by_its_ends(kernel: FakeKernel) -> None:
    """struct inet_diag_req_v2 of linux/inet_diag.h, 56 bytes after the netlink header, in the kernel's byte orders; no cookie is known."""
    kernel.replies = [[FOUND]]
    SockDiag().connection((ip_address("10.0.0.1"), 80), (ip_address("10.0.0.2"), 40000))
    (asked,) = kernel.asked
    length, kind, flags, _, _ = struct.unpack_from("=IHHII", asked)
    assert (length, len(asked), kind, flags) == (72, 72, SOCKET, 1)
    assert asked[16:24] == bytes((socket.AF_INET, socket.IPPROTO_TCP, 0, 0)) + b"\xff" * 4
    assert asked[24:28] == struct.pack("!HH", 80, 40000)
    assert (asked[28:32], asked[44:48]) == (bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2)))
    assert asked[64:72] == b"\xff" * 8


def test_who_is_counted(kernel: FakeKernel) -> None:
    """An IPv4 address also has clients at sockets that are open for both families, an IPv6 one not. The states are a mask."""
    kernel.replies = [[FOUND * 3, FOUND + END], [FOUND + END], [END]]
    diag = SockDiag()
    assert diag.count(ip_address("10.0.0.10"), (ESTABLISHED, CLOSE_WAIT)) == 5
    assert diag.count(ip_address("fd00::10"), [LISTEN]) == 0
    assert [(each[16], each[16 + 56 + 4 + 4 + 8 :]) for each in kernel.asked] == [
        (socket.AF_INET, bytes((10, 0, 0, 10))),
        (socket.AF_INET6, bytes((10, 0, 0, 10))),
        (socket.AF_INET6, ip_address("fd00::10").packed),
    ]
    assert [struct.unpack_from("=I", each, 20)[0] for each in kernel.asked] == [1 << 1 | 1 << 8] * 2 + [1 << 10]


def test_a_connection_that_is_elsewhere(kernel: FakeKernel) -> None:
    """The kernel knows nothing of it, and says so as for a file."""
    kernel.replies = [[status(ERROR, errno.ENOENT)]]
    with pytest.raises(FileNotFoundError):
        SockDiag().connection((V4, 80), (V4, 81))


def test_a_listener_as_it_is(server: socket.socket) -> None:
    """Address, port and inode are those that its own process sees."""
    host, port = server.getsockname()[:2]
    with SockDiag() as diag:
        assert Socket(LISTEN, ip_address(host), port, inode_of(server)) in diag.listeners()


def test_a_connection_before_and_after_it_is_accepted(server: socket.socket) -> None:
    """Until a process has it, it has no inode. The IPv4 client of a socket for both families has an IPv4 address."""
    host = V4 if server.getsockname()[0] == "::" else ip_address(server.getsockname()[0])
    with socket.create_connection((str(host), server.getsockname()[1])) as client, SockDiag() as diag:
        here, there = (host, client.getpeername()[1]), (host, client.getsockname()[1])
        assert diag.connection(here, there) == Socket(ESTABLISHED, host, here[1], 0)
        with closing(server.accept()[0]) as accepted:
            assert diag.connection(here, there).inode == inode_of(accepted)


def inode_of(opened: socket.socket) -> int:
    """Return the number in socket:[123], which /proc shows."""
    return int(Path(f"/proc/self/fd/{opened.fileno()}").readlink().name.removeprefix("socket:[").removesuffix("]"))

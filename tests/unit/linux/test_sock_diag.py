"""Questions about sockets: what is asked of a kernel that is not there, and what the real one says about sockets of this test."""

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from ipaddress import ip_address
from pathlib import Path

import pytest

from unit.support.netlink import END, ERROR, FakeKernel, message, status
from vrrp_drain.linux.sock_diag import CLOSE_WAIT, ESTABLISHED, LISTEN, SockDiag, Socket
from vrrp_drain.runtime.ip import IPAddress

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
    assert diag.count([ip_address("10.0.0.10")], (ESTABLISHED, CLOSE_WAIT)) == 5
    assert diag.count([ip_address("fd00::10")], [LISTEN]) == 0
    assert [(each[16], each[16 + 56 + 4 + 4 + 8 :]) for each in kernel.asked] == [
        (socket.AF_INET, bytes((10, 0, 0, 10))),
        (socket.AF_INET6, bytes((10, 0, 0, 10))),
        (socket.AF_INET6, ip_address("fd00::10").packed),
    ]
    assert [struct.unpack_from("=I", each, 20)[0] for each in kernel.asked] == [1 << 1 | 1 << 8] * 2 + [1 << 10]


def test_who_has_no_mark(kernel: FakeKernel) -> None:
    """The kernel picks by both conditions: a false one leads beyond the end, a true one to the next. Both ends are told."""
    ends = struct.pack("!HH", 80, 40000) + bytes((10, 0, 0, 10)).ljust(16, b"\0") + bytes((10, 0, 0, 200)).ljust(16, b"\0")
    found = message(SOCKET, struct.pack("=BBxx", socket.AF_INET, ESTABLISHED) + ends.ljust(68, b"\0"))
    kernel.replies = [[found + END], [END]]
    vip, client = ip_address("10.0.0.10"), ip_address("10.0.0.200")
    assert [*SockDiag().unmarked([vip], [ESTABLISHED])] == [((client, 40000), (vip, 80))]
    attribute = kernel.asked[0][72:]
    assert struct.unpack_from("=HH", attribute) == (len(attribute), 1)
    assert struct.unpack_from("=BBH", attribute, 4) == (7, 16, 16 + 12 + 4)
    assert struct.unpack_from("=BBHII", attribute, 4 + 16) == (10, 12, 12 + 4, 0, 0xFFFFFFFF)


@pytest.mark.skipif(os.geteuid() != 0, reason="only who may set a mark sees one")
def test_marks_as_they_are(server: socket.socket) -> None:
    """A listener's is told, and of its connections those alone that have none: each inherits its listener's."""
    host, port = server.getsockname()[:2]
    to = "127.0.0.1" if host == "::" else host
    with SockDiag() as diag, socket.create_connection((to, port)) as early:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 5)
        assert [each.mark for each in diag.listeners() if each.inode == inode_of(server)] == [5]
        with socket.create_connection((to, port)):
            found = [each for each in diag.unmarked([ip_address(to)], [ESTABLISHED]) if each[1][1] == port]
        assert found == [((ip_address(to), early.getsockname()[1]), (ip_address(to), port))]


def test_many_addresses_are_one_question_a_family(kernel: FakeKernel) -> None:
    """The kernel walks through all its sockets for each question, and there may be dozens of VIPs."""
    kernel.replies = [[FOUND + END], [FOUND * 2 + END]]
    many = [*(ip_address(f"10.0.0.{number}") for number in range(10, 42)), ip_address("fd00::10")]
    assert SockDiag().count(many, [ESTABLISHED]) == 3
    assert [each[16] for each in kernel.asked] == [socket.AF_INET, socket.AF_INET6]
    assert SockDiag().count([], [ESTABLISHED]) == 0


def test_whether_there_is_one(kernel: FakeKernel) -> None:
    """The first answer is enough; where there is none the other family is asked."""
    kernel.replies = [[FOUND * 2], [END], [FOUND], [END], [END]]
    assert SockDiag().some([V4], [ESTABLISHED])
    assert len(kernel.asked) == 1
    assert SockDiag().some([V4], [ESTABLISHED])
    assert not SockDiag().some([V4, V6], [ESTABLISHED])
    kernel.replies = [[status(ERROR, errno.EPERM)]]
    with pytest.raises(PermissionError):
        SockDiag().some([V4], [ESTABLISHED])


def test_the_real_kernel_picks_by_any_of_the_addresses() -> None:
    """Whichever of them comes first, in both families; a connection to another address is none of theirs."""
    ours = [ip_address(f"127.77.0.{number}") for number in range(1, 33)]
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as both, socket.create_server(("0.0.0.0", 0)) as one:

        def found(addresses: Sequence[IPAddress]) -> tuple[int, bool]:
            with SockDiag() as counting, SockDiag() as looking:
                return counting.count(addresses, [ESTABLISHED]), looking.some(addresses, [ESTABLISHED])

        assert found(ours) == (0, False)
        with ExitStack() as stack:
            for address in (ours[0], ours[17], ours[-1], ip_address("127.77.0.99")):
                for server in (both, one):
                    stack.enter_context(socket.create_connection((str(address), server.getsockname()[1])))
            assert found(ours) == (6, True)
            assert found(ours[::-1]) == (6, True)
            assert found(ours[1:17]) == (0, False)
            assert found([V6, *ours[1:18]]) == (2, True)
            with SockDiag() as diag:
                assert len([*diag.unmarked(ours[1:], [ESTABLISHED])]) == 4


def test_connections_of_udp() -> None:
    """Those that are connected, at the ports that are asked for: QUIC's. A socket that is not connected is a listener."""
    here = ip_address("127.78.0.1")
    with ExitStack() as stack:

        def bound(port: int = 0) -> socket.socket:
            opened = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind((str(here), port))
            return opened

        port = bound().getsockname()[1]
        for client in (40_001, 40_002):
            bound(port).connect(("127.0.0.1", client))
        with SockDiag() as diag:
            assert [diag.count([here], [ESTABLISHED], ports) for ports in ([], [port], [port - 1, port], [port - 1])] == [0, 2, 2, 0]
            assert diag.some([here], [], [port])


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

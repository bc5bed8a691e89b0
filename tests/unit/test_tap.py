"""The tap: a filter of the kernel's own, and packets of both directions."""

import ctypes
import errno
import socket
import struct
from ipaddress import ip_address

import pytest
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6

from unit.fakes import OWN, PEER, FakeSocket
from vrrp_drain.advert import GROUP_V4, GROUP_V6, PROTOCOL, Packet
from vrrp_drain.errors import SystemFault
from vrrp_drain.tap import Tap


def program(raw_socket: FakeSocket) -> list[tuple[int, ...]]:
    """Return the filter that was attached, read back from memory as the kernel does."""
    (_, _, option), *_ = raw_socket.options
    count, address = struct.unpack("@HP", option)
    return [struct.unpack("=HBBI", ctypes.string_at(address + 8 * n, 8)) for n in range(count)]


@pytest.mark.parametrize(("family", "ether_type", "offset"), [(4, 0x0800, 9), (6, 0x86DD, 6)])
def test_only_vrrp_leaves_the_kernel(raw_socket: FakeSocket, family: int, ether_type: int, offset: int) -> None:
    """The filter asks for the family and for protocol 112, before the tap is bound to all packets of the interface."""
    attached: list[list[tuple[int, ...]]] = []
    keep = raw_socket.setsockopt

    def attach(*option: object) -> None:
        keep(*option)
        assert raw_socket.bound is None
        attached.append(program(raw_socket))

    raw_socket.setsockopt = attach  # type: ignore[method-assign]
    Tap("eth0", family)
    assert raw_socket.opened == (socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    assert raw_socket.bound == ("eth0", 3)
    ((load, of_family, protocol, of_vrrp, take, leave),) = attached
    assert (load[3], of_family[3], protocol[3], of_vrrp[3]) == (0xFFFFF000, ether_type, offset, 112)
    assert (of_family[2], of_vrrp[2]) == (3, 1), "both jump to the last instruction"
    assert (take[3], leave[3]) == (0xFFFF, 0)


def test_both_directions(raw_socket: FakeSocket, monkeypatch: pytest.MonkeyPatch) -> None:
    """What arrives and what this machine sent, each with its header read; noise is dropped."""
    sent = bytes(IP(src=OWN, dst=str(GROUP_V4), ttl=255, proto=PROTOCOL) / b"ours")
    came = bytes(IP(src=PEER, dst=str(GROUP_V4), ttl=255, proto=PROTOCOL) / b"theirs")
    raw_socket.inbox = [(sent, ("eth0", 0x0800, 4)), (b"noise", ("eth0", 0x0800, 0)), (came, ("eth0", 0x0800, 2))]
    monkeypatch.setattr(FakeSocket, "recvfrom", FakeSocket.recv, raising=False)
    heard = Tap("eth0", 4)
    assert heard.receive() == [
        (Packet(ip_address(OWN), GROUP_V4, 255, b"ours"), True),
        (Packet(ip_address(PEER), GROUP_V4, 255, b"theirs"), False),
    ]
    heard.close()
    assert raw_socket.closed


def test_ipv6(raw_socket: FakeSocket, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fixed header is all there is before the advert."""
    datagram = bytes(IPv6(src="fe80::2", dst=str(GROUP_V6), hlim=255, nh=PROTOCOL) / b"theirs")
    raw_socket.inbox = [(datagram, ("eth0", 0x86DD, 2)), (datagram[:39], ("eth0", 0x86DD, 2))]
    monkeypatch.setattr(FakeSocket, "recvfrom", FakeSocket.recv, raising=False)
    assert Tap("eth0", 6).receive() == [(Packet(ip_address("fe80::2"), GROUP_V6, 255, b"theirs"), False)]


def test_without_the_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said in one line, with what to do."""

    def refuse(*arguments: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(SystemFault, match=r"^cannot look at the packets on eth0: Operation not permitted; run as root$"):
        Tap("eth0", 4)

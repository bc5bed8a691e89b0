"""Hearing adverts: what comes off a raw socket becomes packets, unchecked. The socket is not a real one."""

import errno
import socket
import struct
from ipaddress import ip_address

import pytest
from scapy.layers.inet import IP

from unit.support.fakes import PEER, VIP, FakeSocket
from vrrp_drain.linux.advert_socket import AdvertListener
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import GROUP_V4, GROUP_V6, PROTOCOL, TTL, Packet
from vrrp_drain.vrrp.advert import Advert, build

SOURCE = ip_address(PEER)
ADVERT = Advert(2, 1, 253, 1.0, (ip_address(VIP),))
PACKET = Packet(SOURCE, GROUP_V4, TTL, build(ADVERT, SOURCE, GROUP_V4))
PAYLOAD = b"payload"
DATAGRAM = bytes(IP(src=PEER, dst=str(GROUP_V4), ttl=254, proto=PROTOCOL) / PAYLOAD)


BOUND = (socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0\0")


@pytest.mark.parametrize(
    ("family", "opened", "options"),
    [
        (
            4,
            socket.AF_INET,
            [
                BOUND,
                (socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, GROUP_V4.packed + struct.pack("=ii", 0, 2)),
                (socket.IPPROTO_IP, 49, 0),
            ],
        ),
        (
            6,
            socket.AF_INET6,
            [
                BOUND,
                (socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, GROUP_V6.packed + struct.pack("=i", 2)),
                (socket.IPPROTO_IPV6, 29, 0),
                (socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1),
                (socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1),
            ],
        ),
    ],
)
def test_the_socket_hears_the_group_on_its_interface(raw_socket: FakeSocket, family: int, opened: int, options: list[object]) -> None:
    """Protocol 112 of that interface alone, its group joined and no other heard; IPv6 has to be asked for what the header said."""
    AdvertListener("eth0", family)
    assert raw_socket.opened == (opened, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 112)
    assert raw_socket.options == options


def test_an_ipv4_packet(raw_socket: FakeSocket) -> None:
    """Source, destination and TTL are those of the IP header; what is no IP is dropped."""
    raw_socket.inbox = [b"noise", DATAGRAM]
    heard = AdvertListener("eth0", 4)
    assert heard.fileno() == raw_socket.fileno()
    assert heard.receive() == [Packet(SOURCE, GROUP_V4, 254, PAYLOAD)]
    heard.close()
    assert raw_socket.closed


def test_an_ipv6_packet(raw_socket: FakeSocket) -> None:
    """IPv6 delivers the payload alone: hop limit and destination come beside it, the zone of the source goes."""
    beside = [
        (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT, struct.pack("=i", 255)),
        (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, GROUP_V6.packed + struct.pack("=I", 2)),
    ]
    raw_socket.inbox = [(PAYLOAD, beside, 0, ("fe80::2%eth0", 0, 0, 2))]
    assert AdvertListener("eth0", 6).receive() == [Packet(ip_address("fe80::2"), GROUP_V6, 255, PAYLOAD)]


def test_an_ipv6_packet_without_a_hop_limit_cannot_pass_for_a_neighbours(raw_socket: FakeSocket) -> None:
    """What the kernel did not tell is not assumed to be 255."""
    raw_socket.inbox = [(PAYLOAD, [], 0, ("fe80::2", 0, 0, 2))]
    assert AdvertListener("eth0", 6).receive()[0].ttl != 255


def test_a_flood_is_taken_in_bursts(raw_socket: FakeSocket) -> None:
    """However many packets wait, one call takes a bounded number, so that deadlines are kept."""
    raw_socket.inbox = [DATAGRAM] * 1000
    assert 0 < len(AdvertListener("eth0", 4).receive()) < 100
    assert raw_socket.inbox


def test_an_interface_that_went_down_is_silence(raw_socket: FakeSocket) -> None:
    """The packets before it are kept; that the interface went is for netlink to say."""
    raw_socket.inbox = [DATAGRAM, OSError(errno.ENETDOWN, "Network is down")]
    assert len(AdvertListener("eth0", 4).receive()) == 1


def test_a_broken_socket_is_no_silence(raw_socket: FakeSocket) -> None:
    """Any other error is not swallowed."""
    raw_socket.inbox = [OSError(errno.EBADF, "closed")]
    with pytest.raises(OSError, match="closed"):
        AdvertListener("eth0", 4).receive()


def test_a_refused_socket_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the right to raw sockets, one line tells to run as root."""

    def refuse(*arguments: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(SystemFault, match=r"^cannot hear VRRP adverts on eth0: Operation not permitted; run as root$"):
        AdvertListener("eth0", 4)

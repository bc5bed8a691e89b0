"""The tap: a filter of the kernel's own, what the IP layer would have checked, both directions, and a flood."""

import errno
import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_address

import pytest
from scapy.layers.inet import IP, IPOption_NOP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet as Scapy

from unit.support.bpf import keeps
from unit.support.fakes import OWN, PEER, STRANGER, VIP, Clock, FakeSocket
from vrrp_drain.linux import bpf
from vrrp_drain.linux.packet_capture import PacketCapture, arrivals
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import ALL_HOSTS_V4, GROUP_V4, GROUP_V6, PROTOCOL, Packet
from vrrp_drain.vrrp import hello
from vrrp_drain.vrrp.advert import Advert, build, parse

HOST, MULTICAST, OTHERHOST, OUTGOING, LOOPBACK = 0, 2, 3, 4, 5
SOURCE = ip_address(PEER)
ADVERT = Advert(2, 7, 253, 1.0, (ip_address(VIP),))
PAYLOAD = build(ADVERT, SOURCE, GROUP_V4)
HELLO = hello.build(bytes(16), 7, SOURCE, ALL_HOSTS_V4)


def datagram(source: str = PEER, payload: bytes = PAYLOAD, **header: object) -> bytes:
    return bytes(IP(**{"src": source, "dst": str(GROUP_V4), "ttl": 255, "proto": PROTOCOL, **header}) / payload)


def came(*datagrams: bytes, kind: int = MULTICAST) -> list[tuple[bytes, tuple[object, ...]]]:
    return [(each, ("eth0", 0x0800, kind)) for each in datagrams]


@pytest.fixture
def filters(raw_socket: FakeSocket, monkeypatch: pytest.MonkeyPatch) -> list[list[bytes]]:
    """The filters that were given to the kernel, one after the other; the first before the socket was bound."""
    given: list[list[bytes]] = []

    def attach(opened: FakeSocket, instructions: list[bytes]) -> None:
        assert given or opened.bound is None
        given.append(instructions)

    monkeypatch.setattr(bpf, "attach", attach)
    monkeypatch.setattr(FakeSocket, "recvfrom", FakeSocket.recv, raising=False)
    return given


@pytest.fixture
def hearing(filters: list[list[bytes]], clock: Clock) -> Iterator[PacketCapture]:
    with closing(PacketCapture("eth0", 4, 7)) as opened:
        yield opened


@pytest.mark.parametrize(
    ("family", "packet", "kept"),
    [
        (4, IP(proto=112) / PAYLOAD, True),
        (4, IP(proto=112, options=[IPOption_NOP()] * 4) / PAYLOAD, True),
        (4, IP(proto=112) / HELLO, True),
        (4, IP(proto=112) / (b"\x21\x08" + PAYLOAD[2:]), False),
        (4, IP(proto=6) / PAYLOAD, False),
        (4, IPv6(nh=112) / PAYLOAD, False),
        (6, IPv6(nh=112) / PAYLOAD, True),
        (6, IPv6(nh=112) / (b"\x31\x08" + PAYLOAD[2:]), False),
        (6, IPv6(nh=0) / PAYLOAD, False),
    ],
    ids=[
        "an advert",
        "with IP options",
        "a hello",
        "another VRID",
        "TCP",
        "the other family",
        "IPv6",
        "another VRID there",
        "an extension",
    ],
)
def test_only_our_virtual_router_leaves_the_kernel(filters: list[list[bytes]], family: int, packet: Scapy, kept: bool) -> None:
    """A busy balancer's packets, and the adverts of 254 other virtual routers, cost no copy."""
    PacketCapture("eth0", family, 7)
    assert keeps(filters[0], packet) is kept


@pytest.mark.parametrize(
    ("family", "outgoing", "bound", "level", "join"),
    [
        (4, False, 0x0800, socket.IPPROTO_IP, (socket.IP_ADD_MEMBERSHIP, GROUP_V4.packed + struct.pack("=ii", 0, 2))),
        (6, False, 0x86DD, socket.IPPROTO_IPV6, (socket.IPV6_JOIN_GROUP, GROUP_V6.packed + struct.pack("=i", 2))),
        (4, True, 3, socket.IPPROTO_IP, (socket.IP_ADD_MEMBERSHIP, GROUP_V4.packed + struct.pack("=ii", 0, 2))),
    ],
)
def test_what_is_opened(
    filters: list[list[bytes]], raw_socket: FakeSocket, family: int, outgoing: bool, bound: int, level: int, join: tuple[int, bytes]
) -> None:
    """One protocol of the interface, or all where what is sent is wanted too; the group is joined, so that switches deliver it."""
    PacketCapture("eth0", family, 7, outgoing=outgoing)
    assert raw_socket.bound == ("eth0", bound)
    assert (level, *join) in raw_socket.options


def test_what_ethernet_pads_is_cut_off(hearing: PacketCapture, raw_socket: FakeSocket) -> None:
    """An advert of one VIP has 40 bytes, the shortest frame holds 46: the IP header says where it ends, in IPv6 too."""
    raw_socket.inbox = came(datagram() + bytes(6))
    (packet,) = hearing.receive()
    assert parse(packet) == ADVERT
    v6 = IPv6(src="fe80::2", dst=str(GROUP_V6), hlim=255, nh=PROTOCOL) / b"theirs"
    assert Packet.from_ipv6(bytes(v6) + bytes(6)) == Packet(ip_address("fe80::2"), GROUP_V6, 255, b"theirs")


@pytest.mark.parametrize(
    "damaged",
    [
        datagram()[:-1],
        datagram(chksum=0x1234),
        datagram(flags="MF"),
        datagram(frag=1),
        datagram(len=19),
        datagram(len=41),
        b"noise",
        bytes(IPv6(src="fe80::2", nh=PROTOCOL) / PAYLOAD),
    ],
    ids=["cut", "header checksum", "first fragment", "last fragment", "shorter than its header", "longer than it is", "noise", "IPv6"],
)
def test_what_the_ip_layer_would_not_deliver(hearing: PacketCapture, raw_socket: FakeSocket, damaged: bytes) -> None:
    """A packet socket gets it all the same: it is dropped here, and what comes after it is heard."""
    raw_socket.inbox = came(damaged, datagram())
    assert [each.payload for each in hearing.receive()] == [PAYLOAD]


@pytest.mark.parametrize("cut", [(5, 0), (4, 0xFF), (6, 6)], ids=["length", "longer", "protocol"])
def test_an_ipv6_header_that_lies(cut: tuple[int, int]) -> None:
    """Its payload ends where it says; one that ends later, or holds something else, is refused or without an advert."""
    packet = bytearray(bytes(IPv6(src="fe80::2", dst=str(GROUP_V6), hlim=255, nh=PROTOCOL) / PAYLOAD))
    packet[cut[0]] = cut[1]
    with pytest.raises(Exception, match=r"length|next header"):
        parse(Packet.from_ipv6(bytes(packet)))


@pytest.mark.parametrize(
    ("kind", "destination", "payload", "heard"),
    [
        (MULTICAST, "224.0.0.18", PAYLOAD, True),
        (HOST, OWN, PAYLOAD, True),
        (OTHERHOST, OWN, PAYLOAD, False),
        (LOOPBACK, "224.0.0.18", PAYLOAD, False),
        (MULTICAST, "224.0.0.1", PAYLOAD, False),
        (MULTICAST, "224.0.0.1", HELLO, True),
    ],
    ids=["the group", "unicast", "for another machine", "our own copy", "all hosts, as keepalived does not hear it", "a hello"],
)
def test_for_whom_it_is(hearing: PacketCapture, raw_socket: FakeSocket, kind: int, destination: str, payload: bytes, heard: bool) -> None:
    """What keepalived would hear but for our rules, and hellos."""
    raw_socket.inbox = came(datagram(dst=destination, payload=payload), kind=kind)
    assert bool(hearing.receive()) is heard


def test_what_this_machine_sends(filters: list[list[bytes]], raw_socket: FakeSocket) -> None:
    """The last one is noted, and is nothing that arrives."""
    raw_socket.inbox = [*came(datagram(OWN), datagram(OWN, HELLO), kind=OUTGOING), *came(datagram())]
    heard = PacketCapture("eth0", 4, 7, outgoing=True)
    assert [each.source for each in heard.receive()] == [SOURCE]
    assert heard.sent == Packet(ip_address(OWN), GROUP_V4, 255, HELLO)


def test_a_flood_of_a_stranger_stays_in_the_kernel(
    hearing: PacketCapture, raw_socket: FakeSocket, filters: list[list[bytes]], clock: Clock
) -> None:
    """Of ten thousand packets 200 are read; the peer's between them are, each; from then on the kernel passes the peers' alone."""
    hearing.know([SOURCE])
    raw_socket.inbox = came(*([datagram(STRANGER)] * 500 + [datagram()]) * 20)
    found: list[Packet] = []
    while packets := hearing.receive():
        assert len(packets) <= 64
        found += packets
    assert [sum(each.source == ip_address(who) for each in found) for who in (STRANGER, PEER)] == [200, 20]
    assert [keeps(filters[-1], IP(datagram(who))) for who in (STRANGER, PEER)] == [False, True]
    assert len(filters) == 2
    clock.sleep(hearing.wake_at - clock_now() + 0.001)
    raw_socket.inbox = came(datagram(STRANGER))
    assert len(hearing.receive()) == 1, "a second later he is heard again"
    assert keeps(filters[-1], IP(datagram(STRANGER)))
    assert hearing.wake_at == float("inf")


def clock_now() -> float:
    return time.monotonic()


@pytest.mark.parametrize("family", [4, 6])
def test_whom_the_kernel_passes_in_a_flood(filters: list[list[bytes]], raw_socket: FakeSocket, clock: Clock, family: int) -> None:
    """The sources that are known, whole addresses; and what we send, where that is wanted."""
    heard = PacketCapture("eth0", family, 7, outgoing=True)
    heard.know([SOURCE, ip_address("fe80::2")])
    if family == 4:
        raw_socket.inbox = came(*[datagram(STRANGER)] * 201)
        known, other = IP(datagram()), IP(datagram("10.0.0.3"))
    else:
        known, other = (IPv6(src=f"fe80::{n}", nh=PROTOCOL, hlim=255, dst=str(GROUP_V6)) / PAYLOAD for n in (2, 3))
        raw_socket.inbox = came(*[bytes(other)] * 201)
    while heard.receive():
        pass
    assert [keeps(filters[-1], known), keeps(filters[-1], other), keeps(filters[-1], other, OUTGOING)] == [True, False, True]


def test_an_interface_that_went_down_is_silence(hearing: PacketCapture, raw_socket: FakeSocket) -> None:
    """The packets before it are kept; any other error is not swallowed."""
    raw_socket.inbox = [*came(datagram()), OSError(errno.ENETDOWN, "Network is down")]
    assert len(hearing.receive()) == 1
    raw_socket.inbox = [OSError(errno.EBADF, "closed")]
    with pytest.raises(OSError, match="closed"):
        hearing.receive()


def test_a_buffer_that_only_root_of_the_machine_may_have(
    filters: list[list[bytes]], raw_socket: FakeSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it is as large as everybody's may be."""
    keep = FakeSocket.setsockopt

    def refuse(self: FakeSocket, *option: object) -> None:
        if option[1] == 33:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        keep(self, *option)

    monkeypatch.setattr(FakeSocket, "setsockopt", refuse)
    PacketCapture("eth0", 4, 7)
    assert (socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20) in raw_socket.options


def test_arrivals_end_when_it_is_time(
    hearing: PacketCapture, raw_socket: FakeSocket, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end may be put off while packets come; a flood is looked after once a second meanwhile."""
    end = [clock_now() + 1.0]

    def wait(readers: list[int], writers: list[int], others: list[int], seconds: float) -> None:
        assert readers == [hearing.fileno()]
        clock.sleep(seconds)

    monkeypatch.setattr(select, "select", wait)
    raw_socket.inbox = came(datagram())
    for _ in arrivals(hearing, lambda: end[0]):
        end[0] += 2.0
    assert sum(clock.slept) == pytest.approx(3.0, abs=1e-4)


def test_without_the_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said in one line, with what to do."""

    def refuse(*arguments: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(SystemFault, match=r"^cannot look at the packets on eth0: Operation not permitted; run as root$"):
        PacketCapture("eth0", 4, 7)

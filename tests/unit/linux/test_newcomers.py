"""Who opens a connection to a VIP here: what the kernel's filter lets through, and what is read of it."""

import errno
import socket
from ipaddress import ip_address

import pytest
from scapy.layers.inet import IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet

from unit.support.bpf import keeps
from unit.support.fakes import OWN, STRANGER, VIP, FakeSocket
from vrrp_drain.linux import bpf
from vrrp_drain.linux.newcomers import Newcomer, Newcomers
from vrrp_drain.runtime.errors import SystemFault

HOST, OTHERHOST = 0, 3
V4, V6 = ip_address(VIP), ip_address("fd00::10")
MAC = bytes.fromhex("0200000000c8")
SYN = IP(src=STRANGER, dst=VIP) / TCP(flags="S")


@pytest.fixture
def filters(raw_socket: FakeSocket, monkeypatch: pytest.MonkeyPatch) -> list[list[bytes]]:
    """The filters that were given to the kernel; packets come with where they came from."""
    given: list[list[bytes]] = []
    monkeypatch.setattr(bpf, "attach", lambda opened, instructions: given.append(instructions))
    monkeypatch.setattr(FakeSocket, "recvfrom", FakeSocket.recv, raising=False)
    return given


def came(packet: bytes, interface: str = "eth0") -> tuple[bytes, tuple[object, ...]]:
    return packet, (interface, 0x0800, HOST, 1, MAC)


@pytest.mark.parametrize(
    ("packet", "kind", "kept"),
    [
        (SYN, HOST, True),
        (IP(src=STRANGER, dst=VIP, options=[IPOption_NOP()] * 4) / TCP(flags="S"), HOST, True),
        (IP(src=STRANGER, dst=VIP) / TCP(flags="SEC"), HOST, True),
        (IP(src=STRANGER, dst=VIP) / TCP(flags="S", dport=443), HOST, True),
        (IP(src=STRANGER, dst=VIP) / TCP(flags="SA"), HOST, False),
        (IP(src=STRANGER, dst=VIP) / TCP(flags="A"), HOST, False),
        (IP(src=STRANGER, dst=VIP) / TCP(flags="PA"), HOST, False),
        (IP(src=STRANGER, dst=OWN) / TCP(flags="S"), HOST, False),
        (IP(src=STRANGER, dst=VIP) / UDP(), HOST, False),
        (SYN, OTHERHOST, False),
        (IPv6(src="fd00::9", dst="fd00::10") / TCP(flags="S"), HOST, True),
        (IPv6(src="fd00::9", dst="fd00::10") / TCP(flags="A"), HOST, False),
        (IPv6(src="fd00::9", dst="fd00::11") / TCP(flags="S"), HOST, False),
        (IPv6(src="fd00::9", dst="fd00::10") / UDP(), HOST, False),
    ],
    ids=lambda value: value.summary() if isinstance(value, Packet) else None,
)
def test_a_syn_alone_to_a_vip_is_somebody_new(filters: list[list[bytes]], packet: Packet, kind: int, kept: bool) -> None:
    """What belongs to a connection that is open is none, be it handed on to us by a peer or not; nor is what is for another machine."""
    Newcomers([V4, V6])
    program = filters[0] if isinstance(packet, IP) else filters[1]
    assert keeps(program, packet, kind) is kept


def test_each_family_has_its_socket(filters: list[list[bytes]], raw_socket: FakeSocket) -> None:
    """All VIPs of one family share one, and a family without a VIP has none; it hears every interface."""
    Newcomers([V4, ip_address("10.0.0.11")])
    assert len(filters) == 1
    assert raw_socket.opened == (socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, socket.htons(0x0800))
    assert keeps(filters[0], IP(src=STRANGER, dst="10.0.0.11") / TCP(flags="S"))
    assert raw_socket.bound is None


def test_the_last_one_is_told_once(filters: list[list[bytes]], raw_socket: FakeSocket) -> None:
    """With the client's address and the MAC that its packet came from. What came before the filter was there is nobody's."""
    raw_socket.inbox = [bytes(UDP())]
    newcomers = Newcomers([V4])
    assert newcomers.latest() is None
    raw_socket.inbox = [came(bytes(IP(src=each, dst=VIP) / TCP(flags="S"))) for each in ("10.0.0.200", "10.0.0.201")]
    assert newcomers.latest() == Newcomer(ip_address("10.0.0.201"), "02:00:00:00:00:c8")
    assert newcomers.latest() is None
    newcomers.close()
    assert raw_socket.closed


def test_this_machines_own_programs_are_none(filters: list[list[bytes]], raw_socket: FakeSocket) -> None:
    """A health check of haproxy at the VIP comes through lo; a packet that is cut short says nothing."""
    newcomers = Newcomers([V4])
    raw_socket.inbox = [came(bytes(SYN), "lo"), came(bytes(SYN)[:14])]
    assert newcomers.latest() is None


def test_a_flood_ends_a_look(filters: list[list[bytes]], raw_socket: FakeSocket) -> None:
    """Who opens connections faster than they can be read keeps nobody from looking at anything else."""
    newcomers = Newcomers([V4])
    raw_socket.inbox = [came(bytes(SYN))] * 5000
    assert newcomers.latest() is not None
    assert raw_socket.inbox


def test_where_it_cannot_be_seen(filters: list[list[bytes]], raw_socket: FakeSocket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither at the beginning nor later is a fault of the kernel's anything but a fault of ours."""
    newcomers = Newcomers([V4])
    raw_socket.inbox = [OSError(errno.ENOBUFS, "")]
    with pytest.raises(SystemFault, match=r"^cannot see any more who opens connections here: No buffer space available$"):
        newcomers.latest()

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "")

    monkeypatch.setattr(bpf, "attach", refuse)
    with pytest.raises(SystemFault, match=r"^cannot see who opens connections here: Operation not permitted; run as root$"):
        Newcomers([V4])
    assert raw_socket.closed

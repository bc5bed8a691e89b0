"""The kernel's filters, run by a small machine of our own."""

from ipaddress import ip_address

import pytest
from scapy.layers.inet import IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, IPv6
from scapy.layers.l2 import ARP
from scapy.packet import Packet

from unit.support.bpf import keeps
from unit.support.fakes import MAC, OWN, PEER, PEER_MAC, STRANGER, VIP
from vrrp_drain.linux.bpf import byte, byte_behind_ipv4, ether_type, packet_type, program
from vrrp_drain.rehearsal.client import Target
from vrrp_drain.rehearsal.prober import _wanted


def test_alternatives() -> None:
    """A packet is kept when all conditions of one alternative hold; the first that fails leads to the next one."""
    instructions = program([ether_type(0x0806)], [ether_type(0x0800), byte(9, 6), byte(8, 64)])
    assert keeps(instructions, ARP())
    assert keeps(instructions, IP(ttl=64) / TCP())
    assert not keeps(instructions, IP(ttl=63) / TCP())
    assert not keeps(instructions, IP(ttl=64) / UDP())
    assert not keeps(instructions, IPv6() / TCP())


@pytest.mark.parametrize("options", [[], [IPOption_NOP()] * 4], ids=["plain", "with options"])
def test_what_stands_behind_the_header(options: list[Packet]) -> None:
    """The length of an IPv4 header is its own; the two loads that it takes are passed over together where a condition before fails."""
    instructions = program([ether_type(0x0800), byte_behind_ipv4(1, 7)], [packet_type(4), byte_behind_ipv4(1, 8)])
    for vrid, kind, kept in ((7, 0, True), (8, 0, False), (8, 4, True)):
        packet = IP(options=options) / bytes((0x21, vrid))
        assert keeps(instructions, packet, kind) is kept
    assert not keeps(instructions, IP() / b"")
    assert not keeps(program(), IP() / bytes(2)), "no alternative keeps nothing"


V4 = Target(ip_address(VIP), 80, "eth0", ip_address(OWN), MAC, frozenset({MAC}))
V6 = Target(ip_address("fd00::10"), 80, "eth0", ip_address("fd00::1"), MAC, frozenset({MAC}))


@pytest.mark.parametrize(
    ("target", "packet", "kept"),
    [
        (V4, ARP(hwsrc=PEER_MAC, psrc=VIP), True),
        (V4, ARP(hwsrc=PEER_MAC, psrc=PEER, pdst=VIP), False),
        (V4, IP(src=VIP, dst=OWN) / TCP(flags="SA"), True),
        (V4, IP(src=VIP, dst=STRANGER) / TCP(flags="SA"), False),
        (V4, IP(src=STRANGER, dst=VIP) / TCP(flags="S"), False),
        (V4, IP(src=VIP, dst=OWN) / UDP(), False),
        (V6, IPv6(src="fe80::2", dst="ff02::1") / ICMPv6ND_NA(tgt="fd00::10"), True),
        (V6, IPv6(src="fe80::2", dst="ff02::1") / ICMPv6ND_NA(tgt="fd00::11"), False),
        (V6, IPv6(src="fe80::2", dst="ff02::1") / ICMPv6ND_NS(tgt="fd00::10"), False),
        (V6, IPv6(src="fd00::10", dst="fd00::1") / TCP(flags="SA"), True),
        (V6, IPv6(src="fd00::10", dst="fd00::99") / TCP(flags="SA"), False),
    ],
    ids=lambda value: value.summary() if isinstance(value, Packet) else None,
)
def test_what_the_probe_hears(target: Target, packet: Packet, kept: bool) -> None:
    """Announcements of the VIP and its answers to us; of what a busy balancer sends its clients nothing leaves the kernel."""
    assert keeps(program(*_wanted(target)), packet) is kept

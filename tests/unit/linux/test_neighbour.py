"""Asking who answers for the VIP: frames against scapy, and what counts as an answer."""

import select
import socket
import struct
import time
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether

from unit.support.fakes import MAC, OWN, PEER, PEER_MAC, VIP, Clock, FakeInquiry, FakeSocket
from vrrp_drain.linux import neighbour
from vrrp_drain.linux.neighbour import advertised_mac, announced_mac, arp_answer, arp_probe, inquire, solicitation, solicited_node
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import IPAddress

BROADCAST = "ff:ff:ff:ff:ff:ff"
OURS = bytes.fromhex(MAC.replace(":", ""))
VIP4, VIP6 = IPv4Address(VIP), IPv6Address("2001:db8::10")
REPLY = Ether(src=PEER_MAC, dst=MAC) / ARP(op="is-at", hwsrc=PEER_MAC, psrc=VIP, hwdst=MAC, pdst="0.0.0.0")
ADVERTISEMENT = ICMPv6ND_NA(R=0, S=1, O=1, tgt=str(VIP6), cksum=1)
LINK_ADDRESS = ICMPv6NDOptDstLLAddr(lladdr=PEER_MAC)


def test_an_arp_probe_is_what_scapy_builds() -> None:
    """The probe of RFC 5227: broadcast, an all-zero sender protocol address, so that nobody's cache changes."""
    assert arp_probe(OURS, VIP4) == bytes(Ether(src=MAC, dst=BROADCAST) / ARP(op="who-has", hwsrc=MAC, psrc="0.0.0.0", pdst=VIP))


@pytest.mark.parametrize("padding", [b"", bytes(18)])
def test_an_arp_reply_to_us_is_an_answer(padding: bytes) -> None:
    """The MAC of the answer is the sender's, with or without the padding of a short Ethernet frame."""
    assert arp_answer(bytes(REPLY) + padding, OURS, VIP4) == PEER_MAC


def arp(receiver: str, sender: str = PEER_MAC, **fields: object) -> Ether:
    return Ether(src=sender, dst=receiver) / ARP(**{"op": "is-at", "hwsrc": sender, "psrc": VIP, "pdst": OWN, **fields})


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(arp(BROADCAST, pdst=VIP), id="gratuitous reply"),
        pytest.param(arp(BROADCAST, pdst=VIP, op="who-has"), id="gratuitous request"),
        pytest.param(arp(MAC, op="who-has"), id="a request"),
        pytest.param(arp(MAC, psrc=PEER), id="another address"),
        pytest.param(arp(PEER_MAC, pdst=PEER), id="a reply to somebody else"),
        pytest.param(arp(MAC, sender=MAC), id="our own MAC"),
        pytest.param(arp(MAC, hwtype=6), id="another hardware"),
        pytest.param(Ether(src=PEER_MAC, dst=MAC, type=0x0800) / bytes(REPLY)[14:], id="another protocol"),
        pytest.param(bytes(REPLY)[:41], id="truncated"),
    ],
)
def test_what_is_no_answer_by_arp(frame: Ether | bytes) -> None:
    """Gratuitous ARP, requests, other addresses, other receivers and pieces prove nothing."""
    assert arp_answer(bytes(frame), OURS, VIP4) is None


def test_a_solicitation_is_what_scapy_builds() -> None:
    """The neighbour solicitation with our link-layer address; its checksum is the kernel's to fill in."""
    assert solicitation(OURS, VIP6) == bytes(ICMPv6ND_NS(tgt=str(VIP6), cksum=0) / ICMPv6NDOptSrcLLAddr(lladdr=MAC))


def test_solicited_node_example_of_rfc_4291() -> None:
    """The example of section 2.7.1 comes out."""
    assert solicited_node(IPv6Address("4037::01:800:200e:8c6c")) == IPv6Address("ff02::1:ff0e:8c6c")


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(ADVERTISEMENT / LINK_ADDRESS, id="only option"),
        pytest.param(ADVERTISEMENT / ICMPv6NDOptSrcLLAddr(lladdr=MAC) / LINK_ADDRESS, id="second option"),
    ],
)
def test_a_solicited_advertisement_is_an_answer(message: ICMPv6ND_NA) -> None:
    """The MAC is that of the target link-layer option, wherever it stands."""
    assert advertised_mac(bytes(message), VIP6) == PEER_MAC


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(ICMPv6ND_NA(R=0, S=0, O=1, tgt=str(VIP6), cksum=1) / LINK_ADDRESS, id="unsolicited, the gratuitous ARP of IPv6"),
        pytest.param(ICMPv6ND_NA(S=1, tgt="2001:db8::11", cksum=1) / LINK_ADDRESS, id="another address"),
        pytest.param(ICMPv6ND_NS(tgt=str(VIP6), cksum=1) / LINK_ADDRESS, id="a solicitation"),
        pytest.param(ADVERTISEMENT, id="no option"),
        pytest.param(ADVERTISEMENT / ICMPv6NDOptSrcLLAddr(lladdr=PEER_MAC), id="no target option"),
        pytest.param(bytes(ADVERTISEMENT) + b"\x05\x00" + bytes(6) + bytes(LINK_ADDRESS), id="an option of length 0"),
        pytest.param(bytes(ADVERTISEMENT)[:23], id="truncated"),
        pytest.param(bytes(ADVERTISEMENT / LINK_ADDRESS)[:-1], id="truncated option"),
    ],
)
def test_what_is_no_answer_by_neighbour_discovery(message: ICMPv6ND_NA | bytes) -> None:
    """Announcements nobody asked for, other addresses and pieces prove nothing."""
    assert advertised_mac(bytes(message), VIP6) is None


@given(st.binary(max_size=100))
def test_no_frame_crashes_the_readers(tail: bytes) -> None:
    """Arbitrary bytes, also behind a valid beginning, are a MAC or nothing."""
    for answer in (
        arp_answer(tail, OURS, VIP4),
        arp_answer(bytes(REPLY)[:14] + tail, OURS, VIP4),
        advertised_mac(tail, VIP6),
        advertised_mac(bytes(ADVERTISEMENT) + tail, VIP6),
        announced_mac(tail, VIP4),
        announced_mac(in_ipv6(ADVERTISEMENT) + tail, VIP6),
    ):
        assert answer is None or len(bytes.fromhex(answer.replace(":", ""))) == 6


def hop_limit(hops: int) -> list[tuple[int, int, bytes]]:
    return [(socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT, struct.pack("=i", hops))]


def test_an_arp_inquiry(raw_socket: FakeSocket) -> None:
    """It sends the probe and returns the MACs of the answers that wait, without what is none."""
    raw_socket.inbox = [bytes(REPLY), b"noise", bytes(REPLY)]
    inquiry = inquire("eth0", MAC, VIP4)
    assert inquiry.fileno() == raw_socket.fileno()
    inquiry.ask()
    assert raw_socket.sent == [(arp_probe(OURS, VIP4),)]
    assert inquiry.answers() == [PEER_MAC, PEER_MAC]
    inquiry.close()
    assert raw_socket.closed


def test_a_neighbour_inquiry(raw_socket: FakeSocket) -> None:
    """It asks the solicited-node group; answers that crossed a router or are our own do not count (RFC 4861 section 7.1.2)."""
    answer, ours = bytes(ADVERTISEMENT / LINK_ADDRESS), bytes(ADVERTISEMENT / ICMPv6NDOptDstLLAddr(lladdr=MAC))
    received = [(answer, hop_limit(254)), (answer, []), (ours, hop_limit(255)), (answer, hop_limit(255))]
    raw_socket.inbox = [(message, ancillary, 0, None) for message, ancillary in received]
    inquiry = inquire("eth0", MAC, VIP6)
    assert inquiry.fileno() == raw_socket.fileno()
    inquiry.ask()
    assert raw_socket.sent == [(solicitation(OURS, VIP6), ("ff02::1:ff00:10", 0, 0, 2))]
    assert inquiry.answers() == [PEER_MAC]
    inquiry.close()
    assert raw_socket.closed


def test_an_arp_inquiry_hears_arp_on_its_interface(raw_socket: FakeSocket) -> None:
    """Other interfaces and other protocols stay out."""
    inquire("eth0", MAC, VIP4)
    assert raw_socket.bound == ("eth0", 0x0806)


def test_a_neighbour_inquiry_hears_advertisements_on_its_interface(raw_socket: FakeSocket) -> None:
    """Other interfaces and other ICMPv6 types stay out; questions leave with the hop limit that receivers require."""
    inquire("eth0", MAC, VIP6)
    options = {(level, name): value for level, name, value in raw_socket.options}
    assert options[socket.SOL_SOCKET, socket.SO_BINDTODEVICE] == b"eth0\0"
    assert options[socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF] == 2
    assert options[socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS] == 255
    assert options[socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP] == 0
    assert options[socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT] == 1
    blocked = struct.unpack("=8I", options[socket.IPPROTO_ICMPV6, 1])
    assert [kind for kind in range(256) if not blocked[kind // 32] >> kind % 32 & 1] == [136]


@pytest.mark.parametrize("target", [VIP4, VIP6])
def test_a_flood_of_answers_is_taken_in_bursts(raw_socket: FakeSocket, target: IPv4Address | IPv6Address) -> None:
    """However many answers wait, one call takes a bounded number and leaves the rest."""
    one = bytes(REPLY) if target.version == 4 else (bytes(ADVERTISEMENT / LINK_ADDRESS), hop_limit(255), 0, None)
    raw_socket.inbox = [one] * 1000
    assert 0 < len(inquire("eth0", MAC, target).answers()) < 100
    assert raw_socket.inbox


def test_an_inquiry_without_the_right_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused socket becomes one line that tells to run as root."""

    def refuse(*arguments: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(SystemFault, match=f"cannot ask on eth0 who answers for {VIP}: Operation not permitted; run as root"):
        inquire("eth0", MAC, VIP4)


def in_ipv6(message: ICMPv6ND_NA, hops: int = 255) -> bytes:
    return bytes(IPv6(src="fe80::2", dst="ff02::1", hlim=hops) / message)


@pytest.mark.parametrize("operation", ["who-has", "is-at"])
def test_any_arp_packet_of_its_holder_announces_an_address(operation: str) -> None:
    """Request or reply, gratuitous or to somebody: who has the address in its cache learns the sender's MAC (RFC 826)."""
    assert announced_mac(bytes(ARP(op=operation, hwsrc=PEER_MAC, psrc=VIP, pdst=OWN)), VIP4) == PEER_MAC


def test_an_advertisement_that_overrides_announces_an_address() -> None:
    """Whether somebody asked for it or not."""
    assert announced_mac(in_ipv6(ICMPv6ND_NA(S=0, O=1, tgt=str(VIP6)) / LINK_ADDRESS), VIP6) == PEER_MAC
    assert announced_mac(in_ipv6(ADVERTISEMENT / LINK_ADDRESS), VIP6) == PEER_MAC


@pytest.mark.parametrize(
    ("packet", "target"),
    [
        pytest.param(bytes(ARP(hwsrc=PEER_MAC, psrc=PEER, pdst=VIP)), VIP4, id="a question for it"),
        pytest.param(bytes(ARP(hwsrc=BROADCAST, psrc=VIP)), VIP4, id="everybody's MAC"),
        pytest.param(bytes(ARP(hwsrc="00:00:00:00:00:00", psrc=VIP)), VIP4, id="nobody's MAC"),
        pytest.param(bytes(ARP(hwsrc=PEER_MAC, psrc=VIP, op=3)), VIP4, id="another operation"),
        pytest.param(bytes(ARP(hwsrc=PEER_MAC, psrc=VIP))[:27], VIP4, id="truncated"),
        pytest.param(in_ipv6(ICMPv6ND_NA(S=1, O=0, tgt=str(VIP6)) / LINK_ADDRESS), VIP6, id="one that overrides nothing"),
        pytest.param(in_ipv6(ADVERTISEMENT / LINK_ADDRESS, hops=254), VIP6, id="one that crossed a router"),
        pytest.param(in_ipv6(ADVERTISEMENT / ICMPv6NDOptDstLLAddr(lladdr="33:33:00:00:00:01")), VIP6, id="a group's MAC"),
        pytest.param(b"", VIP6, id="nothing"),
    ],
)
def test_what_announces_nothing(packet: bytes, target: IPv4Address | IPv6Address) -> None:
    """A cache is not changed by it."""
    assert announced_mac(packet, target) is None


class Machines:
    """Who answers for which address, and whether anybody was asked faster than the segment deserves."""

    def __init__(self, clock: Clock, **macs: str) -> None:
        self._clock, self._macs = clock, {name.replace("_", "."): mac for name, mac in macs.items()}
        self.inquiries: list[FakeInquiry] = []

    def inquire(self, interface: str, mac: str, target: IPAddress) -> FakeInquiry:
        inquiry = FakeInquiry(time.monotonic)
        if found := self._macs.get(f"a{target}"):
            inquiry.on_ask = lambda: inquiry.macs.append(found)
        self.inquiries.append(inquiry)
        return inquiry

    def select(self, readers: object, writers: object, others: object, seconds: float) -> None:
        self._clock.sleep(min(seconds, 0.001) if any(each.macs for each in self.inquiries) else seconds)


@pytest.mark.parametrize(
    ("macs", "one"),
    [
        ({"a10_0_0_77": PEER_MAC, "a10_0_0_2": PEER_MAC}, True),
        ({"a10_0_0_77": PEER_MAC, "a10_0_0_2": MAC, "a10_0_0_3": PEER_MAC}, True),
        ({"a10_0_0_77": MAC, "a10_0_0_2": PEER_MAC}, False),
        ({"a10_0_0_77": MAC}, False),
        ({"a10_0_0_2": MAC}, False),
        ({}, False),
    ],
    ids=["the first peer", "another peer", "somebody else", "no peer answers", "it does not answer", "silence"],
)
def test_one_machine_has_both_addresses(clock: Clock, monkeypatch: pytest.MonkeyPatch, macs: dict[str, str], one: bool) -> None:
    """The MAC that answers for an unknown source is that of a peer's address; asked ten times a second, for half a second at most."""
    machines = Machines(clock, **macs)
    monkeypatch.setattr(neighbour, "inquire", machines.inquire)
    monkeypatch.setattr(select, "select", machines.select)
    began = time.monotonic()
    found = neighbour.one_machine("eth0", MAC, ip_address("10.0.0.77"), map(ip_address, ("10.0.0.2", "10.0.0.3")), 0.5)
    assert found is one
    assert time.monotonic() - began == pytest.approx(0.001 if one else 0.5, abs=0.002)
    assert all(each.closed and len(each.asked) <= 5 for each in machines.inquiries)

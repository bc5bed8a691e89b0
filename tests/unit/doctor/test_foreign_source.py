"""The probe's frames against scapy's reading of them; the probe itself runs in the lab."""

import time
from collections.abc import Iterator
from ipaddress import ip_address, ip_interface
from itertools import islice

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether

from unit.support.fakes import MAC, PEER_MAC, FakeInquiry
from vrrp_drain.doctor import foreign_source
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import IPAddress

US, THEM = (bytes.fromhex(mac.replace(":", "")) for mac in (MAC, PEER_MAC))
SOURCE, PEER = ip_address("10.0.0.77"), ip_address("10.0.0.2")
SOURCE6, PEER6 = ip_address("fd00::77"), ip_address("fd00::2")


def test_an_ipv4_frame() -> None:
    """An echo request to the peer's MAC, from the foreign address, with checksums that hold."""
    built = foreign_source.frame(US, THEM, SOURCE, PEER, 4711)
    read = Ether(built)
    assert (read.src, read.dst, read[IP].src, read[IP].dst, read[ICMP].type, read[ICMP].id) == (
        MAC,
        PEER_MAC,
        str(SOURCE),
        str(PEER),
        8,
        4711,
    )
    del read[IP].chksum, read[ICMP].chksum
    assert bytes(read) == built, "scapy computes the same checksums"


def test_an_ipv6_frame() -> None:
    """The same in IPv6, where the checksum covers the addresses."""
    built = foreign_source.frame(US, THEM, SOURCE6, PEER6, 4711)
    read = Ether(built)
    assert (read[IPv6].src, read[IPv6].dst, read[ICMPv6EchoRequest].id) == (str(SOURCE6), str(PEER6), 4711)
    del read[ICMPv6EchoRequest].cksum
    assert bytes(read) == built, "scapy computes the same checksum"


def test_who_asks_by_arp() -> None:
    """The MAC of whoever asks for the address; an answer, another address and half a packet are nothing."""
    asked = bytes(ARP(op=1, hwsrc=PEER_MAC, psrc=str(PEER), pdst=str(SOURCE)))
    assert foreign_source.asks_for_v4(asked, SOURCE) == PEER_MAC
    assert foreign_source.asks_for_v4(asked, PEER) is None
    assert foreign_source.asks_for_v4(bytes(ARP(op=2, hwsrc=PEER_MAC, pdst=str(SOURCE))), SOURCE) is None
    assert foreign_source.asks_for_v4(asked[:27], SOURCE) is None


def test_who_asks_by_neighbour_solicitation() -> None:
    """As with ARP; the MAC is in the source link-layer option."""
    asked = bytes(ICMPv6ND_NS(tgt=str(SOURCE6)) / ICMPv6NDOptSrcLLAddr(lladdr=PEER_MAC))
    assert foreign_source.asks_for_v6(asked, SOURCE6) == PEER_MAC
    assert foreign_source.asks_for_v6(asked, PEER6) is None
    assert foreign_source.asks_for_v6(bytes(ICMPv6ND_NS(tgt=str(SOURCE6))), SOURCE6) is None
    assert foreign_source.asks_for_v6(b"\x88" + asked[1:], SOURCE6) is None


@pytest.mark.parametrize("own", ["10.0.0.1/24", "fd00::1/64", "10.0.0.9/28"])
def test_candidates_are_of_the_network_and_nobodys(own: str) -> None:
    """Neither ours, nor one that is known to be taken, nor the network's first or last addresses."""
    us = ip_interface(own)
    taken = {us.network.network_address + 5}
    found = set(islice(foreign_source.candidates(us, taken), 200))
    assert found
    assert all(each in us.network for each in found)
    assert not found & {*taken, us.ip, us.network.network_address, us.network.network_address + 1, us.network.broadcast_address}


@pytest.mark.parametrize("own", ["10.0.0.1/31", "10.0.0.1/29"])
def test_a_network_without_room_has_no_candidate(own: str) -> None:
    """It has no such address, or all of them are taken: the search ends."""
    us = ip_interface(own)
    assert list(foreign_source.candidates(us, set(us.network))) == []


def test_an_address_that_somebody_has_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every candidate is asked for first; where all are taken, that is said, and no frame is sent."""
    asked: list[FakeInquiry] = []

    def inquire(interface: str, mac: str, target: IPAddress) -> FakeInquiry:
        inquiry = FakeInquiry(lambda: 0.0)
        inquiry.on_ask = lambda: inquiry.macs.append(PEER_MAC)
        asked.append(inquiry)
        return inquiry

    def candidates(*arguments: object) -> Iterator[IPAddress]:
        while True:
            yield SOURCE

    monkeypatch.setattr(foreign_source, "inquire", inquire)
    monkeypatch.setattr(foreign_source, "candidates", candidates)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with pytest.raises(SystemFault, match=r"^no unused address was found in 10\.0\.0\.0/24$"):
        foreign_source.probe("eth0", MAC, ip_interface("10.0.0.1/24"), (), {PEER: PEER_MAC})
    assert len(asked) == 5
    assert all(len(inquiry.asked) == 2 and inquiry.closed for inquiry in asked)

"""Connections opened by hand: frames against scapy's reading of them, and what counts as an answer."""

import ipaddress
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6

from unit.support.fakes import OWN, PEER, VIP
from vrrp_drain.rehearsal.handshake import Answer, Syn, read

FAMILIES = {4: (OWN, VIP, IP), 6: ("fd00::1", "fd00::10", IPv6)}
families = pytest.mark.parametrize("family", FAMILIES)


def syn(family: int, sequence: int = 0xFFFFFFFF) -> Syn:
    own, vip, _ = FAMILIES[family]
    return Syn(ip_address(own), 61000, ip_address(vip), 443, sequence)


@families
def test_a_syn_and_its_rst(family: int) -> None:
    """scapy reads what we meant, and computes the same checksums; the RST has the number that the other end expects next, modulo 2^32."""
    own, vip, layer = FAMILIES[family]
    for built, flags, sequence in ((syn(family).packet(), "S", 0xFFFFFFFF), (syn(family).reset(), "R", 0)):
        found = layer(built)
        assert (found.src, found.dst, found[TCP].sport, found[TCP].dport) == (own, vip, 61000, 443)
        assert (str(found[TCP].flags), found[TCP].seq, found[TCP].ack) == (flags, sequence, 0)
        for each in (found, found[TCP]) if family == 4 else (found[TCP],):
            del each.chksum
        assert bytes(found) == built


def answer(family: int, flags: str, **fields: object) -> bytes:
    own, vip, layer = FAMILIES[family]
    header = layer(src=vip, dst=own)
    return bytes(header / TCP(**{"sport": 443, "dport": 61000, "flags": flags, "seq": 7, "ack": 0, **fields}))


def reads(family: int, packet: bytes) -> Answer | None:
    own, vip, _ = FAMILIES[family]
    return read(packet, ip_address(vip), 443, ip_address(own))


@families
def test_answers(family: int) -> None:
    """SYN-ACK accepts, RST refuses, and either is ours only with our number; padding and IP options do no harm."""
    accepted, refused = reads(family, answer(family, "SA") + bytes(6)), reads(family, answer(family, "RA"))
    assert accepted == Answer(61000, 0, True)
    assert refused == Answer(61000, 0, False)
    assert syn(family).answered_by(accepted)
    assert not syn(family, sequence=5).answered_by(accepted), "somebody who did not see our SYN"
    assert not syn(family).answered_by(Answer(61001, 0, True))


def test_an_answer_behind_ip_options() -> None:
    """The header's length is in the header."""
    packet = bytes(IP(src=VIP, dst=OWN, options=[b"\x01\x01\x01\x00"]) / TCP(sport=443, dport=61000, flags="SA"))
    assert packet[0] == 0x46
    assert reads(4, packet) == Answer(61000, 0, True)


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(answer(4, "A"), id="of a connection that exists"),
        pytest.param(answer(4, "S"), id="a SYN alone"),
        pytest.param(answer(4, "R"), id="a RST that acknowledges nothing"),
        pytest.param(answer(4, "SRA"), id="nonsense"),
        pytest.param(answer(4, "SA", sport=80), id="another port"),
        pytest.param(answer(4, "SA")[:39], id="truncated"),
        pytest.param(bytes(IP(src=PEER, dst=OWN) / TCP(sport=443, dport=61000, flags="SA")), id="somebody else"),
        pytest.param(bytes(IP(src=VIP, dst=PEER) / TCP(sport=443, dport=61000, flags="SA")), id="to somebody else"),
        pytest.param(bytes(IP(src=VIP, dst=OWN) / UDP(sport=443, dport=61000) / bytes(20)), id="UDP"),
        pytest.param(bytes(IP(src=VIP, dst=OWN, frag=1) / TCP(sport=443, dport=61000, flags="SA")), id="a later fragment"),
        pytest.param(b"\x41" + answer(4, "SA")[1:], id="a header that is too short"),
        pytest.param(answer(6, "SA"), id="IPv6"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_what_is_no_answer(packet: bytes) -> None:
    """Whatever else arrives is passed over."""
    assert reads(4, packet) is None


@families
@given(noise=st.binary(max_size=80), cut=st.integers(0, 60))
def test_no_packet_crashes_the_reader(family: int, noise: bytes, cut: int) -> None:
    """Arbitrary bytes, also behind a valid beginning, are an answer or nothing."""
    for packet in (noise, answer(family, "SA")[:cut] + noise):
        found = reads(family, packet)
        assert found is None or isinstance(found, Answer)


def test_link_local_addresses_are_addresses_too() -> None:
    """An instance may have no other IPv6 address of its own."""
    assert IPv6(Syn(ipaddress.IPv6Address("fe80::1"), 61000, ipaddress.IPv6Address("fd00::10"), 80, 0).packet()).src == "fe80::1"

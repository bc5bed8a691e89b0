"""Adverts: round trips, scapy as an independent reader and writer, and every kind of damage."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, IPOption_NOP
from scapy.layers.inet6 import IPv6
from scapy.layers.vrrp import VRRP, VRRPv3

from vrrp_drain.runtime.errors import AdvertError
from vrrp_drain.runtime.ip import GROUP_V4, GROUP_V6, PROTOCOL, TTL, IPAddress, Packet, internet_checksum
from vrrp_drain.vrrp.advert import Advert, authentication, build, parse

SOURCE = {4: ip_address("10.0.0.2"), 6: ip_address("fe80::2")}
GROUP: dict[int, IPAddress] = {4: GROUP_V4, 6: GROUP_V6}
VIP4, VIP6 = IPv4Address("10.0.0.10"), IPv6Address("2001:db8::10")

V2 = Advert(2, 7, 253, 1.0, (VIP4,))
V3 = Advert(3, 7, 253, 0.29, (VIP4,))
V3_IPV6 = Advert(3, 7, 253, 40.95, (VIP6, IPv6Address("fe80::10")))
EXAMPLES = [
    pytest.param(V2, id="v2"),
    pytest.param(replace(V2, auth_type=1, auth_data=b"password", addresses=(VIP4, IPv4Address("10.0.0.11"))), id="v2-authenticated"),
    pytest.param(Advert(2, 255, 255, 255.0, (VIP4,), 255), id="v2-highest"),
    pytest.param(V3, id="v3"),
    pytest.param(V3_IPV6, id="v3-ipv6"),
    pytest.param(replace(V2, priority=0), id="v2-resignation"),
]


def received(payload: bytes, family: int = 4, ttl: int = TTL) -> Packet:
    return Packet(SOURCE[family], GROUP[family], ttl, payload)


def family_of(advert: Advert) -> int:
    return advert.addresses[0].version


def built(advert: Advert) -> bytes:
    family = family_of(advert)
    return build(advert, SOURCE[family], GROUP[family])


def changed(payload: bytes, changes: dict[int, int]) -> bytes:
    """Return ``payload`` with other bytes at some offsets and a checksum (without pseudo header) that fits them."""
    fresh = bytearray(payload)
    for at, value in (changes | {6: 0, 7: 0}).items():
        fresh[at] = value
    fresh[6:8] = internet_checksum(bytes(fresh)).to_bytes(2, "big")
    return bytes(fresh)


addresses_v4 = st.lists(st.ip_addresses(v=4), min_size=1, max_size=20).map(tuple)
addresses_v6 = st.lists(st.ip_addresses(v=6), min_size=1, max_size=20).map(tuple)
vrids, priorities = st.integers(1, 255), st.integers(0, 255)
centiseconds = st.integers(1, 4095).map(lambda n: n / 100)
seconds = st.integers(1, 255).map(float)
adverts = st.one_of(
    st.builds(Advert, st.just(2), vrids, priorities, seconds, addresses_v4, st.integers(0, 255), st.binary(min_size=8, max_size=8)),
    st.builds(Advert, st.just(3), vrids, priorities, centiseconds, addresses_v4 | addresses_v6),
)


@pytest.mark.parametrize("advert", EXAMPLES)
def test_examples_survive(advert: Advert) -> None:
    """What was built parses to the same values, at the ends of the ranges too."""
    assert parse(received(built(advert), family_of(advert))) == advert


@given(adverts)
def test_round_trip(advert: Advert) -> None:
    """So does every other valid advert."""
    assert parse(received(built(advert), family_of(advert))) == advert


@pytest.mark.parametrize("advert", EXAMPLES)
def test_scapy_reads_what_we_build(advert: Advert) -> None:
    """An independent implementation finds our values in our bytes, and computes the same checksum for them."""
    family = family_of(advert)
    outer = (
        IP(src=str(SOURCE[4]), dst=str(GROUP_V4), proto=PROTOCOL)
        if family == 4
        else IPv6(src=str(SOURCE[6]), dst=str(GROUP_V6), nh=PROTOCOL)
    )
    layer = VRRP if advert.version == 2 else VRRPv3
    seen = type(outer)(bytes(outer / built(advert)))[layer]
    assert (seen.version, seen.type, seen.vrid, seen.priority) == (advert.version, 1, advert.vrid, advert.priority)
    assert seen.adv == (advert.advert_int if advert.version == 2 else round(advert.advert_int * 100))
    assert tuple(map(ip_address, seen.addrlist)) == advert.addresses
    if advert.version == 2:
        assert (seen.authtype, seen.auth1.to_bytes(4, "big") + seen.auth2.to_bytes(4, "big")) == (advert.auth_type, advert.auth_data)
    checksum = seen.chksum
    del seen.chksum
    assert type(outer)(bytes(outer / seen))[layer].chksum == checksum


@pytest.mark.parametrize(
    ("datagram", "expected"),
    [
        (
            IP(src="10.0.0.2", dst="224.0.0.18", ttl=255) / VRRP(vrid=9, priority=200, adv=3, addrlist=["10.0.0.10", "10.0.0.11"]),
            Advert(2, 9, 200, 3.0, (VIP4, IPv4Address("10.0.0.11"))),
        ),
        (
            IP(src="10.0.0.2", dst="224.0.0.18", ttl=255) / VRRPv3(vrid=9, priority=200, adv=29, addrlist=["10.0.0.10"]),
            Advert(3, 9, 200, 0.29, (VIP4,)),
        ),
    ],
    ids=["v2", "v3"],
)
def test_we_read_what_scapy_builds(datagram: IP, expected: Advert) -> None:
    """A whole IPv4 datagram of an independent implementation, IP header included, gives its values."""
    packet = Packet.from_ipv4(bytes(datagram))
    assert (packet.source, packet.destination, packet.ttl) == (SOURCE[4], GROUP_V4, 255)
    assert parse(packet) == expected


def test_we_read_what_scapy_builds_over_ipv6() -> None:
    """Over IPv6 too, where the checksum always covers the pseudo header of RFC 8200."""
    datagram = IPv6(src="fe80::2", dst="ff02::12", hlim=255) / VRRPv3(vrid=9, priority=200, adv=100, addrlist=["2001:db8::10"])
    assert parse(received(bytes(datagram)[40:], 6)) == Advert(3, 9, 200, 1.0, (VIP6,))


def test_ip_options_are_skipped() -> None:
    """The payload begins after the options of the IPv4 header."""
    datagram = IP(src="10.0.0.2", dst="224.0.0.18", ttl=255, proto=PROTOCOL, options=[IPOption_NOP()] * 4) / built(V2)
    assert parse(Packet.from_ipv4(bytes(datagram))) == V2


@pytest.mark.parametrize(
    ("datagram", "field"),
    [
        (b"", "IPv4 packet length"),
        (b"\x45" + bytes(18), "IPv4 packet length"),
        (b"\x65" + bytes(19), "IP version"),
        (b"\x44" + bytes(19), "IPv4 header length"),
        (b"\x46" + bytes(19), "IPv4 header length"),
    ],
)
def test_what_is_no_ipv4_header_is_refused(datagram: bytes, field: str) -> None:
    """A header that is cut short, of another version or of an impossible length is refused by its field."""
    with pytest.raises(AdvertError) as error:
        Packet.from_ipv4(datagram)
    assert error.value.field == field


@given(st.binary(max_size=100))
def test_no_datagram_crashes_the_reader(datagram: bytes) -> None:
    """Arbitrary bytes are an advert or an AdvertError, nothing else."""
    try:
        advert = parse(Packet.from_ipv4(datagram))
    except AdvertError:
        return
    assert isinstance(advert, Advert)


@given(st.sampled_from([4, 6]), st.sampled_from([0x21, 0x31]), st.integers(0, 3), st.binary(min_size=8, max_size=60))
def test_no_payload_crashes_the_parser(family: int, first: int, count: int, payload: bytes) -> None:
    """Nor do arbitrary bytes that look like an advert, down to the checksum."""
    try:
        advert = parse(received(changed(payload, {0: first, 3: count}), family))
    except AdvertError:
        return
    assert len(advert.addresses) == count


@pytest.mark.parametrize("advert", EXAMPLES)
def test_no_single_bit_flip_passes(advert: Advert) -> None:
    """Each bit of an advert counts: with any one of them flipped it is refused."""
    payload = built(advert)
    for bit in range(len(payload) * 8):
        damaged = (int.from_bytes(payload, "big") ^ 1 << bit).to_bytes(len(payload), "big")
        with pytest.raises(AdvertError):
            parse(received(damaged, family_of(advert)))


@pytest.mark.parametrize("family", [4, 6])
def test_over_so_many_routers(family: int) -> None:
    """Each of them takes one from the 255 that an advert is sent with, and as many as are allowed may have."""
    payload = built(V2 if family == 4 else V3_IPV6)
    for hops in (0, 1, 254):
        assert parse(received(payload, family, ttl=TTL - hops), hops) == parse(received(payload, family))
    for hops in (1, 253):
        with pytest.raises(AdvertError, match=f"TTL or hop limit is {TTL - hops - 1}, expected at least {TTL - hops}"):
            parse(received(payload, family, ttl=TTL - hops - 1), hops)


@pytest.mark.parametrize(
    ("packet", "said"),
    [
        pytest.param(received(built(V2)[:7]), "length is 7 bytes, expected at least 8", id="shorter than a header"),
        pytest.param(received(built(V2), ttl=254), "TTL or hop limit is 254, expected 255", id="crossed a router"),
        pytest.param(received(built(V3_IPV6), 6, ttl=254), "TTL or hop limit is 254, expected 255", id="crossed an IPv6 router"),
        pytest.param(received(changed(built(V2), {0: 0x11})), "version is 1, expected 2 or 3", id="version 1"),
        pytest.param(received(changed(built(V2), {0: 0x41})), "version is 4, expected 2 or 3", id="version 4"),
        pytest.param(received(b"\x21" + built(V3_IPV6)[1:], 6), "version is 2, expected 3 on IPv6", id="version 2 on IPv6"),
        pytest.param(received(changed(built(V2), {0: 0x22})), "type is 2, expected 1", id="type 2"),
        pytest.param(received(changed(built(V2), {1: 0})), "VRID is 0, expected 1 to 255", id="VRID 0"),
        pytest.param(received(changed(built(V2), {3: 0})), "address count is 0, expected 1 to 255", id="no address"),
        pytest.param(received(changed(built(V2), {3: 2})), "length is 20 bytes, expected 24 for 2 addresses", id="wrong count"),
        pytest.param(received(built(V2)[:-1]), "length is 19 bytes, expected 20 for 1 addresses", id="truncated"),
        pytest.param(received(built(V3)[:-1]), "length is 11 bytes, expected 12 for 1 addresses", id="v3 truncated"),
        pytest.param(received(built(V2) + b"\0"), "length is 21 bytes, expected 20 for 1 addresses", id="too long"),
        pytest.param(received(changed(built(V2), {5: 0})), "advert interval is 0 s, expected 1 to 255 s", id="interval 0"),
        pytest.param(received(changed(built(V3), {4: 0xF0, 5: 0})), "advert interval is 0 cs, expected 1 to 4095 cs", id="v3 interval 0"),
        pytest.param(received(built(V2)[:6] + b"\xbe\xef" + built(V2)[8:]), "checksum is 0xbeef, expected the sum", id="checksum"),
        pytest.param(received(built(V3)[:6] + b"\xbe\xef" + built(V3)[8:]), "checksum is 0xbeef, expected the sum", id="v3 checksum"),
        pytest.param(received(changed(built(V3_IPV6), {}), 6), "checksum is 0x", id="IPv6 checksum without pseudo header"),
    ],
)
def test_damage_is_named(packet: Packet, said: str) -> None:
    """A damaged advert is refused by its field, with what was found and what was expected."""
    with pytest.raises(AdvertError, match=f"^{said}") as error:
        parse(packet)
    assert error.value.field == said.partition(" is ")[0]


def test_v3_checksum_without_pseudo_header_is_taken() -> None:
    """Some senders of version 3 over IPv4 leave the pseudo header out of the checksum; their adverts count."""
    assert parse(received(changed(built(V3), {}))) == V3


def test_reserved_bits_of_v3_are_ignored() -> None:
    """The four reserved bits before the interval are ignored on reception (RFC 5798 section 5.2.6)."""
    assert parse(received(changed(built(V3), {4: 0xF0}))) == V3


@pytest.mark.parametrize(
    ("advert", "field"),
    [
        (replace(V2, vrid=0), "VRID"),
        (replace(V2, vrid=256), "VRID"),
        (replace(V2, priority=-1), "priority"),
        (replace(V2, priority=256), "priority"),
        (replace(V2, addresses=()), "address count"),
        (replace(V2, addresses=(VIP4,) * 256), "address count"),
        (replace(V2, addresses=(VIP4, VIP6)), "address family"),
        (replace(V2, advert_int=0), "advert interval"),
        (replace(V2, advert_int=0.5), "advert interval"),
        (replace(V2, advert_int=256), "advert interval"),
        (replace(V2, auth_data=b"short"), "authentication"),
        (replace(V2, auth_type=256), "authentication"),
        (replace(V3, advert_int=0.004), "advert interval"),
        (replace(V3, advert_int=40.96), "advert interval"),
        (replace(V3, version=4), "version"),
    ],
)
def test_build_refuses_what_does_not_fit(advert: Advert, field: str) -> None:
    """A value that has no place on the wire is refused by its field."""
    with pytest.raises(AdvertError) as error:
        build(advert, SOURCE[4], GROUP_V4)
    assert error.value.field == field


def test_build_refuses_version_2_on_ipv6() -> None:
    """RFC 3768 knows IPv4 only."""
    with pytest.raises(AdvertError, match="version is 2, expected 3 on IPv6"):
        built(replace(V3_IPV6, version=2, advert_int=1.0))


def test_checksum_example_of_rfc_1071() -> None:
    """The sum of RFC 1071 section 3 comes out, and an odd byte counts as if a zero byte followed."""
    assert internet_checksum(bytes.fromhex("0001f203f4f5f6f7")) == ~0xDDF2 & 0xFFFF
    assert internet_checksum(b"\x12\x34\x56") == internet_checksum(b"\x12\x34\x56\x00")


def test_an_ipv6_datagram() -> None:
    """Source, destination and hop limit are those of the header; half a header is none."""
    datagram = bytes(IPv6(src="fe80::2", dst="ff02::12", hlim=255, nh=112) / b"advert")
    assert Packet.from_ipv6(datagram) == Packet(ip_address("fe80::2"), ip_address("ff02::12"), 255, b"advert")
    with pytest.raises(AdvertError, match="IPv6 packet length is 39 bytes"):
        Packet.from_ipv6(datagram[:39])


@pytest.mark.parametrize(
    ("password", "known"), [(None, (0, bytes(8))), ("a", (1, b"a" + bytes(7))), ("12345678", (1, b"12345678"))], ids=str
)
def test_authentication(password: str | None, known: tuple[int, bytes]) -> None:
    """No password is type 0; a password is type 1 and always fills eight bytes."""
    assert authentication(password) == known

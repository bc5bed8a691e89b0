"""Whatever comes from the network, the parts of the watcher that take it in raise nothing and do not grow."""

import struct
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unit.support.fakes import OWN, PEER, VIP, rendered
from vrrp_drain.config.model import Config
from vrrp_drain.notify.notice import Notice
from vrrp_drain.runtime.errors import AdvertError
from vrrp_drain.runtime.ip import GROUP_V4, GROUP_V6, TTL, Packet
from vrrp_drain.vrrp.advert import Advert, build, valid
from vrrp_drain.vrrp.bands import Band
from vrrp_drain.vrrp.election import Electorate
from vrrp_drain.vrrp.peer_table import PeerTable
from vrrp_drain.watcher.diagnosis import Diagnosis
from vrrp_drain.watcher.sight import Sight

CONFIG = Config.parse(rendered(3))
ELECTORATE = Electorate(1, 2, 1.0, ip_address(VIP), frozenset({ip_address(OWN)}), frozenset({ip_address(PEER)}))
VIP6 = IPv6Address("fd00::10")
ELECTORATE6 = replace(ELECTORATE, version=3, vip=VIP6, own_addresses=frozenset({IPv6Address("fe80::1")}))
BACKUP = Sight(keepalived_runs=True, vip_here=False, priority=254, band=Band.ACTIVE, band_age=3600.0, unhealthy=False)

V4 = st.one_of(st.sampled_from([IPv4Address(OWN), IPv4Address(PEER)]), st.ip_addresses(v=4))
V6 = st.one_of(st.just(IPv6Address("fe80::2")), st.ip_addresses(v=6))
NOISE = st.one_of(
    st.builds(Packet, V4, V4, st.integers(0, 255), st.binary(max_size=80)),
    st.builds(Packet, V6, V6, st.integers(0, 255), st.binary(max_size=80)),
)


@st.composite
def mutated(draw: st.DrawFn) -> Packet:
    """Return a real advert, of which perhaps some bytes, its end, or its sender are others."""
    v6 = draw(st.booleans())
    source = draw(V6 if v6 else V4)
    group = GROUP_V6 if v6 else GROUP_V4
    version = 3 if v6 else draw(st.sampled_from([2, 3]))
    advert = Advert(
        version,
        draw(st.sampled_from([1, 1, 1, 2, 255])),
        draw(st.integers(0, 255)),
        float(draw(st.integers(1, 40))),
        tuple(draw(st.lists(st.just(VIP6 if v6 else IPv4Address(VIP)) | (V6 if v6 else V4), min_size=1, max_size=4))),
    )
    payload = bytearray(build(advert, source, group))
    for _ in range(draw(st.integers(0, 3))):
        payload[draw(st.integers(0, len(payload) - 1))] = draw(st.integers(0, 255))
    end = draw(st.sampled_from([len(payload), len(payload), draw(st.integers(0, len(payload)))]))
    return Packet(source, draw(st.sampled_from([group, ip_address(source)])), draw(st.sampled_from([TTL, TTL, 1])), bytes(payload[:end]))


@settings(max_examples=150)
@given(st.lists(st.tuples(mutated() | NOISE, st.floats(0, 2)), max_size=60), st.sampled_from([ELECTORATE, ELECTORATE6]))
def test_packets(packets: list[tuple[Packet, float]], electorate: Electorate) -> None:
    """Mutated adverts and noise through parser, segment and observer: verdicts are known ones, notices are whole, memory is bounded."""
    peer_table, now = PeerTable(1.0), 100.0
    diagnosis = Diagnosis(CONFIG, peer_table, BACKUP, now)
    for packet, pause in packets:
        now += pause
        verdict = peer_table.hear(electorate.classify(packet, now))
        if any(valid([packet])):
            assert verdict in ("valid", "foreign", None)
        for sight in (BACKUP, replace(BACKUP, vip_here=True)):
            for notice in diagnosis.look(sight, now, now):
                assert Notice.from_json(notice.as_json()) == notice
    assert len(peer_table._peers) <= 40
    assert len(peer_table._strangers._known) <= 40


@given(st.binary(max_size=200))
def test_datagrams(datagram: bytes) -> None:
    """What a raw socket delivers is a packet, or refused as one that is none."""
    try:
        packet = Packet.from_ipv4(datagram)
    except AdvertError:
        return
    assert list(valid([packet])) == [] or packet.ttl == TTL


@given(st.integers(0, 15), st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_counts_that_lie(version: int, vrid: int, priority: int, count: int) -> None:
    """A count of addresses that the packet does not have is damage, not an index that is out of range."""
    payload = struct.pack("!BBBBHH", version << 4 | 1, vrid, priority, count, 100, 0) + b"\x0a\x00\x00\x0a"
    assert list(valid([Packet(IPv4Address(PEER), GROUP_V4, TTL, payload)])) == []


@pytest.mark.parametrize("length", [0, 7, 8, 65535])
def test_sizes(length: int) -> None:
    """From nothing to the largest packet there is."""
    assert list(valid([Packet(IPv4Address(PEER), GROUP_V4, TTL, bytes(length))])) == []

"""Handed-on packets inside others: who gets into the tunnel, what comes out of it, and the devices that make it."""

import errno
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from unit.support.kernel import Packet, Table
from unit.support.machine import FakeVxlan
from vrrp_drain.handoff.forwarding import LATEST, LEAVERS, LEAVING, MOST_HOPS
from vrrp_drain.handoff.group import Group
from vrrp_drain.handoff.tables import installation
from vrrp_drain.handoff.tunnel import INDEXES, NAMES, TUNNEL, Tunnel, Tunnels, mac, wrapped
from vrrp_drain.linux.ip_packet import ip_packet
from vrrp_drain.linux.vxlan import Device
from vrrp_drain.runtime.errors import SystemFault

PORT = 9923
VIPS = {4: ip_address("10.0.0.10"), 6: ip_address("fd00::10")}
OWN = {4: ip_address("10.0.0.1"), 6: ip_address("fe80::1")}
PEER = {4: ip_address("10.0.0.2"), 6: ip_address("fe80::2")}
NOBODY = {4: ip_address("10.0.0.66"), 6: ip_address("fe80::66")}
CLIENT = {4: ip_address("192.0.2.7"), 6: ip_address("2001:db8::7")}
HOPS = {4: 8, 6: 7}
VERSIONS = pytest.mark.parametrize("version", VIPS)
THE_TUNNEL = Tunnel(PORT, 1, "eth0", (OWN[4], OWN[6]))


def installed(version: int, hops: int = 0) -> Table:
    members = frozenset({PEER[version]})
    return Table(
        installation(Group((VIPS[version],), "eth0", 1, 3, bytes(16), members=members, hops=hops, window=60.0, tunnel=THE_TUNNEL), 2)
    )


def carried(
    version: int, *, source: object = None, hops: int = 255, port: int = PORT, to: object = None, inside: int | None = None, cut: int = 9999
) -> Packet:
    """Return a packet that carries one of the client's to the VIP, or to somebody else; ``cut`` is the length of its first fragment."""
    inner_version = inside or version
    inner = ip_packet(CLIENT[inner_version], to or VIPS[inner_version], socket.IPPROTO_TCP, bytes(20))  # type: ignore[arg-type]
    payload = wrapped(THE_TUNNEL, OWN[version], inner)
    datagram = struct.pack("!HHHH", 50_000, port, 8 + len(payload), 0) + payload
    header = bytearray(ip_packet(source or PEER[version], OWN[version], socket.IPPROTO_UDP, b""))  # type: ignore[arg-type]
    header[HOPS[version]] = hops
    return Packet(bytearray(14), header, bytearray(datagram[:cut]), socket.IPPROTO_UDP)


def of_a_connection(version: int, hops: int) -> Packet:
    """Return what comes out of the tunnel: a packet of a connection that nobody here has."""
    header = bytearray(ip_packet(CLIENT[version], VIPS[version], socket.IPPROTO_TCP, b""))
    header[HOPS[version]] = hops
    return Packet(bytearray(14), header, bytearray(struct.pack("!HHIIBBHHH", 40_000, 80, 1, 1, 5 << 4, 0x10, 0, 0, 0)))


@VERSIONS
@pytest.mark.parametrize("cut", [9999, 128], ids=["whole", "its first fragment"])
def test_what_a_member_hands_on_gets_in(version: int, cut: int) -> None:
    """As near as its adverts, to a VIP; the first fragment has all that is asked."""
    table = installed(version)
    assert table.receive(carried(version, cut=cut)) == (True, [])
    assert table.receive(carried(version, cut=cut), "eth7") == (True, []), "by whatever interface"
    assert table.counters.get(TUNNEL, 0) == 0


@VERSIONS
@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda version: carried(version, source=NOBODY[version]), id="of nobody"),
        pytest.param(lambda version: carried(version, hops=254), id="over a router"),
        pytest.param(lambda version: carried(version, to=OWN[version]), id="to an instance itself"),
        pytest.param(lambda version: carried(version, to=CLIENT[version]), id="to somebody else"),
        pytest.param(lambda version: carried(version, inside=10 - version), id="of the other family"),
        pytest.param(lambda version: carried(version, cut=8), id="a first fragment that says nothing"),
        pytest.param(lambda version: carried(version, cut=40), id="a first fragment that does not say to whom"),
    ],
)
def test_nothing_else_gets_in(version: int, wrong: Callable[[int], Packet]) -> None:
    """It is dropped and counted before the tunnel sees it."""
    table = installed(version)
    assert table.receive(wrong(version)) == (False, [])
    assert table.counters[TUNNEL] == 1


@VERSIONS
def test_other_ports_are_none_of_its_business(version: int) -> None:
    """DNS and the like pass, whoever sends them."""
    assert installed(version).receive(carried(version, source=NOBODY[version], port=53)) == (True, [])


def test_as_many_routers_as_adverts_may_cross() -> None:
    """With keepalived.unicast_hops 1 a member in another zone gets in, and arms."""
    table = installed(4, hops=1)
    assert table.receive(carried(4, hops=254)) == (True, [])
    assert table.receive(carried(4, hops=253)) == (False, [])


@VERSIONS
def test_what_comes_out_may_have_to_go_on(version: int) -> None:
    """Whoever does not know it either sends it to the next one that left, with a hop less; while nobody left it stays."""
    table, device = installed(version), NAMES[version]
    assert table.receive(of_a_connection(version, MOST_HOPS - 1), device) == (True, [])
    table.sets[LEAVING] = {VIPS[version].packed: b""}
    table.sets[LEAVERS] = {b"\2": PEER[version].packed, LATEST: PEER[version].packed}
    stays, ((where, copy),) = table.receive(of_a_connection(version, MOST_HOPS - 1), device)
    assert (stays, where, copy.network[HOPS[version]]) == (False, PEER[version].packed, MOST_HOPS - 2)
    assert table.receive(of_a_connection(version, 1), device) == (True, []), "with its last hop it is answered"
    assert table.receive(of_a_connection(version, MOST_HOPS - 1), "eth7") == (True, []), "nobody else's interface"


def test_without_a_tunnel_there_are_no_rules_for_it() -> None:
    """Neither for a port nor for a device, and packets leave by the interface."""
    orders = installation(Group((VIPS[4],), "eth0", 1, 3, bytes(16), window=60.0), 2)
    assert "tunnel" not in repr(orders)
    assert repr(struct.pack("=I", INDEXES[4])) not in repr(orders)


# the devices


@pytest.fixture
def links() -> FakeVxlan:
    return FakeVxlan()


@pytest.fixture
def tunnels(links: FakeVxlan, tmp_path: Path) -> Tunnels:
    def appear(device: Device) -> None:
        for family, names in (("ipv4", ("rp_filter",)), ("ipv6", ("disable_ipv6", "addr_gen_mode"))):
            (tmp_path / family / device.name).mkdir(parents=True, exist_ok=True)
            for name in names:
                wanted = name == "addr_gen_mode" or device.name == NAMES[4]
                (tmp_path / family / device.name / name).write_text("0\n" if wanted else "1\n")

    links.on_create = appear
    return Tunnels(links, tmp_path / "ipv4", tmp_path / "ipv6")


def test_the_devices(tunnels: Tunnels, links: FakeVxlan, tmp_path: Path) -> None:
    """One of each family, with a way to each peer of it but to ourselves; none has an address of its own that looks like a network."""
    tunnels.hold(THE_TUNNEL, [*PEER.values(), *OWN.values()])
    assert links.made == ["vrrp-drain4", "vrrp-drain6"]
    assert links.up == {*NAMES.values()}
    assert {name: {*to} for name, to in links.to.items()} == {NAMES[version]: {PEER[version]} for version in PEER}
    assert links.to[NAMES[4]][PEER[4]] == mac(PEER[4]) != links.devices[NAMES[4]].mac == mac(OWN[4])
    assert (links.devices[NAMES[4]].mtu, links.devices[NAMES[6]].mtu) == (1500, 1430)
    named = (
        "ipv4/vrrp-drain4/rp_filter",
        "ipv6/vrrp-drain4/disable_ipv6",
        "ipv6/vrrp-drain6/disable_ipv6",
        "ipv6/vrrp-drain6/addr_gen_mode",
    )
    assert [(tmp_path / each).read_text() for each in named] == ["2\n", "1\n", "0\n", "1\n"]
    assert tunnels.lacks(THE_TUNNEL) == []


def test_what_is_there_is_made_anew(tunnels: Tunnels, links: FakeVxlan) -> None:
    """Whatever it was: of another port, say, or half made by a pre-start that was killed."""
    tunnels.hold(replace(THE_TUNNEL, port=4790), [])
    tunnels.hold(THE_TUNNEL, [])
    assert {each.port for each in links.devices.values()} == {PORT}


def test_who_becomes_a_member_gets_a_way(tunnels: Tunnels, links: FakeVxlan) -> None:
    """The others keep theirs."""
    tunnels.hold(THE_TUNNEL, [PEER[4]])
    tunnels.reach(THE_TUNNEL, [PEER[4], NOBODY[4], PEER[6]])
    assert {*links.to[NAMES[4]]} == {PEER[4], NOBODY[4]}
    assert {*links.to[NAMES[6]]} == {PEER[6]}


@pytest.mark.parametrize(
    ("take", "lacks"),
    [
        pytest.param(lambda links, path: links.remove(6, NAMES[6], 0), ["the tunnel vrrp-drain6"], id="the device"),
        pytest.param(lambda links, path: links.up.clear(), ["the tunnel vrrp-drain4", "the tunnel vrrp-drain6"], id="down"),
        pytest.param(lambda links, path: links.rules.discard(NAMES[4]), ["the routing rule of vrrp-drain4"], id="the rule"),
        pytest.param(
            lambda links, path: (path / "ipv4/vrrp-drain4/rp_filter").write_text("1\n"), ["rp_filter of vrrp-drain4"], id="strict filtering"
        ),
        pytest.param(
            lambda links, path: setattr(links, "link_mtu", 1400), ["the tunnel vrrp-drain4", "the tunnel vrrp-drain6"], id="another MTU"
        ),
    ],
)
def test_what_is_taken_away_is_named(
    tunnels: Tunnels, links: FakeVxlan, tmp_path: Path, take: Callable[[FakeVxlan, Path], object], lacks: list[str]
) -> None:
    """And it is whole again when it was mended; a device that is there stays."""
    tunnels.hold(THE_TUNNEL, [PEER[4]])
    before = [*links.made]
    take(links, tmp_path)
    assert tunnels.lacks(THE_TUNNEL) == lacks
    tunnels.mend(THE_TUNNEL, [PEER[4]])
    assert tunnels.lacks(THE_TUNNEL) == []
    assert (links.made != before) is any(each.startswith("the tunnel") for each in lacks)
    assert {*links.to[NAMES[4]]} == {PEER[4]}


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (errno.EOPNOTSUPP, "this kernel has no VXLAN: module vxlan"),
        (errno.EADDRINUSE, "somebody else has the port: vrrp_drain.handoff_tunnel_port"),
        (errno.EPERM, "Operation not permitted"),
    ],
)
def test_where_one_cannot_be_had_there_is_none(tunnels: Tunnels, links: FakeVxlan, number: int, why: str) -> None:
    """Half a tunnel would take packets and lose some."""

    def fail(device: Device) -> None:
        if device.name == NAMES[6]:
            raise OSError(number, os.strerror(number))
        appear(device)

    appear, links.on_create = links.on_create, fail
    with pytest.raises(SystemFault, match=rf"^the tunnel for packets of open connections cannot be made \({why}"):
        tunnels.hold(THE_TUNNEL, [])
    assert links.devices == {}


def test_ipv6_needs_1280_bytes(tunnels: Tunnels, links: FakeVxlan) -> None:
    """An interface of fewer than 1350 cannot carry them."""
    links.link_mtu = 1349
    with pytest.raises(SystemFault, match=r"with the MTU 1349 of eth0 it takes IPv6 packets of 1279 bytes, and 1280 must pass$"):
        tunnels.hold(THE_TUNNEL, [])
    assert links.devices == {}
    links.link_mtu = 1350
    tunnels.hold(THE_TUNNEL, [])


def test_release(tunnels: Tunnels, links: FakeVxlan) -> None:
    """Nothing is left, and it is no error where there is nothing."""
    tunnels.hold(THE_TUNNEL, [])
    for _ in range(2):
        tunnels.release()
        assert (links.devices, links.rules) == ({}, set())

"""No packet goes round: every way in which 2, 3 and 4 nodes can be armed at each other, through the rules that we really install.

tests/lab/test_circles.py has the kernel as witness for some of them.
"""

import itertools
import socket
import struct
from collections.abc import Callable, Iterator
from functools import cache
from ipaddress import ip_address

import pytest

from unit.support.kernel import Packet, Table
from vrrp_drain.handoff.forwarding import LEAVERS, LEAVING, MOST_HOPS
from vrrp_drain.handoff.rules import Group, installation

VIPS = {4: ip_address("10.0.0.10"), 6: ip_address("fd00::10")}
CLIENT_MAC = bytes.fromhex("0200000000c8")
NOWHERE = -1  # an address that nobody has
HOPS = {4: 8, 6: 7}
VERSIONS = pytest.mark.parametrize("version", VIPS)
ACK, SYN, RST = 0x10, 0x02, 0x04


def address(version: int, node: int) -> bytes:
    last = 250 if node == NOWHERE else node + 1
    return ip_address(f"10.0.0.{last}" if version == 4 else f"fd00::{last}").packed


def mac(node: int) -> bytes:
    return bytes((2, 0, 0, 0, 0, node + 1))


def packet(version: int, flags: int = ACK, *, hops: int = 64, came_from: bytes = CLIENT_MAC, sock: str = "", icmp: bool = False) -> Packet:
    source, vip = ip_address("10.0.0.200" if version == 4 else "fd00::200"), VIPS[version]
    protocol = ({4: 1, 6: 58}[version]) if icmp else socket.IPPROTO_TCP
    if version == 4:
        network = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0, hops, protocol, 0) + source.packed + vip.packed
    else:
        network = struct.pack("!IHBB", 6 << 28, 20, protocol, hops) + source.packed + vip.packed
    peer_table = (
        bytes(({4: 3, 6: 2}[version],)).ljust(20, b"\0") if icmp else struct.pack("!HHIIBBHHH", 40_000, 80, 1, 1, 5 << 4, flags, 0, 0, 0)
    )
    return Packet(bytearray(bytes(6) + came_from + b"\x08\x00"), bytearray(network), bytearray(peer_table), protocol, sock)


def table(version: int, target: int | None = None, known: bytes | None = None) -> Table:
    """A node that is armed at ``target``, and knows the MAC of one leaver."""
    made = Table(installation(Group((VIPS[version],), "eth0", 1, 3, bytes(16), window=60.0), 2))
    if target is not None:
        made.sets[LEAVING][VIPS[version].packed] = address(version, target)
    if known is not None:
        made.sets[LEAVERS][known] = b""
    return made


@cache
def outcome(version: int, target: int | None, known: bool, hops: int, icmp: bool) -> tuple[bool, int | None]:
    """What a node does with a packet of a connection that it does not know: whether it stays, and how many hops a copy to ``target`` has.

    ``known``: it comes from a MAC that the node knows as a leaver's.
    """
    sender = mac(9)
    stays, copies = table(version, target, sender if known else None).receive(packet(version, hops=hops, came_from=sender, icmp=icmp))
    assert len(copies) <= 1
    assert all(where == address(version, NOWHERE if target is None else target) for where, _ in copies)
    return stays, copies[0][1].network[HOPS[version]] if copies else None


def walk(version: int, targets: tuple[int | None, ...], knows: tuple[bool, ...], hops: int, *, icmp: bool = False) -> tuple[int, int, bool]:
    """Send a packet that nobody knows to node 0. Return how often it was handed on, how many nodes kept it, and whether it got lost.

    ``knows[n]``: the node that node n hands on to knows n's MAC as a leaver's.
    """
    node, known, kept = 0, False, 0
    for handed in range(1000):
        stays, left = outcome(version, targets[node], known, hops, icmp)
        kept += stays
        if left is None:
            return handed, kept, False
        target = targets[node]
        if target in (NOWHERE, node) or target is None:
            return handed + 1, kept, True
        node, known, hops = target, knows[node], left
    pytest.fail(f"it goes round: {targets}, {knows}")


def groups(nodes: int) -> Iterator[tuple[tuple[int | None, ...], tuple[bool, ...]]]:
    """Yield every map of ``nodes`` nodes, and who knows whose MAC: each armed at nobody, another, itself, or an address that nobody has.

    Of the MACs only those matter that a packet comes from: whether who gets it knows that of who handed it on. The first node is any.
    """
    where = (None, NOWHERE, *range(nodes))
    yield from itertools.product(itertools.product(where, repeat=nodes), itertools.product((False, True), repeat=nodes))


@VERSIONS
@pytest.mark.parametrize("nodes", [2, 3, 4])
@pytest.mark.parametrize("hops", [1, 2, 3, 4, 5, 64, 255])
def test_every_packet_comes_to_an_end(version: int, nodes: int, hops: int) -> None:
    """It is handed on three times at most, and exactly one node keeps it and answers, unless the map leads to no node at all."""
    for targets, knows in groups(nodes):
        handed, kept, lost = walk(version, targets, knows, hops)
        assert handed <= MOST_HOPS - 1
        assert kept == (0 if lost else 1)


@VERSIONS
@pytest.mark.parametrize("nodes", [2, 3, 4])
def test_ordinarily_it_is_handed_on_once(version: int, nodes: int) -> None:
    """Where the one who left is armed at nobody, or knows whom it comes from, it stays there, and nothing counts as gone round."""
    for targets, knows in groups(nodes):
        first = targets[0]
        if first is not None and first not in (NOWHERE, 0) and (targets[first] is None or knows[0]):
            assert walk(version, targets, knows, 64) == (1, 1, False)


@VERSIONS
@pytest.mark.parametrize("nodes", [2, 3])
def test_copies_of_an_error_come_to_an_end(version: int, nodes: int) -> None:
    """An ICMP error about packet size stays with everybody who gets it, and goes on three times at most."""
    for targets, knows in groups(nodes):
        handed, kept, lost = walk(version, targets, knows, 64, icmp=True)
        assert handed <= MOST_HOPS - 1
        assert kept == handed + (0 if lost else 1)


@VERSIONS
def test_what_went_round_is_counted(version: int) -> None:
    """By whoever keeps it with its last hop."""
    node = table(version, 1)
    for hops, circled in ((3, 0), (2, 0), (1, 1), (0, 2)):
        node.receive(packet(version, hops=hops))
        assert node.counters.get("circled", 0) == circled
    assert node.counters["send"] == 2


KNOWS: list[tuple[str, int, str, bool]] = [
    ("a connection's packet", ACK, "connection", True),
    ("a listener's alone", ACK, "listener", False),
    ("nobody's", ACK, "", False),
    ("a new connection", SYN, "listener", True),
    ("a reset of nobody's", RST, "", False),
    ("an answer to a handshake of nobody's", SYN | ACK, "", False),
]


@VERSIONS
@pytest.mark.parametrize(("flags", "sock", "stays"), [case[1:] for case in KNOWS], ids=[case[0] for case in KNOWS])
def test_who_keeps_a_packet(version: int, flags: int, sock: str, stays: bool) -> None:
    """While a peer is in the map: who has the connection, and who is asked for a new one. The rest goes on."""
    kept, copies = table(version, 1).receive(packet(version, flags, sock=sock))
    assert (kept, len(copies)) == (stays, 0 if stays else 1)
    kept, copies = table(version).receive(packet(version, flags, sock=sock))
    assert (kept, copies) == (True, []), "while nobody is in the map everything stays"


@VERSIONS
def test_a_handshake_stays_where_it_began(version: int) -> None:
    """Its last packet belongs to no whole socket yet: the SYN before it is remembered."""
    node = table(version, 1)
    assert not node.receive(packet(version))[0]
    assert node.receive(packet(version, SYN))[0]
    assert node.receive(packet(version))[0]


def test_the_model_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the bound it sees what the kernel showed: a packet goes to and fro for as long as it has hops."""
    unbounded: Callable[..., object] = outcome.__wrapped__
    monkeypatch.setattr("vrrp_drain.handoff.forwarding.MOST_HOPS", 254)
    assert [unbounded(4, 1, known=False, hops=hops, icmp=False) for hops in (64, 63, 62)] == [(False, 63), (False, 62), (False, 61)]

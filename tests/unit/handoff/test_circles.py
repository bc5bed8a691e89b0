"""No packet goes round: every way in which 2 and 3 nodes can take each other for leavers, through the rules that we really install.

What a single node does to a packet bounds the rest, whatever the others are and know. tests/lab/test_circles.py has the kernel as witness.
"""

import itertools
import socket
import struct
from collections.abc import Callable, Iterator
from functools import cache
from ipaddress import ip_address

import pytest

from unit.support.kernel import Packet, Table
from vrrp_drain.handoff.forwarding import LATER_HOPS, LATEST, LEAVERS, LEAVING, MOST_HOPS
from vrrp_drain.handoff.group import Group
from vrrp_drain.handoff.sockets import OPENING
from vrrp_drain.handoff.tables import installation
from vrrp_drain.vrrp import hello

VIPS = {4: ip_address("10.0.0.10"), 6: ip_address("fd00::10")}
CLIENT_MAC = bytes.fromhex("0200000000c8")
NODES = 3
NOWHERE = 9  # a place of which nobody has the address
HOPS = {4: 8, 6: 7}
VERSIONS = pytest.mark.parametrize("version", VIPS)
ACK, SYN, RST = 0x10, 0x02, 0x04
Knows = tuple[int | None, frozenset[int]]  # who left last, and all who left


def address(version: int, node: int) -> bytes:
    return ip_address(f"10.0.0.{node + 1}" if version == 4 else f"fd00::{node + 1:x}").packed


def packet(version: int, flags: int = ACK, *, hops: int = 64, sock: str = "", icmp: bool = False) -> Packet:
    source, vip = ip_address("10.0.0.200" if version == 4 else "fd00::200"), VIPS[version]
    protocol = ({4: 1, 6: 58}[version]) if icmp else socket.IPPROTO_TCP
    if version == 4:
        network = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0, hops, protocol, 0) + source.packed + vip.packed
    else:
        network = struct.pack("!IHBB", 6 << 28, 20, protocol, hops) + source.packed + vip.packed
    peer_table = (
        bytes(({4: 3, 6: 2}[version],)).ljust(20, b"\0") if icmp else struct.pack("!HHIIBBHHH", 40_000, 80, 1, 1, 5 << 4, flags, 0, 0, 0)
    )
    return Packet(bytearray(bytes(6) + CLIENT_MAC + b"\x08\x00"), bytearray(network), bytearray(peer_table), protocol, sock)


@cache
def installed(version: int, node: int) -> Table:
    return Table(installation(Group((VIPS[version],), "eth0", 1, 3, bytes(16), window=60.0, rank=node), 2))


def table(version: int, node: int, last: int | None, left: frozenset[int]) -> Table:
    """A node that knows who left ``last``, and all who ``left``, each at his place."""
    made = installed(version, node)
    made.counters.clear()
    made.sets[OPENING].clear()
    made.sets[LEAVERS] = {bytes((hello.place(each),)): address(version, each) for each in left}
    if last is not None:
        made.sets[LEAVERS][LATEST] = address(version, last)
    made.sets[LEAVING] = {VIPS[version].packed: b""} if made.sets[LEAVERS] else {}
    return made


@cache
def outcome(version: int, node: int, knows: Knows, hops: int, icmp: bool) -> tuple[bool, tuple[int, int] | None]:
    """What a node does with a packet of a connection that it does not know: whether it stays, to whom a copy goes, with how many hops."""
    stays, copies = table(version, node, *knows).receive(packet(version, hops=hops, icmp=icmp))
    assert len(copies) <= 1
    return stays, (copies[0][0][-1] - 1, copies[0][1].network[HOPS[version]]) if copies else None


def walk(version: int, group: tuple[Knows, ...], hops: int, *, icmp: bool = False) -> tuple[list[int], int, bool]:
    """Send a packet that nobody knows to node 0. Return to whom it was handed on, how many nodes kept it, and whether it got lost."""
    node, kept, handed = 0, 0, list[int]()
    for _ in range(1000):
        stays, copy = outcome(version, node, group[node], hops, icmp)
        kept += stays
        if copy is None:
            return handed, kept, False
        node, hops = copy
        handed.append(node)
        if node == NOWHERE:
            return handed, kept, True
    pytest.fail(f"it goes round: {group}")


def groups(nodes: int) -> Iterator[tuple[Knows, ...]]:
    """Yield everything that ``nodes`` nodes can hold of each other: any of them, or somebody whom nobody has, for any who left."""

    def held(node: int) -> Iterator[Knows]:
        others = [*(each for each in range(nodes) if each != node), NOWHERE]
        for last in (None, *others):
            for count in range(nodes):
                yield from ((last, frozenset(left)) for left in itertools.combinations(others[:-1], count))

    yield from itertools.product(*(tuple(held(node)) for node in range(nodes)))


@VERSIONS
@pytest.mark.parametrize("icmp", [False, True], ids=["tcp", "icmp"])
def test_each_node_takes_a_hop(version: int, icmp: bool) -> None:
    """However many a packet has, and whomever a node knows: what it hands on has fewer, and fewer than MOST_HOPS. So it ends everywhere."""
    for last, left in itertools.product((None, 0, 2), (frozenset(some) for n in range(3) for some in itertools.combinations((0, 2), n))):
        for hops in range(256):
            stays, copy = outcome(version, 1, (last, left), hops, icmp)
            assert stays or copy, "nothing is lost"
            assert icmp or not (stays and copy), "nothing is multiplied"
            if copy is not None:
                assert hops > 1
                assert copy[1] <= min(hops, MOST_HOPS) - 1


@VERSIONS
@pytest.mark.parametrize("nodes", [2, 3])
@pytest.mark.parametrize("hops", [1, 2, 5, LATER_HOPS, LATER_HOPS + 1, MOST_HOPS, 64])
def test_every_packet_comes_to_an_end(version: int, nodes: int, hops: int) -> None:
    """Nobody gets it more than three times, and exactly one node keeps it and answers, unless the map leads to no node at all."""
    for group in groups(nodes):
        handed, kept, lost = walk(version, group, hops)
        assert max(map(handed.count, handed), default=0) <= 3
        assert kept == (0 if lost else 1)


@VERSIONS
def test_ordinarily_it_is_handed_on_once(version: int) -> None:
    """Where one has left, he keeps it: he knows of nobody who left."""
    nobody: Knows = (None, frozenset())
    for leaver, last in itertools.product((1, 2), (True, False)):
        group = ((leaver if last else None, frozenset({leaver})), nobody, nobody)
        assert walk(version, group, 64) == ([leaver], 1, False)


@VERSIONS
def test_the_last_one_to_leave_is_asked_first_and_then_all(version: int) -> None:
    """From his place on, and round; then it is answered, after each has been asked twice at most."""
    group = ((1, frozenset({1, 2})), (2, frozenset({2})), (1, frozenset({1})))
    assert walk(version, group, 64) == ([1, 2, 1, 2], 1, False)


@VERSIONS
@pytest.mark.parametrize("nodes", [2, 3])
def test_copies_of_an_error_come_to_an_end(version: int, nodes: int) -> None:
    """An ICMP error about packet size stays with everybody who gets it, and goes on as a packet of a connection does."""
    for group in groups(nodes):
        handed, kept, lost = walk(version, group, 64, icmp=True)
        assert handed == walk(version, group, 64)[0]
        assert kept == len(handed) + (0 if lost else 1)


@VERSIONS
def test_what_went_round_is_counted(version: int) -> None:
    """By whoever keeps it with its last hop."""
    node = table(version, 0, 1, frozenset({1}))
    for hops, circled in ((3, 0), (2, 0), (1, 1), (0, 2)):
        node.receive(packet(version, hops=hops))
        assert node.counters.get("circled", 0) == circled
    assert node.counters["send"] == 2


def test_the_model_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is set to fewer hops it sees what the kernel showed once: a packet goes to and fro for as long as it has hops."""
    unbounded: Callable[..., object] = outcome.__wrapped__
    monkeypatch.setattr("vrrp_drain.handoff.forwarding.MOST_HOPS", 254)
    monkeypatch.setattr("vrrp_drain.handoff.forwarding.LATER_HOPS", 254)
    installed.cache_clear()
    knows = (1, frozenset({1}))
    assert [unbounded(4, 0, knows, hops, icmp=False) for hops in (255, 64)] == [(False, (1, 253)), (False, (1, 63))]
    installed.cache_clear()

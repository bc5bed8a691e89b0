"""What members say of themselves, through the rules that we really install: who is away, and who has ended."""

import itertools
import struct
from ipaddress import ip_address

import pytest

from unit.support.kernel import Packet, Table
from vrrp_drain.handoff.admission import AWAY, ENDED, MEMBERS
from vrrp_drain.handoff.forwarding import LEAVERS
from vrrp_drain.handoff.group import Group
from vrrp_drain.handoff.tables import installation
from vrrp_drain.runtime.ip import PROTOCOL, IPAddress
from vrrp_drain.vrrp import hello
from vrrp_drain.vrrp.hello import Word

VIP, PEER, ALL = map(ip_address, ("10.0.0.10", "10.0.0.2", "224.0.0.1"))
VRID = 7
OURS = hello.token("id-0", VRID)


def installed(*ended: IPAddress) -> Table:
    group = Group((VIP,), "eth0", VRID, 3, OURS, window=60.0)
    return Table(installation(group, 2, ended=ended))


def says(word: int, token: bytes = OURS, hops: int = 255) -> Packet:
    payload = bytearray(hello.build(token, VRID, PEER, ALL, Word.STAYS))
    payload[hello.WORD_OFFSET] = word
    network = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, hops, PROTOCOL, 0) + PEER.packed + ALL.packed
    return Packet(bytearray(12) + b"\x08\x00", bytearray(network), payload, PROTOCOL)


def said(table: Table) -> set[str]:
    return {name for name in (AWAY, ENDED) if PEER.packed in table.sets[name]}


@pytest.mark.parametrize("words", list(itertools.product([*Word, 103], repeat=3)))
def test_the_last_word_counts(words: tuple[int, ...]) -> None:
    """Whatever was said before, a member is in the set of its last word alone; one that we do not know is one of a member that stays."""
    table = installed()
    for word in words:
        assert table.receive(says(word)) == (False, [])
    assert said(table) == {Word.LEAVES: {AWAY}, Word.ENDS: {ENDED}}.get(words[-1], set())  # type: ignore[call-overload]
    assert PEER.packed in table.sets[MEMBERS]


@pytest.mark.parametrize(
    "packet", [says(Word.ENDS, hello.token("id-1", VRID)), says(Word.ENDS, hops=254)], ids=["another's token", "routed"]
)
def test_a_stranger_has_no_word(packet: Packet) -> None:
    """What is not for us, or was passed on by a router, files nobody anywhere."""
    table = installed()
    table.receive(packet)
    assert said(table) == set()


def test_who_has_ended_is_known_after_a_new_installation() -> None:
    """The next pre-start puts the rules in anew: those who ended before are still known to have."""
    assert said(installed(PEER)) == {ENDED}


@pytest.mark.parametrize(("hops", "arms"), [(255, True), (254, False), (253, False)])
def test_what_is_open_beyond_a_router_is_not_handed_on(hops: int, arms: bool) -> None:
    """A router would send the packets back to whoever has the VIP; the member is heard all the same, where it may be so far away."""
    table = Table(installation(Group((VIP,), "eth0", VRID, 3, OURS, hops=1, window=60.0), 2))
    packet = says(Word.LEAVES, hops=hops)
    packet.transport[hello.OPEN_OFFSET] = hello.Open.SOME | hello.place(1)
    assert table.receive(packet) == (False, [])
    assert said(table) == ({AWAY} if hops >= 254 else set())
    assert [*table.sets[LEAVERS].values()] == ([PEER.packed] if arms else [])

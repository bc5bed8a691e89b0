"""The packet by which an instance introduces itself to its peers."""

from ipaddress import ip_address

import pytest

from unit.support.fakes import OWN, VIP
from vrrp_drain.runtime.errors import AdvertError
from vrrp_drain.runtime.ip import Packet, internet_checksum, pseudo_header
from vrrp_drain.vrrp import hello
from vrrp_drain.vrrp.advert import parse

OWN6 = "fe80::1"
TOKENS = {n: hello.token(f"id-{n}", 7) for n in range(3)}


@pytest.mark.parametrize(("source", "to"), [(OWN, "224.0.0.1"), (OWN6, "ff02::1")])
def test_it_is_a_whole_vrrp_packet_of_no_router(source: str, to: str) -> None:
    """Length and checksum are right (RFC 5798 section 5.2), so nobody complains; VRID 0 is nobody's."""
    payload = hello.build(TOKENS[1], 7, ip_address(source), ip_address(to))
    assert len(payload) == 24
    assert internet_checksum(pseudo_header(ip_address(source), ip_address(to), 24) + payload) == 0
    with pytest.raises(AdvertError, match="VRID is 0"):
        parse(Packet(ip_address(source), ip_address(to), 255, payload))


def test_a_token_tells_nothing_of_the_id() -> None:
    """Another instance, or another virtual router, has another one."""
    assert len({hello.token(id_, vrid) for id_ in ("a", "b") for vrid in (1, 2)}) == 4
    assert hello.token("a", 1) == hello.token("a", 1)
    assert b"id-1" not in TOKENS[1]
    assert VIP.encode() not in TOKENS[1]


@pytest.mark.parametrize("open_there", hello.Open)
@pytest.mark.parametrize("word", hello.Word)
@pytest.mark.parametrize("rank", [0, 32])
def test_what_it_says_of_open_connections_and_its_place(open_there: hello.Open, word: hello.Word, rank: int) -> None:
    """In the byte before the word, which stays what it is."""
    payload = hello.build(TOKENS[1], 7, ip_address(OWN), ip_address("224.0.0.1"), word, rank=rank, open_there=open_there)
    packet = Packet(ip_address(OWN), ip_address("224.0.0.1"), 255, payload)
    assert (hello.found(packet), hello.word(packet)) == (open_there, word)
    assert payload[hello.OPEN_OFFSET] & hello.PLACE_BITS == hello.place(rank) == rank + 1


def test_an_earlier_release_says_nothing_of_both() -> None:
    packet = Packet(ip_address(OWN), ip_address("224.0.0.1"), 255, hello.build(TOKENS[1], 7, ip_address(OWN), ip_address("224.0.0.1")))
    assert packet.payload[hello.OPEN_OFFSET] == 0
    assert hello.found(packet) is hello.Open.UNTOLD

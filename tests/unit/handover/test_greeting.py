"""How an instance introduces itself to its peers."""

from ipaddress import ip_address
from typing import Any

import pytest

from unit.support.fakes import OWN, VIP, FakeSocket, rendered
from vrrp_drain.config.model import Config
from vrrp_drain.handover import greeting
from vrrp_drain.keepalived.attachment import Attachment
from vrrp_drain.runtime.errors import AdvertError
from vrrp_drain.runtime.ip import Packet, internet_checksum, pseudo_header
from vrrp_drain.vrrp import hello
from vrrp_drain.vrrp.advert import parse

OWN6 = "fe80::1"
TOKENS = {n: hello.token(f"id-{n}", 7) for n in range(3)}


def say(attachment: Attachment, **keepalived: Any) -> None:
    greeting.say(Config.parse(rendered(3, keepalived={"virtual_router_id": 7, **keepalived})), attachment)


def attachment(source: str = OWN, *peers: str, further: str | None = None) -> Attachment:
    return Attachment("eth0", "eth0", ip_address(source), tuple(map(ip_address, peers)), ip_address(further) if further else None)


def test_every_peer_gets_its_own_token(raw_socket: FakeSocket) -> None:
    """All hosts of the segment hear them; each peer knows its own alone, and none is for ourselves."""
    say(attachment())
    assert {(payload[8:], to) for payload, (to, _) in raw_socket.sent} == {(TOKENS[n], "224.0.0.1") for n in (1, 2)}
    assert len(raw_socket.sent) == 4, "twice: one may be lost"


def test_unicast_peers_are_told_one_by_one(raw_socket: FakeSocket) -> None:
    """Where there is no multicast, every peer gets all of them: unicast_peers does not say which instance has which address."""
    say(attachment(OWN, "10.0.0.2", "10.0.0.3"), unicast=True)
    assert {to for _, (to, _) in raw_socket.sent} == {"10.0.0.2", "10.0.0.3"}


def test_further_vips_of_the_other_family_need_one_there_too(raw_socket: FakeSocket) -> None:
    """The rules of each family know its own addresses."""
    say(attachment(OWN, further=OWN6), vips=["2001:db8::10"])
    assert {to for _, (to, _) in raw_socket.sent} == {"224.0.0.1", "ff02::1"}


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

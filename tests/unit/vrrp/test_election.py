"""Which adverts are proof, which are somebody else's, and which mean nothing."""

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from unit.support.fakes import OWN, PEER, STRANGER, VIP, came_from, carries
from vrrp_drain.runtime.ip import ALL_HOSTS_V4, Packet
from vrrp_drain.vrrp import hello
from vrrp_drain.vrrp.advert import Advert
from vrrp_drain.vrrp.election import Electorate, Heard, Register, Standing
from vrrp_drain.vrrp.foreign import Difference

OTHER_VIP = ip_address("10.0.0.20")
NONE, PASSWORD = (0, bytes(8)), (1, b"cf-lb-1\0")
ADVERT = Advert(2, 1, 253, 1.0, (ip_address(VIP),))
US = Electorate(
    vrid=1,
    version=2,
    advert_int=1.0,
    vip=ip_address(VIP),
    own_addresses=frozenset({ip_address(OWN), ip_address("127.0.0.1")}),
    peers=frozenset({ip_address(PEER)}),
)


def heard(advert: Advert, source: str = PEER, electorate: Electorate = US, destination: str = "224.0.0.18") -> Heard:
    return electorate.classify(carries(advert, source, destination), 0.0)


@pytest.mark.parametrize(
    ("advert", "source", "standing"),
    [
        pytest.param(ADVERT, PEER, Standing.PEER, id="a peer"),
        pytest.param(replace(ADVERT, priority=0), PEER, Standing.PEER, id="a peer's resignation"),
        pytest.param(replace(ADVERT, vrid=2), PEER, Standing.ELSEWHERE, id="another virtual router"),
        pytest.param(ADVERT, OWN, Standing.ELSEWHERE, id="our own source address"),
        pytest.param(replace(ADVERT, addresses=(OTHER_VIP,)), PEER, Standing.CHANGING, id="a known peer that still has another VIP"),
    ],
)
def test_who_an_advert_is_from(advert: Advert, source: str, standing: Standing) -> None:
    """Adverts of others and of ourselves are none of our business; peers are told apart by the VIP that they have."""
    found = heard(advert, source)
    assert (found.standing, found.difference, found.why, found.advert) == (standing, None, "", advert)


@pytest.mark.parametrize("payload", [b"", b"\x21", bytes(20), b"\x21\x01\xfd\x01\x00\x01\x00\x00" + bytes(12)])
def test_what_is_no_advert_is_damage(payload: bytes) -> None:
    """Whatever comes is something: nothing raises."""
    standing = US.classify(replace(came_from(PEER), payload=payload), 0.0).standing
    assert standing in (Standing.DAMAGED, Standing.ELSEWHERE)
    assert standing is not Standing.ELSEWHERE or payload[1:2] == b"\0"


FAR = replace(US, unicast=True, members=US.peers, closed=True)


@pytest.mark.parametrize(
    ("hops", "ttl", "source", "advert", "standing"),
    [
        pytest.param(0, 255, PEER, ADVERT, Standing.PEER, id="of this segment"),
        pytest.param(0, 254, PEER, ADVERT, Standing.FAR, id="a router that is not allowed"),
        pytest.param(1, 254, PEER, ADVERT, Standing.PEER, id="a router"),
        pytest.param(1, 253, PEER, ADVERT, Standing.FAR, id="a router too many"),
        pytest.param(0, 254, STRANGER, ADVERT, Standing.DAMAGED, id="nobody of the group"),
        pytest.param(0, 254, PEER, replace(ADVERT, vrid=2), Standing.DAMAGED, id="another virtual router"),
    ],
)
def test_how_far_an_advert_has_come(hops: int, ttl: int, source: str, advert: Advert, standing: Standing) -> None:
    """What a peer sends from too far away is none for keepalived, and has a name of its own: a property allows it."""
    found = replace(FAR, hops=hops).classify(carries(advert, source, OWN, ttl), 0.0)
    assert (found.standing, found.routers) == (standing, 255 - ttl)
    assert (found.advert is None) is (standing is not Standing.PEER)


def test_multicast_crosses_no_router() -> None:
    """Nor does what is not for us: only what a peer has sent here can be too far away."""
    assert replace(FAR, unicast=False).classify(carries(ADVERT, PEER, ttl=254), 0.0).standing is Standing.DAMAGED
    assert FAR.classify(carries(ADVERT, PEER, "10.0.0.9", 254), 0.0).standing is Standing.DAMAGED
    broken = replace(carries(ADVERT, PEER, OWN, 254), payload=bytes(20))
    assert FAR.classify(replace(broken, payload=b"\x21\x01" + bytes(18)), 0.0).standing is Standing.DAMAGED


def test_a_hello_over_a_router() -> None:
    """It introduces whoever is allowed to be so far away."""
    us = replace(FAR, token=hello.token("id-0", 1), hops=1)
    sent = hello.build(us.token, 1, ip_address(PEER), ip_address(OWN))
    for ttl, standing in ((255, Standing.HELLO), (254, Standing.HELLO), (253, Standing.ELSEWHERE)):
        assert us.classify(Packet(ip_address(PEER), ip_address(OWN), ttl, sent), 0.0).standing is standing


def test_a_hello_is_for_whom_its_token_is() -> None:
    """Ours makes its sender known; those of other instances are none of our business."""
    us = replace(US, token=hello.token("id-0", 1))
    for name, standing in (("id-0", Standing.HELLO), ("id-1", Standing.ELSEWHERE)):
        sender = ip_address(PEER)
        payload = hello.build(hello.token(name, 1), 1, sender, ALL_HOSTS_V4)
        found = us.classify(Packet(sender, ALL_HOSTS_V4, 255, payload), 0.0)
        assert (found.standing, found.advert) == (standing, None)


@pytest.mark.parametrize(
    ("advert", "source", "difference", "named"),
    [
        pytest.param(
            *(replace(ADVERT, addresses=(OTHER_VIP,)), STRANGER, Difference.VIP, "keepalived.virtual_router_id"), id="another cluster"
        ),
        pytest.param(replace(ADVERT, version=3), PEER, Difference.VERSION, "keepalived.vrrp_version", id="another version"),
        pytest.param(
            replace(ADVERT, advert_int=2.0), PEER, Difference.INTERVAL, "keepalived.advert_int", id="another interval in version 2"
        ),
        pytest.param(
            *(replace(ADVERT, addresses=(ip_address(VIP), OTHER_VIP)), PEER, Difference.VIP_LIST, "keepalived.vip"),
            id="our VIP among others",
        ),
        pytest.param(
            *(replace(ADVERT, addresses=(ip_address(VIP), OTHER_VIP)), STRANGER, Difference.VIP_LIST, "keepalived.vip"), id="forged list"
        ),
    ],
)
@pytest.mark.parametrize("priority", [254, 100])
def test_whom_keepalived_would_ignore_is_a_stranger(advert: Advert, source: str, difference: Difference, named: str, priority: int) -> None:
    """Adverts that keepalived here drops are never a peer's; the reason names the sender and the property to change."""
    found = heard(replace(advert, priority=priority), source)
    assert (found.standing, found.difference, found.source) == (Standing.STRANGER, difference, ip_address(source))
    assert source in found.why
    assert named in found.why


@pytest.mark.parametrize(
    ("ours", "theirs", "standing"),
    [
        (PASSWORD, PASSWORD, Standing.PEER),
        (NONE, PASSWORD, Standing.STRANGER),
        (PASSWORD, NONE, Standing.STRANGER),
        (PASSWORD, (1, b"cf-lb-2\0"), Standing.STRANGER),
        (PASSWORD, (2, PASSWORD[1]), Standing.STRANGER),
    ],
    ids=["the same", "only theirs", "only ours", "another password", "another type"],
)
def test_a_peer_has_our_authentication(ours: tuple[int, bytes], theirs: tuple[int, bytes], standing: Standing) -> None:
    """keepalived ignores version 2 adverts with another authentication: the property is named, and no password."""
    found = heard(replace(ADVERT, auth_type=theirs[0], auth_data=theirs[1]), electorate=replace(US, authentication=ours))
    assert found.standing is standing
    assert ("give all instances the same keepalived.auth_pass" in found.why) is (standing is Standing.STRANGER)
    assert "cf-lb" not in found.why


def test_version_3_has_no_authentication() -> None:
    """What an advert of version 3 cannot carry is not missed in it."""
    assert heard(replace(ADVERT, version=3), electorate=replace(US, version=3, authentication=PASSWORD)).standing is Standing.PEER


def test_version_3_takes_over_the_interval_of_the_master() -> None:
    """In version 3 a backup learns the interval from the advert, so another one is no fault (RFC 5798 section 6.1)."""
    assert heard(replace(ADVERT, version=3, advert_int=2.0), electorate=replace(US, version=3)).standing is Standing.PEER


@pytest.mark.parametrize(("unicast", "destination"), [(False, "224.0.0.18"), (True, OWN)])
def test_a_peer_adverts_as_we_do(unicast: bool, destination: str) -> None:
    """Adverts that come as ours go are taken; keepalived ignores the others, so two masters would follow, and the property is named."""
    assert heard(ADVERT, electorate=replace(US, unicast=unicast), destination=destination).standing is Standing.PEER
    stranger = heard(ADVERT, electorate=replace(US, unicast=not unicast), destination=destination)
    assert (stranger.standing, stranger.difference) == (Standing.STRANGER, Difference.CASTING)
    assert "give all instances the same keepalived.unicast" in stranger.why


MEMBER = "10.0.0.33"  # learned: the link does not name it
CLOSED = replace(
    US, closed=True, members=frozenset({ip_address(PEER), ip_address(MEMBER)}), nobody=frozenset(map(ip_address, (VIP, "10.0.0.255")))
)


@pytest.mark.parametrize("priority", [254, 150, 99, 255])
def test_nobody_else_is_a_peer_in_a_closed_group(priority: int) -> None:
    """keepalived does not hear him, so he is no successor and no leaver, and fails no promotion; that he is there is told all the same."""
    advert = replace(ADVERT, priority=priority)
    stranger = heard(advert, STRANGER, CLOSED)
    assert (stranger.standing, stranger.difference, stranger.reaches_keepalived) == (Standing.STRANGER, Difference.MEMBERSHIP, False)
    assert stranger.why.startswith(f"{STRANGER} adverts VRID 1 for our {VIP} and is no instance of this group: ")
    assert not heard(replace(advert, version=3), STRANGER, CLOSED).reaches_keepalived
    for source in (PEER, MEMBER):
        found = heard(advert, source, CLOSED)
        assert (found.standing, found.reaches_keepalived) == (Standing.PEER, True)
    assert heard(advert, STRANGER).standing is Standing.PEER, "in an open group nobody can tell"


@pytest.mark.parametrize("fields", [{"version": 3}, {"advert_int": 2.0}, {"auth_type": 1}], ids=str)
def test_a_member_that_differs_is_a_stranger_in_a_closed_group_too(fields: dict[str, Any]) -> None:
    """keepalived hears and ignores it: two masters would follow."""
    found = heard(replace(ADVERT, **fields), electorate=CLOSED)
    assert (found.standing, found.reaches_keepalived) == (Standing.STRANGER, True)


def test_a_learned_member_may_still_have_another_vip() -> None:
    """A rolling change of the VIP where adverts come from addresses that the link does not name (a second network, IPv6)."""
    assert heard(replace(ADVERT, addresses=(OTHER_VIP,)), MEMBER, CLOSED).standing is Standing.CHANGING


@pytest.mark.parametrize("source", [VIP, "10.0.0.255", "255.255.255.255", "224.0.0.18", "0.0.0.0", "127.0.0.1", OWN])
@pytest.mark.parametrize("electorate", [CLOSED, replace(CLOSED, closed=False)], ids=["closed", "open"])
def test_sources_that_no_router_has(electorate: Electorate, source: str) -> None:
    """VIPs, broadcast, multicast and our own addresses are nobody's."""
    assert heard(ADVERT, source, electorate).standing is Standing.ELSEWHERE


@pytest.mark.parametrize(("destination", "ours"), [("224.0.0.18", True), (OWN, True), ("10.0.0.9", False), ("10.0.0.255", False)])
def test_adverts_for_others_are_none_of_ours(destination: str, ours: bool) -> None:
    """The wire has more on it than an IP socket gets."""
    assert (heard(ADVERT, destination=destination).standing is not Standing.ELSEWHERE) is ours


def test_every_difference_has_its_own_words() -> None:
    """Each says what is wrong and what to change."""
    found = {difference: replace(heard(ADVERT), standing=Standing.STRANGER, difference=difference).why for difference in Difference}
    assert len({*found.values()}) == len(Difference)
    assert all("keepalived." in each for each in found.values())


def test_a_new_member_is_looked_for_at_a_bounded_cost() -> None:
    """Whoever is unknown makes us ask, once a second at most; those that are known never do."""
    asked: list[Electorate] = []

    def ask() -> Electorate:
        asked.append(CLOSED if len(asked) > 1 else replace(CLOSED, members=frozenset({ip_address(PEER)})))
        return asked[-1]

    register = Register(ask)
    for n in range(100):
        register.hear(carries(ADVERT, PEER), n / 100)
        register.hear(carries(replace(ADVERT, vrid=2), STRANGER), n / 100)
    assert len(asked) == 1
    for n in range(1000):
        found = register.hear(carries(ADVERT, MEMBER), 1 + n / 500)
    assert len(asked) == 3
    assert found.standing is Standing.PEER


def test_where_anybody_may_be_a_peer_a_new_member_is_looked_for_as_well() -> None:
    """In an open group too: until he is known, one whose VIP is being changed looks like another cluster."""
    asked: list[Electorate] = []

    def ask() -> Electorate:
        asked.append(replace(CLOSED, closed=False, members=frozenset({ip_address(MEMBER)}) if asked else frozenset()))
        return asked[-1]

    found = Register(ask).hear(carries(replace(ADVERT, addresses=(ip_address("10.0.0.99"),)), MEMBER), 0.0)
    assert found.standing is Standing.CHANGING


def test_whoever_has_said_hello_stays_a_member() -> None:
    """Also when the electorate is asked for anew, before the kernel tells of him."""
    register = Register(lambda: replace(CLOSED, members=frozenset({ip_address(PEER)})))
    register.introduce(ip_address(STRANGER))
    assert register.hear(carries(ADVERT, STRANGER), 0.0).standing is Standing.PEER
    assert ip_address(STRANGER) in register.renew().members

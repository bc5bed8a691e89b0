"""Which adverts are proof, which are somebody else's, and which mean nothing."""

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from unit.support.fakes import OWN, PEER, STRANGER, VIP, came_from
from vrrp_drain.handover.transitions import Event, Sign
from vrrp_drain.vrrp.advert import Advert
from vrrp_drain.vrrp.election import Electorate, Register

OTHER_VIP = ip_address("10.0.0.20")
OUR_PRIORITY = 99
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


def judge(
    advert: Advert,
    source: str = PEER,
    our_priority: int = OUR_PRIORITY,
    electorate: Electorate = US,
    destination: str = "224.0.0.18",
) -> Event | None:
    return electorate.judge(advert, came_from(source, destination), our_priority)


@pytest.mark.parametrize(
    ("advert", "source"),
    [
        pytest.param(replace(ADVERT, vrid=2), PEER, id="another virtual router"),
        pytest.param(ADVERT, OWN, id="our own source address"),
        pytest.param(replace(ADVERT, priority=OUR_PRIORITY - 1), PEER, id="lower priority"),
        pytest.param(replace(ADVERT, priority=1), PEER, id="lowest priority"),
        pytest.param(replace(ADVERT, priority=0), PEER, id="a resignation"),
        pytest.param(replace(ADVERT, addresses=(OTHER_VIP,)), PEER, id="a known peer that still has another VIP"),
    ],
)
def test_what_proves_nothing_is_no_sign(advert: Advert, source: str) -> None:
    """Adverts of others, of ourselves, of the outranked and of the resigned change nothing."""
    assert judge(advert, source) is None


def test_a_master_of_equal_priority_stays_master() -> None:
    """VRRP preempts a lower priority only: a peer that adverts exactly ours (keepalived.priority allows it) outranks us."""
    assert judge(replace(ADVERT, priority=OUR_PRIORITY), PEER) is not None


@pytest.mark.parametrize(
    ("priority", "our_priority", "sign"),
    [
        (254, 99, Sign.SUCCESSOR),
        (222, 99, Sign.SUCCESSOR),
        (222, 1, Sign.SUCCESSOR),
        (102, 99, Sign.SUCCESSOR),
        (101, 99, Sign.LEAVER),
        (99, 98, Sign.LEAVER),
        (67, 1, Sign.LEAVER),
        (34, 1, Sign.LEAVER),
    ],
)
def test_only_an_active_peer_is_a_successor(priority: int, our_priority: int, sign: Sign) -> None:
    """From 102 on, the lowest of haproxy-boshrelease's healthy ones, a higher priority is a successor's; below it is a leaver's."""
    assert judge(replace(ADVERT, priority=priority), our_priority=our_priority) == Event(
        sign, {"peer": ip_address(PEER), "priority": priority}
    )


@pytest.mark.parametrize(
    ("advert", "source", "named"),
    [
        pytest.param(replace(ADVERT, addresses=(OTHER_VIP,)), STRANGER, "keepalived.virtual_router_id", id="another cluster with our VRID"),
        pytest.param(replace(ADVERT, version=3), PEER, "keepalived.vrrp_version", id="another version"),
        pytest.param(replace(ADVERT, advert_int=2.0), PEER, "keepalived.advert_int", id="another interval in version 2"),
        pytest.param(replace(ADVERT, addresses=(ip_address(VIP), OTHER_VIP)), PEER, "keepalived.vip", id="our VIP among others"),
        pytest.param(replace(ADVERT, addresses=(ip_address(VIP), OTHER_VIP)), STRANGER, "keepalived.vip", id="forged list"),
    ],
)
@pytest.mark.parametrize("priority", [254, 100])
def test_whom_keepalived_would_ignore_is_foreign(advert: Advert, source: str, named: str, priority: int) -> None:
    """Adverts that keepalived here drops are never a successor's; the reason names the sender and the property to change."""
    event = judge(replace(advert, priority=priority), source)
    assert event is not None
    assert event.sign is Sign.FOREIGN
    assert event.facts["peer"] == ip_address(source)
    assert source in str(event.facts["why"])
    assert named in str(event.facts["why"])


@pytest.mark.parametrize(
    ("ours", "theirs", "sign"),
    [
        (PASSWORD, PASSWORD, Sign.SUCCESSOR),
        (NONE, PASSWORD, Sign.FOREIGN),
        (PASSWORD, NONE, Sign.FOREIGN),
        (PASSWORD, (1, b"cf-lb-2\0"), Sign.FOREIGN),
        (PASSWORD, (2, PASSWORD[1]), Sign.FOREIGN),
    ],
    ids=["the same", "only theirs", "only ours", "another password", "another type"],
)
def test_a_peer_has_our_authentication(ours: tuple[int, bytes], theirs: tuple[int, bytes], sign: Sign) -> None:
    """keepalived ignores version 2 adverts with another authentication: the property is named, and no password."""
    event = judge(replace(ADVERT, auth_type=theirs[0], auth_data=theirs[1]), electorate=replace(US, authentication=ours))
    assert event is not None
    assert event.sign is sign
    assert ("give all instances the same keepalived.auth_pass" in str(event.facts.get("why"))) is (sign is Sign.FOREIGN)
    assert "cf-lb" not in str(event.facts)


def test_version_3_has_no_authentication() -> None:
    """What an advert of version 3 cannot carry is not missed in it."""
    event = judge(replace(ADVERT, version=3), electorate=replace(US, version=3, authentication=PASSWORD))
    assert event is not None
    assert event.sign is Sign.SUCCESSOR


def test_version_3_takes_over_the_interval_of_the_master() -> None:
    """In version 3 a backup learns the interval from the advert, so another one is no fault (RFC 5798 section 6.1)."""
    event = judge(replace(ADVERT, version=3, advert_int=2.0), electorate=replace(US, version=3))
    assert event is not None
    assert event.sign is Sign.SUCCESSOR


@pytest.mark.parametrize(("unicast", "destination"), [(False, "224.0.0.18"), (True, OWN)])
def test_a_peer_adverts_as_we_do(unicast: bool, destination: str) -> None:
    """Adverts that come as ours go are taken; keepalived ignores the others, so two masters would follow, and the property is named."""
    assert judge(ADVERT, electorate=replace(US, unicast=unicast), destination=destination) == Event(
        Sign.SUCCESSOR, {"peer": ip_address(PEER), "priority": 253}
    )
    foreign = judge(ADVERT, electorate=replace(US, unicast=not unicast), destination=destination)
    assert foreign is not None
    assert foreign.sign is Sign.FOREIGN
    assert "give all instances the same keepalived.unicast" in str(foreign.facts["why"])


MEMBER = "10.0.0.33"  # learned: the link does not name it
CLOSED = replace(
    US, closed=True, members=frozenset({ip_address(PEER), ip_address(MEMBER)}), nobody=frozenset(map(ip_address, (VIP, "10.0.0.255")))
)


@pytest.mark.parametrize("priority", [254, 150, 99, 255])
def test_nobody_else_is_a_peers_in_a_closed_group(priority: int) -> None:
    """keepalived does not hear him, so he is no successor and no leaver, and fails no promotion; that he is there is told all the same."""
    advert = replace(ADVERT, priority=priority)
    assert judge(advert, STRANGER, electorate=CLOSED) is None
    assert judge(replace(advert, version=3), STRANGER, electorate=CLOSED) is None
    assert not CLOSED.is_peers(advert, came_from(STRANGER))
    assert str(CLOSED.foreign(advert, came_from(STRANGER))).startswith(
        f"{STRANGER} adverts VRID 1 for our {VIP} and is no instance of this group: "
    )
    for source in (PEER, MEMBER):
        assert judge(advert, source, electorate=CLOSED) is not None
        assert CLOSED.is_peers(advert, came_from(source))
    assert judge(advert, STRANGER) is not None, "in an open group nobody can tell"


@pytest.mark.parametrize("fields", [{"version": 3}, {"advert_int": 2.0}, {"auth_type": 1}], ids=str)
def test_a_member_that_differs_fails_a_promotion_in_a_closed_group_too(fields: dict[str, Any]) -> None:
    """keepalived hears and ignores it: two masters would follow."""
    event = judge(replace(ADVERT, **fields), electorate=CLOSED)
    assert event is not None
    assert event.sign is Sign.FOREIGN
    assert not CLOSED.is_peers(replace(ADVERT, **fields), came_from(PEER))


def test_a_learned_member_may_still_have_another_vip() -> None:
    """A rolling change of the VIP where adverts come from addresses that the link does not name (a second network, IPv6)."""
    assert not CLOSED.foreign(replace(ADVERT, addresses=(OTHER_VIP,)), came_from(MEMBER))
    assert not CLOSED.is_peers(replace(ADVERT, addresses=(OTHER_VIP,)), came_from(MEMBER))


@pytest.mark.parametrize("source", [VIP, "10.0.0.255", "255.255.255.255", "224.0.0.18", "0.0.0.0", "127.0.0.1", OWN])
@pytest.mark.parametrize("electorate", [CLOSED, replace(CLOSED, closed=False)], ids=["closed", "open"])
def test_sources_that_no_router_has(electorate: Electorate, source: str) -> None:
    """VIPs, broadcast, multicast and our own addresses are nobody's."""
    assert not electorate.concerns(ADVERT, came_from(source))


@pytest.mark.parametrize(("destination", "ours"), [("224.0.0.18", True), (OWN, True), ("10.0.0.9", False), ("10.0.0.255", False)])
def test_adverts_for_others_are_none_of_ours(destination: str, ours: bool) -> None:
    """The wire has more on it than an IP socket gets."""
    assert US.concerns(ADVERT, came_from(PEER, destination)) is ours


def test_a_new_member_is_looked_for_at_a_bounded_cost() -> None:
    """Whoever is unknown makes us ask, once a second at most; those that are known never do."""
    asked: list[Electorate] = []

    def ask() -> Electorate:
        asked.append(CLOSED if len(asked) > 1 else replace(CLOSED, members=frozenset({ip_address(PEER)})))
        return asked[-1]

    register = Register(ask)
    for n in range(100):
        register.hearing(ADVERT, came_from(PEER), n / 100)
        register.hearing(replace(ADVERT, vrid=2), came_from(STRANGER), n / 100)
    assert len(asked) == 1
    for n in range(1000):
        found = register.hearing(ADVERT, came_from(MEMBER), 1 + n / 500)
    assert len(asked) == 3
    assert judge(ADVERT, MEMBER, electorate=found) is not None

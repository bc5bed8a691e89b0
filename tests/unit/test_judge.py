"""Which adverts are proof, which are somebody else's, and which mean nothing."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from unit.fakes import OWN, PEER, STRANGER, VIP
from vrrp_drain.advert import Advert
from vrrp_drain.judge import Electorate
from vrrp_drain.transitions import Event, Sign

OTHER_VIP = ip_address("10.0.0.20")
OUR_PRIORITY = 204
ADVERT = Advert(2, 1, 253, 1.0, (ip_address(VIP),))
US = Electorate(
    vrid=1,
    version=2,
    advert_int=1.0,
    vip=ip_address(VIP),
    own_addresses=frozenset({ip_address(OWN), ip_address("127.0.0.1")}),
    peers=frozenset({ip_address(PEER)}),
)


def judge(advert: Advert, source: str = PEER, our_priority: int = OUR_PRIORITY, electorate: Electorate = US) -> Event | None:
    return electorate.judge(advert, ip_address(source), our_priority)


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
        (254, 204, Sign.SUCCESSOR),
        (205, 204, Sign.SUCCESSOR),
        (205, 104, Sign.SUCCESSOR),
        (204, 203, Sign.LEAVER),
        (155, 104, Sign.LEAVER),
        (105, 104, Sign.LEAVER),
    ],
)
def test_only_an_active_peer_is_a_successor(priority: int, our_priority: int, sign: Sign) -> None:
    """From 205 on a higher priority is a successor's; below, its sender is leaving or ill itself."""
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


def test_version_3_takes_over_the_interval_of_the_master() -> None:
    """In version 3 a backup learns the interval from the advert, so another one is no fault (RFC 5798 section 6.1)."""
    event = judge(replace(ADVERT, version=3, advert_int=2.0), electorate=replace(US, version=3))
    assert event is not None
    assert event.sign is Sign.SUCCESSOR

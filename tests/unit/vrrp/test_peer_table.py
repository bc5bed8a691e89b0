"""What was heard on the segment: who adverts, who leaves and why, who is a stranger, and how much of it is remembered."""

from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unit.support.fakes import OWN, PEER, STRANGER, VIP, carries
from vrrp_drain.vrrp.advert import Advert
from vrrp_drain.vrrp.election import Electorate
from vrrp_drain.vrrp.peer_table import AdvertVerdict, Leaving, PeerTable

THIRD = "10.0.0.3"
ELECTORATE = Electorate(1, 2, 1.0, ip_address(VIP), frozenset({ip_address(OWN)}), frozenset({ip_address(PEER), ip_address(THIRD)}))


class Ether:
    """A segment, and adverts on it: ours unless something else is said."""

    def __init__(self) -> None:
        self.peer_table = PeerTable(1.0)

    def advert(self, now: float, priority: int = 253, source: str = PEER, **fields: Any) -> AdvertVerdict | None:
        values = {"version": 2, "vrid": 1, "advert_int": 1.0, "addresses": (ip_address(VIP),), **fields}
        return self.peer_table.hear(ELECTORATE.classify(carries(Advert(priority=priority, **values), source), now))

    def master(self, now: float) -> str | None:
        found = self.peer_table.master(now)
        return str(found.source) if found else None


@pytest.fixture
def ether() -> Ether:
    return Ether()


@pytest.mark.parametrize(
    ("fields", "verdict"),
    [
        ({}, "valid"),
        ({"priority": 0}, "valid"),
        ({"vrid": 2}, None),
        ({"source": OWN}, None),
        ({"version": 3}, "foreign"),
        ({"advert_int": 2.0}, "foreign"),
        ({"auth_type": 1, "auth_data": b"secret\0\0"}, "foreign"),
        ({"source": STRANGER, "addresses": (ip_address("10.0.0.99"),)}, "foreign"),
        ({"addresses": (ip_address(VIP), ip_address("10.0.0.11"))}, "foreign"),
    ],
    ids=str,
)
def test_what_an_advert_counts_as(ether: Ether, fields: dict[str, Any], verdict: str | None) -> None:
    """Of a peer, of a stranger, or none of our business: another virtual router, or ourselves. A stranger is one who is heard again."""
    assert ether.advert(1.0, **fields) == verdict
    is_peer = verdict == "valid" and fields.get("priority") != 0
    assert (ether.master(1.0), ether.peer_table.strangers(1.0)) == (PEER if is_peer else None, [])
    ether.advert(2.0, **fields)
    assert len(ether.peer_table.strangers(2.0)) == int(verdict == "foreign")


def test_a_master_is_one_until_it_was_silent_for_too_long(ether: Ether) -> None:
    """Master_Down_Interval and a little: 3.3 advert intervals."""
    assert ether.master(0.0) is None
    ether.advert(1.0)
    assert (ether.master(4.29), ether.master(4.31)) == (PEER, None)
    last = ether.peer_table.last()
    assert last is not None
    assert (str(last.source), last.heard) == (PEER, 1.0)


def test_of_two_that_advert_the_higher_is_master(ether: Ether) -> None:
    """As in every election; the address decides where the priorities are the same."""
    ether.advert(1.0, 253, PEER)
    ether.advert(1.1, 252, THIRD)
    assert ether.master(1.2) == PEER
    ether.advert(1.3, 253, THIRD)
    assert ether.master(1.4) == THIRD


def test_one_that_resigned_is_no_master(ether: Ether) -> None:
    """Priority 0: at once, and until it adverts again, which is a new beginning."""
    ether.advert(1.0)
    ether.advert(2.0, 0)
    assert ether.master(2.0) is None
    ether.advert(2.5, 0)
    ether.advert(3.0)
    master = ether.peer_table.master(3.0)
    assert master is not None
    assert (master.began, master.adverts, master.resigned, master.leaving) == (3.0, 1, False, None)


def test_a_resignation_of_nobody_is_nothing(ether: Ether) -> None:
    """Who was not heard before has nothing to give up."""
    assert ether.advert(1.0, 0) == "valid"
    assert ether.peer_table.last() is None


def test_a_pause_is_a_new_beginning(ether: Ether) -> None:
    """Adverts count since it began without a pause."""
    for now in (1.0, 2.0, 3.0):
        ether.advert(now)
    peer = ether.peer_table.last()
    assert peer is not None
    assert (peer.began, peer.adverts) == (1.0, 3)
    ether.advert(6.31)
    peer = ether.peer_table.last()
    assert peer is not None
    assert (peer.began, peer.adverts) == (6.31, 1)


@pytest.mark.parametrize(
    ("priorities", "why", "leaving"),
    [
        ([253], Leaving.UNKNOWN, None),
        ([253, 98], Leaving.DRAINING, 1.0),
        ([253, 98, 98, 0], Leaving.DRAINING, 1.0),
        ([253, 65], Leaving.UNHEALTHY, 1.0),
        ([253, 65, 0], Leaving.UNHEALTHY, 1.0),
        ([253, 1], Leaving.UNHEALTHY, 1.0),
        ([253, 0], Leaving.RESIGNED, 1.0),
        ([253, 98, 65], Leaving.UNHEALTHY, 1.0),
        ([253, 150], Leaving.UNKNOWN, None),
        ([253, 99, 253], Leaving.UNKNOWN, None),
        ([253, 99, 253, 0], Leaving.RESIGNED, 3.0),
    ],
    ids=str,
)
def test_why_a_peer_leaves(ether: Ether, priorities: list[int], why: Leaving, leaving: float | None) -> None:
    """Its last priority above 0 says why; since when is its first word of it, which a change of mind takes back."""
    for now, priority in enumerate(priorities):
        ether.advert(float(now), priority)
    peer = ether.peer_table.last()
    assert peer is not None
    assert (peer.why, peer.leaving) == (why, leaving)


def test_strangers_are_forgotten_in_time(ether: Ether) -> None:
    """Ten seconds after their last word; that they began does not change with each."""
    for now in (0.0, 5.0):
        ether.advert(now, source=STRANGER, version=3)
    (stranger,) = ether.peer_table.strangers(14.9)
    assert (str(stranger.source), stranger.began, stranger.heard) == (STRANGER, 0.0, 5.0)
    assert "we speak 2" in stranger.why
    assert ether.peer_table.strangers(15.1) == []


@pytest.mark.parametrize("version", [2, 3], ids=["as peers", "as strangers"])
def test_a_flood_from_invented_addresses_is_bounded(ether: Ether, version: int) -> None:
    """Ten thousand addresses leave forty; a peer that the link names is not among those that are forgotten, the last heard neither."""
    ether.advert(0.0)
    for n in range(10_000):
        ether.advert(1.0 + n / 10_000, source=f"10.1.{n // 256}.{n % 256}", version=version, priority=200)
    known = (ether.peer_table._peers, ether.peer_table._strangers._known)[version - 2]
    assert len(known) == 40
    assert ip_address("10.1.39.15") in known
    assert ether.master(2.0) == PEER


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(1, 120), st.floats(0, 5)), max_size=300))
def test_whatever_is_heard(heard: list[tuple[int, int, float]]) -> None:
    """Any order of priorities, addresses and pauses: bounded, and a MASTER is one that was just heard and has not resigned."""
    ether, now, last = Ether(), 0.0, {}
    for priority, host, pause in heard:
        now += pause
        ether.advert(now, priority, f"10.0.0.{host + 100}")
        last[f"10.0.0.{host + 100}"] = (now, priority)
        assert len(ether.peer_table._peers) <= 40
        if master := ether.master(now):
            at, its = last[master]
            assert now - at < 3.3
            assert its > 0

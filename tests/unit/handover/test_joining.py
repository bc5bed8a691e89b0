"""What pre-start hears before keepalived runs: who is a stranger, who is only new, and how long that takes to know."""

import time
from dataclasses import replace
from ipaddress import ip_address

import pytest

from unit.support.fakes import OWN, PEER, STRANGER, VIP, Clock, carries
from unit.support.machine import FakeMachine
from vrrp_drain.config.model import Config
from vrrp_drain.handover import joining
from vrrp_drain.keepalived.attachment import Attachment
from vrrp_drain.keepalived.instance import Instance
from vrrp_drain.runtime.ip import ALL_HOSTS_V4, Packet
from vrrp_drain.runtime.paths import Paths
from vrrp_drain.vrrp import hello
from vrrp_drain.vrrp.advert import Advert
from vrrp_drain.vrrp.election import Electorate, Register

ADVERT = Advert(2, 1, 253, 1.0, (ip_address(VIP),))
OTHER_VIP = replace(ADVERT, addresses=(ip_address("10.0.0.99"),))
PEERS = frozenset({ip_address(PEER)})
CLOSED = Electorate(
    1, 2, 1.0, ip_address(VIP), frozenset({ip_address(OWN)}), PEERS, members=PEERS, closed=True, token=hello.token("id-0", 1)
)


class Segment:
    """Packets at times of the frozen clock, counted from the beginning."""

    def __init__(self, machine: FakeMachine, config: Config) -> None:
        self.machine = machine
        self._instance = Instance(config, Attachment("eth0", "eth0", ip_address(OWN), ()), Paths())
        self.began = time.monotonic()
        self.script: list[tuple[float, Packet]] = []

    def stranger(self, electorate: Electorate = CLOSED) -> str:
        for at, packet in self.script:
            self.machine.hears(packet, after=at)
        return joining.stranger(self._instance, self.machine, Register(lambda: electorate), 1.1)

    @property
    def took(self) -> float:
        return time.monotonic() - self.began


@pytest.fixture
def segment(clock: Clock, machine: FakeMachine, config: Config) -> Segment:
    return Segment(machine, config)


def test_a_peer_that_is_too_far_away(segment: Segment, log: pytest.LogCaptureFixture) -> None:
    """It stops no deploy, since anybody can send such a packet from afar; but whoever reads the log knows what to set."""
    segment.script = [(at, carries(ADVERT, PEER, OWN, ttl=253)) for at in (0.2, 0.8)]
    assert segment.stranger(replace(CLOSED, unicast=True)) == ""
    (said,) = log.messages
    assert said.startswith(f"adverts of {PEER} have crossed routers (2), more than keepalived.unicast_hops allows")
    assert said.endswith("set it to 2 for all")


def hello_of(source: str, to: str = "id-0") -> Packet:
    sender = ip_address(source)
    return Packet(sender, ALL_HOSTS_V4, 255, hello.build(hello.token(to, 1), 1, sender, ALL_HOSTS_V4))


@pytest.mark.parametrize(
    ("advert", "source", "why"),
    [
        (OTHER_VIP, STRANGER, f"{STRANGER} uses VRID 1 on this segment for 10.0.0.99"),
        (replace(ADVERT, version=3), PEER, f"{PEER} speaks VRRP version 3"),
        (replace(ADVERT, advert_int=2.0), PEER, f"{PEER} adverts VRID 1 every 2 s"),
    ],
    ids=["another cluster", "a peer of another version", "a peer of another interval"],
)
def test_who_is_heard_again_is_a_stranger(segment: Segment, log: pytest.LogCaptureFixture, advert: Advert, source: str, why: str) -> None:
    """Refused as soon as it is certain, though the second advert comes after the time for which one listens."""
    segment.script = [(1.0, carries(advert, source)), (1.0 + advert.advert_int, carries(advert, source))]
    assert segment.stranger().startswith(why)
    assert segment.took == pytest.approx(1.0 + advert.advert_int, abs=1e-3)
    assert log.messages == []
    assert segment.machine.captures[0].closed
    assert segment.machine.captures[0].known == PEERS


@pytest.mark.parametrize("copies", [1, 50])
@pytest.mark.parametrize("advert", [OTHER_VIP, replace(ADVERT, version=3)], ids=["another VIP", "another version"])
def test_one_packet_fails_no_deploy(segment: Segment, log: pytest.LogCaptureFixture, advert: Advert, copies: int) -> None:
    """Nor one and its copies within milliseconds: a warning that says why, after the time for the next one."""
    segment.script = [(0.5 + n / 1000, carries(advert, STRANGER)) for n in range(copies)]
    assert segment.stranger() == ""
    assert segment.took == pytest.approx(1.6, abs=0.01)
    (said,) = log.messages
    assert said.startswith(f"heard in one packet alone, which proves nothing: {STRANGER} ")


def test_silence_and_peers_are_well(segment: Segment) -> None:
    """The MASTER of the group, our own adverts, damage and other virtual routers make nobody wait longer."""
    damaged = carries(ADVERT, STRANGER)
    segment.script = [
        (0.1, carries(ADVERT, PEER)),
        (0.2, carries(ADVERT, OWN)),
        (0.3, carries(replace(OTHER_VIP, vrid=2), STRANGER)),
        *((0.4 + n / 10, replace(damaged, payload=damaged.payload[:-1])) for n in range(7)),
    ]
    assert segment.stranger() == ""
    assert segment.took == pytest.approx(1.1, abs=1e-3)


def test_a_stranger_that_adverts_seldom_is_not_waited_for(segment: Segment) -> None:
    """Five seconds at most: a minute for one packet would be no better than to fail for it."""
    segment.script = [(0.5, carries(replace(OTHER_VIP, advert_int=60.0), STRANGER))]
    assert segment.stranger() == ""
    assert segment.took == pytest.approx(5.6, abs=1e-3)


@pytest.mark.parametrize("introduced", [None, 0.4, 9.0])
def test_a_peer_with_another_address_introduces_itself(segment: Segment, log: pytest.LogCaptureFixture, introduced: float | None) -> None:
    """Adverts that are ours but for the address: an instance says hello within ten seconds, whoever does not is a second MASTER."""
    segment.script = [(0.5 + n, carries(ADVERT, STRANGER)) for n in range(12)]
    if introduced is not None:
        segment.script = sorted([*segment.script, (introduced, hello_of(STRANGER))], key=lambda each: each[0])
    why = segment.stranger()
    assert why.startswith(f"{STRANGER} adverts VRID 1 for our {VIP} and is no instance of this group") is (introduced is None)
    assert segment.took == pytest.approx(1.1 if introduced == 0.4 else 10.6, abs=1e-3)
    assert log.messages == []


@pytest.mark.parametrize(
    "packet",
    [
        hello_of(STRANGER, "id-1"),
        replace(hello_of(STRANGER), ttl=254),
        replace(hello_of(STRANGER), payload=hello_of(STRANGER).payload[:-1]),
    ],
    ids=["with another's token", "from behind a router", "cut"],
)
def test_a_hello_that_proves_nothing(segment: Segment, packet: Packet) -> None:
    """The token is that of this instance, and whole, and came from this segment."""
    segment.script = [(0.1, packet), *((0.5 + n, carries(ADVERT, STRANGER)) for n in range(12))]
    assert "is no instance of this group" in segment.stranger()


def test_without_rules_there_is_no_closed_group(segment: Segment) -> None:
    """keepalived hears everybody then, and whoever adverts our VIP as we do is taken for a peer, as ever."""
    segment.script = [(0.5, carries(ADVERT, STRANGER)), (1.0, carries(ADVERT, STRANGER))]
    assert segment.stranger(replace(CLOSED, closed=False)) == ""

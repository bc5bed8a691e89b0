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
        self.asked: list[float] = []

    def stranger(self, electorate: Electorate = CLOSED) -> str:
        for at, packet in self.script:
            self.machine.hears(packet, after=at)
        return joining.stranger(self._instance, self.machine, Register(lambda: electorate), 1.1, lambda: self.asked.append(self.took))

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
    assert segment.took == pytest.approx({None: 10.6, 0.4: 1.1, 9.0: 9.0}[introduced], abs=1e-3)
    assert log.messages == []


@pytest.mark.parametrize("introduced", [None, 0.75, 3.0])
@pytest.mark.parametrize("every", [0.1, 1.0])
def test_a_peer_whose_address_is_not_known_has_the_vip_of_before(
    segment: Segment, log: pytest.LogCaptureFixture, introduced: float | None, every: float
) -> None:
    """Where the link names no address of the VIP's network, an instance that still has another VIP may be heard before its hello."""
    advert, script = replace(OTHER_VIP, version=3, advert_int=every), []
    script = [(0.5 + n * every, carries(advert, STRANGER)) for n in range(int(12 / every))]
    if introduced is not None:
        script.append((introduced, hello_of(STRANGER)))
    segment.script = sorted(script, key=lambda each: each[0])
    electorate = replace(CLOSED, version=3, advert_int=every, closed=False)
    assert segment.stranger(electorate).startswith(f"{STRANGER} uses VRID 1 on this segment for 10.0.0.99") is (introduced is None)
    assert segment.took == pytest.approx({None: 10.6, 0.75: 1.1, 3.0: 3.0}[introduced], abs=1e-3)
    assert log.messages == []


def test_whoever_the_kernel_knows_meanwhile_is_no_stranger(segment: Segment) -> None:
    """His hello may have come before we listened: the kernel took him in, and is asked."""
    asked: list[Electorate] = []

    def ask() -> Electorate:
        asked.append(replace(CLOSED, members=PEERS | {ip_address(STRANGER)} if asked else PEERS))
        return asked[-1]

    segment.script = [(0.2 + n, carries(ADVERT, STRANGER)) for n in range(12)]
    for at, packet in segment.script:
        segment.machine.hears(packet, after=at)
    assert joining.stranger(segment._instance, segment.machine, Register(ask), 1.1, lambda: None) == ""
    assert segment.took == pytest.approx(1.1, abs=1e-3)


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


@pytest.mark.parametrize(("packets", "refused"), [(1, False), (2, True)])
@pytest.mark.parametrize("runs", [False, True], ids=["keepalived has not started", "keepalived runs"])
def test_a_twin_that_adverts(segment: Segment, packets: int, refused: bool, runs: bool) -> None:
    """Adverts from our own address that nobody here sends are another machine's; where keepalived runs, they may be its own, come back."""
    segment.machine.pid = 4711 if runs else None
    segment.script = [(0.5 + n, carries(ADVERT, OWN)) for n in range(packets)]
    assert segment.stranger().startswith(f"another machine has {OWN}, an address of this instance") is (refused and not runs)
    assert segment.took == pytest.approx(1.1 if runs else 1.5 if refused else 1.6, abs=1e-3)


def test_the_vip_on_lo_is_no_twins(segment: Segment) -> None:
    """A VIP is an address of ours as well, and what comes from it was sent by nobody who counts."""
    segment.machine.pid = None
    segment.script = [(0.1, carries(ADVERT, VIP)), (1.1, carries(ADVERT, VIP))]
    own = CLOSED.own_addresses | {ip_address(VIP)}
    assert segment.stranger(replace(CLOSED, own_addresses=own, nobody=frozenset({ip_address(VIP)}))) == ""


def test_meanwhile_it_is_asked_twice(segment: Segment) -> None:
    """At the beginning, and when half of the time is over."""
    assert segment.stranger() == ""
    assert segment.asked == [pytest.approx(0.0), pytest.approx(0.55)]


def test_without_rules_there_is_no_closed_group(segment: Segment) -> None:
    """keepalived hears everybody then, and whoever adverts our VIP as we do is taken for a peer, as ever."""
    segment.script = [(0.5, carries(ADVERT, STRANGER)), (1.0, carries(ADVERT, STRANGER))]
    assert segment.stranger(replace(CLOSED, closed=False)) == ""

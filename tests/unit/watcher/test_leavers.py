"""Whether a peer that connections are handed on to is still there, on a frozen clock."""

import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

import pytest

from unit.support.fakes import PEER, PEER_MAC, VIP, Clock, FakeIPR
from unit.support.services import FakeServices
from vrrp_drain.config.model import Proof
from vrrp_drain.handoff.situation import Armed, Situation
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.watcher.leavers import Leavers

EVERY = 0.25  # seconds between two ticks, as the watcher has them


@pytest.fixture
def found(services: FakeServices, clock: Clock) -> Iterator[Leavers]:
    services.machine.answers[PEER] = [PEER_MAC]
    arm(services, PEER)
    made = Leavers(services.instance, services.machine)
    yield made
    made.close()


def arm(services: FakeServices, *peers: str) -> None:
    services.machine.rules.situation = Situation((4,), tuple(Armed(ip_address(VIP), ip_address(peer), 200.0) for peer in peers))


def run(found: Leavers, clock: Clock, seconds: float, *, gets_packets: bool = True) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found.tick(time.monotonic(), gets_packets=gets_packets)
        clock.sleep(EVERY)


def gives_up(found: Leavers, services: FakeServices, clock: Clock) -> None:
    """Have PEER answer no more until it is given up; the kernel knows of nobody then."""
    services.machine.answers.clear()
    before = len(services.machine.rules.disarmed)
    for _ in range(8):
        if len(services.machine.rules.disarmed) == before:
            run(found, clock, EVERY)
    assert services.machine.rules.disarmed[before:] == [PEER]
    arm(services)


def test_one_that_answers_is_left_alone(found: Leavers, services: FakeServices, clock: Clock) -> None:
    """However long it goes on."""
    run(found, clock, 120)
    assert services.machine.rules.disarmed == []
    assert [(str(target), each.interface) for target, each in services.machine.inquiries] == [(PEER, "eth0")]


def test_one_that_is_gone_gets_nothing_more(found: Leavers, services: FakeServices, clock: Clock, log: pytest.LogCaptureFixture) -> None:
    """Between one and two seconds after it has gone: one lost answer or two are no proof."""
    run(found, clock, 5)
    first = services.machine.inquiries[0][1]
    services.machine.answers.clear()
    run(found, clock, 1)
    assert services.machine.rules.disarmed == []
    run(found, clock, 1)
    assert services.machine.rules.disarmed == [PEER]
    assert first.closed
    assert f"{PEER} left and went on serving open connections, but does not answer any more" in log.text


def test_answers_that_are_lost_now_and_then(found: Leavers, services: FakeServices, clock: Clock) -> None:
    """One answer in four is enough."""
    for _ in range(40):
        services.machine.answers.clear()
        run(found, clock, 3 * EVERY)
        services.machine.answers[PEER] = [PEER_MAC]
        run(found, clock, EVERY)
    assert services.machine.rules.disarmed == []


def test_where_no_packets_come_it_is_asked_now_and_then(found: Leavers, services: FakeServices, clock: Clock) -> None:
    """Neither a client's nor a peer's comes here: who is gone has ten seconds, and is none of those left when the VIP comes."""
    run(found, clock, 10, gets_packets=False)
    assert len(services.machine.inquiries[0][1].asked) == 5
    services.machine.answers.clear()
    run(found, clock, 7.5, gets_packets=False)
    assert services.machine.rules.disarmed == []
    run(found, clock, 5, gets_packets=False)
    assert services.machine.rules.disarmed == [PEER]


def test_the_vip_comes(found: Leavers, services: FakeServices, clock: Clock) -> None:
    """From then on it is asked as often as clients want it."""
    run(found, clock, 1, gets_packets=False)
    services.machine.answers.clear()
    run(found, clock, 2)
    assert services.machine.rules.disarmed == [PEER]


def test_one_that_was_paused(found: Leavers, services: FakeServices, clock: Clock, log: pytest.LogCaptureFixture) -> None:
    """A live migration took three seconds: what is still open there goes on, and it is asked as before."""
    run(found, clock, 1)
    gives_up(found, services, clock)
    run(found, clock, 1)
    services.machine.answers[PEER] = [PEER_MAC]
    run(found, clock, 1.25)
    arm(services, PEER)
    assert services.machine.rules.arms == [([VIP], PEER)]
    assert f"{PEER} answers again" in log.text
    gives_up(found, services, clock)


@pytest.mark.parametrize(("window", "late"), [(200.0, 21.0), (12.0, 13.0)], ids=["another machine by then", "the window is over"])
def test_one_that_was_away_for_long(found: Leavers, services: FakeServices, clock: Clock, window: float, late: float) -> None:
    """Who answers then has to say himself that he serves anything."""
    services.machine.rules.situation = Situation((4,), (Armed(ip_address(VIP), ip_address(PEER), window),))
    run(found, clock, 1)
    gives_up(found, services, clock)
    run(found, clock, late)
    services.machine.answers[PEER] = [PEER_MAC]
    run(found, clock, 5)
    assert services.machine.rules.arms == []
    assert all(each.closed for _, each in services.machine.inquiries)


def test_one_that_said_itself_that_it_is_back(found: Leavers, services: FakeServices, clock: Clock) -> None:
    """Its hello armed this kernel: it is asked like anybody else who is armed, and nothing is done twice."""
    run(found, clock, 1)
    gives_up(found, services, clock)
    services.machine.answers[PEER] = [PEER_MAC]
    arm(services, PEER)
    run(found, clock, 5)
    assert services.machine.rules.arms == []
    assert services.machine.rules.disarmed == [PEER]


def test_one_that_is_no_longer_armed_is_not_asked(found: Leavers, services: FakeServices, clock: Clock) -> None:
    """The window ended: whether it is there does not matter."""
    run(found, clock, 1)
    arm(services)
    run(found, clock, 1)
    asked = len(services.machine.inquiries[0][1].asked)
    run(found, clock, 5)
    assert len(services.machine.inquiries[0][1].asked) == asked
    assert services.machine.rules.disarmed == []


FAR = "10.7.0.2"


def test_one_behind_a_router(found: Leavers, services: FakeServices, clock: Clock) -> None:
    """It answers no ARP, so it is asked by ICMP echo: what does not answer any more is gone."""
    arm(services, FAR)
    services.machine.echoed[FAR] = [FAR]
    run(found, clock, 5)
    assert services.machine.inquiries == []
    assert services.machine.rules.disarmed == []
    services.machine.echoed.clear()
    run(found, clock, 2)
    assert services.machine.rules.disarmed == [FAR]


def test_one_behind_a_firewall(found: Leavers, services: FakeServices, clock: Clock) -> None:
    """It has never answered an echo: its silence proves nothing."""
    arm(services, FAR)
    run(found, clock, 60)
    assert len(services.machine.echoes[0][1].asked) > 100
    assert services.machine.rules.disarmed == []


def test_where_the_network_answers_arp_for_everybody(found: Leavers, services: FakeServices, clock: Clock) -> None:
    """takeover_proof says so: then the machine itself is asked as well."""
    services.set_drain(takeover_proof=Proof.ADVERTS)
    services.machine.echoed[PEER] = [PEER]
    run(found, clock, 5)
    assert services.machine.rules.disarmed == []
    services.machine.echoed.clear()
    run(found, clock, 2)
    assert services.machine.rules.disarmed == [PEER]
    arm(services)
    run(found, clock, 10)
    assert services.machine.rules.arms == [], "ARP is answered all the time, and proves nothing"


def test_an_interface_that_is_away_proves_nothing(found: Leavers, services: FakeServices, clock: Clock) -> None:
    """A question that was not sent is not unanswered."""
    run(found, clock, 1)
    services.machine.asking_fault = OSError(100, "Network is down")
    run(found, clock, 10)
    assert services.machine.rules.disarmed == []


def test_a_kernel_that_does_not_tell(found: Leavers, services: FakeServices) -> None:
    """The watcher says so."""
    services.machine.rules.fault = SystemFault("the kernel does not tell its nftables rules")
    with pytest.raises(SystemFault, match="does not tell"):
        found.tick(time.monotonic(), gets_packets=True)


def test_without_a_handoff_nobody_is_asked(services: FakeServices, clock: Clock, ipr: FakeIPR) -> None:
    """connection_handoff false has no rules that could send a packet on."""
    arm(services, PEER)
    services.configure(replace(services.instance.config, drain=replace(services.instance.config.drain, connection_handoff=False)))
    run(Leavers(services.instance, services.machine), clock, 2)
    assert services.machine.inquiries == []

"""Whether a peer that connections are handed on to is still there, on a frozen clock."""

import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

import pytest

from unit.support.fakes import PEER, PEER_MAC, VIP, Clock, FakeIPR
from unit.support.services import FakeServices
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


def test_where_no_packets_come_nobody_is_asked(found: Leavers, services: FakeServices, clock: Clock) -> None:
    """Neither a client's nor a peer's comes here; and whoever was asked before is forgotten."""
    run(found, clock, 1)
    assert services.machine.inquiries[0][1].asked
    run(found, clock, 5, gets_packets=False)
    assert services.machine.inquiries[0][1].closed


def test_one_that_is_no_longer_armed_is_not_asked(found: Leavers, services: FakeServices, clock: Clock) -> None:
    """The window ended: whether it is there does not matter."""
    run(found, clock, 1)
    arm(services)
    run(found, clock, 1)
    asked = len(services.machine.inquiries[0][1].asked)
    run(found, clock, 5)
    assert len(services.machine.inquiries[0][1].asked) == asked
    assert services.machine.rules.disarmed == []


def test_one_behind_a_router_is_not_asked(found: Leavers, services: FakeServices, clock: Clock) -> None:
    """It answers no ARP, and is there all the same."""
    arm(services, "10.7.0.2")
    run(found, clock, 5)
    assert services.machine.inquiries == []


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
    """use_vmac and connection_handoff false have no rules that could send a packet on."""
    arm(services, PEER)
    services.configure(replace(services.instance.config, drain=replace(services.instance.config.drain, connection_handoff=False)))
    run(Leavers(services.instance, services.machine), clock, 2)
    assert services.machine.inquiries == []

"""What drain does once a peer has the VIP: who still comes here is accepted, what is open is served. Waits are on a frozen clock."""

import logging
import time
from collections.abc import Collection, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from unit.support.fakes import Clock
from unit.support.services import FakeServices
from vrrp_drain.commands import finishing, lifecycle
from vrrp_drain.handover.demote import Demote
from vrrp_drain.handover.runner import Ending
from vrrp_drain.haproxy.health import Health
from vrrp_drain.runtime.errors import Cancelled, SystemFault
from vrrp_drain.runtime.ip import IPAddress
from vrrp_drain.runtime.signals import Cancellation
from vrrp_drain.vrrp import hello
from vrrp_drain.vrrp.bands import Band

LEFT_ALONE = Ending(Demote.NO_SUCCESSOR, "nobody is there", 5.1)
NOT_CANCELLED = Cancellation()
CLIENT, ROUTER = "10.0.0.200", "02:00:00:00:00:c8"

pytestmark = pytest.mark.usefixtures("clock")


def drain(services: FakeServices, cancellation: Cancellation = NOT_CANCELLED, arguments: Sequence[str] = ()) -> None:
    if lifecycle.drain(services, arguments, lifecycle.Bounds.of(services)):
        finishing.finish_connections(services, cancellation)


@pytest.fixture(autouse=True)
def told(services: FakeServices, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds after which haproxy was told to finish. Nobody new is waited for where a test does not want it."""
    services.set_drain(quiet_time=0.0)
    when, finish = list[float](), services.machine.haproxy.finish

    def note(pid_file: Path) -> int:
        when.append(round(sum(clock.slept), 1))
        return finish(pid_file)

    monkeypatch.setattr(services.machine.haproxy, "finish", note)
    return when


def every(seconds: float, until: float) -> list[float]:
    return [number * seconds for number in range(1, round(until / seconds) + 1)]


def comes(services: FakeServices, until: float, seconds: float = 0.5) -> None:
    """Have a client that has not learnt where the VIP is open connections here."""
    services.machine.opens(CLIENT, ROUTER, at=every(seconds, until))


def test_haproxy_accepts_until_nobody_new_comes(
    services: FakeServices, told: list[float], clock: Clock, log: pytest.LogCaptureFixture
) -> None:
    """haproxy is told to finish when quiet_time has passed since the last connection of a client that learns late; who that is is said."""
    services.set_drain(quiet_time=1.5)
    comes(services, until=7.0)
    drain(services)
    assert told == [pytest.approx(8.5, abs=0.2)]
    assert sum("clients still come here" in each for each in log.messages) == 2, "at once, and again after five seconds"
    assert f"the last one was {CLIENT} through {ROUTER}: haproxy accepts them until nobody new has come for 1.5 s" in log.text
    assert "nobody new has come here for 1.5 s" in log.messages
    ((vips, door),) = services.machine.doors
    assert (vips, door.closed) == (services.instance.config.keepalived.addresses, True)


def test_where_everybody_follows_at_once_it_takes_quiet_time(
    services: FakeServices, told: list[float], clock: Clock, log: pytest.LogCaptureFixture
) -> None:
    """No connection and nobody new: drain takes a second, and says nothing of clients that come late."""
    services.set_drain(quiet_time=1.0)
    drain(services)
    assert told == [1.0]
    assert sum(clock.slept) == pytest.approx(1.0)
    assert "come here" not in log.text


@pytest.mark.parametrize(
    ("properties", "seconds"),
    [
        ({"drain_timeout": 60.0}, 50.0),
        ({"drain_timeout": 5.0}, 4.0),
        ({"drain_timeout": 4.0, "connection_handoff": False}, 4.0),
        ({"drain_timeout": 4.0, "haproxy_soft_stop": False}, 4.0),
    ],
)
def test_a_client_that_never_learns(
    services: FakeServices, clock: Clock, log: pytest.LogCaptureFixture, properties: dict[str, object], seconds: float
) -> None:
    """It is not waited for for ever: what is open needs some of drain_timeout to be closed politely, if anybody asks it to close."""
    services.set_drain(quiet_time=1.0, **properties)
    comes(services, until=100)
    drain(services)
    assert sum(clock.slept) == pytest.approx(seconds)
    assert [each.getMessage() for each in log.records if each.levelno == logging.WARNING] == [
        f"clients still come here, the last one was {CLIENT} through {ROUTER}: "
        "from now on they are refused until they learn where the VIP is"
    ]


@pytest.mark.parametrize("properties", [{"quiet_time": 0.0}, {"quiet_time": 1.0, "drain_timeout": 0.0}])
def test_who_wants_no_wait_gets_none(services: FakeServices, clock: Clock, properties: dict[str, object]) -> None:
    """quiet_time 0 waits for nobody, and neither does drain_timeout 0."""
    services.set_drain(**properties)
    comes(services, until=100)
    drain(services)
    assert clock.slept == []


@pytest.mark.parametrize("seconds", [0.5, 5.0])
def test_without_handoff_late_clients_are_accepted_too(services: FakeServices, told: list[float], clock: Clock, seconds: float) -> None:
    """Their connections may not outlive their learning, but none is refused; nobody is told to finish, and no connection is waited for."""
    services.set_drain(quiet_time=1.0, connection_handoff=False)
    comes(services, until=seconds)
    drain(services)
    assert sum(clock.slept) == pytest.approx(seconds + 1.0, abs=0.2)
    assert (told, services.machine.counted) == ([], [])


def test_peers_hear_of_clients_that_come_late(services: FakeServices) -> None:
    """Once a second a hello says that this instance still leaves: the MASTER's watcher announces the VIP again."""
    services.set_drain(quiet_time=1.0)
    comes(services, until=5.0)
    said: list[float] = []
    services.machine.on_say = lambda each: said.append(round(time.monotonic(), 1))
    began = time.monotonic()
    drain(services)
    moments = [round(each - began, 1) for each in dict.fromkeys(said)]
    assert len(moments) == 5
    assert all(later - earlier >= 0.99 for earlier, later in pairwise(moments))


def test_a_haproxy_that_ends_is_not_waited_for(services: FakeServices, clock: Clock, log: pytest.LogCaptureFixture) -> None:
    """Another job's drain has closed its ports, say: nobody is accepted any more, so nobody is served by waiting."""
    services.set_drain(quiet_time=1.0)
    services.machine.health = Health("haproxy does not answer")
    comes(services, until=30.0)
    drain(services)
    assert sum(clock.slept) < 1.0
    assert "haproxy does not answer: clients that still come here are refused" in log.messages


def test_where_it_is_not_seen_who_comes(services: FakeServices, told: list[float], log: pytest.LogCaptureFixture) -> None:
    """A kernel that does not tell is a warning, and haproxy accepts for some seconds more all the same."""
    services.set_drain(quiet_time=1.0)
    services.machine.seeing_fault = SystemFault("cannot see who opens connections here")
    drain(services)
    assert told == [pytest.approx(5.2, abs=0.01)]
    assert "cannot see who opens connections here: haproxy accepts for 5 s more" in log.text


def test_a_wait_for_newcomers_that_is_cancelled(services: FakeServices, told: list[float], cancellation: Cancellation) -> None:
    """haproxy was told nothing yet: the priority goes back, and the instance goes on."""
    services.set_drain(quiet_time=1.0)
    services.control.write(Band.DRAINING)
    comes(services, until=30.0)
    services.machine.world.after(3.0, cancellation.cancel)
    with pytest.raises(Cancelled, match=r"haproxy/0 goes on as before$"):
        drain(services, cancellation)
    assert services.control.read() is Band.ACTIVE
    assert told == []


def test_drain_waits_for_the_connections(services: FakeServices, clock: Clock, log: pytest.LogCaptureFixture) -> None:
    """Once a peer has the VIP, drain goes on until the last connection to any VIP has ended, and says how many are left now and then."""
    services.machine.connected = [3] * 30 + [1, 0]
    drain(services)
    assert sum(clock.slept) == pytest.approx(6.2)
    assert services.machine.looked_for[0] == (services.instance.config.vip,)
    assert len(services.machine.counted) == 1, "once for each line, for a number of a hundred thousand takes a fifth of a second"
    assert log.messages[1:] == [
        "3 connections are still served from here, after 5 s of at most 60",
        "no connection of a client is left here",
    ]


@pytest.mark.parametrize(("looks", "at"), [(10, 3.0), (10_000, 50.0)], ids=["until they have ended", "as long as there is time to close"])
def test_haproxy_is_told_to_finish_when_no_connection_of_quic_is_left(
    services: FakeServices, told: list[float], looks: int, at: float
) -> None:
    """It would end them at once, requests and all: clients of TCP are asked to close when those have gone, or 10 s before the end."""
    services.set_drain(quiet_time=1.0, quic_ports=(443,))
    services.machine.connected = [3]
    services.machine.quic = [True] * looks + [False]
    drain(services)
    assert told == [pytest.approx(at, abs=0.3)]
    assert services.machine.looked_for_quic[0] == (services.instance.config.vip, 443)


def test_without_quic_nobody_looks_for_it(services: FakeServices, told: list[float]) -> None:
    """Where no port is named."""
    services.machine.quic = [True]
    drain(services)
    assert len(told) == 1
    assert services.machine.looked_for_quic == []


@pytest.mark.parametrize(("cost", "pause"), [(0.0, 0.2), (0.01, 0.2), (0.05, 0.45), (0.1, 0.9), (30.0, 2.0)])
def test_looking_takes_a_tenth_of_a_core(
    services: FakeServices, clock: Clock, monkeypatch: pytest.MonkeyPatch, cost: float, pause: float
) -> None:
    """The more a look at the connections costs, the longer the pause after it; but a signal is seen within seconds."""
    services.machine.connected = [9, 9, 9, 0]
    look = services.machine.haproxy.connected

    def dear(vips: Collection[IPAddress], quic_ports: Collection[int] = ()) -> bool:
        clock.sleep(cost)
        return look(vips, quic_ports)

    monkeypatch.setattr(services.machine.haproxy, "connected", dear)
    pauses: list[float] = []
    monkeypatch.setattr(services.machine, "sleep", pauses.append)
    services.set_drain(drain_timeout=1000.0)
    drain(services)
    assert pauses == [pytest.approx(pause, abs=0.001)] * 3


def test_the_last_pause_ends_with_drain_timeout(services: FakeServices, clock: Clock) -> None:
    """However long a pause is due, drain takes no longer than it may."""
    services.machine.connected = [7]
    services.set_drain(drain_timeout=0.5)
    drain(services)
    assert clock.slept == [pytest.approx(each) for each in (0.2, 0.2, 0.1)]


def test_a_drain_that_waits_says_what_is_open(services: FakeServices, clock: Clock) -> None:
    """At its beginning and every five seconds: peers that start meanwhile have not heard that it left."""
    services.machine.connected = [7]
    services.set_drain(drain_timeout=11.0)
    drain(services)
    instances = len(services.instance.config.instances)
    some = [each for each in services.machine.said if each.advert is None and hello.found(each.packet) is hello.Open.SOME]
    assert len(some) == 3 * 2 * instances


def test_drain_does_not_wait_for_ever(services: FakeServices, clock: Clock, log: pytest.LogCaptureFixture) -> None:
    """vrrp_drain.drain_timeout ends the wait, which is a warning: what is open is cut."""
    services.machine.connected = [7]
    services.set_drain(drain_timeout=2.0)
    drain(services)
    assert sum(clock.slept) == pytest.approx(2, abs=0.2)
    assert log.records[-1].levelno == logging.WARNING
    assert "7 connections are still open after 2 s (vrrp_drain.drain_timeout)" in log.text


@pytest.mark.parametrize("kind", ["nobody took over", "not wanted"])
def test_where_connections_cannot_survive_nobody_waits(services: FakeServices, kind: str) -> None:
    """Without a successor, and without handoff, waiting would help no connection."""
    if kind == "nobody took over":
        services.handover.demotion = LEFT_ALONE
    else:
        services.set_drain(connection_handoff=False)
    drain(services)
    assert services.machine.looked_for == []


def test_connections_that_cannot_be_counted_are_not_waited_for(services: FakeServices, log: pytest.LogCaptureFixture) -> None:
    """A kernel that does not tell is a warning, and the drain succeeds."""
    services.machine.counting_fault = SystemFault("the kernel does not tell its connections")
    drain(services)
    assert "the kernel does not tell its connections: not waiting for connections" in log.text


@pytest.mark.parametrize("finishing", [True, False], ids=["haproxy is finishing", "haproxy goes on"])
def test_a_cancelled_wait(services: FakeServices, finishing: bool) -> None:
    """The priority goes back, unless haproxy is on its way out: then the node would attract clients that it refuses."""
    services.machine.connected = [1]
    services.control.write(Band.DRAINING)
    services.set_drain(haproxy_soft_stop=finishing)
    cancellation = Cancellation()
    cancellation.requested = True
    with pytest.raises(Cancelled, match=r"restart haproxy, then promote$" if finishing else r"haproxy/0 goes on as before$"):
        drain(services, cancellation)
    assert services.control.read() is (Band.DRAINING if finishing else Band.ACTIVE)


def test_haproxy_is_told_to_finish_if_wanted(services: FakeServices, log: pytest.LogCaptureFixture) -> None:
    """With haproxy_soft_stop it is told once, after the takeover; a haproxy that is not found is a warning."""
    told = services.machine.told_to_finish
    services.set_drain(haproxy_soft_stop=False)
    drain(services)
    assert told == []
    services.set_drain(haproxy_soft_stop=True)
    drain(services)
    assert told == [services.instance.config.drain.haproxy_pid_file]
    assert "haproxy (pid 4711) was told to finish its connections" in log.text

    services.machine.finishing_fault = SystemFault("haproxy could not be told to finish")
    drain(services)
    assert "haproxy could not be told to finish: clients are not asked to close" in log.text


def other_drain(services: FakeServices, text: str = "kill -USR1 $(pgrep -x haproxy)") -> None:
    script = services.instance.paths.jobs / "haproxy/bin/drain"
    script.parent.mkdir(parents=True)
    script.write_text(f"#!/bin/bash\n{text}\necho 0\n")


def test_a_haproxy_that_another_jobs_drain_ends_is_left_to_it(services: FakeServices, clock: Clock, log: pytest.LogCaptureFixture) -> None:
    """That drain would fail, and the deploy, if haproxy ended under its hands: it is told nothing, and connections are waited for."""
    told = services.machine.told_to_finish
    other_drain(services)
    services.machine.connected = [3] * 10 + [0]
    drain(services)
    assert told == []
    assert sum(clock.slept) == pytest.approx(2.0)
    assert "haproxy is left to the drain of the job haproxy, which ends it: here its connections are waited for" in log.messages


def test_a_drain_that_is_switched_off_ends_no_haproxy(services: FakeServices) -> None:
    """haproxy-boshrelease's default: then haproxy is told by us."""
    told = services.machine.told_to_finish
    other_drain(services, "echo drain is disabled >> drain.log")
    drain(services)
    assert len(told) == 1


@pytest.mark.parametrize(
    ("problem", "band"), [("", Band.ACTIVE), ("haproxy does not answer", Band.DRAINING)], ids=["answers", "has closed"]
)
def test_a_cancelled_wait_beside_another_drain(services: FakeServices, problem: str, band: Band) -> None:
    """Whether that drain has closed haproxy's port decides whether the priority goes back."""
    other_drain(services)
    services.machine.connected = [1]
    services.machine.health = Health(problem)
    services.control.write(Band.DRAINING)
    cancellation = Cancellation()
    cancellation.requested = True
    with pytest.raises(Cancelled):
        drain(services, cancellation)
    assert services.control.read() is band

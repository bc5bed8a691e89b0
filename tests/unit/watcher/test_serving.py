"""What the watcher tells peers of connections that are open here while one of them has the VIP."""

import time

import pytest

from unit.support.fakes import Clock
from unit.support.services import FakeServices
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.vrrp.hello import Open
from vrrp_drain.watcher.serving import Serving

WINDOW = 300.0  # vrrp_drain.handoff_window


@pytest.fixture
def serving(services: FakeServices, clock: Clock) -> Serving:
    services.machine.connected = [3]
    return Serving(services.instance, services.machine)


def said_at(serving: Serving, clock: Clock, seconds: float, *, vip_here: bool = False, serves: bool = True) -> list[float]:
    """Look four times a second; return when peers are to be told, in seconds from now, and say it then."""
    found, began = [], time.monotonic()
    while (now := time.monotonic()) < began + seconds:
        if serving.tick(now, vip_here=vip_here, serves=serves):
            serving.open_here()
            found.append(now - began)
        clock.sleep(0.25)
    return found


def test_when_the_vip_has_left_it_is_said_several_times(serving: Serving, clock: Clock) -> None:
    """At once and again, for a hello may be lost; not where it never was here, and no more when it comes back."""
    assert said_at(serving, clock, 2) == []
    assert said_at(serving, clock, 2, vip_here=True) == []
    assert said_at(serving, clock, 20) == [0.0, 0.5, 1.0, 3.0]
    assert said_at(serving, clock, 2, vip_here=True) == []
    assert said_at(serving, clock, 0.5) == [0.0]
    assert said_at(serving, clock, 5, vip_here=True) == []


def test_when_a_cable_is_back_it_is_said_again(serving: Serving, services: FakeServices, clock: Clock) -> None:
    """Nobody heard it while it was away. Interfaces that come and go all the time are no reason to say it all the time."""
    said_at(serving, clock, 1, vip_here=True)
    serving.changed(time.monotonic())
    said_at(serving, clock, 10)
    serving.changed(time.monotonic())
    assert said_at(serving, clock, 10) == [0.0, 0.5, 1.0, 3.0]
    count = 0
    for _ in range(40):
        serving.changed(time.monotonic())
        count += len(said_at(serving, clock, 0.25))
    assert count <= 20


def test_where_nothing_is_open_an_interface_is_no_news(serving: Serving, services: FakeServices, clock: Clock) -> None:
    services.machine.connected = [0]
    said_at(serving, clock, 1, vip_here=True)
    said_at(serving, clock, 10)
    serving.changed(time.monotonic())
    assert said_at(serving, clock, 10) == []


def test_after_a_time_in_which_nothing_ran_here_it_is_said_again(serving: Serving, clock: Clock) -> None:
    """The machine was frozen, and peers may have given it up."""
    said_at(serving, clock, 1, vip_here=True)
    said_at(serving, clock, 10)
    clock.sleep(30)
    assert said_at(serving, clock, 10) == [0.0, 0.5, 1.0, 3.0]


def test_what_is_open_is_told_while_a_peer_has_the_vip(serving: Serving, services: FakeServices, clock: Clock) -> None:
    """A MASTER has its own; when the last connection has ended there is nothing to tell, and packets of peers come here for none."""
    serving.tick(time.monotonic(), vip_here=True)
    assert (serving.open_here(), serving.some) == (Open.UNTOLD, False)
    serving.tick(time.monotonic(), vip_here=False)
    assert (serving.open_here(), serving.some) == (Open.SOME, True)
    services.machine.connected = [0]
    assert (serving.open_here(), serving.some) == (Open.UNTOLD, False)


def test_it_is_said_for_as_long_as_haproxy_serves(serving: Serving, clock: Clock) -> None:
    """However long that is; one that hangs may go on within the window, and is given up after it."""
    said_at(serving, clock, 1, vip_here=True)
    said_at(serving, clock, 2 * WINDOW)
    assert serving.open_here() is Open.SOME
    said_at(serving, clock, WINDOW - 1, serves=False)
    assert serving.open_here() is Open.SOME
    said_at(serving, clock, 2, serves=False)
    assert (serving.open_here(), serving.some) == (Open.UNTOLD, False)
    said_at(serving, clock, 1)
    assert serving.open_here() is Open.SOME, "it has gone on"


def test_a_watcher_that_has_just_begun_tells_what_it_finds(serving: Serving) -> None:
    """It was not there when the VIP left."""
    assert serving.open_here() is Open.SOME


def test_what_is_not_known_is_not_told(serving: Serving, services: FakeServices) -> None:
    services.machine.counting_fault = SystemFault("the kernel does not tell its connections")
    assert (serving.open_here(), serving.some) == (Open.UNTOLD, False)

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


def test_when_the_vip_has_left_there_is_news(serving: Serving, clock: Clock) -> None:
    """Once, and not where it never was."""
    found = [serving.tick(time.monotonic(), vip_here=here) for here in (False, True, True, False, False)]
    assert found == [False, False, False, True, False]


def test_what_is_open_is_told_while_a_peer_has_the_vip(serving: Serving, services: FakeServices, clock: Clock) -> None:
    """A MASTER has its own; when the last connection has ended there is nothing to tell, and packets of peers come here for none."""
    serving.tick(time.monotonic(), vip_here=True)
    assert (serving.open_here(), serving.some) == (Open.UNTOLD, False)
    serving.tick(time.monotonic(), vip_here=False)
    assert (serving.open_here(), serving.some) == (Open.SOME, True)
    services.machine.connected = [0]
    assert (serving.open_here(), serving.some) == (Open.UNTOLD, False)


def test_it_ends_with_the_window(serving: Serving, clock: Clock) -> None:
    """Peers that heard it when the VIP left hand nothing on any more then."""
    serving.tick(time.monotonic(), vip_here=True)
    clock.sleep(WINDOW)
    serving.tick(time.monotonic(), vip_here=False)
    clock.sleep(WINDOW - 1)
    assert serving.open_here() is Open.SOME
    clock.sleep(2)
    assert (serving.open_here(), serving.some) == (Open.UNTOLD, False)


def test_a_watcher_that_has_just_begun_tells_what_it_finds(serving: Serving) -> None:
    """It was not there when the VIP left."""
    assert serving.open_here() is Open.SOME


def test_what_is_not_known_is_not_told(serving: Serving, services: FakeServices) -> None:
    services.machine.counting_fault = SystemFault("the kernel does not tell its connections")
    assert (serving.open_here(), serving.some) == (Open.UNTOLD, False)

"""Adverts as they arrive. The socket is not a real one."""

import select
from dataclasses import replace
from ipaddress import ip_address

import pytest

from unit.support.fakes import PEER, VIP, Clock, FakeListener
from vrrp_drain.handover import advert_stream
from vrrp_drain.runtime.ip import GROUP_V4, TTL, Packet
from vrrp_drain.vrrp.advert import Advert, build

SOURCE = ip_address(PEER)
ADVERT = Advert(2, 1, 253, 1.0, (ip_address(VIP),))
PACKET = Packet(SOURCE, GROUP_V4, TTL, build(ADVERT, SOURCE, GROUP_V4))


def test_adverts_are_heard_for_a_time(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Valid adverts come with their packet, others are skipped, and at the end of the time the socket is closed."""
    fake = FakeListener()
    pauses = iter([0.3, 0.5])

    def wait(readers: list[int], writers: list[int], others: list[int], seconds: float) -> None:
        clock.sleep(min(seconds, next(pauses, seconds)))
        fake.packets = [replace(PACKET, ttl=254), PACKET] if sum(clock.slept) < 1 else []

    monkeypatch.setattr(advert_stream, "AdvertListener", lambda interface, family: fake)
    monkeypatch.setattr(select, "select", wait)
    assert list(advert_stream.adverts("eth0", 4, 1.1)) == [(ADVERT, PACKET)] * 2
    assert sum(clock.slept) == pytest.approx(1.1, abs=1e-5)
    assert fake.closed


def test_who_has_heard_enough_leaves_no_socket_open(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ending early closes the socket too."""
    fake = FakeListener()
    fake.packets = [PACKET]
    monkeypatch.setattr(advert_stream, "AdvertListener", lambda interface, family: fake)
    monkeypatch.setattr(select, "select", lambda *arguments: None)
    heard = advert_stream.adverts("eth0", 4, 1.1)
    next(heard)
    assert not fake.closed
    del heard
    assert fake.closed

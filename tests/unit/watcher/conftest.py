"""The watcher on its stage."""

from typing import Any

import pytest

from unit.support.fakes import Clock, FakeIPR
from unit.support.services import FakeServices
from unit.support.theatre import Theatre
from vrrp_drain.runtime.signals import Cancellation
from vrrp_drain.watcher import loop as module


@pytest.fixture
def stage(services: FakeServices, ipr: FakeIPR, cancellation: Cancellation, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Theatre:
    made = Theatre(services, ipr, cancellation, clock)
    monkeypatch.setattr(module, "Monitor", made.monitor.make)
    remove = ipr.addr

    def addr(command: str, **what: Any) -> None:
        remove(command, **what)
        made.addresses_change()

    monkeypatch.setattr(ipr, "addr", addr)
    return made

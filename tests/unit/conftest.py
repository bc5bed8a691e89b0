"""Fixtures of the unit tests: every path below a temporary root, every wait on a frozen clock."""

import logging
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from freezegun import freeze_time
from hypothesis import settings

from unit.support.fakes import Clock, FakeHaproxy, FakeIPR, FakeSocket, RealClock, rendered
from unit.support.machine import FakeMachine
from unit.support.services import FakeServices
from vrrp_drain.config.model import Config
from vrrp_drain.haproxy import health_check
from vrrp_drain.linux.rtnetlink import Netlink
from vrrp_drain.runtime.paths import Paths
from vrrp_drain.runtime.signals import Cancellation

settings.register_profile("unit", database=None, deadline=None)  # leaves no directory behind, and a busy machine is no failure
settings.load_profile("unit")


@pytest.fixture
def clock() -> Iterator[Clock]:
    """Freeze time near zero, where a float still has all its digits."""
    with freeze_time("1970-01-02", ignore=["_pytest.timing"]) as frozen:
        yield Clock(frozen)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path)


@pytest.fixture
def config() -> Config:
    """The bootstrap instance of a group of two."""
    return Config.parse(rendered())


@pytest.fixture
def ipr() -> FakeIPR:
    return FakeIPR()


@pytest.fixture
def netlink(ipr: FakeIPR) -> Netlink:
    return Netlink(ipr)


@pytest.fixture
def cancellation() -> Iterator[Cancellation]:
    with Cancellation() as entered:
        yield entered


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What the library logs, from INFO on."""
    caplog.set_level(logging.INFO, "vrrp_drain")
    return caplog


@pytest.fixture
def restored_logging() -> Iterator[None]:
    """Take away the handlers that a command has set up."""
    yield
    logging.raiseExceptions = True
    root = logging.getLogger("vrrp_drain")
    for handler in list(root.handlers):
        root.removeHandler(handler)
        with suppress(OSError):  # a full disk is one of the tests
            handler.close()


@pytest.fixture
def raw_socket(monkeypatch: pytest.MonkeyPatch) -> FakeSocket:
    """Every socket that the library opens is this one, and every interface exists."""
    fake = FakeSocket()
    monkeypatch.setattr(socket, "socket", fake.open)
    monkeypatch.setattr(socket, "if_nametoindex", lambda name: 2)
    return fake


@pytest.fixture
def services(request: pytest.FixtureRequest, config: Config, paths: Paths, netlink: Netlink, cancellation: Cancellation) -> FakeServices:
    """This instance on a machine of which the test says everything; on the frozen clock where the test has one. It has IPv6."""
    for interface in ("lo", "eth0", "eth1"):
        setting = paths.ipv6_settings / interface / "disable_ipv6"
        setting.parent.mkdir(parents=True)
        setting.write_text("0\n")
    clock = request.getfixturevalue("clock") if "clock" in request.fixturenames else RealClock()
    return FakeServices.of(config, paths, netlink, cancellation, clock)


@pytest.fixture
def machine(services: FakeServices) -> FakeMachine:
    return services.machine


@pytest.fixture
def haproxy_health(monkeypatch: pytest.MonkeyPatch) -> FakeHaproxy:
    """haproxy answers, until the test gives it a problem."""
    fake = FakeHaproxy()
    monkeypatch.setattr(health_check, "check", fake.check)
    return fake

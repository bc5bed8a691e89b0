"""Fixtures of the unit tests: every path below a temporary root, every wait on a frozen clock."""

import logging
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from freezegun import freeze_time
from hypothesis import settings

from unit.support.fakes import Clock, FakeHaproxy, FakeIPR, FakeNode, FakeSocket, rendered
from vrrp_drain.config.model import Config
from vrrp_drain.handover import greeting
from vrrp_drain.haproxy import health_check
from vrrp_drain.keepalived.attachment import Attachment
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


@pytest.fixture(autouse=True)
def hellos(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> list[Attachment]:
    """Note from where hello is said; nothing leaves this machine. A test with a raw socket says it to that one."""
    said: list[Attachment] = []
    if "raw_socket" not in request.fixturenames:
        monkeypatch.setattr(greeting, "say", lambda config, attachment: said.append(attachment))
    return said


@pytest.fixture
def node(config: Config, paths: Paths, netlink: Netlink, cancellation: Cancellation) -> FakeNode:
    return FakeNode(config, paths, netlink, cancellation)


@pytest.fixture
def haproxy_health(monkeypatch: pytest.MonkeyPatch) -> FakeHaproxy:
    """haproxy answers, until the test gives it a problem."""
    fake = FakeHaproxy()
    monkeypatch.setattr(health_check, "check", fake.check)
    return fake

"""keepalived is told of unicast peers that nobody named. Time is frozen, nothing is run."""

import errno
import subprocess
import time
from dataclasses import replace
from ipaddress import ip_address

import pytest

from unit.support.fakes import PEER, Clock, rendered
from unit.support.services import FakeServices
from vrrp_drain.config.model import Config
from vrrp_drain.handoff.situation import Situation
from vrrp_drain.watcher.acquaintance import Acquaintance


class Reloads:
    """Stands in for subprocess.Popen: processes that end with ``code`` when the test says so."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.code: int | None = None
        self.fault: OSError | None = None

    def open(self, command: list[str], **options: object) -> "Reloads":
        if self.fault is not None:
            raise self.fault
        self.commands.append(command)
        return self

    def poll(self) -> int | None:
        return self.code


@pytest.fixture
def reloads(monkeypatch: pytest.MonkeyPatch) -> Reloads:
    fake = Reloads()
    monkeypatch.setattr(subprocess, "Popen", fake.open)
    return fake


def acquaintance(services: FakeServices, **keepalived: object) -> Acquaintance:
    services.configure(Config.parse(rendered(keepalived={"unicast": True, **keepalived})))
    unicast = services.instance.config.keepalived.unicast
    object.__setattr__(services.instance, "attachment", replace(services.instance.attachment, peers=(ip_address(PEER),) if unicast else ()))
    return Acquaintance(services.instance, services.membership)


def introduces_itself(services: FakeServices, *members: str) -> None:
    services.machine.rules.situation = Situation((4,), members=tuple(map(ip_address, (PEER, *members))), tables=(4,))


def test_keepalived_is_told_of_a_peer_with_another_address(services: FakeServices, clock: Clock, reloads: Reloads) -> None:
    """Once for each, when its hello is heard, and at the latest ten seconds after that; who is known already is no news."""
    ours = acquaintance(services)
    ours.tick(time.monotonic())
    introduces_itself(services, "10.0.0.51")
    ours.tick(time.monotonic())
    assert reloads.commands == []
    ours.hear()
    ours.tick(time.monotonic())
    assert reloads.commands == [[str(services.instance.paths.vrrpctl), "keepalived", "reload"]]
    introduces_itself(services, "10.0.0.51", "10.0.0.52")
    ours.hear()
    ours.tick(time.monotonic())
    assert len(reloads.commands) == 1, "one at a time"
    reloads.code = 0
    for _ in range(8):
        ours.tick(time.monotonic())
        clock.sleep(2.0)
    assert len(reloads.commands) == 2


@pytest.mark.parametrize("fault", [OSError(errno.ENOENT, "No such file or directory"), None])
def test_a_reload_that_fails_is_tried_again(
    services: FakeServices, clock: Clock, reloads: Reloads, log: pytest.LogCaptureFixture, fault: OSError | None
) -> None:
    """And said: that peer hears nothing of us."""
    ours = acquaintance(services)
    introduces_itself(services, "10.0.0.51")
    reloads.fault, reloads.code = fault, 1
    for _ in range(3):
        ours.tick(time.monotonic())
        clock.sleep(0.1)
    said = [each for each in log.messages if each.endswith("a peer with a new address does not hear this instance; it is tried again")]
    assert len(said) == 1
    reloads.fault, reloads.code = None, 0
    clock.sleep(10.0)
    before = len(reloads.commands)
    ours.tick(time.monotonic())
    assert len(reloads.commands) == before + 1


def test_multicast_needs_no_acquaintance(services: FakeServices, clock: Clock, reloads: Reloads) -> None:
    """The group hears everything."""
    ours = acquaintance(services, unicast=False)
    introduces_itself(services, "10.0.0.51")
    ours.tick(time.monotonic())
    assert reloads.commands == []

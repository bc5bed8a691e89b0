"""A watcher on a stage: sockets are fakes, time is frozen, and a test has things happen at their time."""

import os
import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from unit.support.fakes import PEER, PEER_MAC, VIP, Clock, FakeIPR, address
from unit.support.services import FakeServices
from unit.support.world import World
from vrrp_drain.handoff.situation import Situation
from vrrp_drain.haproxy.monitor import Verdict
from vrrp_drain.notify.notice import Kind, Notice
from vrrp_drain.runtime.boot import Boot, Stage
from vrrp_drain.runtime.ip import GROUP_V4, TTL, Packet
from vrrp_drain.runtime.signals import Cancellation
from vrrp_drain.vrrp.advert import Advert, build
from vrrp_drain.vrrp.bands import Band
from vrrp_drain.watcher.loop import Watcher
from vrrp_drain.watcher.metrics import Metrics

DIED, ALIVE = Verdict(False, "connection refused", True), Verdict(True, "", False)
BEGINNING = 86400.0  # seconds since the epoch, of the frozen clock


def packet(priority: int = 253, source: str = PEER, *, version: int = 2, damaged: bool = False) -> Packet:
    advert = Advert(version, 1, priority, 1.0, (ip_address(VIP),))
    payload = build(advert, ip_address(source), GROUP_V4)
    return Packet(ip_address(source), GROUP_V4, TTL, payload[:-1] if damaged else payload)


def when(notice: Notice) -> float:
    """Return how many seconds after the beginning of the test it was."""
    return round(notice.at - BEGINNING, 2)


def lasted(notice: Notice) -> float | None:
    return notice.seconds and round(notice.seconds, 1)


class FakeMonitor:
    """A Monitor whose verdicts a test gives."""

    def __init__(self, world: World) -> None:
        self._fd = world.fd(lambda: bool(self.given))
        self.alive: bool | None = None
        self.full = ""
        self.given: list[Verdict] = []
        self.fresh: list[int] = []
        self.gone: list[int] = []
        self.running = False

    def make(self, *arguments: object) -> "FakeMonitor":
        return self

    def start(self) -> None:
        self.running = True

    def fileno(self) -> int:
        return self._fd

    def verdicts(self) -> list[Verdict]:
        taken, self.given = self.given, []
        return taken

    def newcomers(self) -> list[int]:
        taken, self.fresh = self.fresh, []
        return taken

    def ended(self, pidfd: int) -> None:
        self.gone.append(pidfd)

    def close(self) -> None:
        self.running = False


class Theatre:
    """A watcher with everything around it under the control of a test."""

    def __init__(self, services: FakeServices, ipr: FakeIPR, cancellation: Cancellation, clock: Clock) -> None:
        self.services, self.machine, self.ipr, self.cancellation = services, services.machine, ipr, cancellation
        self.clock = clock
        self.monitor = FakeMonitor(self.machine.world)
        self.machine.answers[VIP] = [PEER_MAC]
        self.metrics = Metrics(254, Situation, int)
        self.told: list[Notice] = []
        self.start = time.monotonic()
        Boot(services.instance.paths.drain_run).enter(Stage.PROMOTED)
        services.control.write(Band.ACTIVE)
        os.utime(services.control.path, (1, 1))

    # what happens

    def at(self, seconds: float, action: Callable[[], object]) -> None:
        self.machine.world.at(self.start + seconds, action)

    def hear(self, *packets: Packet) -> None:
        self.machine.captures[-1].packets += packets

    def adverts(self, begin: float, end: float, **fields: Any) -> None:
        """Have a peer advert every second."""
        for n in range(round(end - begin)):
            self.at(begin + n, lambda: self.hear(packet(**fields)))

    def vip(self, *, here: bool) -> None:
        self.ipr.addresses = [each for each in self.ipr.addresses if each.get_attr("IFA_ADDRESS") != VIP]
        if here:
            self.ipr.addresses.append(address(2, f"{VIP}/32"))
        self.addresses_change()

    def addresses_change(self) -> None:
        """Have the kernel tell of it."""
        for each in self.machine.watches:
            each.changed = True

    def verdict(self, verdict: Verdict) -> None:
        self.monitor.alive = verdict.alive
        self.monitor.given.append(verdict)

    def write(self, band: Band) -> None:
        self.services.control.write(band)
        os.utime(self.services.control.path, (time.time(), time.time()))

    # what comes of it

    def run(self, seconds: float) -> list[Notice]:
        """Watch for ``seconds``; return what was told, without the watcher's first word."""
        self.at(seconds, self.cancellation.cancel)
        self.watcher = Watcher(self.services, self.cancellation, self.metrics, [self.told.append])
        self.watcher.run()
        assert self.told[0].kind is Kind.WATCHER
        return self.told[1:]

    def sample(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"vrrp_drain_{name}", labels)

"""The services of an instance whose handovers end as told, at once."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

from unit.support.fakes import Clock, FakeVipOnLo
from unit.support.machine import FakeMachine
from vrrp_drain.config.model import Config
from vrrp_drain.handover.demote import Demote
from vrrp_drain.handover.handover import Handover
from vrrp_drain.handover.installation import Installation
from vrrp_drain.handover.promote import Promote
from vrrp_drain.handover.runner import Ending
from vrrp_drain.handover.services import Services, assemble
from vrrp_drain.handover.transitions import State
from vrrp_drain.linux.rtnetlink import Netlink
from vrrp_drain.runtime.paths import Paths
from vrrp_drain.runtime.signals import Cancellation


class FakeHandover(Handover):
    """Handovers that end as told; ``timeouts`` are those that they were given."""

    def __init__(self) -> None:
        self.demotion = Ending(Demote.DONE, "handed over", 0.25)
        self.promotion = Ending(Promote.MASTER, "this node is MASTER", 1.1)
        self.fault: BaseException | None = None
        self.timeouts: list[float] = []
        self.patiences: list[float] = []
        self.on_demote: Callable[[], object] = lambda: None
        self.on_promote: Callable[[], object] = lambda: None

    def demote(self, timeout: float, patience: float = 0.0) -> Ending[Demote]:
        self.on_demote()
        self.patiences.append(patience)
        return self._end(timeout, self.demotion)

    def promote(self, timeout: float) -> Ending[Promote]:
        self.on_promote()
        return self._end(timeout, self.promotion)

    def _end(self, timeout: float, ending: Ending[State]) -> Ending[State]:
        self.timeouts.append(timeout)
        if self.fault is not None:
            raise self.fault
        return ending


class FakeInstallation(Installation):
    """An Installation that leaves lo and the interface's settings alone."""

    _vip_on_lo: FakeVipOnLo

    @classmethod
    def of(cls, installation: Installation) -> "FakeInstallation":
        made = cls(installation._instance, installation._machine, installation._membership)
        made._vip_on_lo = FakeVipOnLo()
        return made

    @property
    def vip_on_lo(self) -> FakeVipOnLo:
        return self._vip_on_lo


@dataclass(frozen=True)
class FakeServices(Services):
    """Services over a FakeMachine."""

    machine: FakeMachine
    installation: FakeInstallation
    handover: FakeHandover

    @classmethod
    def of(cls, config: Config, paths: Paths, netlink: Netlink, cancellation: Cancellation, clock: Clock) -> "FakeServices":
        real = assemble(config, paths, FakeMachine(clock, netlink), cancellation)
        parts = {each.name: getattr(real, each.name) for each in fields(real)}
        return cls(**{**parts, "installation": FakeInstallation.of(real.installation), "handover": FakeHandover()})

    def configure(self, config: Config) -> None:
        """Give this instance another configuration: what is frozen for the product is the test's to choose."""
        object.__setattr__(self.instance, "config", config)

    def set_drain(self, **properties: object) -> None:
        """Give it other properties ``vrrp_drain.*``."""
        self.configure(replace(self.instance.config, drain=replace(self.instance.config.drain, **properties)))  # type: ignore[arg-type]

"""Where the watcher looks at this instance from: everything that makes a ``Sight`` (sight.py), asked in one place."""

import time
from collections.abc import Mapping

from vrrp_drain.handover.services import Services
from vrrp_drain.haproxy.monitor import Monitor
from vrrp_drain.keepalived import priority_control
from vrrp_drain.runtime.boot import Boot, Stage
from vrrp_drain.runtime.standing_order import StandingOrder
from vrrp_drain.vrrp.bands import Band

from .actions import Question, Unhealthiness
from .age import Age
from .guard import Guard
from .sight import Sight
from .standing_in import StandIn
from .strays import Strays

_DEMOTED_BY: Mapping[Stage | None, str] = {Stage.DEMOTED: "vrrpctl demote", Stage.LEFT: "vrrpctl leave"}


class Viewpoint:
    """The actions know what they have seen, files and /proc the rest."""

    def __init__(
        self,
        services: Services,
        monitor: Monitor,
        unhealthiness: Unhealthiness,
        question: Question,
        stand_in: StandIn,
        guard: Guard,
        strays: Strays,
    ) -> None:
        self._services, self._instance = services, services.instance
        self._monitor, self._unhealthiness, self._question = monitor, unhealthiness, question
        self._stand_in, self._guard, self._strays = stand_in, guard, strays
        paths = self._instance.paths
        self._stay_out, self._let_go, self._boot = StandingOrder.stay_out(paths), StandingOrder.let_go(paths), Boot(paths.drain_run)
        self._age = Age()

    def look(self, *, vip_here: bool, unserved: str = "") -> Sight:
        """Return this instance as it is now."""
        band, stage = priority_control.band(self._services.control), self._boot.stage()
        found = self._services.machine.processes.look(self._instance.pid_file)
        return Sight(
            keepalived_runs=found is not None and found.vrrp is not None and not self._stand_in.hangs,
            vip_here=vip_here,
            unserved=unserved,
            priority=self.priority(band),
            band=band,
            band_age=self._age.look(self._services.control.changed_at(), time.monotonic(), time.time()),
            unhealthy=self._unhealthiness.unhealthy,
            answered=self._question.answered,
            full=self._monitor.full,
            order=self._stay_out.read(),
            let_go=self._let_go.read(),
            demoted_by=_DEMOTED_BY.get(stage, "") if band is Band.DRAINING else "",
            circled=self._strays.circled,
            refused=self._strays.refused,
            lost=self._guard.lost,
            hangs=self._stand_in.hangs,
            died=self._stand_in.saw_the_end or stage is Stage.DIED,
        )

    def priority(self, band: Band) -> int:
        """Return what we advert in ``band``, as far as we decide it."""
        return self._instance.priority(band, unhealthy=self._unhealthiness.unhealthy)

    def obstacle(self) -> str:
        """Return what is wrong with the interface, or nothing."""
        wrong = self._services.machine.netlink.obstacle(self._instance.interface)
        return f"{self._instance.interface} {wrong}" if wrong else ""

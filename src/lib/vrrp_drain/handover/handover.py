"""The two moves of an instance: demote hands the VIP over, promote competes for it. Each proves how it ended."""

import logging

from vrrp_drain.keepalived import priority_control
from vrrp_drain.keepalived.instance import Instance
from vrrp_drain.keepalived.priority_control import PriorityControl
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import IPAddress
from vrrp_drain.runtime.signals import Cancellation
from vrrp_drain.vrrp import bands
from vrrp_drain.vrrp.bands import Band

from . import demote, promote, proof
from .announcements import Announcements
from .arming import Arming
from .event_source import EventSource
from .machine import Machine
from .membership import Membership
from .prospects import Prospects
from .runner import Ending, Farewell, Runner
from .transitions import Action, State, Table
from .vip import Vip

log = logging.getLogger(__name__)


class Handover:
    """Moves of one instance; a signal (``cancellation``) ends one at any time, with the priority back."""

    def __init__(
        self,
        instance: Instance,
        machine: Machine,
        control: PriorityControl,
        membership: Membership,
        announcements: Announcements,
        cancellation: Cancellation,
    ) -> None:
        self._instance, self._machine, self._control = instance, machine, control
        self._membership, self._announcements, self._cancellation = membership, announcements, cancellation

    def demote(self, timeout: float, patience: float = 0.0) -> Ending[demote.Demote]:
        """Hand the VIP over, or find out within ``timeout`` seconds that nobody takes it.

        A MASTER without a successor waits ``patience`` seconds where they are more, as long as somebody may come.

        With NO_SUCCESSOR the priority stays lowered: what then is the caller's policy. When we ourselves fail on the
        way, the priority goes back.
        """
        priority = self._instance.lowered
        if problem := self._machine.haproxy.health(self._instance.config.drain).problem:
            log.warning("%s: clients of %s are not served from here, any healthy peer takes it", problem, self._instance.vip)
            priority = bands.effective(priority + self._instance.config.keepalived.unhealthy_weight)
        self._announcements.greet(log.warning)
        prospects = Prospects(self._instance, self._membership)
        return self._run(demote.TABLE, priority, timeout, Band.ACTIVE, prospects, lowered=priority, patience=patience)

    def promote(self, timeout: float) -> Ending[promote.Promote]:
        """Compete for the VIP and prove the result within ``timeout`` seconds; otherwise the band goes back."""
        before = priority_control.band(self._control)
        self._announcements.greet(log.warning)
        Arming(self._instance, self._machine, self._membership).leave_with_the_master()
        return self._run(promote.TABLE, self._instance.needed_to_outrank, timeout, before)

    def _run(
        self,
        table: Table[State],
        our_priority: int,
        timeout: float,
        before: Band,
        prospects: Prospects | None = None,
        *,
        lowered: int = 0,
        patience: float = 0.0,
    ) -> Ending[State]:
        """Run ``table``; ``before`` is the band that is put back where that is called for, also when we ourselves fail."""
        actor = _Actor(self._instance, self._machine, self._control, self._announcements, prospects, before)
        register = self._membership.register()
        try:
            with EventSource(self._instance, self._machine, register, our_priority, self._cancellation, prospects) as source:
                runner = Runner(source, actor, self._instance.config.keepalived.advert_int, log.info)
                return runner.run(table, timeout, self._facts(lowered), patience)
        except Exception:
            priority_control.put_back(self._control, before)
            raise

    def _facts(self, lowered: int) -> dict[str, object]:
        return {
            "vip": self._instance.vip,
            "interface": self._instance.interface,
            "vip_interface": self._instance.attachment.vip_interface,
            "vrid": self._instance.config.keepalived.virtual_router_id,
            "active": self._instance.active,
            "lowered": lowered,
            **proof.words(self._instance),
        }


class _Actor:
    """Does what the actions of a table say."""

    def __init__(
        self,
        instance: Instance,
        machine: Machine,
        control: PriorityControl,
        announcements: Announcements,
        prospects: Prospects | None,
        before: Band,
    ) -> None:
        self._instance, self._control, self._before = instance, control, before
        self._announcements, self._prospects, self._vip = announcements, prospects, Vip(instance, machine)

    def perform(self, action: Action) -> None:
        match action:
            case Action.LOWER:
                self._write(Band.DRAINING)
            case Action.RAISE:
                self._write(Band.ACTIVE)
            case Action.PUT_BACK:
                self._write(self._before)
            case Action.REMOVE_STALE_VIP:
                self._vip.remove_stale()
            case Action.PROBE | Action.RESIGN | Action.LOOK_OUT:  # the runner's: they are done again and again
                raise AssertionError(action)

    def _write(self, band: Band) -> None:
        """Write the band, and tell the peers what it means for them."""
        self._control.write(band)
        self._announcements.greet(log.warning)

    def farewell(self) -> Farewell:
        """Return how it is said that we leave, and decide once whether priority 0 is part of it."""
        resign, lowered = self._may_resign(), self._instance.lowered

        def say(successor: IPAddress | None) -> None:
            try:
                if successor is None:
                    self._announcements.leaving(lowered, resign=resign)
                else:
                    self._announcements.remind(lowered, successor)
            except SystemFault as error:
                log.warning(
                    "%s: peers that do not preempt take the VIP over only after they were told, and open connections may be cut", error
                )

        return say

    def _may_resign(self) -> bool:
        """Tell whether to advert priority 0: a successor that only waits its skew must be there, and its haproxy answer.

        Peers that do not preempt take the VIP over in no other way.
        """
        if not self._instance.config.keepalived.preempt:
            return True
        if not self._instance.config.drain.fast_handover:
            return False
        healthy = self._prospects.recent().healthy if self._prospects is not None else ()
        if not healthy:
            log.info("no peer's haproxy answers us, so none is hurried: the handover takes three advert intervals")
        return bool(healthy)

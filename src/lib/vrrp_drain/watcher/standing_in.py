"""Whether keepalived speaks for the VIP (lifeline.py), and who speaks for it where it does not (deputy.py)."""

import time

from vrrp_drain.handover.services import Services
from vrrp_drain.runtime.logs import Complaints
from vrrp_drain.vrrp.peer_table import PeerTable

from .deputy import Deputy, Loss
from .lifeline import Lifeline


class StandIn:
    """An action of the watcher's: sees keepalived end or hang in the moment in which it does."""

    def __init__(self, services: Services, peer_table: PeerTable, complaints: Complaints) -> None:
        instance = services.instance
        self._peer_table = peer_table
        self._lifeline = Lifeline(services.machine, instance.pid_file, instance.config.keepalived.advert_int)
        self._deputy = Deputy(services, complaints)

    @property
    def due(self) -> float:
        """Return when to look at keepalived next (monotonic seconds)."""
        return self._lifeline.due

    @property
    def hangs(self) -> bool:
        """Tell whether keepalived is there, and makes no progress."""
        return self._lifeline.hangs

    @property
    def saw_the_end(self) -> bool:
        """Tell whether keepalived ended or hung just now while the VIP was here: that explains what follows."""
        return self._deputy.saw_the_end

    def meet(self) -> list[int]:
        """Return descriptors of keepalived's processes that are new; give each to ``ended`` when it is readable."""
        return self._lifeline.meet()

    def ended(self, pidfd: int, *, vip_here: bool, unhealthy: bool) -> None:
        self._lifeline.ended(pidfd)
        self._lose(Loss.ENDED, vip_here=vip_here, unhealthy=unhealthy)

    def lives(self) -> None:
        """keepalived is there, and speaks."""
        self._deputy.lives()

    def gave_up(self, *, unhealthy: bool) -> None:
        """The VIP left, and keepalived runs: where no peer is heard that has it, say that we leave."""
        if self._peer_table.master(time.monotonic()) is None:
            self._deputy.gave_up(unhealthy=unhealthy)

    def tick(self, *, vip_here: bool, unhealthy: bool) -> tuple[bool, float]:
        """Do what is due; return whether keepalived was found to hang just now, and when to come back at the latest."""
        now, hung = time.monotonic(), self._lifeline.hangs
        self._lifeline.look(now, vip_here=vip_here)
        if hangs_now := self._lifeline.hangs and not hung:
            self._lose(Loss.HANGS, vip_here=vip_here, unhealthy=unhealthy)
        return hangs_now, self._deputy.tick(now, self._peer_table.master(now), vip_here=vip_here)

    def _lose(self, loss: Loss, *, vip_here: bool, unhealthy: bool) -> None:
        self._deputy.lost(loss, self._peer_table.master(time.monotonic()), vip_here=vip_here, unhealthy=unhealthy)

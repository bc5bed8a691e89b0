"""`vrrpctl watch`: sees adverts, addresses, keepalived and haproxy, and tells what happened and why.

It acts on the one thing that keepalived does slowly, the death of haproxy (actions.py), and has an instance take part again where
no lifecycle script does, as after a reboot (comeback.py). Scripts never wait for it; when it is gone, keepalived's own check
still stands. Everything that it tells goes to receivers that return at once.
"""

import logging
import selectors
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace

from vrrp_drain.handover.machine import Watch, WatchOfRules
from vrrp_drain.handover.services import Services
from vrrp_drain.haproxy.monitor import Monitor, Verdict
from vrrp_drain.haproxy.rise_fall import RiseFall
from vrrp_drain.keepalived import priority_control
from vrrp_drain.keepalived.log_limit import KeepalivedLog
from vrrp_drain.notify.notice import Kind, Notice
from vrrp_drain.runtime.errors import SystemFault, what_happened
from vrrp_drain.runtime.ip import IPAddress
from vrrp_drain.runtime.logs import Complaints
from vrrp_drain.runtime.signals import Cancellation
from vrrp_drain.vrrp.election import Heard
from vrrp_drain.vrrp.peer_table import PeerTable

from .acquaintance import Acquaintance
from .actions import Introduction, Question, Unhealthiness
from .announcing import Announcing
from .comeback import Comeback
from .diagnosis import Diagnosis
from .guard import Guard
from .hearing import Hearing
from .leavers import Leavers
from .metrics import Metrics
from .precaution import Precaution
from .serving import Serving
from .sight import Sight
from .standing_in import StandIn
from .strays import Strays
from .telling import Telling
from .viewpoint import Viewpoint

log = logging.getLogger(__name__)

_LOOK_EVERY = 0.25  # seconds, when nothing happens
_ADDRESSES_EVERY = 5.0  # seconds; to ask the kernel is dear, and it tells when they change


class Watcher:
    """Runs until it is told to stop. ``receivers`` are called with every notice, after the log and the metrics."""

    def __init__(
        self, services: Services, cancellation: Cancellation, metrics: Metrics, receivers: Sequence[Callable[[Notice], None]]
    ) -> None:
        self._services, self._instance, self._machine = services, services.instance, services.machine
        self._cancellation, self._metrics, self._telling = cancellation, metrics, Telling(metrics, receivers)
        self._complaints = complaints = Complaints(log)
        self._peer_table = PeerTable(self._instance.config.keepalived.advert_int)
        self._unhealthiness = Unhealthiness(services, complaints)
        self._stand_in = StandIn(services, self._peer_table, complaints)
        self._guard = Guard(services.installation, complaints)
        self._comeback = Comeback(self._instance, services.control, services.installation)
        self._question = Question(self._instance, self._machine)
        self._leavers, self._strays = Leavers(self._instance, self._machine), Strays(self._machine.rules)
        self._serving = Serving(self._instance, self._machine)
        self._introduction = Introduction(services.announcements, complaints, self._serving.open_here)
        self._precaution = Precaution(services, complaints)
        self._announcing = Announcing(self._instance, self._machine, complaints)
        self._acquaintance = Acquaintance(self._instance, services.membership)
        self._keepalived_log = KeepalivedLog(self._instance.paths.keepalived_log, complaints)
        drain = self._instance.config.drain
        self._monitor = Monitor(
            RiseFall(drain.health_interval, drain.health_fall, drain.health_rise),
            lambda patience: self._machine.haproxy.health(drain, patience),
            drain.haproxy_pid_file,
        )
        self._hearing = Hearing(
            *(services, self._peer_table, metrics, self._introduction, self._announcing, self._acquaintance),
            outranks=self._outranks,
            hear_peer=self._hear_peer,
        )
        self._viewpoint = Viewpoint(
            *(services, self._monitor, self._unhealthiness, self._question, self._stand_in, self._guard, self._strays)
        )
        self._vip_here, self._unserved = services.vip.is_here(), ""
        self._look_at = self._see_addresses_at = 0.0

    def run(self) -> None:
        """Watch. Raises SystemFault where adverts or addresses cannot be seen at all."""
        self._comeback.prepare()
        self._diagnosis = Diagnosis(self._instance.config, self._peer_table, self._sight(), time.monotonic())
        with ExitStack() as stack:
            self._selector = stack.enter_context(self._machine.selector())
            self._hearing.open(self._selector)
            stack.callback(self._hearing.close)
            addresses = self._machine.watch_addresses()
            stack.callback(addresses.close)
            self._selector.register(addresses.fileno(), selectors.EVENT_READ, lambda: self._addresses_changed(addresses))
            self._watch_rules(stack)
            self._selector.register(self._monitor.fileno(), selectors.EVENT_READ, self._hear_verdicts)
            self._selector.register(self._cancellation.fileno(), selectors.EVENT_READ, lambda: None)
            self._telling.tell(self._diagnosis.started(time.time(), rebooted=self._comeback.rebooted))
            self._monitor.start()
            stack.callback(self._monitor.close)
            stack.callback(self._leavers.close)
            stack.callback(self._precaution.close)
            while not self._cancellation.requested:
                self._wait_and_act()
        self._unhealthiness.leave()
        self._telling.close()

    def _wait_and_act(self) -> None:
        due = min(self._see_to_keepalived(), self._look_at, self._unhealthiness.tick(), self._stand_in.due, self._take_precaution())
        ready = {key.fd: key.data for key, _ in self._selector.select(max(0.0, due - time.monotonic()))}
        adverts = self._hearing.fileno()
        for fd in sorted(ready, key=lambda fd: fd != adverts):  # adverts explain what the others tell
            ready[fd]()
        if {*ready} - {adverts} or time.monotonic() >= self._look_at:
            self._look()

    # looking

    def _look(self) -> None:
        """Look at everything, do what is due, and tell what is new."""
        self._look_at = time.monotonic() + _LOOK_EVERY
        try:
            self._meet()
            if time.monotonic() >= self._see_addresses_at:
                self._see_addresses()
            self._hearing.receive()  # who stood still may not be alone any more, and says where the VIP is only after that
            self._act()
            sight = self._sight()
            if sight.keepalived_runs:
                self._stand_in.lives()
            self._comeback.tick(sight.band, alive=self._monitor.alive, keepalived_runs=sight.keepalived_runs)
            if self._diagnosis.yields(sight):
                sight = replace(sight, obstacle=self._viewpoint.obstacle())
            self._hearing.receive()  # keepalived heard them before it did what is in sight: they explain it
            if self._diagnosis.yields(sight) and sight.keepalived_runs:
                self._stand_in.gave_up(unhealthy=sight.unhealthy)
            self._tell_of(sight)
            self._take_stale_vip_away(sight)
            self._complaints.over("look")
        except (OSError, SystemFault) as error:
            self._complaints.about("look", f"cannot see how this instance stands ({what_happened(error)}); it is tried again")

    def _act(self) -> None:
        """Give each action its turn; the one that only the VIP's leaving hurries is first."""
        if self._serving.tick(time.monotonic(), vip_here=self._vip_here, serves=self._monitor.alive is not False):
            self._introduction.hurry()
        self._introduction.tick(time.monotonic())
        self._announcing.tick(time.monotonic(), vip_here=self._vip_here)
        self._acquaintance.tick(time.monotonic())
        self._keepalived_log.tick(time.monotonic())
        self._question.tick(time.monotonic(), vip_here=self._vip_here)
        try:
            self._leavers.tick(time.monotonic(), gets_packets=self._vip_here or self._serving.some)
            self._strays.tick(time.monotonic())
            self._complaints.over("rules")
        except SystemFault as error:
            self._complaints.about("rules", f"{error}: whether a peer that open connections are handed on to is there is not known")
        self._guard.tick(time.monotonic())

    def _sight(self) -> Sight:
        return self._viewpoint.look(vip_here=self._vip_here, unserved=self._unserved)

    def _tell_of(self, sight: Sight) -> None:
        self._metrics.see(sight.state, sight.band, sight.priority, self._monitor.alive)
        for notice in self._diagnosis.look(sight, time.monotonic(), time.time()):
            self._telling.tell(notice)
        if (peer := self._diagnosis.reunited) is not None:
            self._tell_of_a_rival(peer)
        self._telling.tick()

    def _tell_of_a_rival(self, master: IPAddress) -> None:
        """keepalived yields without a word, so ``master`` may not know that there were two: it announces the VIPs when it hears us."""
        try:
            self._services.announcements.yielded()
            self._complaints.over("rival")
        except SystemFault as error:
            self._complaints.about("rival", f"{error}: who has not learnt yet that the VIP is at {master} goes on to this instance")

    def _take_stale_vip_away(self, sight: Sight) -> None:
        """Where a peer has the VIP, a second machine that answers for it only hurts. Where none has, it still serves."""
        if not self._diagnosis.is_on(Kind.STALE_VIP) or not sight.vip_here:
            return
        if (master := self._peer_table.master(time.monotonic())) is not None and self._services.vip.remove_stale():
            log.warning("%s was taken off %s: %s has it", self._instance.vip, self._instance.attachment.vip_interface, master.source)

    def _outranks(self, priority: int) -> bool:
        """Tell whether we are MASTER and stay so beside a peer that adverts ``priority``."""
        return self._vip_here and priority < self._priority()

    def _priority(self) -> int:
        return self._viewpoint.priority(priority_control.band(self._services.control))

    def _hear_peer(self, heard: Heard) -> None:
        self._precaution.hear(heard, vip_here=self._vip_here, priority=self._priority)

    def _take_precaution(self) -> float:
        return self._precaution.tick(time.monotonic(), vip_here=self._vip_here)

    # what wakes us up

    def _addresses_changed(self, watch: Watch) -> None:
        watch.drain()
        self._see_addresses_at = 0.0
        self._serving.changed(time.monotonic())
        self._guard.changed()

    def _see_addresses(self) -> None:
        self._vip_here = self._services.vip.is_here()
        self._unserved = "; ".join(map(str, self._services.vip.unserved()))
        self._hearing.renew()
        self._see_addresses_at = time.monotonic() + _ADDRESSES_EVERY

    def _watch_rules(self, stack: ExitStack) -> None:
        """Without it the rules are looked at now and then."""
        try:
            watch = self._machine.watch_rules()
        except OSError as error:
            log.info(
                "the kernel does not tell who changes its nftables rules (%s): they are looked at every few seconds", what_happened(error)
            )
            return
        stack.callback(watch.close)
        self._selector.register(watch.fileno(), selectors.EVENT_READ, lambda: self._rules_changed(watch))

    def _rules_changed(self, watch: WatchOfRules) -> None:
        watch.drain()
        if watch.by is not None:
            self._guard.changed(watch.by)

    def _hear_verdicts(self) -> None:
        for verdict in self._monitor.verdicts():
            self._act_on(verdict)

    def _act_on(self, verdict: Verdict) -> None:
        now = time.monotonic()
        if not verdict.alive:
            self._unhealthiness.died(lives=verdict.lives)
        elif self._unhealthiness.unhealthy:
            self._unhealthiness.back(self._peer_table.master(now))
        else:
            return  # seen for the first time
        self._telling.tell(self._diagnosis.haproxy(verdict, now, time.time()))

    def _meet(self) -> None:
        """Watch the processes that are new."""
        for pidfd in self._stand_in.meet():
            self._selector.register(pidfd, selectors.EVENT_READ, lambda pidfd=pidfd: self._keepalived_ended(pidfd))
        for pidfd in self._monitor.newcomers():
            self._selector.register(pidfd, selectors.EVENT_READ, lambda pidfd=pidfd: self._haproxy_ended(pidfd))

    def _keepalived_ended(self, pidfd: int) -> None:
        self._selector.unregister(pidfd)
        self._stand_in.ended(pidfd, vip_here=self._vip_here, unhealthy=self._unhealthiness.unhealthy)

    def _haproxy_ended(self, pidfd: int) -> None:
        self._selector.unregister(pidfd)
        self._monitor.ended(pidfd)

    def _see_to_keepalived(self) -> float:
        """See whether keepalived speaks for the VIP, and speak for it where it does not; return when to come back at the latest."""
        hangs_now, due = self._stand_in.tick(vip_here=self._vip_here, unhealthy=self._unhealthiness.unhealthy)
        if hangs_now:
            self._look_at = time.monotonic()  # and tell
        return due

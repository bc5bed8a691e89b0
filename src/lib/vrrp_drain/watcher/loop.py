"""`vrrpctl watch`: sees adverts, addresses, keepalived and haproxy, and tells what happened and why.

It acts on the one thing that keepalived does slowly, the death of haproxy (actions.py), and has an instance take part again where
no lifecycle script does, as after a reboot (comeback.py). Scripts never wait for it; when it is gone, keepalived's own check
still stands. Everything that it tells goes to receivers that return at once.
"""

import logging
import selectors
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

from vrrp_drain.handover.advert_stream import WireStream
from vrrp_drain.handover.machine import Watch, WatchOfRules
from vrrp_drain.handover.services import Services
from vrrp_drain.haproxy.monitor import Monitor, Verdict
from vrrp_drain.haproxy.rise_fall import RiseFall
from vrrp_drain.keepalived import priority_control
from vrrp_drain.keepalived.log_limit import KeepalivedLog
from vrrp_drain.notify.damper import Damper
from vrrp_drain.notify.notice import Kind, Notice, Severity
from vrrp_drain.runtime.boot import Boot, Stage
from vrrp_drain.runtime.errors import SystemFault, what_happened
from vrrp_drain.runtime.ip import IPAddress
from vrrp_drain.runtime.logs import Complaints
from vrrp_drain.runtime.signals import Cancellation
from vrrp_drain.runtime.standing_order import StandingOrder
from vrrp_drain.vrrp import hello
from vrrp_drain.vrrp.advert import RESIGN
from vrrp_drain.vrrp.bands import Band
from vrrp_drain.vrrp.election import Heard, Standing
from vrrp_drain.vrrp.hello import Open
from vrrp_drain.vrrp.peer_table import PeerTable

from .actions import Acquaintance, Introduction, Question, Unhealthiness
from .announcing import Announcing
from .comeback import Comeback
from .deputy import Deputy, Loss
from .diagnosis import Diagnosis
from .guard import Guard
from .leavers import Leavers
from .lifeline import Lifeline
from .metrics import Metrics
from .serving import Serving
from .sight import Sight
from .strays import Strays

log = logging.getLogger(__name__)

_LOOK_EVERY = 0.25  # seconds, when nothing happens
_ADDRESSES_EVERY = 5.0  # seconds; to ask the kernel is dear, and it tells when they change
_DEMOTED_BY: Mapping[Stage | None, str] = {Stage.DEMOTED: "vrrpctl demote", Stage.LEFT: "vrrpctl leave"}
_LONGEST_AGE = 3600.0  # seconds; how old a band is does not matter beyond that


class Age:
    """How many seconds ago a file was written, whatever becomes of the wall clock afterwards."""

    def __init__(self) -> None:
        self._written: float | None = None
        self._since = self._looked = float("-inf")

    def look(self, written: float | None, now: float, at: float) -> float:
        """``written`` and ``at`` are since the epoch, ``now`` is monotonic: what is new was written since the last look."""
        if written != self._written:
            self._written = written
            self._since = now - min(max(0.0, at - (written or 0.0)), now - self._looked)
        self._looked = now
        return min(now - self._since, _LONGEST_AGE)


class Watcher:
    """Runs until it is told to stop. ``tell`` is called with every notice, after the log and the metrics."""

    def __init__(self, services: Services, cancellation: Cancellation, metrics: Metrics, tell: Sequence[Callable[[Notice], None]]) -> None:
        self._services, self._instance, self._machine = services, services.instance, services.machine
        self._cancellation, self._metrics, self._tell, self._damper = cancellation, metrics, tell, Damper()
        self._complaints = Complaints(log)
        self._peer_table = PeerTable(self._instance.config.keepalived.advert_int)
        self._unhealthiness = Unhealthiness(services, self._complaints)
        self._comeback = Comeback(self._instance, services.control, services.installation)
        self._question = Question(self._instance, self._machine)
        self._leavers, self._strays = Leavers(self._instance, self._machine), Strays(self._machine.rules)
        self._stay_out, self._let_go = StandingOrder.stay_out(self._instance.paths), StandingOrder.let_go(self._instance.paths)
        self._boot = Boot(self._instance.paths.drain_run)
        self._serving = Serving(self._instance, self._machine)
        self._introduction = Introduction(services.announcements, self._complaints, self._serving.open_here)
        self._announcing = Announcing(self._instance, self._machine, self._complaints)
        self._acquaintance = Acquaintance(self._instance, services.membership)
        self._keepalived_log = KeepalivedLog(self._instance.paths.keepalived_log, self._complaints)
        drain = self._instance.config.drain
        self._monitor = Monitor(
            RiseFall(drain.health_interval, drain.health_fall, drain.health_rise),
            lambda patience: self._machine.haproxy.health(drain, patience),
            drain.haproxy_pid_file,
        )
        self._register, self._vip_here = services.membership.register(), services.vip.is_here()
        self._lifeline = Lifeline(self._machine, self._instance.pid_file, self._instance.config.keepalived.advert_int)
        self._deputy = Deputy(services, self._complaints)
        self._guard = Guard(services.installation, self._complaints)
        self._age = Age()
        self._look_at = self._see_addresses_at = 0.0

    def run(self) -> None:
        """Watch. Raises SystemFault where adverts or addresses cannot be seen at all."""
        self._comeback.prepare()
        self._diagnosis = Diagnosis(self._instance.config, self._peer_table, self._sight(), time.monotonic())
        with ExitStack() as stack:
            self._selector = stack.enter_context(self._machine.selector())
            self._stream = self._open_stream()
            self._know()
            stack.callback(lambda: self._stream.close())
            addresses = self._machine.watch_addresses()
            stack.callback(addresses.close)
            self._selector.register(addresses.fileno(), selectors.EVENT_READ, lambda: self._addresses_changed(addresses))
            self._watch_rules(stack)
            self._selector.register(self._monitor.fileno(), selectors.EVENT_READ, self._hear_verdicts)
            self._selector.register(self._cancellation.fileno(), selectors.EVENT_READ, lambda: None)
            self._send(self._diagnosis.started(time.time(), rebooted=self._comeback.rebooted))
            self._monitor.start()
            stack.callback(self._monitor.close)
            stack.callback(self._leavers.close)
            while not self._cancellation.requested:
                self._wait_and_act()
        self._unhealthiness.leave()
        self._tell_all(self._damper.rest(time.monotonic()))

    def _wait_and_act(self) -> None:
        due = min(self._stand_in(), self._look_at, self._unhealthiness.tick(), self._lifeline.due)
        ready = {key.fd: key.data for key, _ in self._selector.select(max(0.0, due - time.monotonic()))}
        adverts = self._stream.fileno()
        for fd in sorted(ready, key=lambda fd: fd != adverts):  # adverts explain what the others tell
            ready[fd]()
        if {*ready} - {adverts} or time.monotonic() >= self._look_at:
            self._look()

    def _look(self) -> None:
        """Look at everything, and tell what is new."""
        self._look_at = time.monotonic() + _LOOK_EVERY
        try:
            self._meet()
            if time.monotonic() >= self._see_addresses_at:
                self._see_addresses()
            if self._serving.tick(time.monotonic(), vip_here=self._vip_here):
                self._introduction.hurry()
            self._introduction.tick(time.monotonic())
            self._announcing.tick(time.monotonic(), vip_here=self._vip_here)
            self._acquaintance.tick(time.monotonic())
            self._keepalived_log.tick(time.monotonic())
            self._question.tick(time.monotonic(), vip_here=self._vip_here)
            self._ask_the_rules()
            self._guard.tick(time.monotonic())
            sight = self._sight()
            if sight.keepalived_runs:
                self._deputy.lives()
            self._comeback.tick(sight.band, alive=self._monitor.alive, keepalived_runs=sight.keepalived_runs)
            if self._diagnosis.yields(sight):
                sight = replace(sight, obstacle=self._obstacle())
            self._hear_adverts()  # keepalived heard them before it did what is in sight: they explain it
            if self._diagnosis.yields(sight) and sight.keepalived_runs and self._peer_table.master(time.monotonic()) is None:
                self._deputy.gave_up(unhealthy=sight.unhealthy)
            self._metrics.see(sight.state, sight.band, sight.priority, self._monitor.alive)
            for notice in self._diagnosis.look(sight, time.monotonic(), time.time()):
                self._send(notice)
            if (peer := self._diagnosis.reunited) is not None:
                self._tell_of_a_rival(peer)
            self._tell_all(self._damper.due(time.monotonic()))
            self._take_stale_vip_away(sight)
            self._complaints.over("look")
        except (OSError, SystemFault) as error:
            self._complaints.about("look", f"cannot see how this instance stands ({what_happened(error)}); it is tried again")

    def _ask_the_rules(self) -> None:
        try:
            self._leavers.tick(time.monotonic(), gets_packets=self._vip_here or self._serving.some)
            self._strays.tick(time.monotonic())
            self._complaints.over("rules")
        except SystemFault as error:
            self._complaints.about("rules", f"{error}: whether a peer that open connections are handed on to is there is not known")

    def _sight(self) -> Sight:
        band = priority_control.band(self._services.control)
        found = self._machine.processes.look(self._instance.pid_file)
        stage = self._boot.stage()
        return Sight(
            keepalived_runs=found is not None and found.vrrp is not None and not self._lifeline.hangs,
            vip_here=self._vip_here,
            priority=self._instance.priority(band, unhealthy=self._unhealthiness.unhealthy),
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
            hangs=self._lifeline.hangs,
            died=self._deputy.saw_the_end or stage is Stage.DIED,
        )

    def _obstacle(self) -> str:
        """Return what is wrong with the interface, or nothing."""
        wrong = self._machine.netlink.obstacle(self._instance.interface)
        return f"{self._instance.interface} {wrong}" if wrong else ""

    def _send(self, notice: Notice) -> None:
        """Count it, and tell it unless there are too many of its kind."""
        self._metrics.notice(notice)
        self._tell_all(self._damper.take(notice, time.monotonic()))

    def _tell_all(self, notices: Iterable[Notice]) -> None:
        for notice in notices:
            self._tell_one(notice)

    def _tell_one(self, notice: Notice) -> None:
        log.log(logging.WARNING if notice.severity is Severity.WARNING else logging.INFO, "%s", notice.line())
        for tell in self._tell:
            tell(notice)

    # what wakes us up

    def _hear_adverts(self) -> None:
        for heard in self._stream.receive():
            if heard.standing is Standing.HELLO:
                starts = hello.found(heard.packet) is Open.NONE
                self._introduction.hear(heard.source, heard.at, starts=starts)
                self._announcing.hear(hello.word(heard.packet))
                if heard.source not in self._known:
                    self._acquaintance.hear()
            if self._yields_to_us(heard):
                self._announcing.meet(heard.at)
            if verdict := self._peer_table.hear(heard):
                self._metrics.advert(verdict)
            if heard.standing in (Standing.PEER, Standing.CHANGING) and heard.source not in self._known:
                self._know()

    def _yields_to_us(self, heard: Heard) -> bool:
        """Tell whether a peer adverts as MASTER beside us, and we stay (RFC 5798 section 6.4.3)."""
        if heard.advert is None or heard.standing is not Standing.PEER or not self._vip_here or heard.advert.priority == RESIGN:
            return False
        ours = self._instance.priority(priority_control.band(self._services.control), unhealthy=self._unhealthiness.unhealthy)
        return heard.advert.priority < ours

    def _know(self) -> None:
        """Have the peers' adverts heard whatever else there is on the segment."""
        self._known = self._register.current.members | self._peer_table.sources
        self._stream.know(self._known)

    def _addresses_changed(self, watch: Watch) -> None:
        watch.drain()
        self._see_addresses_at = 0.0
        self._guard.changed()

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
        self._send(self._diagnosis.haproxy(verdict, now, time.time()))

    def _meet(self) -> None:
        """Watch the processes that are new."""
        for pidfd in self._lifeline.meet():
            self._selector.register(pidfd, selectors.EVENT_READ, lambda pidfd=pidfd: self._keepalived_ended(pidfd))
        for pidfd in self._monitor.newcomers():
            self._selector.register(pidfd, selectors.EVENT_READ, lambda pidfd=pidfd: self._haproxy_ended(pidfd))

    def _keepalived_ended(self, pidfd: int) -> None:
        self._selector.unregister(pidfd)
        self._lifeline.ended(pidfd)
        self._lose(Loss.ENDED)

    def _lose(self, loss: Loss) -> None:
        master = self._peer_table.master(time.monotonic())
        self._deputy.lost(loss, master, vip_here=self._vip_here, unhealthy=self._unhealthiness.unhealthy)

    def _stand_in(self) -> float:
        """See whether keepalived speaks for the VIP, and speak for it where it does not; return when to come back at the latest."""
        now, hung = time.monotonic(), self._lifeline.hangs
        self._lifeline.look(now, vip_here=self._vip_here)
        if self._lifeline.hangs and not hung:
            self._lose(Loss.HANGS)
            self._look_at = now  # and tell
        return self._deputy.tick(now, self._peer_table.master(now), vip_here=self._vip_here)

    def _haproxy_ended(self, pidfd: int) -> None:
        self._selector.unregister(pidfd)
        self._monitor.ended(pidfd)

    def _see_addresses(self) -> None:
        self._register.renew()
        self._vip_here = self._services.vip.is_here()
        self._know()
        if self._services.vip.interface_index() not in (None, self._index):  # it was taken away and made anew
            deaf, self._stream = self._stream, self._open_stream()
            self._selector.unregister(deaf.fileno())
            deaf.close()
            log.info("%s was made anew: putting in place again what a handover needs of it", self._instance.interface)
            self._services.installation.hold()
        self._see_addresses_at = time.monotonic() + _ADDRESSES_EVERY

    def _open_stream(self) -> WireStream:
        index = self._services.vip.interface_index()
        stream = WireStream(self._machine, self._instance, self._register)
        self._selector.register(stream.fileno(), selectors.EVENT_READ, self._hear_adverts)
        self._index = index
        return stream

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

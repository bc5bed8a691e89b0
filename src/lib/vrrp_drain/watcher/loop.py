"""`vrrpctl watch`: sees adverts, addresses, keepalived and haproxy, and tells what happened and why.

It acts on the one thing that keepalived does slowly, the death of haproxy (actions.py), and has an instance take part again where
no lifecycle script does, as after a reboot (comeback.py). Scripts never wait for it; when it is gone, keepalived's own check
still stands. Everything that it tells goes to receivers that return at once.
"""

import logging
import os
import selectors
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace

from vrrp_drain.handover.node import Node
from vrrp_drain.haproxy import health
from vrrp_drain.haproxy.monitor import Monitor, Verdict
from vrrp_drain.haproxy.rise_fall import RiseFall
from vrrp_drain.keepalived.log_limit import KeepalivedLog
from vrrp_drain.linux import process
from vrrp_drain.linux.packet_capture import PacketCapture
from vrrp_drain.linux.rtnetlink import AddressWatch, Netlink
from vrrp_drain.notify.damper import Damper
from vrrp_drain.notify.notice import Kind, Notice, Severity
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.logs import Complaints
from vrrp_drain.runtime.signals import Cancellation
from vrrp_drain.vrrp import hello
from vrrp_drain.vrrp.advert import valid
from vrrp_drain.vrrp.election import Register
from vrrp_drain.vrrp.peer_table import AdvertVerdict, PeerTable
from vrrp_drain.watcher.leavers import Leavers
from vrrp_drain.watcher.strays import Strays

from .actions import Health, Introduction, Question
from .comeback import Comeback
from .diagnosis import Diagnosis
from .metrics import Metrics
from .sight import Sight

log = logging.getLogger(__name__)

_LOOK_EVERY = 0.25  # seconds, when nothing happens
_ADDRESSES_EVERY = 5.0  # seconds; to ask the kernel is dear, and it tells when they change
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

    def __init__(
        self,
        node: Node,
        netlink: Netlink,
        cancellation: Cancellation,
        metrics: Metrics,
        tell: Sequence[Callable[[Notice], None]],
    ) -> None:
        drain = node.config.drain
        self._node, self._netlink, self._cancellation = node, netlink, cancellation
        self._metrics, self._tell, self._damper = metrics, tell, Damper()
        self._complaints = Complaints(log)
        self._peer_table = PeerTable(node.config.keepalived.advert_int)
        self._health = Health(node, self._complaints)
        self._comeback = Comeback(node)
        self._question = Question(node, netlink)
        self._leavers, self._strays = Leavers(node, netlink), Strays(node.rules)
        self._introduction = Introduction(node, self._complaints)
        self._keepalived_log = KeepalivedLog(node.paths.keepalived_log, self._complaints)
        self._monitor = Monitor(
            RiseFall(drain.health_interval, drain.health_fall, drain.health_rise),
            lambda patience: health.look(drain, patience),
            drain.haproxy_pid_file,
        )
        self._register, self._vip_here = Register(node.electorate), node.vip_here()
        self._keepalived: int | None = None  # its pidfd, which only wakes us up
        self._age = Age()
        self._look_at = self._see_addresses_at = 0.0

    def run(self) -> None:
        """Watch. Raises SystemFault where adverts or addresses cannot be seen at all."""
        self._comeback.prepare()
        self._diagnosis = Diagnosis(self._node.config, self._peer_table, self._sight(), time.monotonic())
        with ExitStack() as stack:
            self._selector = stack.enter_context(selectors.DefaultSelector())
            self._listener = self._open_listener()
            self._know()
            stack.callback(lambda: self._listener.close())
            addresses = AddressWatch()
            stack.callback(addresses.close)
            self._selector.register(addresses.fileno(), selectors.EVENT_READ, lambda: self._addresses_changed(addresses))
            self._selector.register(self._monitor.fileno(), selectors.EVENT_READ, self._hear_verdicts)
            self._selector.register(self._cancellation.fileno(), selectors.EVENT_READ, lambda: None)
            self._send(self._diagnosis.started(time.time(), rebooted=self._comeback.rebooted))
            self._monitor.start()
            stack.callback(self._monitor.close)
            stack.callback(self._leavers.close)
            while not self._cancellation.requested:
                self._wait_and_act()
        self._health.leave()
        self._tell_all(self._damper.rest(time.monotonic()))

    def _wait_and_act(self) -> None:
        due = min(self._look_at, self._health.tick())
        ready = {key.fd: key.data for key, _ in self._selector.select(max(0.0, due - time.monotonic()))}
        listener = self._listener.fileno()
        for fd in sorted(ready, key=lambda fd: fd != listener):  # adverts explain what the others tell
            ready[fd]()
        if {*ready} - {listener} or time.monotonic() >= self._look_at:
            self._look()

    def _look(self) -> None:
        """Look at everything, and tell what is new."""
        self._look_at = time.monotonic() + _LOOK_EVERY
        try:
            self._meet()
            if time.monotonic() >= self._see_addresses_at:
                self._see_addresses()
            self._introduction.tick(time.monotonic())
            self._keepalived_log.tick(time.monotonic())
            self._question.tick(time.monotonic(), vip_here=self._vip_here)
            self._ask_the_rules()
            sight = self._sight()
            self._comeback.tick(sight.band, alive=self._monitor.alive, keepalived_runs=sight.keepalived_runs)
            if self._diagnosis.yields(sight):
                sight = replace(sight, obstacle=self._obstacle())
            self._hear_adverts()  # keepalived heard them before it did what is in sight: they explain it
            self._metrics.see(sight.state, sight.band, sight.priority, self._monitor.alive)
            for notice in self._diagnosis.look(sight, time.monotonic(), time.time()):
                self._send(notice)
            self._tell_all(self._damper.due(time.monotonic()))
            self._take_stale_vip_away(sight)
            self._complaints.over("look")
        except (OSError, SystemFault) as error:
            self._complaints.about("look", f"cannot see how this instance stands ({error}); it is tried again")

    def _ask_the_rules(self) -> None:
        try:
            self._leavers.tick(time.monotonic(), vip_here=self._vip_here)
            self._strays.tick(time.monotonic())
            self._complaints.over("rules")
        except SystemFault as error:
            self._complaints.about("rules", f"{error}: whether a peer that open connections are handed on to is there is not known")

    def _sight(self) -> Sight:
        band = self._node.band()
        return Sight(
            keepalived_runs=self._node.keepalived_pid() is not None,
            vip_here=self._vip_here,
            priority=self._node.priority(band, unhealthy=self._health.unhealthy),
            band=band,
            band_age=self._age.look(self._node.priority_control.changed_at(), time.monotonic(), time.time()),
            unhealthy=self._health.unhealthy,
            answered=self._question.answered,
            full=self._monitor.full,
            circled=self._strays.circled,
            refused=self._strays.refused,
        )

    def _obstacle(self) -> str:
        """Return what is wrong with the interface, or nothing."""
        wrong = self._netlink.obstacle(self._node.interface)
        return f"{self._node.interface} {wrong}" if wrong else ""

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
        now = time.monotonic()
        for packet in self._listener.receive():
            if packet.payload[1:2] == bytes((hello.NO_ROUTER,)):
                self._introduction.hear(packet, now)
                continue
            advert = next((each for each, _ in valid([packet])), None)
            if advert is None:
                self._metrics.advert(AdvertVerdict.DAMAGED)
            elif verdict := self._peer_table.hear(self._register.hearing(advert, packet, now), advert, packet, now):
                self._metrics.advert(verdict)
                if verdict is AdvertVerdict.VALID and packet.source not in self._known:
                    self._know()

    def _know(self) -> None:
        """Have the peers' adverts heard whatever else there is on the segment."""
        self._known = self._register.current.members | self._peer_table.sources
        self._listener.know(self._known)

    def _addresses_changed(self, watch: AddressWatch) -> None:
        watch.drain()
        self._see_addresses_at = 0.0

    def _hear_verdicts(self) -> None:
        for verdict in self._monitor.verdicts():
            self._act_on(verdict)

    def _act_on(self, verdict: Verdict) -> None:
        now = time.monotonic()
        if not verdict.alive:
            self._health.died(lives=verdict.lives)
        elif self._health.unhealthy:
            self._health.back(self._peer_table.master(now))
        else:
            return  # seen for the first time
        self._send(self._diagnosis.haproxy(verdict, now, time.time()))

    def _meet(self) -> None:
        """Watch the processes that are new."""
        if self._keepalived is None and (pidfd := process.pidfd(self._node.pid_file)) is not None:
            self._keepalived = pidfd
            self._selector.register(pidfd, selectors.EVENT_READ, lambda pidfd=pidfd: self._keepalived_ended(pidfd))
        for pidfd in self._monitor.newcomers():
            self._selector.register(pidfd, selectors.EVENT_READ, lambda pidfd=pidfd: self._haproxy_ended(pidfd))

    def _keepalived_ended(self, pidfd: int) -> None:
        self._selector.unregister(pidfd)
        os.close(pidfd)
        self._keepalived = None

    def _haproxy_ended(self, pidfd: int) -> None:
        self._selector.unregister(pidfd)
        self._monitor.ended(pidfd)

    def _see_addresses(self) -> None:
        self._register.renew()
        self._vip_here = self._node.vip_here()
        self._know()
        if self._node.interface_index() not in (None, self._index):  # it was taken away and made anew
            deaf, self._listener = self._listener, self._open_listener()
            self._selector.unregister(deaf.fileno())
            deaf.close()
            log.info("%s was made anew: putting in place again what a handover needs of it", self._node.interface)
            self._node.hold()
        self._see_addresses_at = time.monotonic() + _ADDRESSES_EVERY

    def _open_listener(self) -> PacketCapture:
        index, ours = self._node.interface_index(), self._node.config.keepalived
        listener = PacketCapture(self._node.interface, ours.vip.version, ours.virtual_router_id)
        self._selector.register(listener.fileno(), selectors.EVENT_READ, self._hear_adverts)
        self._index = index
        return listener

    def _take_stale_vip_away(self, sight: Sight) -> None:
        """Where a peer has the VIP, a second machine that answers for it only hurts. Where none has, it still serves."""
        if not self._diagnosis.is_on(Kind.STALE_VIP) or not sight.vip_here:
            return
        if (master := self._peer_table.master(time.monotonic())) is not None and self._node.remove_stale_vip():
            log.warning("%s was taken off %s: %s has it", self._node.config.vip, self._node.interface, master.source)

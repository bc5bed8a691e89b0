"""Has an instance take part again where no lifecycle script does: after a reboot, a start without post-start, a stop that ended half way,
a keepalived that died or hung.

It is `vrrpctl promote`, as a process of its own. An instance that an operator has demoted is left to the operator: until a reboot or a
deploy, or, where that was said (``StandingOrder.stay_out``), until it is promoted.
"""

import logging
import time

from vrrp_drain.config.model import VrrpDrain
from vrrp_drain.handover.installation import Installation
from vrrp_drain.haproxy import health_check, other_drain
from vrrp_drain.keepalived.instance import Instance
from vrrp_drain.keepalived.priority_control import PriorityControl
from vrrp_drain.runtime import files
from vrrp_drain.runtime.boot import Boot, Stage
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.lock import Lock
from vrrp_drain.runtime.paths import Paths
from vrrp_drain.runtime.standing_order import StandingOrder
from vrrp_drain.vrrp.bands import Band

from .own_command import OwnCommand

log = logging.getLogger(__name__)

_POST_START_SECONDS = 10.0  # without a script after pre-start; a post-start that comes later finds its work done
_AFTER_A_DEATH_SECONDS = 5.0  # in which keepalived does not die again
_TRY_EVERY, _TRY_AT_LEAST_EVERY = 10.0, 300.0  # seconds; each try that fails doubles the pause
_LOOK_EVERY = 2.0  # seconds between two looks at the scripts that run

_WHY = {
    Stage.REBOOTED: "the machine was started anew",
    Stage.STARTED: "no post-start promotes this instance",
    Stage.LEFT: "keepalived was started anew after vrrpctl leave",
    Stage.DIED: "keepalived runs again",
    Stage.LEAVING: "BOSH stopped this instance half way, and nobody drains it any more",
    Stage.ENDING: "BOSH stopped this instance half way, and nobody drains it any more",
}


def quiet_seconds(stage: Stage | None, drain: VrrpDrain) -> float | None:
    """Return for how long no lifecycle script must have run before an instance that is draining is promoted; None where it never is."""
    match stage:
        case Stage.REBOOTED:
            return 0.0
        case Stage.STARTED | Stage.LEFT:
            return _POST_START_SECONDS
        case Stage.DIED:
            return _AFTER_A_DEATH_SECONDS
        case Stage.LEAVING | Stage.ENDING:
            return drain.promote_after
    return None


def due(instance: Instance, stage: Stage | None) -> bool:
    """Tell whether this stage ends by itself: after `vrrpctl leave` it does once keepalived has been started anew."""
    if stage is not Stage.LEFT:
        return quiet_seconds(stage, instance.config.drain) is not None
    said, started = Boot(instance.paths.drain_run).entered_at(), files.changed_at(instance.pid_file)
    return said is not None and started is not None and started > said


def at_work(paths: Paths) -> list[str]:
    """Say who is at work on this instance: lifecycle scripts of any job, and whoever holds our lock."""
    holders = (Lock.held_by(each) for each in (paths.lock, paths.finishing))
    return [*other_drain.running(paths.jobs), *(each for each in holders if each)]


def waits_for(instance: Instance, stage: Stage | None, *, problem: str, running: bool, watched: bool) -> str:
    """Say what an instance that is draining waits for; ``problem`` is haproxy's, ``running`` keepalived's, ``watched`` the watcher's."""
    quiet = quiet_seconds(stage, instance.config.drain)
    if busy := at_work(instance.paths):
        return f"{', '.join(busy)} to end"
    if order := StandingOrder.stay_out(instance.paths).read():
        return f"vrrpctl promote, and for nothing else: {order}"
    if stage is Stage.LEFT and not due(instance, stage):
        return "a reboot, a start of keepalived (monit stop all, monit start all), or vrrpctl promote"
    if quiet is None:
        return "vrrpctl promote: it is left to whoever took it out"
    if problem and not health_check.processes(instance.config.drain.haproxy_pid_file):
        return "haproxy, which does not run: monit restart haproxy, or deploy again"
    if problem:
        return "haproxy to answer: its log, then monit restart haproxy, or deploy again"
    if not running:
        return "keepalived, which does not run: monit start keepalived, or deploy again"
    if not watched:
        return "the watcher, which does not run: monit start vrrp-drain-watch, or vrrpctl promote"
    return f"the watcher, which promotes it when no lifecycle script has run for {quiet:g} s" if quiet else "the watcher, which promotes it"


class Comeback:
    """Decides when; never waits."""

    def __init__(self, instance: Instance, control: PriorityControl, installation: Installation) -> None:
        self._instance, self._control, self._installation = instance, control, installation
        self._boot = Boot(instance.paths.drain_run)
        self._stay_out = StandingOrder.stay_out(instance.paths)
        self.rebooted = self._boot.stage() is None
        self._promotion = OwnCommand(instance.paths, "promote")
        self._word = ""
        self._busy, self._quiet_since = False, time.monotonic()
        self._look_at = self._try_at = 0.0
        self._pause = self._first_pause

    @property
    def _first_pause(self) -> float:
        return max(_TRY_EVERY, self._instance.config.drain.handover_timeout)

    def prepare(self) -> None:
        """Install what a handover needs, and begin in the draining band, as keepalived's start does: whoever of the two is first."""
        if not self.rebooted:
            return
        log.info("the machine was started anew: putting in place what pre-start would have")
        self._installation.hold()
        try:
            if self._control.read() is None:
                self._control.write(Band.DRAINING)
        except SystemFault as error:
            log.warning("%s", error)
        self._boot.enter(Stage.DEMOTED if self._stay_out.read() else Stage.REBOOTED)

    def tick(self, band: Band, *, alive: bool | None, keepalived_runs: bool) -> None:
        """Start the promotion when it is time, and again where it failed. Whoever else asks for anything ends this."""
        if self._promotion.runs():
            return
        if why := self._promotion.failure():
            log.warning("%s: this instance stays draining, the next try follows", why)
        now, stage = time.monotonic(), self._boot.stage()
        quiet = quiet_seconds(stage, self._instance.config.drain)
        if stage is None or quiet is None or not due(self._instance, stage) or (band is not Band.DRAINING and stage is not Stage.REBOOTED):
            self._word = ""
            return
        if self._quiet_for(stage, now) < quiet or not alive or not keepalived_runs or now < self._try_at:
            return
        if self._stay_out.read():
            return
        log.info("%s, and haproxy answers: it is promoted", _WHY[stage])
        self._try_at = now + self._pause
        self._pause = min(2 * self._pause, max(_TRY_AT_LEAST_EVERY, self._first_pause))
        self._promotion.start("--if-nothing-since", self._word)

    def _quiet_for(self, stage: Stage, now: float) -> float:
        """Return for how many seconds nobody has been at work here, as far as this watcher has seen."""
        word = self._boot.word()
        if word != self._word:
            self._word, self._quiet_since, self._try_at, self._pause = word, now, 0.0, self._first_pause
        if stage is not Stage.REBOOTED and now >= self._look_at:
            self._look_at = now + _LOOK_EVERY
            busy, self._busy = self._busy, bool(at_work(self._instance.paths))
            if busy or self._busy:
                self._quiet_since = now
        return 0.0 if self._busy else now - self._quiet_since

"""Speaks for a keepalived that cannot any more: it died while it had the VIP, it is stuck, or it gave the VIP up and said nothing of us.

haproxy serves on, and so do the connections that are open here, if the peers know that we leave: it is what a drain says. A peer takes
the VIP over in its skew, from an instance on whose interface it may still be; what is stale of it is taken off then. keepalived starts
anew in the draining band, since one that takes the VIP back by its priority alone would cut the connections at the peer: the way back
is a promotion (comeback.py). Where no peer's haproxy answers nobody is hurried and nothing is lowered: the VIP is served here.
"""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from functools import partial

from vrrp_drain.handover.prospects import Prospects
from vrrp_drain.handover.services import Services
from vrrp_drain.keepalived import priority_control
from vrrp_drain.runtime.boot import Boot, Stage
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.lock import Lock
from vrrp_drain.runtime.logs import Complaints
from vrrp_drain.vrrp.bands import Band
from vrrp_drain.vrrp.peer_table import Peer

log = logging.getLogger(__name__)

_SAY_EVERY = 0.7  # advert intervals: a packet may be lost
_TIMES = 5  # that a resignation is said, at most: keepalived that starts anew may be MASTER again after that
_REMINDERS = 3  # to the peer that is MASTER
_REMIND_WITHIN = 10.0  # seconds after the loss
_ASK_SECONDS = 0.1  # that peers' haproxies have for an answer: nobody has the VIP meanwhile, perhaps
_JUST_NOW = 5.0  # seconds within which an end explains why the VIP had left


class Loss(Enum):
    """Why keepalived does not speak for the VIP."""

    ENDED = auto()
    HANGS = auto()


class Deputy:
    """An action of the watcher's. Nothing but the question to the peers' haproxies waits, and that for a tenth of a second at most."""

    def __init__(self, services: Services, complaints: Complaints) -> None:
        self._services, self._instance, self._complaints = services, services.instance, complaints
        self._boot = Boot(self._instance.paths.drain_run)
        self._left = self._reminders = 0
        self._next = self._remind_until = 0.0
        self._began = float("-inf")
        self._gave_up = float("-inf")
        self._priority = self._instance.lowered
        self.loss: Loss | None = None

    def lost(self, loss: Loss, master: Peer | None, *, vip_here: bool, unhealthy: bool) -> None:
        """keepalived ended or hangs; ``master`` is the peer that is MASTER all the same.

        ``unhealthy`` tells that haproxy is held for dead, whose clients shall not wait for it.
        """
        if self.loss is loss:
            return
        self.loss = loss
        if vip_here:
            self._leave(master, unhealthy=unhealthy)
        elif time.monotonic() - self._gave_up < _JUST_NOW and not unhealthy:
            self._start_draining()

    @property
    def saw_the_end(self) -> bool:
        """Tell whether keepalived ended or hung just now while the VIP was here: that explains what follows."""
        return time.monotonic() - self._began < _JUST_NOW

    def gave_up(self, *, unhealthy: bool) -> None:
        """The VIP left, keepalived runs, and nobody is heard who has it: it is being stopped, or its interface failed."""
        self._gave_up = time.monotonic()
        if not unhealthy:
            self._say(partial(self._services.announcements.leaving, self._instance.lowered, resign=False))

    def lives(self) -> None:
        """keepalived is there, and speaks."""
        self.loss = None

    def tick(self, now: float, master: Peer | None, *, vip_here: bool) -> float:
        """Do what is due; ``master`` is the peer that is MASTER. Return when to come back at the latest (monotonic seconds)."""
        if master is not None:
            self._hand_to(master, now, vip_here=vip_here)
        elif self._left and now >= self._next:
            self._resign()
        return self._next if self._left or (self._reminders and master is not None) else float("inf")

    def _leave(self, master: Peer | None, *, unhealthy: bool) -> None:
        planned = priority_control.band(self._services.control) is Band.DRAINING  # or known: whoever lowered it has explained it
        if not planned:
            self._began = time.monotonic()
        self._priority = self._instance.priority(Band.DRAINING, unhealthy=unhealthy)
        self._say(partial(self._services.announcements.leaving, self._priority, resign=False))
        outlook = Prospects(self._instance, self._services.membership).look(_ASK_SECONDS) if master is None else None
        if outlook is not None and not outlook.able:
            if not planned:
                log.warning("keepalived does not speak for %s, and nobody is hurried to take it over: %s", self._instance.vip, outlook)
            return
        if not unhealthy:
            self._start_draining()
        self._reminders, self._remind_until = _REMINDERS, time.monotonic() + _REMIND_WITHIN
        if master is None:  # a resignation beside a MASTER would have the next peer take the VIP from it
            self._left = _TIMES
            self._resign()

    def _start_draining(self) -> None:
        """Have keepalived start anew in the draining band, unless somebody else has the word here."""
        with suppress(SystemFault):  # a band that cannot be read is written anew by whoever promotes
            if self._services.control.read() is Band.DRAINING:
                return
        if Lock.held_by(self._instance.paths.lock):
            return
        self._boot.enter(Stage.DIED)
        try:
            self._services.control.write(Band.DRAINING)
        except SystemFault as error:
            self._complaints.about("deputy", f"{error}: keepalived takes the VIP back as soon as it can, which cuts open connections")

    def _resign(self) -> None:
        self._left -= 1
        self._next = self._in_a_while()
        self._say(partial(self._services.announcements.leaving, self._priority))

    def _hand_to(self, master: Peer, now: float, *, vip_here: bool) -> None:
        self._left = 0
        if now > self._remind_until:
            self._reminders = 0
        if self._reminders == _REMINDERS or (self._reminders and now >= self._next):
            self._reminders -= 1
            self._next = self._in_a_while()
            self._say(partial(self._services.announcements.remind, self._priority, master.source))
        if self.loss is None or not (vip_here or self.loss is Loss.HANGS):
            return
        try:
            if self._services.vip.remove_stale(hung=self.loss is Loss.HANGS):
                log.warning("%s was taken off %s: %s has it", self._instance.vip, self._instance.attachment.vip_interface, master.source)
        except SystemFault as error:
            self._complaints.about("deputy", f"{error}: two machines answer for it")

    def _in_a_while(self) -> float:
        return time.monotonic() + _SAY_EVERY * self._instance.config.keepalived.advert_int

    def _say(self, say: Callable[[], None]) -> None:
        try:
            say()
            self._complaints.over("deputy")
        except SystemFault as error:
            self._complaints.about("deputy", f"{error}: a peer takes over after three advert intervals, and open connections are cut")

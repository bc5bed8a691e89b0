"""Leaves open connections with a MASTER that says nothing of leaving, and lives.

A drain, a death of keepalived, a haproxy that hangs are told before the VIP moves (handover/announcements.py). These are not:

- The MASTER is not heard any more, but its machine answers: its keepalived died with its watcher, something drops its adverts, all its
  processes are frozen. Who may take the VIP over asks before it does, when an advert is missing. A machine that is dead answers nothing,
  so nobody is armed, and its clients get their reset at once. One that is heard again has left nothing.
- A MASTER that we outrank is heard, as after our interface was down, or haproxy was: keepalived here takes the VIP over in a while.
- A MASTER that we outrank is heard beside us, as after the segment was parted or we were frozen: it yields as soon as it hears us.

The other way, what is left here when a peer takes the VIP, is told by each hello (serving.py).
"""

import logging
import time
from collections.abc import Callable

from vrrp_drain.handover.machine import Machine
from vrrp_drain.handover.services import Services
from vrrp_drain.keepalived.instance import Instance
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import IPAddress
from vrrp_drain.runtime.logs import Complaints
from vrrp_drain.vrrp import bands
from vrrp_drain.vrrp.advert import RESIGN
from vrrp_drain.vrrp.election import Heard, Standing

from .sign_of_life import SignOfLife

log = logging.getLogger(__name__)

_MISSED = 1.5  # advert intervals of silence: a MASTER is gone after three and a skew, and a busy machine needs some of that
_GIVEN_UP = 5.0  # the same: somebody has the VIP by then
_ASK_EVERY = 0.25  # advert intervals
_ANSWERS_WITHIN = 0.01  # seconds, on a segment
_COARSE = 0.02  # seconds by which the kernel's timers may differ
_AGAIN = 5.0  # seconds between two times that a MASTER which we outrank is reckoned with


class Precaution:
    """An action of the watcher's: ``hear`` takes adverts of peers, ``tick`` looks at the clock. Times are monotonic seconds."""

    def __init__(self, services: Services, complaints: Complaints) -> None:
        self._instance: Instance = services.instance
        self._machine: Machine = services.machine
        self._arming, self._complaints = services.arming, complaints
        self._interval = services.instance.config.keepalived.advert_int
        self._master: IPAddress | None = None  # who was heard last of those that stay
        self._heard = float("-inf")
        self._sign: SignOfLife | None = None
        self._left_with: list[IPAddress] = []  # the addresses of the silent one, that of its adverts first
        self._left_at = float("-inf")  # when that was done
        self._outranked: tuple[IPAddress, float] | None = None  # and when it was reckoned with
        self._ask_at = 0.0

    def hear(self, heard: Heard, *, vip_here: bool, priority: Callable[[], int]) -> None:
        """Take in what was heard, whatever it is; ``priority`` gives what we advert, or would as MASTER."""
        if heard.standing is not Standing.PEER or heard.advert is None or not self._instance.hands_off:
            return
        said = heard.advert.priority
        if said == RESIGN or not bands.is_active(said):  # it has said what becomes of its connections
            if heard.source == self._master:
                self._master = None
            return
        if not vip_here:
            self._master, self._heard = heard.source, heard.at
            self._close()
            self._take_back(heard.source)
        takes_over = vip_here or self._instance.config.keepalived.preempt
        if takes_over and bands.is_active(ours := priority()) and said < ours:
            self._reckon_with(heard.source, heard.at)

    def tick(self, now: float, *, vip_here: bool) -> float:
        """Ask whether a MASTER that is missed lives; return when to come back at the latest."""
        if vip_here:
            self._took_over()
        if vip_here or self._master is None or now - self._heard > _GIVEN_UP * self._interval:
            self._close()
            return float("inf")
        missed_at = self._heard + _MISSED * self._interval
        if now < missed_at or self._master in self._left_with:
            return max(missed_at, now + _ASK_EVERY * self._interval)
        try:
            self._ask(self._master, now)
        except (OSError, SystemFault):  # the interface is away: whoever cannot ask cannot take the VIP over either
            self._close()
        return now + _ANSWERS_WITHIN

    def close(self) -> None:
        self._close()

    def _took_over(self) -> None:
        """Who was silent, and is heard again, is not forgotten then: clients may still come here who have not learnt that."""
        if self._left_with:
            log.info("%s is not heard any more, but its machine answers: its open connections stay with it", self._left_with[0])
        self._left_with, self._master = [], None

    def _ask(self, master: IPAddress, now: float) -> None:
        if self._sign is None:
            self._sign = SignOfLife(self._instance, self._machine, master)
            self._ask_at = now
        if self._sign.look():
            self._close()
            self._left_with = self._leave_with(master)
            self._left_at = time.monotonic()
            self._master = master if self._left_with else None
        elif now >= self._ask_at:
            self._ask_at = now + max(_ANSWERS_WITHIN, _ASK_EVERY * self._interval)
            self._sign.ask()

    def _reckon_with(self, master: IPAddress, now: float) -> None:
        if self._outranked is not None and self._outranked[0] == master and now - self._outranked[1] < _AGAIN:
            return
        self._outranked = (master, now)
        self._leave_with(master)

    def _leave_with(self, master: IPAddress) -> list[IPAddress]:
        try:
            left_with = self._arming.leave_with_who_lives(master)
            self._complaints.over("precaution")
        except SystemFault as error:
            self._complaints.about("precaution", str(error))
            return []
        return left_with

    def _take_back(self, master: IPAddress) -> None:
        """It is heard again: if it dies now, its clients shall hear that at once.

        The kernel may have heard already what we hear after this: that it leaves. That stands.
        """
        if master not in self._left_with:
            return
        left_with, self._left_with = self._left_with, []
        seconds = self._instance.config.drain.handoff_window - (time.monotonic() - self._left_at) + _COARSE
        try:
            for each in left_with:
                self._machine.rules.disarm(each, at_most=seconds)
        except SystemFault as error:
            self._complaints.about("precaution", str(error))

    def _close(self) -> None:
        if self._sign is not None:
            self._sign.close()
            self._sign = None

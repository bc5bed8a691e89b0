"""Whether connections are open here while a peer has the VIP: the rest of the time when it was here.

However the VIP left, the peers' kernels hear of it by hellos: several at once, for each may be lost, and again as soon as a cable is back.
Most moves are told before they come. A MASTER that was cut off, frozen or beside another one yields without a word: then this is the word.
It is said for as long as haproxy serves them, and for a window more where it does not: one that hangs may go on.
"""

import time

from vrrp_drain.handover.machine import Machine
from vrrp_drain.keepalived.instance import Instance
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.vrrp.hello import Open

_SAID_AGAIN = (0.0, 0.3, 1.0, 3.0)  # seconds after there was news
_NEWS_AT_MOST_EVERY = 1.0  # seconds, whatever becomes of interfaces
_FROZEN = 2.0  # seconds between two looks: we did not run, and peers may have given us up


class Serving:
    """``some`` tells whether there were any when it was looked last, and that packets of peers come here therefore."""

    def __init__(self, instance: Instance, machine: Machine) -> None:
        self._instance, self._machine = instance, machine
        self._here = False
        self._until = float("inf")
        self._now = float("inf")
        self._say_at: list[float] = []
        self._news_at = float("-inf")
        self.some = False

    def tick(self, now: float, *, vip_here: bool, serves: bool = True) -> bool:
        """Tell whether peers are to be told now; ``serves`` tells that haproxy does, as far as it is known."""
        left, self._here = self._here and not vip_here, vip_here
        if vip_here or serves:  # of what was before we watched there may be a rest too
            self._until = now + self._instance.config.drain.handoff_window
        if vip_here:
            self.some, self._say_at = False, []
        if left:
            self._say_at = [now + each for each in _SAID_AGAIN]
        elif now - self._now > _FROZEN:
            self.changed(now)
        self._now = now
        due = [each for each in self._say_at if each <= now]
        self._say_at = self._say_at[len(due) :]
        return bool(due)

    def changed(self, now: float) -> None:
        """An interface or an address has changed: who could not hear us may hear us again."""
        if self._here or not self.some or now - self._news_at < _NEWS_AT_MOST_EVERY:
            return
        self._news_at = now
        self._say_at = [now + each for each in _SAID_AGAIN]

    def open_here(self) -> Open:
        """Look, and return what the peers are told: nothing when they are not to hand anything on to us any more."""
        self.some, config = False, self._instance.config
        if not self._here and self._instance.hands_off and time.monotonic() < self._until:
            try:
                self.some = self._machine.haproxy.connected(config.keepalived.addresses, config.drain.quic_ports)
            except SystemFault:
                return Open.UNTOLD
        return Open.SOME if self.some else Open.UNTOLD

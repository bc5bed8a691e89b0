"""Whether connections are open here while a peer has the VIP: the rest of the time when it was here.

The peers' kernels learn of it when the VIP leaves. An instance that has started since does not know: it is told by each hello.
"""

import time

from vrrp_drain.handover.machine import Machine
from vrrp_drain.keepalived.instance import Instance
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.vrrp.hello import Open


class Serving:
    """``some`` tells whether there were any when it was looked last, and that packets of peers come here therefore."""

    def __init__(self, instance: Instance, machine: Machine) -> None:
        self._instance, self._machine = instance, machine
        self._here, self._left = False, time.monotonic()  # of what was before we watched there may be a rest too
        self.some = False

    def tick(self, now: float, *, vip_here: bool) -> bool:
        """Tell whether the VIP has just left."""
        left, self._here = self._here and not vip_here, vip_here
        if vip_here:
            self.some = False
        if left:
            self._left = now
        return left

    def open_here(self) -> Open:
        """Look, and return what the peers are told: nothing once the window is over, when they no longer hand anything on to us."""
        drain = self._instance.config.drain
        self.some = False
        if not self._here and self._instance.hands_off and time.monotonic() - self._left < drain.handoff_window:
            try:
                self.some = self._machine.haproxy.connections(self._instance.config.keepalived.addresses) > 0
            except SystemFault:
                return Open.UNTOLD
        return Open.SOME if self.some else Open.UNTOLD

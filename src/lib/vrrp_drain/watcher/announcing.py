"""Announces the VIPs again while clients still go to a peer that left: who missed keepalived's own gratuitous ARP hears this one."""

from vrrp_drain.handover.machine import Machine
from vrrp_drain.keepalived.instance import Instance
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.logs import Complaints
from vrrp_drain.vrrp.hello import Word

_EVERY = 1.0  # seconds at least between two announcements, whoever says hello how often


class Announcing:
    """An action of the watcher's. A peer that drains says hello as long as somebody comes to it (commands/finishing.py)."""

    def __init__(self, instance: Instance, machine: Machine, complaints: Complaints) -> None:
        self._instance, self._machine, self._complaints = instance, machine, complaints
        self._wanted = False
        self._not_before = 0.0

    def hear(self, word: Word) -> None:
        """Take in what a peer's hello says that it is to do."""
        self._wanted = self._wanted or word is not Word.STAYS

    def tick(self, now: float, *, vip_here: bool) -> None:
        if not self._wanted or now < self._not_before:
            return
        self._wanted, self._not_before = False, now + _EVERY
        if not vip_here:
            return
        interface = self._instance.attachment.vip_interface
        try:
            for vip in self._instance.config.keepalived.addresses:
                self._machine.announce(interface, vip)
            self._complaints.over("announcement")
        except SystemFault as error:
            self._complaints.about("announcement", f"{error}: who has not learnt yet that the VIP is here goes on to the peer that left")

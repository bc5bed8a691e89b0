"""Announces the VIPs again where clients may still go to a peer: who missed keepalived's own gratuitous ARP hears this one.

That peer left, or it was MASTER beside us while the segment was parted. It yields without a word as soon as it hears us again, and its
announcement was the last one: a router would go on sending to it until its cache forgets.
"""

from vrrp_drain.handover.machine import Machine
from vrrp_drain.keepalived.instance import Instance
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.logs import Complaints
from vrrp_drain.vrrp.hello import Word

_EVERY = 1.0  # seconds at least between two announcements, whoever says hello how often
_AFTERWARDS = 2.0  # seconds, and two intervals, after a rival's last advert: until it has yielded it answers who asks for the VIP
_LONGEST = 10.0  # seconds after which a rival does not hear us at all
_SELDOM = 10.0  # seconds then: it announces itself as well, once a minute, and clients shall rather stay with the higher priority


class Announcing:
    """An action of the watcher's. A peer that drains says hello as long as somebody comes to it (commands/finishing.py)."""

    def __init__(self, instance: Instance, machine: Machine, complaints: Complaints) -> None:
        self._instance, self._machine, self._complaints = instance, machine, complaints
        self._wanted = False
        self._said_at = float("-inf")
        self._lasts = _AFTERWARDS + 2 * instance.config.keepalived.advert_int
        self._rival_since = self._rival_at = float("-inf")

    def hear(self, word: Word) -> None:
        """Take in what a peer's hello says that it is to do."""
        self._wanted = self._wanted or word in (Word.LEAVES, Word.ENDS)

    def meet(self, now: float) -> None:
        """A peer adverts beside us that we outrank: it yields when it hears us."""
        if now - self._rival_at > self._lasts:
            self._rival_since = now
        self._rival_at = now

    def tick(self, now: float, *, vip_here: bool) -> None:
        parted = now - self._rival_at <= self._lasts
        every = _EVERY if self._wanted or now - self._rival_since <= _LONGEST else _SELDOM
        if not (self._wanted or parted) or now - self._said_at < every:
            return
        self._wanted, self._said_at = False, now
        if not vip_here:
            return
        try:
            for vip in self._instance.config.keepalived.addresses:
                self._machine.announce(self._instance.interface_of(vip), vip)
            self._complaints.over("announcement")
        except SystemFault as error:
            self._complaints.about("announcement", f"{error}: who has not learnt yet that the VIP is here goes on to the peer that had it")

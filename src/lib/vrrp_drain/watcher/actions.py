"""What the watcher does about what it sees. Each action is one small object with a ``tick``; none of them ever waits."""

import logging
import time
from collections.abc import Callable
from functools import partial

from vrrp_drain.config.model import Proof
from vrrp_drain.handover.announcements import Announcements
from vrrp_drain.handover.machine import Machine
from vrrp_drain.handover.services import Services
from vrrp_drain.keepalived import priority_control
from vrrp_drain.keepalived.instance import Instance
from vrrp_drain.linux.neighbour import Inquiry
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import IPAddress
from vrrp_drain.runtime.logs import Complaints
from vrrp_drain.vrrp import hello
from vrrp_drain.vrrp.bands import Band
from vrrp_drain.vrrp.hello import Open
from vrrp_drain.vrrp.peer_table import Peer
from vrrp_drain.vrrp.strangers import MOST

log = logging.getLogger(__name__)

_RESIGN_EVERY = 0.7  # advert intervals: a regular advert of our own may undo one resignation
_RESIGNATIONS = 5  # at most: where nobody takes the VIP over, it stays here
_ASK_EVERY = 5.0  # seconds
_ANSWER_SECONDS = 1.0
_ANSWER_EVERY = 1.0  # seconds: whoever has copied our token cannot have us say hello all the time
_FORGET = 3  # hellos that do not come
_UNSAID_AGAIN = 1.0  # seconds after which what could not be said is tried again, as where the interface was down


class Unhealthiness:
    """Has keepalived advert the unhealthy band while haproxy is dead, and hurries a successor when that happens to the MASTER.

    The connections of a haproxy that died are lost, and their clients shall hear it at once: no draining advert is sent. Those of one
    that hangs but lives are open still, and it may go on: peers are told to leave them with it.
    """

    def __init__(self, services: Services, complaints: Complaints) -> None:
        self._instance, self._control, self._vip = services.instance, services.control, services.vip
        self._announcements, self._arming, self._complaints = services.announcements, services.arming, complaints
        self._left, self._next, self._lives = 0, 0.0, False
        try:
            self.unhealthy = self._control.unhealthy()
        except SystemFault as error:
            complaints.about("health", str(error))
            self.unhealthy = False

    def died(self, *, lives: bool = False) -> None:
        """haproxy does not serve any more; ``lives`` tells that its processes are there, and its connections with them."""
        self.unhealthy, self._lives = True, lives
        self._left, self._next = _RESIGNATIONS, 0.0
        self.tick()

    def back(self, master: Peer | None) -> None:
        """haproxy serves again. We may be about to take the VIP over from ``master``, which goes on serving what it has."""
        self._left = 0
        if master is not None:
            self._arming.leave_with(master.source, master.priority)
        self.unhealthy = False
        self.tick()

    def leave(self) -> None:
        """Nobody will see when haproxy is back: leave it to keepalived's own check."""
        self.unhealthy, self._left = False, 0
        self.tick()

    def tick(self) -> float:
        """Do what is due; return when to come back at the latest (monotonic seconds)."""
        try:
            if self._control.unhealthy() is not self.unhealthy:
                self._control.mark(unhealthy=self.unhealthy)
            self._complaints.over("health")
        except SystemFault as error:
            self._complaints.about("health", f"{error}; keepalived's own check has to see to haproxy alone")
            return float("inf")  # the next look tries again
        if self._left and time.monotonic() >= self._next:
            self._resign()
        return self._next if self._left else float("inf")

    @property
    def _said(self) -> int:
        """Return the priority that goes before the 0. Peers take one of the draining band for: leave me my open connections."""
        band = Band.DRAINING if self._lives else priority_control.band(self._control)
        return self._instance.priority(band, unhealthy=not self._lives)

    def _resign(self) -> None:
        if not self._vip.is_here() or self._vip.keepalived() is None:
            self._left = 0
            return
        self._left -= 1
        self._next = time.monotonic() + _RESIGN_EVERY * self._instance.config.keepalived.advert_int
        try:
            self._announcements.leaving(self._said)
            self._complaints.over("resignation")
        except SystemFault as error:
            self._complaints.about("resignation", f"{error}: a peer takes over after three advert intervals, not at once")


class Introduction:
    """Tells the peers from where our adverts come, and what is ``open_here``.

    At the beginning, now and then, and at once when somebody new introduces himself or there is news.
    """

    def __init__(self, announcements: Announcements, complaints: Complaints, open_here: Callable[[], Open]) -> None:
        self._announcements, self._complaints, self._open_here = announcements, complaints, open_here
        self._next, self._said = 0.0, float("-inf")
        self._heard: dict[IPAddress, float] = {}

    def hear(self, source: IPAddress, now: float, *, starts: bool = False) -> None:
        """Take in a hello to us; answer whoever has not been heard for a while or ``starts``: it has just come, and may not know us."""
        self._heard = {source: at for source, at in self._heard.items() if now - at < _FORGET * hello.EVERY}
        if source not in self._heard and len(self._heard) < MOST:
            self._next = 0.0
        self._heard[source] = now
        if starts:
            self._next = min(self._next, self._said + _ANSWER_EVERY)

    def hurry(self) -> None:
        """Say it with the next tick."""
        self._next = 0.0

    def tick(self, now: float) -> None:
        if now < self._next:
            return
        self._next, self._said = now + _UNSAID_AGAIN, now
        if self._announcements.greet(partial(self._complaints.about, "hello"), self._open_here()):
            self._next = now + hello.EVERY
            self._complaints.over("hello")


class Question:
    """Asks every few seconds who answers for the VIP: a MASTER that adverts may be out of reach all the same.

    Silence is believed after several questions, of which each may be lost (RFC 5227 section 1.1, PROBE_NUM).
    """

    def __init__(self, instance: Instance, machine: Machine) -> None:
        self._instance, self._machine = instance, machine
        self._inquiry: Inquiry | None = None
        self._asked = float("-inf")
        self.answered: bool | None = None

    def tick(self, now: float, *, vip_here: bool) -> None:
        """Take answers in, and ask again when it is time; ``answered`` is None while there is no answer to rely on."""
        if vip_here or self._instance.config.drain.takeover_proof is not Proof.ARP:  # where nobody answers, silence says nothing
            self._forget(now)
        elif self._inquiry is not None:
            self._listen(self._inquiry, now)
        elif now - self._asked >= _ASK_EVERY:
            self._ask(now)

    def _ask(self, now: float) -> None:
        self._asked = now
        try:
            self._inquiry = self._machine.inquire(self._instance.interface, self._instance.vip)
            self._inquiry.ask()
        except (SystemFault, OSError):  # the interface is away: nobody can be asked
            self._forget(now)

    def _listen(self, inquiry: Inquiry, now: float) -> None:
        try:
            answers = {*inquiry.answers()}
            if answers and answers - self._machine.netlink.macs():
                self._close(answered=True)
            elif now - self._asked > _ANSWER_SECONDS:
                self._close(answered=False)
            else:
                inquiry.ask()
        except (SystemFault, OSError):  # as above
            self._forget(now)

    def _forget(self, now: float) -> None:
        self._close(answered=None)
        self._asked = now

    def _close(self, *, answered: bool | None) -> None:
        self.answered = answered
        if self._inquiry is not None:
            self._inquiry.close()
            self._inquiry = None

"""What the watcher does about what it sees. Each remedy is one small object with a ``tick``; none of them ever waits."""

import logging
import time

from vrrp_drain.handover import greeting, resignation
from vrrp_drain.handover.node import Node
from vrrp_drain.linux.neighbour import Inquiry, inquire
from vrrp_drain.linux.rtnetlink import Netlink
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import IPAddress, Packet
from vrrp_drain.runtime.logs import Complaints
from vrrp_drain.vrrp import hello
from vrrp_drain.vrrp.bands import Band
from vrrp_drain.vrrp.peer_table import Peer
from vrrp_drain.vrrp.strangers import MOST

log = logging.getLogger(__name__)

_RESIGN_EVERY = 0.7  # advert intervals: a regular advert of our own may undo one resignation
_RESIGNATIONS = 5  # at most: where nobody takes the VIP over, it stays here
_ASK_EVERY = 5.0  # seconds
_ANSWER_SECONDS = 1.0
_FORGET = 3  # hellos that do not come


class Health:
    """Has keepalived advert the unhealthy band while haproxy is dead, and hurries a successor when that happens to the MASTER.

    The connections of a haproxy that died are lost, and their clients shall hear it at once: no draining advert is sent. Those of one
    that hangs but lives are open still, and it may go on: peers are told to leave them with it.
    """

    def __init__(self, node: Node, complaints: Complaints) -> None:
        self._node, self._complaints = node, complaints
        self._left, self._next, self._lives = 0, 0.0, False
        try:
            self.unhealthy = node.priority_control.unhealthy()
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
            self._node.leave_connections_with(master.source, master.priority)
        self.unhealthy = False
        self.tick()

    def leave(self) -> None:
        """Nobody will see when haproxy is back: leave it to keepalived's own check."""
        self.unhealthy, self._left = False, 0
        self.tick()

    def tick(self) -> float:
        """Do what is due; return when to come back at the latest (monotonic seconds)."""
        try:
            if self._node.priority_control.unhealthy() is not self.unhealthy:
                self._node.priority_control.mark(unhealthy=self.unhealthy)
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
        return self._node.priority(Band.DRAINING if self._lives else self._node.band(), unhealthy=not self._lives)

    def _resign(self) -> None:
        if not self._node.vip_here() or self._node.keepalived_pid() is None:
            self._left = 0
            return
        self._left -= 1
        self._next = time.monotonic() + _RESIGN_EVERY * self._node.config.keepalived.advert_int
        try:
            resignation.send(self._node.config, self._node.attachment, self._said)
            self._complaints.over("resignation")
        except SystemFault as error:
            self._complaints.about("resignation", f"{error}: a peer takes over after three advert intervals, not at once")


class Introduction:
    """Tells the peers from where our adverts come: at the beginning, now and then, and at once when somebody new introduces himself."""

    def __init__(self, node: Node, complaints: Complaints) -> None:
        self._node, self._complaints = node, complaints
        self._vrid = node.config.keepalived.virtual_router_id
        self._proof = hello.token(node.config.me.id, self._vrid)
        self._next = 0.0
        self._heard: dict[IPAddress, float] = {}

    def hear(self, packet: Packet, now: float) -> None:
        """Answer whoever has not been heard for a while: it has just come, and may not know us."""
        if not hello.introduces(packet, self._proof, self._vrid):
            return
        self._heard = {source: at for source, at in self._heard.items() if now - at < _FORGET * hello.EVERY}
        if packet.source not in self._heard and len(self._heard) < MOST:
            self._next = 0.0
        self._heard[packet.source] = now

    def tick(self, now: float) -> None:
        if now < self._next:
            return
        self._next = now + hello.EVERY
        try:
            greeting.say(self._node.config, self._node.attachment)
            self._complaints.over("hello")
        except SystemFault as error:
            self._complaints.about(
                "hello", f"{error}: peers that do not know our address by the keepalived link ignore our adverts until they are told"
            )


class Question:
    """Asks every few seconds who answers for the VIP: a MASTER that adverts may be out of reach all the same.

    Silence is believed after several questions, of which each may be lost (RFC 5227 section 1.1, PROBE_NUM).
    """

    def __init__(self, node: Node, netlink: Netlink) -> None:
        self._node, self._netlink = node, netlink
        self._inquiry: Inquiry | None = None
        self._asked = float("-inf")
        self.answered: bool | None = None

    def tick(self, now: float, *, vip_here: bool) -> None:
        """Take answers in, and ask again when it is time; ``answered`` is None while there is no answer to rely on."""
        if vip_here:
            self._forget(now)
        elif self._inquiry is not None:
            self._listen(self._inquiry, now)
        elif now - self._asked >= _ASK_EVERY:
            self._ask(now)

    def _ask(self, now: float) -> None:
        self._asked = now
        try:
            self._inquiry = inquire(self._node.interface, self._netlink.mac(self._node.interface), self._node.config.vip)
            self._inquiry.ask()
        except (SystemFault, OSError):  # the interface is away: nobody can be asked
            self._forget(now)

    def _listen(self, inquiry: Inquiry, now: float) -> None:
        try:
            answers = {*inquiry.answers()}
            if answers and answers - self._netlink.macs():
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

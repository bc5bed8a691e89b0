"""A client of the segment: what it knows of the VIP, what it sends, and how its connections ended. Pure; times are monotonic seconds.

It knows one MAC for the VIP, and learns another one as every client does: from gratuitous ARP or unsolicited neighbour
advertisements, its own machine's included, and from answers to its own question when a connection got none. While that is a MAC of
our own a socket connects; otherwise a SYN made by hand goes to the machine that has the MAC (handshake.py), an RST follows.
"""

import errno
import random
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

from vrrp_drain.linux.neighbour import announced_mac, is_answer
from vrrp_drain.runtime.ip import IPAddress

from . import handshake
from .tally import PATIENCE, Outcome, Probe

_ASK_AGAIN = 1.0  # seconds between two questions who has the VIP


@dataclass(frozen=True)
class Target:
    """What to connect to, and from where: ``own`` is our address on ``interface``, ``mac`` the interface's, ``macs`` all of ours."""

    vip: IPAddress
    port: int
    interface: str
    own: IPAddress
    mac: str
    macs: frozenset[str]


@dataclass(frozen=True)
class Turn:
    """From ``at`` on clients took the machine with ``mac`` for the VIP's."""

    at: float
    mac: str


@dataclass(frozen=True)
class Frame:
    """``packet``, from its IP header on, to be sent to ``mac``."""

    packet: bytes
    mac: str


@dataclass(frozen=True)
class _Flight:
    syn: handshake.Syn
    mac: str
    sent: float
    is_trial: bool


class Client:
    """The first connections go to ``peers`` (MACs), two to each while the VIP is still here: they have it on lo, and answer. These are
    ``trials``; what follows are ``probes``.
    """

    def __init__(self, target: Target, began: float, peers: Collection[str] = ()) -> None:
        self.target = target
        self.peers = frozenset(peers)
        self.turns = [Turn(began, target.mac)]
        self.trials: list[Probe] = []
        self.probes: list[Probe] = []
        self._to_try = deque((*self.peers, *self.peers))
        self._flying: dict[int, _Flight] = {}  # by our port
        self._next_question = began
        self._asks = False

    @property
    def connects_here(self) -> bool:
        """Tell whether the next connection is one for a socket."""
        return not self._to_try and self.turns[-1].mac in self.target.macs

    @property
    def waits(self) -> bool:
        """Tell whether a SYN has had no answer yet, and may still get one."""
        return bool(self._flying)

    def open(self, port: int, now: float) -> Frame:
        """Return the SYN of the next connection, from our ``port``, which no connection uses that is still waited for."""
        is_trial = bool(self._to_try)
        mac = self._to_try.popleft() if is_trial else self.turns[-1].mac
        syn = handshake.Syn(self.target.own, port, self.target.vip, self.target.port, random.getrandbits(32))
        self._flying[port] = _Flight(syn, mac, now, is_trial)
        return Frame(syn.packet(), mac)

    def not_sent(self, port: int, now: float) -> None:
        """The SYN from ``port`` could not leave: the interface is down."""
        self._land(port, Outcome.LOST, now)

    def hear(self, packet: bytes, at: float) -> Frame | None:
        """Take in what arrived or was announced at ``at``; return the RST that ends a connection which was opened."""
        target = self.target
        if mac := announced_mac(packet, target.vip):
            if is_answer(packet, target.vip) and at >= self._next_question:
                return None  # to this machine's own proof of the move: no client hears that
            mac = target.mac if mac in target.macs else mac
            if mac != self.turns[-1].mac:
                self.turns.append(Turn(at, mac))
            return None
        answer = handshake.read(packet, target.vip, target.port, target.own)
        flight = self._flying.get(answer.port) if answer else None
        if answer is None or flight is None or not flight.syn.answered_by(answer):
            return None
        self._land(answer.port, Outcome.ANSWERED if answer.accepted else Outcome.REFUSED, at)
        return Frame(flight.syn.reset(), flight.mac) if answer.accepted else None

    def connected(self, sent: float, failure: int, now: float) -> None:
        """A socket that began to connect at ``sent`` has, or could not: ``failure`` is the error number, 0 for success."""
        refused = failure in (errno.ECONNREFUSED, errno.ECONNRESET)
        self._note(Probe(sent, self.target.mac, Outcome.REFUSED if refused else Outcome.LOST if failure else Outcome.ANSWERED, now - sent))

    def give_up(self, now: float) -> list[Frame]:
        """Hold for lost what had no answer for a second; return RSTs, since it may be the answer that was lost."""
        late = {port: flight for port, flight in self._flying.items() if now - flight.sent >= PATIENCE}
        for port in late:
            self._land(port, Outcome.LOST, now)
        return [Frame(flight.syn.reset(), flight.mac) for flight in late.values()]

    def asks(self, now: float) -> bool:
        """Tell whether to ask the segment now who has the VIP, as a client does that gets no answer."""
        if not self._asks or now < self._next_question:
            return False
        self._asks, self._next_question = False, now + _ASK_AGAIN
        return True

    def _land(self, port: int, outcome: Outcome, at: float) -> None:
        flight = self._flying.pop(port)
        probe = Probe(flight.sent, flight.mac, outcome, max(0.0, at - flight.sent))
        if flight.is_trial:
            self.trials.append(probe)
        else:
            self._note(probe)

    def _note(self, probe: Probe) -> None:
        self.probes.append(probe)
        self._asks = self._asks or probe.outcome is Outcome.LOST

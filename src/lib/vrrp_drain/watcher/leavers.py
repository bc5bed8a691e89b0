"""Asks whether a peer that open connections are handed on to is still there.

A leaver whose VM died answers nothing: its clients would hang until the window ends, where a reset lets them begin anew at once. A
machine answers as long as its kernel runs, however loaded it is; if haproxy alone has ended there, that kernel resets. One that was
paused for longer and goes on has its sockets still: it is asked on for a while, and handed packets again when it answers. After that it
has to say so itself (serving.py): it may be another one by then, at the same address.
"""

import logging

from vrrp_drain.handover.machine import Machine
from vrrp_drain.keepalived.instance import Instance
from vrrp_drain.runtime.ip import IPAddress

from .sign_of_life import SignOfLife

log = logging.getLogger(__name__)

_LOOK_EVERY = 0.5  # seconds between two looks at who is armed
_ASK_EVERY = 0.2  # seconds, where packets of clients come
_ASK_IDLE_EVERY = 2.0  # where none do, so that nobody who is gone is left when they do
_ASK_GONE_EVERY = 0.5
_ASK_GONE_FOR = 20.0  # less than a machine takes to start anew
_QUESTIONS = 5  # unanswered ones in a row, each of which may be lost (RFC 5227 section 1.1, PROBE_NUM is 3): about a second


class Leavers:
    """An action of the watcher's, for as long as anybody is armed here."""

    def __init__(self, instance: Instance, machine: Machine) -> None:
        self._instance, self._machine = instance, machine
        self._asked: dict[IPAddress, _Asked] = {}
        self._gone: dict[IPAddress, _Asked] = {}
        self._look_at = 0.0

    def tick(self, now: float, *, gets_packets: bool) -> None:
        """Take answers in, ask again, and give up who has not answered; ``gets_packets`` tells that clients' come here: to whoever has the
        VIP, and from it to those who left. Raises SystemFault where the kernel does not do its part."""
        if not self._instance.hands_off:
            return
        if now >= self._look_at:
            self._look_at = now + _LOOK_EVERY
            self._see({each.peer: each.seconds for each in self._machine.rules.armed()}, now)
        for peer, asked in [*self._asked.items()]:
            if asked.unanswered(now, _ASK_EVERY if gets_packets else _ASK_IDLE_EVERY) >= _QUESTIONS:
                self._give_up(peer, now, gets_packets=gets_packets)
        for peer, asked in [*self._gone.items()]:
            if asked.answers(now):
                self._take_back(peer)

    def close(self) -> None:
        for each in (*self._asked.values(), *self._gone.values()):
            each.close()
        self._asked, self._gone = {}, {}

    def _see(self, armed: dict[IPAddress, float], now: float) -> None:
        for peer in self._asked.keys() - armed.keys():
            self._asked.pop(peer).close()
        for peer in {peer for peer, asked in self._gone.items() if now >= asked.until or peer in armed}:  # or it said so itself
            self._gone.pop(peer).close()
        for peer, seconds in armed.items():
            if peer not in self._asked:
                self._asked[peer] = _Asked(SignOfLife(self._instance, self._machine, peer))
            self._asked[peer].until = now + seconds

    def _give_up(self, peer: IPAddress, now: float, *, gets_packets: bool) -> None:
        self._machine.rules.disarm(peer)
        self._gone[peer] = self._asked.pop(peer)
        self._gone[peer].until = min(self._gone[peer].until, now + _ASK_GONE_FOR)
        if not gets_packets:
            log.info("%s does not answer: it is handed no open connections if the VIP comes here", peer)
            return
        log.warning(
            "%s left and went on serving open connections, but does not answer any more: their clients get a reset from %s",
            peer,
            self._instance.name,
        )

    def _take_back(self, peer: IPAddress) -> None:
        self._gone.pop(peer).close()
        self._machine.rules.arm(self._instance.config.keepalived.addresses, peer)
        log.info("%s answers again: what is still open there goes on", peer)


class _Asked:
    """The questions to one peer, who is armed, or asked on, ``until`` then (monotonic seconds)."""

    def __init__(self, sign: SignOfLife) -> None:
        self._sign = sign
        self._last = float("-inf")
        self.until = 0.0

    def unanswered(self, now: float, every: float) -> int:
        """Return how many questions in a row were not answered, each in time; ask the next one when it is due."""
        if now < self._last + every:
            return 0
        self._last = now
        try:
            self._sign.look()
            found = self._sign.unanswered
            self._sign.ask()
        except OSError:  # the interface is away
            self._sign.forget()
            return 0
        return found

    def answers(self, now: float) -> bool:
        """Tell whether it answers again; ask when it is time."""
        if now < self._last + _ASK_GONE_EVERY:
            return False
        self._last = now
        try:
            found = self._sign.look()
            self._sign.ask()
        except OSError:
            return False
        return found

    def close(self) -> None:
        self._sign.close()

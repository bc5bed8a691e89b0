"""Asks whether a peer that open connections are handed on to is still there.

A leaver whose VM died answers nothing: its clients would hang until the window ends, where a reset lets them begin anew at once. A
machine answers for its address as long as its kernel runs, however loaded it is; if haproxy alone has ended there, that kernel resets.
"""

import logging

from vrrp_drain.handover.machine import Machine
from vrrp_drain.keepalived.instance import Instance
from vrrp_drain.linux.neighbour import Inquiry
from vrrp_drain.runtime.ip import IPAddress

log = logging.getLogger(__name__)

_LOOK_EVERY = 0.5  # seconds between two looks at who is armed
_ASK_EVERY = 0.2  # seconds
_QUESTIONS = 5  # unanswered ones in a row, each of which may be lost (RFC 5227 section 1.1, PROBE_NUM is 3): about a second


class Leavers:
    """An action of the watcher's, for as long as packets of clients come here: to whoever has the VIP, and from it to those who left."""

    def __init__(self, instance: Instance, machine: Machine) -> None:
        self._instance, self._machine = instance, machine
        self._asked: dict[IPAddress, _Asked] = {}
        self._look_at = 0.0

    def tick(self, now: float, *, gets_packets: bool) -> None:
        """Take answers in, ask again, and give up who has not answered. Raises SystemFault where the kernel does not do its part."""
        if not gets_packets or not self._instance.hands_off:
            self.close()
            return
        if now >= self._look_at:
            self._look_at = now + _LOOK_EVERY
            self._see({each.peer for each in self._machine.rules.armed()})
        for peer, asked in [*self._asked.items()]:
            if asked.unanswered(now) >= _QUESTIONS:
                self._give_up(peer)

    def close(self) -> None:
        for peer in [*self._asked]:
            self._asked.pop(peer).inquiry.close()

    def _see(self, armed: set[IPAddress]) -> None:
        for peer in self._asked.keys() - armed:
            self._asked.pop(peer).inquiry.close()
        for peer in armed - self._asked.keys():
            if self._machine.netlink.is_on_segment(self._instance.interface, peer):  # one behind a router answers no such question
                self._asked[peer] = _Asked(self._machine.inquire(self._instance.interface, peer))

    def _give_up(self, peer: IPAddress) -> None:
        self._asked.pop(peer).inquiry.close()
        self._machine.rules.disarm(peer)
        log.warning(
            "%s left and went on serving open connections, but does not answer any more: their clients get a reset from %s",
            peer,
            self._instance.name,
        )


class _Asked:
    """The questions to one peer."""

    def __init__(self, inquiry: Inquiry) -> None:
        self.inquiry = inquiry
        self._questions, self._next = 0, 0.0

    def unanswered(self, now: float) -> int:
        """Return how many questions in a row were not answered, each in time; ask the next one when it is due."""
        if now < self._next:
            return 0
        self._next = now + _ASK_EVERY
        try:
            if self.inquiry.answers():
                self._questions = 0
            found = self._questions
            self.inquiry.ask()
        except OSError:  # the interface is away: what could not be asked proves nothing
            self._questions = 0
            return 0
        self._questions += 1
        return found

"""How a peer's machine is asked whether it is there: its kernel answers, however its processes are.

On the segment that is ARP, or neighbour discovery. Behind a router nobody answers it, and where a network answers for everybody it tells
nothing of a machine (vrrp_drain.takeover_proof says so): there ICMP echo is asked. It may be filtered, so its silence counts only of
a machine that has answered it before.
"""

from vrrp_drain.config.model import Proof
from vrrp_drain.handover.machine import Machine
from vrrp_drain.keepalived.instance import Instance
from vrrp_drain.linux.neighbour import Inquiry
from vrrp_drain.runtime.ip import IPAddress


class SignOfLife:
    """Questions to ``peer``, one after the other, and whether they were answered."""

    def __init__(self, instance: Instance, machine: Machine, peer: IPAddress) -> None:
        """Raises SystemFault."""
        near, interface = machine.netlink.is_on_segment(instance.interface, peer), instance.interface
        trusted = near and instance.config.drain.takeover_proof is Proof.ARP
        self._questions = [_Question(machine.inquire(interface, peer), proves=trusted, silence_counts=True)] if near else []
        if not trusted:
            self._questions.append(_Question(machine.echo(interface, peer), proves=True, silence_counts=False))

    def ask(self) -> None:
        """Ask once more. Raises OSError where the interface is away."""
        for each in self._questions:
            each.ask()

    def look(self) -> bool:
        """Take answers in; tell whether one has come that proves that it lives."""
        found = [each.look() for each in self._questions]
        return any(found)

    @property
    def unanswered(self) -> int:
        """Return how many questions in a row were not answered by a machine that would have."""
        return max(each.unanswered for each in self._questions)

    def forget(self) -> None:
        """What could not be asked proves nothing."""
        for each in self._questions:
            each.forget()

    def close(self) -> None:
        for each in self._questions:
            each.close()


class _Question:
    def __init__(self, inquiry: Inquiry, *, proves: bool, silence_counts: bool) -> None:
        self._inquiry, self._proves, self._silence_counts = inquiry, proves, silence_counts
        self._asked = 0

    def ask(self) -> None:
        self._asked += 1
        self._inquiry.ask()

    def look(self) -> bool:
        if not self._inquiry.answers():
            return False
        self._asked, self._silence_counts = 0, True
        return self._proves

    @property
    def unanswered(self) -> int:
        return self._asked if self._silence_counts else 0

    def forget(self) -> None:
        self._asked = 0

    def close(self) -> None:
        self._inquiry.close()

"""What proves who has the VIP (vrrp_drain.takeover_proof), beside the adverts that brought a handover as far as that.

By ARP the segment is asked who answers for it. Where the network sends the VIP by a table of its own (clouds, routed VIPs) nobody ever
answers: there a MASTER that adverts once more, after our interface has lost the VIP, is the proof, or a program that asks the network.
"""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from vrrp_drain.config.model import Proof as By
from vrrp_drain.keepalived.instance import Instance
from vrrp_drain.linux.neighbour import Inquiry
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import IPAddress
from vrrp_drain.runtime.programs import PATH
from vrrp_drain.vrrp import bands
from vrrp_drain.vrrp.advert import RESIGN
from vrrp_drain.vrrp.bands import Claim
from vrrp_drain.vrrp.election import Heard, Standing

from .machine import Machine, Running
from .transitions import Event, Sign

log = logging.getLogger(__name__)

COMMAND_SECONDS = 30.0  # that a run of takeover_command may take
_AGAIN = 1.0  # seconds until takeover_command is run once more


class Ears(Protocol):
    """Calls ``heard`` whenever a file descriptor is readable, until it is told to ignore it (event_source.EventSource)."""

    def listen(self, fd: int, heard: Callable[[], list[Event]]) -> None: ...
    def ignore(self, fd: int) -> None: ...


class Proof(Protocol):
    """``begin`` begins anew: what was proven before counts no more."""

    def begin(self) -> None: ...

    def ask(self) -> bool:
        """Ask, or go on asking; tell whether it would be a proof if nobody spoke up now. Raises SystemFault."""

    def hear(self, heard: Heard) -> list[Event]:
        """Take in an advert; return what it proves."""

    def close(self) -> None: ...


def find(instance: Instance, machine: Machine, ears: Ears, outranks: int | None) -> Proof:
    """Return the proof that the properties ask for. ``outranks`` is the least priority of a successor, None for a promotion."""
    match instance.config.drain.takeover_proof:
        case By.ARP:
            return _ByArp(instance, machine, ears)
        case By.ADVERTS:
            return _ByAdverts(outranks)
    return _ByCommand(instance, machine, ears, outranks)


def words(instance: Instance) -> dict[str, str]:
    """Return what is told of the proof: how it is ``asked`` for, what it is that ``nobody`` has the VIP, what it is to be ``unproven``."""
    vip, command = instance.vip, instance.config.drain.takeover_command
    match instance.config.drain.takeover_proof:
        case By.ARP:
            asked, nobody = "asking the segment who answers for it", f"nobody else answers for {vip}"
            return {"asked": asked, "nobody": nobody, "unproven": f"nobody answered for {vip} on {instance.interface}"}
        case By.ADVERTS:
            asked, nobody = "waiting for the next advert of the MASTER", "no peer adverts as MASTER"
            return {"asked": asked, "nobody": nobody, "unproven": "sent no further advert"}
    name = command[0] if command else ""
    asked, nobody = f"asking {name} where the network sends it", f"{name} says that the network sends {vip} here"
    return {"asked": asked, "nobody": nobody, "unproven": f"{name} did not say that the network sends {vip} there"}


class _ByArp:
    def __init__(self, instance: Instance, machine: Machine, ears: Ears) -> None:
        self._instance, self._machine, self._ears = instance, machine, ears
        self._inquiry: Inquiry | None = None

    def begin(self) -> None:
        """Whoever has answered is heard again: he is asked all the time."""

    def ask(self) -> bool:
        if self._inquiry is None:
            self._inquiry = self._machine.inquire(self._instance.interface, self._instance.vip)
            self._ears.listen(self._inquiry.fileno(), self._answers)
        try:
            self._inquiry.ask()
        except OSError:  # the interface is down for the moment: a question that was not asked proves nothing
            return False
        return True

    def hear(self, heard: Heard) -> list[Event]:
        return []

    def close(self) -> None:
        if self._inquiry is not None:
            self._inquiry.close()

    def _answers(self) -> list[Event]:
        ours = self._machine.netlink.macs()
        others = [mac for mac in (self._inquiry.answers() if self._inquiry is not None else []) if mac not in ours]
        if others:
            self._draw_back()
        return [Event(Sign.PEER_ANSWERS, {"proof": f"{mac} answers for {self._instance.vip}"}) for mac in others][:1]

    def _draw_back(self) -> None:
        """Announce the VIP's own MAC here again: by its answer whoever is about to yield has the switch send all that is for it to him."""
        interface, vip = self._instance.attachment.vip_interface, self._instance.vip
        if self._instance.config.keepalived.use_vmac and self._machine.netlink.has_address(interface, vip):
            with suppress(SystemFault):  # keepalived announces it a second time
                self._machine.announce(interface, vip)


class _ByAdverts:
    """Whoever adverts after ``begin`` has the VIP: a successor of those who leave, anybody beside those who are promoted."""

    def __init__(self, outranks: int | None) -> None:
        self._outranks = outranks
        self._begun = False

    def begin(self) -> None:
        self._begun = True

    def ask(self) -> bool:
        return True

    def hear(self, heard: Heard) -> list[Event]:
        if not self._begun or not self._is_master(heard) or heard.advert is None:
            return []
        return [Event(Sign.PEER_ANSWERS, {"proof": f"{heard.source} adverts priority {heard.advert.priority}"})]

    def close(self) -> None:
        """Nothing was opened."""

    def _is_master(self, heard: Heard) -> bool:
        if heard.advert is None or heard.standing is not Standing.PEER or heard.advert.priority == RESIGN:
            return False
        if self._outranks is not None:
            return heard.advert.priority >= self._outranks
        return bands.describe(heard.advert.priority) is not Claim.DRAINING  # that is said by those who give it up, MASTER or not


class _ByCommand(_ByAdverts):
    """The same, and then a program's word that the network agrees. It is run again until it has success."""

    def __init__(self, instance: Instance, machine: Machine, ears: Ears, outranks: int | None) -> None:
        super().__init__(outranks)
        self._instance, self._machine, self._ears = instance, machine, ears
        self._master: IPAddress | None = None if outranks is not None else instance.attachment.source or instance.config.me.address
        self._running: Running | None = None
        self._succeeded, self._next, self._told = False, 0.0, ""

    def begin(self) -> None:
        super().begin()
        self._anew()

    def ask(self) -> bool:
        if self._running is not None:
            self._running.expire()
        elif self._master is not None and not self._succeeded and time.monotonic() >= self._next:
            self._start(self._master)
        return self._succeeded

    def hear(self, heard: Heard) -> list[Event]:
        if self._outranks is None:
            return super().hear(heard)
        if self._is_master(heard) and heard.source != self._master:
            self._master = heard.source
            self._anew()
        return []

    def close(self) -> None:
        if self._running is not None:
            self._ears.ignore(self._running.fileno())
            self._running.close()
            self._running = None

    def _anew(self) -> None:
        self.close()
        self._succeeded, self._next = False, 0.0

    def _start(self, master: IPAddress) -> None:
        self._next = time.monotonic() + _AGAIN
        environment = {
            "PATH": PATH,
            "VRRP_DRAIN_VIP": str(self._instance.vip),
            "VRRP_DRAIN_MASTER": str(master),
            "VRRP_DRAIN_INSTANCE": self._instance.name,
        }
        try:
            self._running = self._machine.run(self._instance.config.drain.takeover_command or (), environment, COMMAND_SECONDS)
        except SystemFault as error:
            self._tell(str(error))
            return
        self._ears.listen(self._running.fileno(), self._look)

    def _look(self) -> list[Event]:
        running = self._running
        if running is None or (outcome := running.outcome()) is None:
            return []
        self.close()
        self._next = time.monotonic() + _AGAIN
        if outcome:
            self._tell(outcome)
            return []
        self._succeeded = True
        if self._outranks is None:
            return []  # silence of the others from now on is the rest of the proof
        return [Event(Sign.PEER_ANSWERS, {"proof": f"{running.name} says that the network sends {self._instance.vip} to {self._master}"})]

    def _tell(self, why: str) -> None:
        if why != self._told:
            log.warning("vrrp_drain.takeover_command: %s; it is run again until it ends with status 0", why)
        self._told = why

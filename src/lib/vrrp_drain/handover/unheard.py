"""Before keepalived starts, with unicast: is there a MASTER that does not send us its adverts? keepalived here would be a second one.

It is so where this instance has another address than its peers know. Our hello tells them: the watcher there has its keepalived
advert to us as well, within seconds. Until then nothing is started here.
"""

import logging
import selectors
import time
from contextlib import closing, suppress

from vrrp_drain.config.model import Proof
from vrrp_drain.keepalived.instance import Instance
from vrrp_drain.linux.neighbour import Inquiry
from vrrp_drain.runtime.ip import IPAddress
from vrrp_drain.vrrp import hello
from vrrp_drain.vrrp.election import Register, Standing
from vrrp_drain.vrrp.hello import Word

from .advert_stream import AdvertStream, WireStream
from .announcements import Announcements
from .machine import Machine

log = logging.getLogger(__name__)

_LEAST = 1.0  # seconds in which whoever has the VIP says so, if it is asked
_REACTION = 15.0  # seconds that a watcher has for a hello, on a busy machine
_INTERVALS = 3  # of adverts, of which one may be lost
_ASK_EVERY = 0.2  # seconds
_GREET_EVERY = 2.0  # seconds
_ONE_MACHINE = 0.5  # seconds for the answers of one machine


def master(instance: Instance, machine: Machine, register: Register, announcements: Announcements) -> str:
    """Return who has the VIP and does not advert to us, whatever we say; nothing where all is well. Raises SystemFault.

    It takes no time where adverts have come or keepalived runs, and a second where there is nobody.
    """
    if not instance.attachment.peers or register.adverts or machine.keepalived(instance.pid_file) is not None:
        return ""
    return _Search(instance, machine, register, announcements).result()


class _Search:
    def __init__(self, instance: Instance, machine: Machine, register: Register, announcements: Announcements) -> None:
        self._instance, self._machine, self._register, self._announcements = instance, machine, register, announcements
        began = time.monotonic()
        self._least, self._until = began + _LEAST, began + _REACTION + _INTERVALS * instance.config.keepalived.advert_int
        self._words: dict[IPAddress, Word] = {}
        self._macs: set[str] = set()

    def result(self) -> str:
        machine, instance = self._machine, self._instance
        with (
            WireStream(machine, instance, self._register) as stream,
            closing(machine.inquire(instance.interface, instance.vip)) as inquiry,
            machine.selector() as selector,
        ):
            selector.register(stream.fileno(), selectors.EVENT_READ)
            selector.register(inquiry.fileno(), selectors.EVENT_READ)
            greet_at = ask_at = 0.0
            while (now := time.monotonic()) < self._until:
                if now >= greet_at:
                    greet_at = now + _GREET_EVERY
                    self._announcements.greet(log.warning)
                if now >= ask_at:
                    ask_at = now + _ASK_EVERY
                    self._ask(inquiry)
                due = min(each for each in (ask_at, greet_at, self._least, self._until) if each > now)
                selector.select(max(0.0, due - time.monotonic()))
                if self._adverts_come(stream):
                    return ""
                self._macs |= {*inquiry.answers()} - machine.netlink.macs()
                if time.monotonic() >= self._least and not self._holder():
                    return ""
        holder = self._holder()
        return holder and (
            f"{holder} has {instance.vip}, and none of its adverts reaches {instance.attachment.source}, the address of {instance.name}: "
            "keepalived here would be a second MASTER, so it is not started. Where the peers know another address of this instance, their "
            "watchers have keepalived advert to the new one: monit start vrrp-drain-watch there, then deploy again"
        )

    def _ask(self, inquiry: Inquiry) -> None:
        if self._instance.config.drain.takeover_proof is Proof.ARP:
            with suppress(OSError):  # the interface is down: nobody can answer
                inquiry.ask()

    def _adverts_come(self, stream: AdvertStream) -> bool:
        for heard in stream.receive():
            if heard.standing is Standing.HELLO:
                self._register.introduce(heard.source)
                self._words[heard.source] = hello.word(heard.packet)
            elif heard.standing in (Standing.PEER, Standing.CHANGING) and not heard.packet.destination.is_multicast:
                return True
        return False

    def _holder(self) -> str:
        """Return who has the VIP now, as far as is known. One that is not MASTER, but has a stale VIP, needs a successor: it is none."""
        holders = [source for source, word in self._words.items() if word is Word.HOLDS]
        stale = [source for source, word in self._words.items() if word is Word.STAYS]
        if not holders and self._macs and not (stale and self._is_of(stale)):
            return ", ".join(sorted(self._macs))
        return ", ".join(map(str, holders))

    def _is_of(self, peers: list[IPAddress]) -> bool:
        """Tell whether the machine that answers for the VIP is one of ``peers``."""
        return self._machine.one_machine(self._instance.interface, self._instance.vip, peers, _ONE_MACHINE)

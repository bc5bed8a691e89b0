"""Before keepalived starts: who uses our virtual router ID already, and is not of our group. Later the two silence each other.

One packet fails no deploy: whoever is heard gets the time for his next advert (vrrp/strangers.py). And an instance whose address is
another than the keepalived link says gets the time to introduce itself (vrrp/hello.py): its watcher does so at once when it hears our
hello, and every few seconds anyway. Until then it may look like somebody else's: while the VIP is changed instance by instance, it adverts
another one than ours.
"""

import logging
import time
from collections.abc import Callable

from vrrp_drain.keepalived.instance import Instance
from vrrp_drain.runtime.ip import IPAddress
from vrrp_drain.vrrp import hello
from vrrp_drain.vrrp.election import Heard, Register, Standing
from vrrp_drain.vrrp.foreign import Difference
from vrrp_drain.vrrp.strangers import Strangers

from .advert_stream import WireStream
from .machine import Machine

log = logging.getLogger(__name__)

_LATE = 0.1  # seconds that an advert or a hello may be late
_LONGEST_INTERVAL = 5.0  # seconds that a stranger's next advert is waited for
_ANSWER = 0.5  # seconds in which a watcher that runs has answered our hello


def stranger(instance: Instance, machine: Machine, register: Register, seconds: float, ask: Callable[[], object]) -> str:
    """Listen for ``seconds``, or longer where it takes longer to know; return who is a stranger and why, or nothing. Raises SystemFault.

    Meanwhile ``ask`` is called twice: a question or its answer may be lost.
    """
    began, alone = time.monotonic(), machine.keepalived(instance.pid_file) is None
    hearing = _Hearing(register, instance.config.keepalived.advert_int, began + seconds, keepalived_runs=not alone)
    with WireStream(machine, instance, register) as stream:
        for until in (lambda: began + seconds / 2, lambda: hearing.until):
            ask()
            for heard in stream.until(until):
                if refused := hearing.take(heard):
                    return refused
    return hearing.end()


class _Hearing:
    def __init__(self, register: Register, advert_int: float, until: float, *, keepalived_runs: bool) -> None:
        self._until = until
        self._register = register
        self._strangers, self._twins = Strangers(advert_int), Strangers(advert_int)
        self._far: set[IPAddress] = set()
        self._keepalived_runs = keepalived_runs
        self._awaited: dict[IPAddress, float] = {}  # until when each of them may yet be heard, or introduce himself

    @property
    def until(self) -> float:
        return max(self._until, *self._awaited.values(), 0.0)

    def take(self, heard: Heard) -> str:
        """Take in a packet; return who is a stranger without doubt, and why, or nothing."""
        if heard.standing is Standing.FAR and heard.source not in self._far:
            self._far.add(heard.source)
            log.warning(
                "adverts of %s have crossed routers (%d), more than keepalived.unicast_hops allows, and are dropped: two instances become "
                "MASTER; set it to %d for all",
                heard.source,
                heard.routers,
                heard.routers,
            )
        if heard.standing is Standing.HELLO:
            self._register.introduce(heard.source)
        if heard.standing is Standing.HELLO or heard.source in self._register.current.members:
            self._awaited.pop(heard.source, None)
        if self._is_a_twins(heard):
            return self._take_a_twins(heard)
        if heard.standing is not Standing.STRANGER or heard.advert is None:
            return ""
        found = self._strangers.hear(heard)
        again = found.began + min(heard.advert.advert_int, _LONGEST_INTERVAL) + _LATE
        introduces_himself = found.began + self._grace(heard)
        self._awaited[heard.source] = max(again, introduces_himself) if found.confirmed else again
        return heard.why if found.confirmed and heard.at >= introduces_himself else ""

    def _is_a_twins(self, heard: Heard) -> bool:
        """Tell whether it is an advert of our virtual router from an address of ours, which we did not send."""
        if self._keepalived_runs or heard.advert is None or heard.advert.vrid != heard.by.vrid:
            return False
        return heard.source in heard.by.own_addresses and heard.source not in heard.by.nobody

    def _take_a_twins(self, heard: Heard) -> str:
        found = self._twins.hear(heard)
        self._awaited[heard.source] = found.began + min(heard.advert.advert_int if heard.advert else 0.0, _LONGEST_INTERVAL) + _LATE
        if not found.confirmed:
            return ""
        return (
            f"another machine has {heard.source}, an address of this instance, and adverts VRID {heard.by.vrid} from it: it would be "
            "MASTER beside this one, and neither could hear the other. Most often it is a VM that BOSH has replaced and that still runs: "
            "find it in the IaaS and delete it, then deploy again"
        )

    def _grace(self, heard: Heard) -> float:
        """Return the seconds in which whoever sent this may prove to be a peer that speaks from another address than we know."""
        if heard.difference is Difference.MEMBERSHIP:  # all that is wrong is its address
            return hello.EVERY + _LATE
        if heard.difference is not Difference.VIP:
            return 0.0
        return _ANSWER if self._register.current.closed else hello.EVERY + _LATE

    def end(self) -> str:
        """Return who was heard again and has not introduced himself; say who was heard once."""
        members = self._register.renew().members
        heard = [each for each in self._strangers.heard(time.monotonic()) if not self._grace(each.last) or each.source not in members]
        for each in heard:
            if not each.confirmed:
                log.warning("heard in one packet alone, which proves nothing: %s", each.why)
        return next((each.why for each in heard if each.confirmed), "")

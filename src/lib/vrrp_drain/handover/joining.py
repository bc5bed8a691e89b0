"""Before keepalived starts: who uses our virtual router ID already, and is not of our group. Later the two silence each other.

One packet fails no deploy: whoever is heard gets the time for his next advert (vrrp/strangers.py). And an instance whose address is
another than the keepalived link says gets the time to introduce itself (vrrp/hello.py): its watcher does so at once when it hears our
hello, and every few seconds anyway.
"""

import logging
import time

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


def stranger(instance: Instance, machine: Machine, register: Register, seconds: float) -> str:
    """Listen for ``seconds``, or longer where it takes longer to know; return who is a stranger and why, or nothing. Raises SystemFault."""
    hearing = _Hearing(register, instance.config.keepalived.advert_int, time.monotonic() + seconds)
    with WireStream(machine, instance, register) as stream:
        for heard in stream.until(lambda: hearing.until):
            if refused := hearing.take(heard):
                return refused
    return hearing.end()


class _Hearing:
    def __init__(self, register: Register, advert_int: float, until: float) -> None:
        self.until = until
        self._register = register
        self._strangers = Strangers(advert_int)
        self._far: set[IPAddress] = set()

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
        if heard.standing is not Standing.STRANGER or heard.advert is None:
            return ""
        found = self._strangers.hear(heard)
        if heard.difference is Difference.MEMBERSHIP:  # all that is wrong is its address
            self.until = max(self.until, found.began + hello.EVERY + _LATE)
            return ""
        self.until = max(self.until, found.began + min(heard.advert.advert_int, _LONGEST_INTERVAL) + _LATE)
        return heard.why if found.confirmed else ""

    def end(self) -> str:
        """Return who was heard again and has not introduced himself; say who was heard once."""
        heard = [each for each in self._strangers.heard(time.monotonic()) if each.source not in self._register.introduced]
        for each in heard:
            if not each.confirmed:
                log.warning("heard in one packet alone, which proves nothing: %s", each.why)
        return next((each.why for each in heard if each.confirmed), "")

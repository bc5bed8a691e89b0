"""Before keepalived starts: who uses our virtual router ID already, and is not of our group. Later the two silence each other.

One packet fails no deploy: whoever is heard gets the time for his next advert (vrrp/strangers.py). And an instance whose address is
another than the keepalived link says gets the time to introduce itself (vrrp/hello.py): its watcher does so at once when it hears our
hello, and every few seconds anyway.
"""

import logging
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

from vrrp_drain.config.model import Config
from vrrp_drain.linux.packet_capture import PacketCapture, arrivals
from vrrp_drain.runtime.ip import IPAddress, Packet
from vrrp_drain.vrrp import hello
from vrrp_drain.vrrp.advert import Advert, valid
from vrrp_drain.vrrp.election import Electorate, Register
from vrrp_drain.vrrp.strangers import Strangers

log = logging.getLogger(__name__)

_LATE = 0.1  # seconds that an advert or a hello may be late
_LONGEST_INTERVAL = 5.0  # seconds that a stranger's next advert is waited for


def stranger(config: Config, interface: str, electorate: Callable[[], Electorate], seconds: float) -> str:
    """Listen for ``seconds``, or longer where it takes longer to know; return who is a stranger and why, or nothing. Raises SystemFault."""
    hearing = _Hearing(config, electorate, time.monotonic() + seconds)
    with closing(PacketCapture(interface, config.vip.version, config.keepalived.virtual_router_id)) as capture:
        capture.know(hearing.register.current.members)
        for packet in arrivals(capture, lambda: hearing.until):
            if refused := hearing.take(packet):
                return refused
    return hearing.end()


class _Hearing:
    def __init__(self, config: Config, electorate: Callable[[], Electorate], until: float) -> None:
        self.register, self.until = Register(electorate), until
        self._vrid = config.keepalived.virtual_router_id
        self._proof = hello.token(config.me.id, self._vrid)
        self._strangers = Strangers(config.keepalived.advert_int)
        self._introduced: set[IPAddress] = set()

    def take(self, packet: Packet) -> str:
        """Take in a packet; return who is a stranger without doubt, and why, or nothing."""
        if hello.introduces(packet, self._proof, self._vrid):
            self._introduced.add(packet.source)
        return next((self._weigh(advert, packet) for advert, _ in valid([packet])), "")

    def end(self) -> str:
        """Return who was heard again and has not introduced himself; say who was heard once."""
        heard = [each for each in self._strangers.heard(time.monotonic()) if each.source not in self._introduced]
        for each in heard:
            if not each.confirmed:
                log.warning("heard in one packet alone, which proves nothing: %s", each.why)
        return next((each.why for each in heard if each.confirmed), "")

    def _weigh(self, advert: Advert, packet: Packet) -> str:
        now = time.monotonic()
        electorate = self.register.hearing(advert, packet, now)
        electorate = replace(electorate, members=electorate.members | self._introduced)
        foreign = electorate.foreign(advert, packet)
        if foreign is None:
            return ""
        why = str(foreign)
        found = self._strangers.hear(packet.source, why, advert.advert_int, now)
        if replace(electorate, closed=False).is_peers(advert, packet):  # all that is wrong is its address
            self.until = max(self.until, found.began + hello.EVERY + _LATE)
            return ""
        self.until = max(self.until, found.began + min(advert.advert_int, _LONGEST_INTERVAL) + _LATE)
        return why if found.confirmed else ""

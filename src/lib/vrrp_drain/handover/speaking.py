"""Before anything is said: the kernel uses an IPv6 address once it has found nobody else with it (RFC 4862 section 5.4).

That takes a second or two from when the interface came up, or IPv6 was switched on for it. Until then nothing is sent from it: a hello
would not be said, and peers that do not know our address otherwise would not hear us.
"""

import logging
import selectors
import time
from contextlib import closing

from vrrp_drain.keepalived.instance import Instance
from vrrp_drain.linux.ipv6 import Doubt
from vrrp_drain.runtime.ip import IPAddress

from .machine import Machine

log = logging.getLogger(__name__)

LONGEST = 5.0  # seconds: by the kernel's defaults it is two at the most


def wait(instance: Instance, machine: Machine) -> None:
    """Wait until the addresses that we speak from are used, LONGEST at the most. Raises SystemFault."""
    began = time.monotonic()
    if not (searched := _searched(instance, machine)):
        return
    with closing(machine.watch_addresses()) as watch, machine.selector() as selector:
        selector.register(watch.fileno(), selectors.EVENT_READ)
        while (left := _searched(instance, machine)) and (rest := began + LONGEST - time.monotonic()) > 0:
            if selector.select(rest):
                watch.drain()
    if left:
        log.warning(
            "the kernel still looks for another machine with %s: nothing can be sent from it, so peers may not hear %s",
            ", ".join(map(str, left)),
            instance.name,
        )
    else:
        names, seconds = ", ".join(map(str, searched)), time.monotonic() - began
        log.info("waited %.1f s until the kernel had looked for another machine with %s (duplicate address detection)", seconds, names)


def _searched(instance: Instance, machine: Machine) -> list[IPAddress]:
    """Return those of our addresses that the kernel still looks for on the segment."""
    ours = [each for each in (instance.attachment.source, instance.attachment.further_source) if each is not None and each.version == 6]
    doubts = machine.netlink.doubts(instance.interface, 6) if ours else {}
    return [each for each in ours if doubts.get(each) is Doubt.TENTATIVE]

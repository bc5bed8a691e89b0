"""Adverts as they arrive: what keepalived here hears."""

import select
import time
from collections.abc import Iterator

from vrrp_drain.linux.advert_socket import AdvertListener
from vrrp_drain.runtime.ip import Packet
from vrrp_drain.vrrp.advert import Advert, valid


def adverts(interface: str, family: int, seconds: float) -> Iterator[tuple[Advert, Packet]]:
    """Yield the valid adverts that reach ``interface`` within ``seconds``, each with its packet."""
    listener = AdvertListener(interface, family)
    end = time.monotonic() + seconds
    try:
        while (left := end - time.monotonic()) > 0:
            select.select([listener.fileno()], [], [], left)
            yield from valid(listener.receive())
    finally:
        listener.close()

"""Who had which of many VIPs when: the kernels' word alone, with one socket a machine. For one VIP a Recorder tells more."""

import ipaddress
import select
import threading
import time
from collections.abc import Sequence

from lab.fabric.node import Node
from vrrp_drain.linux.rtnetlink import Netlink

from . import ownership
from .ownership import Mark, Owners
from .watching import Watching
from .wire import AddressNotices

_STOP_SEEN_WITHIN = 0.05  # seconds


class Holders(Watching):
    """Watches ``nodes`` from entry to exit; none of them may be made anew meanwhile."""

    def __init__(self, nodes: Sequence[Node], vips: Sequence[str]) -> None:
        super().__init__(nodes)
        self._vips = [ipaddress.ip_address(each) for each in vips]
        self._marks: dict[str, list[Mark]] = {each: [] for each in vips}

    def owners(self, vip: str) -> list[Owners]:
        """Return who had ``vip``, without a gap, until the end or until now."""
        return list(ownership.owners(sorted(self._marks[vip], key=lambda mark: mark.t), self._until()))

    def _watch(self, node: Node, ready: threading.Event) -> None:
        node.machine.enter_network()
        notices = AddressNotices("eth0", *self._vips)
        with Netlink() as netlink:
            for vip in self._vips:
                if netlink.has_address("eth0", vip):
                    self._marks[str(vip)].append(Mark(time.monotonic(), node.name, "vip"))
        ready.set()
        while not self._stop.is_set():
            readable, _, _ = select.select([notices.fileno()], [], [], _STOP_SEEN_WITHIN)
            now = time.monotonic()
            for vip, came in notices.read() if readable else ():
                self._marks[str(vip)].append(Mark(now, node.name, "vip" if came else "no-vip"))
        notices.close()

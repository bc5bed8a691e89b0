"""Records who had the VIP, what it said of it, and who was asked to leave when: on the monotonic clock, from the kernel and the wire."""

import ipaddress
import os
import select
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from lab.fabric.node import Node
from vrrp_drain.linux.rtnetlink import Netlink

from . import ownership
from .ownership import Mark, Move, Owners
from .watching import Watching
from .wire import AddressNotices, Sent

_BAND_EVERY = 0.05  # seconds; the file's own time stamp gives the instant, this only has to see each one


class Recorder(Watching):
    """Watches nodes from entry to exit."""

    def __init__(self, nodes: Sequence[Node], vip: str) -> None:
        super().__init__(nodes)
        self._vip = ipaddress.ip_address(vip)
        self._marks: list[Mark] = []
        self._lock = threading.Lock()

    def note(self, node: str, what: str) -> None:
        """Add a mark of the director's."""
        self._add(time.monotonic(), node, what)

    @property
    def marks(self) -> list[Mark]:
        with self._lock:
            return sorted(self._marks, key=lambda mark: mark.t)

    def moves(self) -> list[Move]:
        """Return the moves of the VIP."""
        return ownership.moves(self.marks, self._until())

    def owners(self) -> list[Owners]:
        """Return who had the VIP, from the first time that anybody had it until the end, or until now."""
        return list(ownership.owners(self.marks, self._until()))

    def overlap_seconds(self) -> float:
        """Return for how long, at most, two nodes had the VIP at once."""
        return max((each.ms / 1000 for each in self.owners() if len(each.nodes) > 1), default=0.0)

    def vacant_seconds(self) -> float:
        """Return for how long, at most, no node had the VIP."""
        return max((each.ms / 1000 for each in self.owners() if not each.nodes), default=0.0)

    def _watch(self, node: Node, ready: threading.Event) -> None:
        with suppress(PermissionError):  # this thread alone: when it sees what happens is what is measured
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        here = False
        while not self._stop.is_set():
            if node.powered:
                here = self._watch_boot(node, ready, here=here)
            self._stop.wait(_BAND_EVERY)

    def _watch_boot(self, node: Node, ready: threading.Event, *, here: bool) -> bool:
        """Watch the machine until it is another one, made anew; return whether it had the VIP."""
        machine = node.machine
        machine.enter_network()
        addresses, sent = AddressNotices("eth0", self._vip), Sent("eth0", self._vip)
        with Netlink() as netlink:
            has = netlink.has_address("eth0", self._vip)
        if has is not here:
            self._add(time.monotonic(), node.name, "vip" if has else "no-vip")
        here, band, said = has, node.band(), ""
        ready.set()
        while node.machine is machine and not self._stop.is_set():
            readable, _, _ = select.select([addresses.fileno(), sent.fileno()], [], [], _BAND_EVERY)
            now = time.monotonic()
            # whoever takes the VIP says so first: marks of one instant keep that order
            for word in sent.read() if sent.fileno() in readable else ():
                if word != said or word == "announced":
                    self._add(now, node.name, word)
                said = said if word == "announced" else word
            for _, came in addresses.read() if addresses.fileno() in readable else ():
                if came is not here:
                    here = came
                    self._add(now, node.name, "vip" if came else "no-vip")
            with suppress(FileNotFoundError):  # a machine without power has no files
                if (written := node.band()) != band:
                    band = written
                    self._add(_written_at(node), node.name, f"band {band}")
        addresses.close()
        sent.close()
        return here

    def _add(self, t: float, node: str, what: str) -> None:
        with self._lock:
            self._marks.append(Mark(t, node, what))


def _written_at(node: Node) -> float:
    """Return when the band file was written, on the monotonic clock."""
    ago = time.time() - (node.machine.root / "var/vcap/sys/run/keepalived/band").stat().st_mtime
    return time.monotonic() - ago

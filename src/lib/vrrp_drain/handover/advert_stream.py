"""One stream of what is heard of our virtual router, every packet with what it is to us (vrrp/election.py).

Handover, watcher, doctor, status and promote hear through it. They differ in where it stands: behind this machine's rules it hears
what keepalived hears, on the wire it hears strangers too, whom the rules keep out.
"""

import selectors
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType

from vrrp_drain.keepalived.instance import Instance
from vrrp_drain.runtime.ip import IPAddress, Packet
from vrrp_drain.vrrp.election import Heard, Register

from .machine import Capture, Listener, Machine


class AdvertStream:
    """``fileno()`` is readable when ``receive()`` has something new; use it as a context manager, or close it."""

    def __init__(self, machine: Machine, instance: Instance, register: Register) -> None:
        """Hear what keepalived hears. Raises SystemFault."""
        self._machine, self._register = machine, register
        self._listener = self._open(machine, instance)

    def _open(self, machine: Machine, instance: Instance) -> Listener:
        return machine.hear(instance.interface, instance.vip.version)

    def __enter__(self) -> "AdvertStream":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def fileno(self) -> int:
        return self._listener.fileno()

    @property
    def wake_at(self) -> float:
        """Return when ``receive`` must be called at the latest, though nothing has arrived (monotonic seconds)."""
        return float("inf")

    def receive(self) -> list[Heard]:
        """Return what has arrived since the last call, at most a burst of it."""
        return [self._register.hear(packet, time.monotonic()) for packet in self._listener.receive()]

    def until(self, end: Callable[[], float]) -> Iterator[Heard]:
        """Yield what arrives until ``end()``, monotonic seconds, which may change meanwhile."""
        with self._machine.selector() as selector:
            selector.register(self.fileno(), selectors.EVENT_READ)
            while (now := time.monotonic()) < (last := end()):
                selector.select(max(0.0, min(last, self.wake_at) - now))
                yield from self.receive()

    def close(self) -> None:
        self._listener.close()


class WireStream(AdvertStream):
    """Hears on the wire. Only so many packets of unknown sources are taken each second, those of known ones whatever there is beside."""

    _listener: Capture

    def __init__(self, machine: Machine, instance: Instance, register: Register, *, outgoing: bool = False) -> None:
        """``outgoing`` tells to note what this machine sends. Raises SystemFault."""
        self._outgoing = outgoing
        super().__init__(machine, instance, register)
        self.know(register.current.members)

    def _open(self, machine: Machine, instance: Instance) -> Capture:
        vrid = instance.config.keepalived.virtual_router_id
        return machine.capture(instance.interface, instance.vip.version, vrid, outgoing=self._outgoing)

    @property
    def wake_at(self) -> float:
        return self._listener.wake_at

    @property
    def sent(self) -> Packet | None:
        """Return the last packet that this machine sent."""
        return self._listener.sent

    def know(self, sources: Iterable[IPAddress]) -> None:
        """Have packets of ``sources`` heard whatever others send."""
        self._listener.know(sources)

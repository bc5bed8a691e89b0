"""All that a handover hears, as one stream of events: adverts, what peers say of themselves, the VIP on our interface, answers for it,
keepalived's end, signals. The only place where what is heard becomes signs. It does nothing but hear, and ask when it is told to."""

import selectors
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from types import TracebackType

from vrrp_drain.keepalived.instance import Instance
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.signals import Cancellation
from vrrp_drain.vrrp import bands, hello
from vrrp_drain.vrrp.advert import RESIGN
from vrrp_drain.vrrp.election import Heard, Register, Standing
from vrrp_drain.vrrp.strangers import Strangers

from . import proof
from .advert_stream import AdvertStream, WireStream
from .machine import Machine, Watch
from .prospects import Outlook, Prospects
from .transitions import Event, Sign
from .vip import Vip


class EventSource:
    """Opened before anything is changed, so that no event can be missed; use it as a context manager."""

    def __init__(
        self,
        instance: Instance,
        machine: Machine,
        register: Register,
        our_priority: int,
        cancellation: Cancellation,
        prospects: Prospects | None = None,
    ) -> None:
        """A MASTER with a priority below ``our_priority`` is none that we would yield to. ``prospects`` are those of whoever leaves."""
        self._instance, self._machine, self._register = instance, machine, register
        self._strangers = Strangers(register.current.advert_int)
        self._prospects = prospects
        self._cancellation = cancellation
        self._vip = Vip(instance, machine)
        self._vip_here = False
        outranks = max(our_priority, RESIGN + 1)
        self._outranks, self._proof = outranks, proof.find(instance, machine, self, None if prospects is None else outranks)

    def __enter__(self) -> "EventSource":
        with ExitStack() as stack:
            self._selector = stack.enter_context(self._machine.selector())
            stack.callback(self._proof.close)
            self._adverts = stack.enter_context(AdvertStream(self._machine, self._instance, self._register))
            self.listen(self._adverts.fileno(), self._hear_adverts)
            if self._prospects is not None:
                with suppress(SystemFault):  # then what peers say is learnt when the kernel is asked again
                    wire = WireStream(self._machine, self._instance, self._register)
                    stack.callback(wire.close)
                    self.listen(wire.fileno(), lambda: self._hear_words(wire))
            watch = self._machine.watch_addresses()
            stack.callback(watch.close)
            self.listen(watch.fileno(), lambda: self._look_again(watch))
            keepalived = self._machine.keepalived_fd(self._instance.pid_file)
            self._keepalived_runs = keepalived is not None
            if keepalived is not None:
                stack.callback(self._machine.close, keepalived)
                self.listen(keepalived, lambda: self._ended(keepalived))
            self.listen(self._cancellation.fileno(), self._cancelled)
            self._open = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._open.close()

    def look(self) -> Event:
        """Return how things stand: the first event of every handover."""
        if self._cancellation.requested:
            return Event(Sign.CANCEL)
        self._vip_here = self._vip.is_here()
        if self._prospects is not None and self._vip_here:
            event = self.look_around()
            if self._keepalived_runs and event.sign is Sign.ALONE:
                return event
        if self._keepalived_runs:
            return Event(Sign.VIP_HERE if self._vip_here else Sign.VIP_GONE)
        return Event(Sign.VIP_STALE if self._vip_here else Sign.KEEPALIVED_GONE)

    def look_around(self) -> Event:
        """Return whether a peer can take the VIP over now."""
        outlook = self._prospects.look() if self._prospects is not None else Outlook()
        sign = Sign.ABLE if outlook.able else Sign.ALONE if outlook.alone else Sign.UNSEEN
        return Event(sign, {"able": ", ".join(outlook.able), "whom": str(outlook)})

    @property
    def hopeful(self) -> bool:
        """Tell whether anybody may yet come, as far as was seen last."""
        return self._prospects is None or self._prospects.latest.hopeful

    def wait(self, seconds: float) -> list[Event]:
        """Return the next events, or nothing when ``seconds`` are over."""
        end = time.monotonic() + seconds
        while True:
            events: list[Event] = []
            for key, _ in self._selector.select(max(0.0, end - time.monotonic())):
                events += key.data()
            if events or time.monotonic() >= end:
                return events

    def begin(self) -> None:
        """From now on it is to be proven who has the VIP: what was heard before counts no more."""
        self._proof.begin()

    def ask(self) -> bool:
        """Ask who has the VIP; tell whether it would be a proof if nobody spoke up. Raises SystemFault."""
        return self._proof.ask()

    def listen(self, fd: int, heard: Callable[[], list[Event]]) -> None:
        """Call ``heard`` whenever ``fd`` is readable, for the proof."""
        self._selector.register(fd, selectors.EVENT_READ, heard)

    def ignore(self, fd: int) -> None:
        self._selector.unregister(fd)

    def _hear_adverts(self) -> list[Event]:
        return [event for heard in self._adverts.receive() for event in (*self._signs(heard), *self._proof.hear(heard))]

    def _hear_words(self, wire: WireStream) -> list[Event]:
        """Take in what peers say of themselves, and look around where that is new."""
        said = [each for each in wire.receive() if each.standing is Standing.HELLO]
        news = [self._prospects.hear(each.source, hello.word(each.packet)) for each in said] if self._prospects is not None else []
        return [self.look_around()] if any(news) and self._vip_here else []

    def _signs(self, heard: Heard) -> Iterator[Event]:
        """Yield the sign that ``heard`` is to this handover, if it is one."""
        if heard.advert is None or not heard.reaches_keepalived:
            return
        if heard.standing is Standing.STRANGER:
            if self._strangers.hear(heard).confirmed:
                yield Event(Sign.FOREIGN, {"peer": heard.source, "why": heard.why})
        elif heard.standing is Standing.PEER and heard.advert.priority >= self._outranks:
            sign = Sign.SUCCESSOR if bands.is_active(heard.advert.priority) else Sign.LEAVER
            yield Event(sign, {"peer": heard.source, "priority": heard.advert.priority})

    def _look_again(self, watch: Watch) -> list[Event]:
        watch.drain()
        before, self._vip_here = self._vip_here, self._vip.is_here()
        if before == self._vip_here:
            return []
        return [Event(Sign.VIP_HERE if self._vip_here else Sign.VIP_GONE)]

    def _ended(self, keepalived: int) -> list[Event]:
        self._selector.unregister(keepalived)
        self._keepalived_runs = False
        return [Event(Sign.KEEPALIVED_GONE)]

    def _cancelled(self) -> list[Event]:
        self._selector.unregister(self._cancellation.fileno())
        return [Event(Sign.CANCEL)]

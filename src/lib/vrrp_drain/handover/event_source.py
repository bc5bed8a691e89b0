"""All that a handover hears, as one stream of events: adverts, the VIP on our interface, answers for it, keepalived's
end, signals. The only place where sockets become signs."""

import os
import selectors
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from vrrp_drain.keepalived.attachment import Attachment
from vrrp_drain.linux import process
from vrrp_drain.linux.advert_socket import AdvertListener
from vrrp_drain.linux.neighbour import Inquiry, inquire
from vrrp_drain.linux.rtnetlink import AddressWatch, Netlink
from vrrp_drain.runtime.ip import IPAddress, Packet
from vrrp_drain.runtime.signals import Cancellation
from vrrp_drain.vrrp.advert import Advert, valid
from vrrp_drain.vrrp.election import Register
from vrrp_drain.vrrp.strangers import Strangers

from .transitions import Event, Sign

ASK_EVERY = 0.1  # seconds between two questions who answers for the VIP
RESIGN_EVERY = 0.7  # advert intervals between two resignations
QUIET_ASKS = 3  # unanswered questions that prove silence, at least (RFC 5227 section 1.1, PROBE_NUM)


class EventSource:
    """Opened before anything is changed, so that no event can be missed; use it as a context manager."""

    def __init__(
        self,
        register: Register,
        our_priority: int,
        attachment: Attachment,
        netlink: Netlink,
        pid_file: Path,
        cancellation: Cancellation,
        selector: selectors.BaseSelector | None = None,
    ) -> None:
        self._register = register
        self._strangers = Strangers(register.current.advert_int)
        self._our_priority = our_priority
        self._interface = attachment.interface
        self._vip_interface = attachment.vip_interface
        self._netlink = netlink
        self._pid_file = pid_file
        self._cancellation = cancellation
        self._selector = selector or selectors.DefaultSelector()
        self._inquiry: Inquiry | None = None
        self._next_ask = 0.0
        self._quiet_at: float | None = None
        self._resignation: Callable[[IPAddress | None], None] | None = None
        self._successor: IPAddress | None = None
        self._next_resignation = 0.0
        self._vip_here = False
        self._closers: list[Callable[[], None]] = []

    @property
    def _vip(self) -> IPAddress:
        return self._register.current.vip

    def __enter__(self) -> "EventSource":
        self._listener = AdvertListener(self._interface, self._vip.version)
        self._closers.append(self._listener.close)
        self._selector.register(self._listener.fileno(), selectors.EVENT_READ, self._hear_adverts)
        watch = AddressWatch()
        self._closers.append(watch.close)
        self._selector.register(watch.fileno(), selectors.EVENT_READ, lambda: self._look_again(watch))
        pidfd = process.pidfd(self._pid_file)
        self._keepalived_runs = pidfd is not None
        if pidfd is not None:
            self._closers.append(lambda: os.close(pidfd))
            self._selector.register(pidfd, selectors.EVENT_READ, lambda: self._keepalived_ended(pidfd))
        self._selector.register(self._cancellation.fileno(), selectors.EVENT_READ, self._cancelled)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._selector.close()
        for close in reversed(self._closers):
            close()

    def look(self) -> Event:
        """Return how things stand: the first event of every handover."""
        if self._cancellation.requested:
            return Event(Sign.CANCEL)
        self._vip_here = self._netlink.has_address(self._vip_interface, self._vip)
        if self._keepalived_runs:
            return Event(Sign.VIP_HERE if self._vip_here else Sign.VIP_GONE)
        return Event(Sign.VIP_STALE if self._vip_here else Sign.KEEPALIVED_GONE)

    def probe(self) -> None:
        """Begin (again) to ask who answers for the VIP; silence is proven after one advert interval."""
        if self._inquiry is None:
            inquiry = inquire(self._interface, self._netlink.mac(self._interface), self._vip)
            self._closers.append(inquiry.close)
            self._selector.register(inquiry.fileno(), selectors.EVENT_READ, lambda: self._hear_answers(inquiry))
            self._inquiry = inquiry
            self._next_ask = time.monotonic()
        self._listen_for_silence()

    def resign(self, send: Callable[[IPAddress | None], None]) -> None:
        """Call ``send`` now and again until a peer takes over: a regular advert of our own may undo one resignation.

        From then on it is called with that peer whenever it is heard, but not more often: what was said before may have been lost.
        """
        self._resignation, self._successor, self._next_resignation = send, None, time.monotonic()

    def wait(self, seconds: float) -> list[Event]:
        """Return the next events, or nothing when ``seconds`` are over."""
        end = time.monotonic() + seconds
        while True:
            self._ask_when_due()
            self._resign_when_due()
            next_resignation = self._next_resignation if self._resignation and self._successor is None else end
            until = min(end, self._next_ask if self._inquiry else end, self._quiet_at or end, next_resignation)
            events: list[Event] = []
            for key, _ in self._selector.select(max(0.0, until - time.monotonic())):
                events += key.data()
            now = time.monotonic()
            if not events and self._quiet_at is not None and now >= self._quiet_at:
                self._quiet_at = None
                events = [Event(Sign.NOBODY_ANSWERS)]
            if events or now >= end:
                return events

    def _ask_when_due(self) -> None:
        if self._inquiry is None or time.monotonic() < self._next_ask:
            return
        self._next_ask = time.monotonic() + ASK_EVERY
        try:
            self._inquiry.ask()
        except OSError:  # the interface is down for the moment: a question that was not asked proves nothing
            if self._quiet_at is not None:
                self._listen_for_silence()

    def _resign_when_due(self) -> None:
        if self._resignation is None or self._successor is not None or time.monotonic() < self._next_resignation:
            return
        self._say_that_we_leave(self._resignation)

    def _say_that_we_leave(self, resignation: Callable[[IPAddress | None], None]) -> None:
        self._next_resignation = time.monotonic() + max(ASK_EVERY, RESIGN_EVERY * self._register.current.advert_int)
        resignation(self._successor)

    def _listen_for_silence(self) -> None:
        self._quiet_at = time.monotonic() + max(QUIET_ASKS * ASK_EVERY, 1.1 * self._register.current.advert_int)

    def _hear_adverts(self) -> list[Event]:
        heard_of = [event for advert, packet in valid(self._listener.receive()) if (event := self._judge(advert, packet))]
        for event in heard_of:
            if event.sign in (Sign.SUCCESSOR, Sign.LEAVER):
                self._is_succeeded_by(event.facts["peer"])
        return heard_of

    def _is_succeeded_by(self, peer: object) -> None:
        assert isinstance(peer, IPAddress)  # noqa: S101  # as the judge has it
        is_new, self._successor = peer != self._successor, peer
        if self._resignation is not None and (is_new or time.monotonic() >= self._next_resignation):
            self._say_that_we_leave(self._resignation)

    def _judge(self, advert: Advert, packet: Packet) -> Event | None:
        now = time.monotonic()
        event = self._register.hearing(advert, packet, now).judge(advert, packet, self._our_priority)
        if event is None or event.sign is not Sign.FOREIGN:
            return event
        stranger = self._strangers.hear(packet.source, str(event.facts["why"]), advert.advert_int, now)
        return event if stranger.confirmed else None

    def _hear_answers(self, inquiry: Inquiry) -> list[Event]:
        ours = self._netlink.macs()
        return [Event(Sign.PEER_ANSWERS, {"mac": mac}) for mac in inquiry.answers() if mac not in ours][:1]

    def _look_again(self, watch: AddressWatch) -> list[Event]:
        watch.drain()
        before, self._vip_here = self._vip_here, self._netlink.has_address(self._vip_interface, self._vip)
        if before == self._vip_here:
            return []
        return [Event(Sign.VIP_HERE if self._vip_here else Sign.VIP_GONE)]

    def _keepalived_ended(self, pidfd: int) -> list[Event]:
        self._selector.unregister(pidfd)
        self._keepalived_runs = False
        return [Event(Sign.KEEPALIVED_GONE)]

    def _cancelled(self) -> list[Event]:
        self._selector.unregister(self._cancellation.fileno())
        return [Event(Sign.CANCEL)]

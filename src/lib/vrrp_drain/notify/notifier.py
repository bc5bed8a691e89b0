"""Notifications: hooks and webhooks are told of every notice, and none of them ever delays the watcher.

Each receiver has a queue and a thread of its own, so that a slow one holds up nobody else. To each, notices go in order, one
at a time. A webhook that is away is tried again, ever more rarely; meanwhile notices queue up, and when it is back it gets
the whole story. It may get a notice twice, with the same ``id``: when its answer was lost.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from vrrp_drain.config.receivers import Hook, Webhook

from .delivery import Away, Delivery, Message, Refused, backoff
from .hook import HookDelivery
from .notice import Kind, Notice
from .webhook import WebhookDelivery

MOST_QUEUED = 200  # notices for one receiver
_CUT_TAKES = 1.0  # seconds that what was cut gets to end
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Counts:
    """What became of one receiver's notices; ``failed`` counts tries, the others notices."""

    sent: int = 0
    failed: int = 0
    lost: int = 0
    queued: int = 0


class Notifier:
    """All receivers of the properties ``vrrp_drain.hooks`` and ``vrrp_drain.webhooks``."""

    def __init__(self, hooks: Sequence[Hook], webhooks: Sequence[Webhook], pause: Callable[[int], float] = backoff) -> None:
        ways: dict[str, Delivery] = {f"hooks[{n}]": HookDelivery(hook) for n, hook in enumerate(hooks)}
        ways |= {f"webhooks[{n}]": WebhookDelivery(webhook) for n, webhook in enumerate(webhooks)}
        self._receivers = {name: Receiver(f"{way.name} (vrrp_drain.{name})", way, pause) for name, way in ways.items()}
        self._newest: Notice | None = None

    def tell(self, notice: Notice) -> None:
        """Queue ``notice`` for every receiver. Never waits for one, never raises."""
        if notice.kind in (Kind.STATE, Kind.WATCHER):
            self._newest = notice
        self._put(Message(notice))

    def again(self) -> None:
        """Tell once more how this instance stands, with ``again`` true, for receivers that have lost track of it."""
        if self._newest is not None:
            self._put(Message(self._newest, again=True))

    def counts(self) -> dict[str, Counts]:
        """Return the counts of each receiver by its place in the manifest, such as ``webhooks[0]``."""
        return {name: receiver.counts() for name, receiver in self._receivers.items()}

    def close(self, seconds: float) -> None:
        """Send what is queued, for at most ``seconds`` and a second for what has to be cut; what is left is lost, and logged."""
        deadline = time.monotonic() + seconds
        for receiver in self._receivers.values():
            receiver.finish()
        for receiver in self._receivers.values():
            receiver.wait(deadline - time.monotonic())
        for receiver in self._receivers.values():
            receiver.cut()
        deadline = time.monotonic() + _CUT_TAKES
        for receiver in self._receivers.values():
            receiver.wait(deadline - time.monotonic())
            receiver.say_what_is_left()

    def _put(self, message: Message) -> None:
        for receiver in self._receivers.values():
            receiver.put(message)


class Receiver:
    """One receiver, its queue, and the thread that empties it."""

    def __init__(self, name: str, way: Delivery, pause: Callable[[int], float]) -> None:
        self._name = name
        self._way = way
        self._pause = pause
        self._changed = threading.Condition()  # guards all that follows
        self._queue: deque[Message] = deque()
        self._sending = False
        self._counts = Counts()
        self._failures = 0  # in a row
        self._away_since: float | None = None
        self._lost_meanwhile = 0
        self._finishing = False
        self._is_cut = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def put(self, message: Message) -> None:
        """Queue ``message``; if there are too many the oldest is lost."""
        with self._changed:
            if self._finishing:
                self._count(lost=1)
                return
            self._queue.append(message)
            self._keep_the_bound()
            self._changed.notify_all()

    def counts(self) -> Counts:
        with self._changed:
            return replace(self._counts, queued=len(self._queue) + self._sending)

    def finish(self) -> None:
        """Take nothing more, and try what is queued without a pause, until it is sent or fails."""
        with self._changed:
            self._finishing = True
            self._failures = 0
            self._changed.notify_all()

    def wait(self, seconds: float) -> None:
        """Wait until its work is done, for at most ``seconds``."""
        self._thread.join(max(seconds, 0.0))

    def cut(self) -> None:
        """End a send that is under way, and begin no other one."""
        with self._changed:
            self._is_cut = True
        self._way.cut()

    def say_what_is_left(self) -> None:
        """Count what is still queued as lost, and log it."""
        with self._changed:
            left = len(self._queue) + self._sending
            self._queue.clear()
            self._count(lost=left)
        if left:
            _LOG.warning("%s lost, which %s did not take before the watcher ended", _notices(left), self._name)

    def _work(self) -> None:
        while (message := self._next()) is not None:
            try:
                self._way.send(message)
            except Away as error:
                self._keep(message, error)
            except Refused as error:
                self._give_up(message, str(error))
            except Exception as error:  # whatever it is, it must neither end the thread nor tell a credential
                self._give_up(message, f"could not be told ({type(error).__name__})")
            else:
                self._took()

    def _next(self) -> Message | None:
        with self._changed:
            self._sending = False
            self._changed.wait_for(lambda: self._queue or self._finishing)
            if not self._queue or self._is_cut or (self._finishing and self._failures):
                return None
            self._sending = True
            return self._queue.popleft()

    def _took(self) -> None:
        with self._changed:
            self._count(sent=1)
            since, lost = self._away_since, self._lost_meanwhile
            self._away_since, self._lost_meanwhile, self._failures = None, 0, 0
        if since is not None:
            away = time.monotonic() - since
            _LOG.info("%s takes notices again after %.0f s; what was kept is sent in order, %s lost", self._name, away, _notices(lost))
        elif lost:
            _LOG.warning("%s is slower than things happen: %s lost", self._name, _notices(lost))

    def _give_up(self, message: Message, why: str) -> None:
        with self._changed:
            self._count(failed=1, lost=1)
            self._failures = 0
        _LOG.warning("%s %s; this notice is not sent to it again: %s", self._name, why, message.notice.line())

    def _keep(self, message: Message, error: Away) -> None:
        """Put ``message`` back where it was unless its time is over, and pause."""
        with self._changed:
            self._count(failed=1)
            self._failures += 1
            if message.age >= self._way.retry_for and not self._is_cut:
                self._lose()
            else:
                self._queue.appendleft(replace(message, retries=message.retries + 1))
                self._sending = False
                self._keep_the_bound()
            began = self._away_since is None
            if began:
                self._away_since = time.monotonic()
            pause = max(self._pause(self._failures), error.after)
        if began and not self._is_cut:
            kept = f"{MOST_QUEUED} notices at most are kept for {self._way.retry_for:g} s and sent in order when it is back"
            _LOG.warning("%s %s; clients of the VIP are not affected; %s", self._name, error, kept)
        with self._changed:
            self._changed.wait_for(lambda: self._finishing, pause)

    def _keep_the_bound(self) -> None:
        while len(self._queue) > MOST_QUEUED:
            self._queue.popleft()
            self._lose()

    def _lose(self) -> None:
        self._count(lost=1)
        self._lost_meanwhile += 1

    def _count(self, *, sent: int = 0, failed: int = 0, lost: int = 0) -> None:
        now = self._counts
        self._counts = Counts(now.sent + sent, now.failed + failed, now.lost + lost)


def _notices(number: int) -> str:
    return {0: "no notice is", 1: "one notice is"}.get(number, f"{number} notices are")

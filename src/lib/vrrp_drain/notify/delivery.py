"""Bringing one notice to one receiver: what is brought, and the two ways in which it fails."""

import random
import time
import uuid
from dataclasses import dataclass, field
from typing import Protocol

from vrrp_drain.runtime.errors import VrrpDrainError

from .notice import Notice

_LONGEST_PAUSE = 60.0


@dataclass(frozen=True)
class Message:
    """A notice on its way to one receiver. ``id`` stays the same however often it is sent; ``again``: it was sent before, as news."""

    notice: Notice
    again: bool = False
    retries: int = 0
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    told: float = field(default_factory=lambda: time.monotonic())

    @property
    def age(self) -> float:
        """Return the seconds since it was told."""
        return time.monotonic() - self.told

    def as_json(self) -> dict[str, object]:
        """Return the notice as a receiver gets it."""
        way = {"id": self.id, "again": self.again, "retries": self.retries, "delayed": round(self.age, 3)}
        return {**self.notice.as_json(), "severity": self.notice.severity.value, **way}


class Away(VrrpDrainError):
    """The receiver takes nothing now: send it again, not before ``after`` seconds."""

    def __init__(self, what: str, after: float = 0.0) -> None:
        super().__init__(what)
        self.after = after


class Refused(VrrpDrainError):
    """The receiver does not take this notice, and never will: go on with the next one."""


class Delivery(Protocol):
    """The way to one receiver. One thread sends; any other one may cut."""

    @property
    def name(self) -> str:
        """What the log calls the receiver; no credential is in it."""

    @property
    def retry_for(self) -> float:
        """The seconds for which a notice that finds it away is sent again."""

    def send(self, message: Message) -> None:
        """Bring ``message`` there. Raises Away and Refused."""

    def cut(self) -> None:
        """End what ``send`` is doing, and every later one."""


def backoff(tries: int) -> float:
    """Return the seconds to wait after so many failed tries: about 1, 2, 4 and so on to 60, and less by chance.

    Chance keeps the instances of a group from coming back to a receiver all at once.
    """
    return min(_LONGEST_PAUSE, 2.0 ** min(tries - 1, 10)) * random.uniform(0.5, 1.0)  # noqa: S311  # no secret

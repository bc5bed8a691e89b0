"""A value that is looked up when somebody asks, but not more often than it is worth."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

_LEAST = 1.0  # seconds between two looks
_SHARE = 0.01  # of the time at most is spent looking

Value = TypeVar("Value")


class Throttled(Generic[Value]):
    """Asks ``look``, which may fail and may take long; ``what`` is its value's name in the log. For several threads."""

    def __init__(self, what: str, look: Callable[[], Value]) -> None:
        self._what = what
        self._look = look
        self._looking = threading.Lock()
        self._value: Value | None = None
        self._next = 0.0
        self._failing = False

    def value(self) -> Value | None:
        """Return what was found at most a moment ago, None where it cannot be told; never waits for another thread's look."""
        if self._looking.acquire(blocking=False):
            try:
                if time.monotonic() >= self._next:
                    self._refresh()
            finally:
                self._looking.release()
        return self._value

    def _refresh(self) -> None:
        began = time.monotonic()
        try:
            self._value = self._look()
        except Exception as error:  # whatever it is: the other values are still worth having
            self._value = None
            if not self._failing:
                log.warning("metrics are without %s until it can be read again: %s", self._what, error)
            self._failing = True
        else:
            if self._failing:
                log.info("metrics have %s again", self._what)
            self._failing = False
        ended = time.monotonic()
        self._next = ended + max(_LEAST, (ended - began) / _SHARE)

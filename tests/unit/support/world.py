"""A frozen clock to whose waiting things happen, and a selector that waits on it."""

import select
import selectors
import time
from collections.abc import Callable, Mapping
from heapq import heappop, heappush
from itertools import count
from typing import Any

from unit.support.fakes import Clock

_TICK = 1e-6  # seconds: the frozen clock counts microseconds
_SPINS = 100_000  # events without an end: whoever waits does not wait


class Timer:
    """Something that is to happen, and may be called off."""

    def __init__(self, action: Callable[[], object]) -> None:
        self.action: Callable[[], object] | None = action

    def cancel(self) -> None:
        self.action = None


class World:
    """What happens when. File descriptors are those of its objects, each readable when its ``pending`` says so."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due: list[tuple[float, int, Timer]] = []
        self._order, self._fds = count(), count(1000)
        self._pending: dict[int, Callable[[], bool]] = {}
        self.syncs: list[Callable[[], object]] = []  # called before time goes on: what was written meanwhile is seen

    def at(self, when: float, action: Callable[[], object]) -> Timer:
        """Have ``action`` happen at a monotonic time."""
        timer = Timer(action)
        heappush(self._due, (when, next(self._order), timer))
        return timer

    def after(self, seconds: float, action: Callable[[], object]) -> Timer:
        return self.at(time.monotonic() + seconds, action)

    def fd(self, pending: Callable[[], bool]) -> int:
        """Return a new file descriptor, which no kernel knows."""
        made = next(self._fds)
        self._pending[made] = pending
        return made

    def ready(self, fd: int) -> bool:
        if fd in self._pending:
            return self._pending[fd]()
        return bool(select.select([fd], [], [], 0)[0])  # a real one, such as that of signals

    def sleep(self, seconds: float) -> None:
        self.run(time.monotonic() + seconds, lambda: False)

    def run(self, end: float, stop: Callable[[], bool]) -> None:
        """Let things happen until ``stop`` is so, or ``end``."""
        for _ in range(_SPINS):
            for sync in self.syncs:
                sync()
            if stop():
                return
            now = time.monotonic()
            if self._due and self._due[0][0] <= now + _TICK:
                timer = heappop(self._due)[2]
                if timer.action is not None:
                    timer.action()
            elif now >= end:
                return
            else:
                self._clock.sleep(max(_TICK, min(end, self._due[0][0] if self._due else end) - now))
        raise AssertionError("it spins")


class WorldSelector(selectors.BaseSelector):
    """Waits in the world's time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._keys: dict[Any, selectors.SelectorKey] = {}
        self.closed = False

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        self._keys[fileobj] = selectors.SelectorKey(fileobj, fileobj, events, data)
        return self._keys[fileobj]

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None
        self._world.run(time.monotonic() + timeout, lambda: any(map(self._world.ready, self._keys)))
        return [(key, selectors.EVENT_READ) for fd, key in self._keys.items() if self._world.ready(fd)]

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys

    def close(self) -> None:
        self.closed = True

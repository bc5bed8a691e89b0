"""A frozen clock to whose waiting things happen, and a selector that waits on it."""

import select
import selectors
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
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


class Script:
    """One of several that run side by side: a thread of its own that goes on while it is its turn, and gives that up where it waits."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act
        self._turn, self._waits = threading.Semaphore(0), threading.Semaphore(0)
        self._end = 0.0
        self._stop: Callable[[], bool] = lambda: True
        self.future: Future[object] = Future()
        self.thread = threading.Thread(target=self._run, daemon=True)  # one that waits for ever must not keep the tests

    def goes_on(self) -> bool:
        """Tell whether what it waits for is there."""
        return time.monotonic() >= self._end or self._stop()

    def take_turn(self) -> None:
        """Have it go on until it waits again, or is at its end."""
        self._turn.release()
        self._waits.acquire()

    def wait(self, end: float, stop: Callable[[], bool]) -> None:
        self._end, self._stop = end, stop
        self._waits.release()
        self._turn.acquire()

    def _run(self) -> None:
        self._turn.acquire()
        try:
            self.future.set_result(self._act())
        except BaseException as error:  # it is the test's
            self.future.set_exception(error)
        self._waits.release()


class World:
    """What happens when. File descriptors are those of its objects, each readable when its ``pending`` says so."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due: list[tuple[float, int, Timer]] = []
        self._order, self._fds = count(), count(1000)
        self._pending: dict[int, Callable[[], bool]] = {}
        self.syncs: list[Callable[[], object]] = []  # called before time goes on: what was written meanwhile is seen
        self._scripts: list[Script] = []

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

    def together(self, acts: Iterable[Callable[[], object]], seconds: float) -> None:
        """Run all ``acts`` side by side, each going on while the others wait; raise what one raised, or that they are not at their end
        after so many seconds."""
        self._scripts = [Script(act) for act in acts]
        for each in self._scripts:
            each.thread.start()

        def ended() -> bool:
            for each in self._scripts:
                if not each.future.done() and each.goes_on():
                    each.take_turn()
            return all(each.future.done() for each in self._scripts)

        self.run(time.monotonic() + seconds, ended)
        scripts, self._scripts = self._scripts, []
        for each in scripts:
            assert each.future.done(), f"one of {len(scripts)} is not at its end after {seconds:g} s"
            each.future.result()

    def run(self, end: float, stop: Callable[[], bool]) -> None:
        """Let things happen until ``stop`` is so, or ``end``."""
        for each in self._scripts:
            if each.thread is threading.current_thread():
                self.at(end, lambda: None)  # then it is awake, whatever else happens
                each.wait(end, stop)
                return
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

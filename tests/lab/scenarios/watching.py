"""A thread for each node that sees, in the node's own network, what happens there."""

import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TypeVar

from lab.fabric.node import Node

Self = TypeVar("Self", bound="Watching")
_READY_WITHIN = 10.0  # seconds


class Watching:
    """Watches nodes from entry to exit. Who inherits says in ``_watch`` what is seen, until ``_stop`` is set."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = [*nodes]
        self._stop = threading.Event()
        self._ended: float | None = None

    def __enter__(self: Self) -> Self:
        ready = [threading.Event() for _ in self._nodes]
        self._threads = [
            threading.Thread(target=self._watch, args=(node, event), daemon=True) for node, event in zip(self._nodes, ready, strict=True)
        ]
        for thread in self._threads:
            thread.start()
        for node, event in zip(self._nodes, ready, strict=True):
            if not event.wait(_READY_WITHIN):
                self._stop.set()
                raise TimeoutError(f"{node.name} was not watched within {_READY_WITHIN:g} s")
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._ended = time.monotonic()
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _until(self) -> float:
        """Return when it ended, or now."""
        return time.monotonic() if self._ended is None else self._ended

    def _watch(self, node: Node, ready: threading.Event) -> None:
        """Watch one node; ``ready`` is to be set when nothing of it is missed any more."""
        raise NotImplementedError

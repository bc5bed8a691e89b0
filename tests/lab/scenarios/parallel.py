"""An update of a whole group as the director does it, with any ``max_in_flight``: several instances at a time."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeVar

from lab.fabric.agent import ScriptRun
from lab.fabric.cluster import Cluster, update
from lab.fabric.node import Node

Item = TypeVar("Item")
Result = TypeVar("Result")
Note = Callable[[str, str], None]  # the instance's name and what begins, as Recorder.note takes them


@dataclass(frozen=True)
class Updated:
    """One instance's update. ``steps`` says when each began (monotonic), from "pre-stop" to "updated", which is its end."""

    node: str
    steps: Mapping[str, float]
    drains: Sequence[ScriptRun]

    @property
    def seconds(self) -> float:
        """Return how long it took from the beginning of pre-stop to the end of post-start."""
        return self.steps["updated"] - self.steps["pre-stop"]


def parallel_upgrade(
    cluster: Cluster,
    max_in_flight: int,
    seconds: float = 0.0,
    canaries: int = 1,
    note: Note = lambda node, what: None,
) -> list[Updated]:
    """Update all instances; ``seconds`` is how long each is stopped: the time in which its VM is made anew, or gets its packages.

    Returns the updates in the order of the instances. Raises ScriptFailed when a script fails: as with the director those that are under
    way are brought to their end then, and no other begins.
    """

    def update_one(node: Node) -> Updated:
        steps: dict[str, float] = {}

        def step(what: str) -> None:
            steps[what] = time.monotonic()
            note(node.name, what)

        drains = update(node, step, apply=lambda: time.sleep(seconds))  # the director's work, which takes as long as it is told
        return Updated(node.name, steps, drains)

    return in_flight(update_one, cluster.nodes, max_in_flight, canaries)


def in_flight(act: Callable[[Item], Result], items: Sequence[Item], max_in_flight: int, canaries: int) -> list[Result]:
    """Call ``act`` for every item, at most ``max_in_flight`` at a time, a new one as soon as one has ended; return the results in order.

    The first ``canaries`` have ended before any other begins; they too are several at a time (director: InstanceGroupUpdater, ThreadPool).
    After a failure none is begun any more; those under way are waited for, and then the failure is raised.
    """
    failed = threading.Event()

    def unless_failed(item: Item) -> Result:
        if failed.is_set():
            raise CancelledError
        try:
            return act(item)
        except BaseException:
            failed.set()
            raise

    done: list[Result] = []
    with ThreadPoolExecutor(max_in_flight) as pool:
        for some in (items[:canaries], items[canaries:]):
            begun = [pool.submit(unless_failed, item) for item in some]
            wait(begun)
            done += [each.result() for each in begun]  # who failed comes before those that were therefore not begun
    return done

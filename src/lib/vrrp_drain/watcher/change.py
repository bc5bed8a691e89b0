"""One thing that changed, as the watcher works it out, before it becomes a notice."""

from dataclasses import dataclass

from vrrp_drain.notify.notice import Cause, Kind

from .reasons import Duration, Reason


@dataclass(frozen=True)
class Change:
    """``previous``, ``state`` and ``cause`` are those of a notice; ``took`` is how long it lasted; it was ``age`` seconds before now."""

    kind: Kind
    previous: str
    state: str
    cause: Cause
    reason: Reason
    took: Duration | None = None
    age: float = 0.0

"""What clients would have felt: the probes, counted. Pure; times in seconds."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from itertools import pairwise

PATIENCE = 1.0  # after which a client sends its SYN again (RFC 6298 section 2): an answer that comes later was felt anyway
SLOW = 0.1


class Outcome(str, Enum):
    """How a probe ended. ``LOST``: nobody answered, or it could not even be sent."""

    ANSWERED = "answered"
    REFUSED = "refused"
    LOST = "lost"


@dataclass(frozen=True)
class Probe:
    """One connection that was opened at ``sent``, to the machine with ``mac``; ``seconds`` until its outcome was known."""

    sent: float
    mac: str
    outcome: Outcome
    seconds: float

    @property
    def failed(self) -> bool:
        return self.outcome is not Outcome.ANSWERED


@dataclass(frozen=True)
class Tally:
    """``slow`` are those answered after more than 0.1 s.

    ``longest_gap`` is the longest time in which no connection could be opened: from a probe that failed to the next one that did not.
    ``longest_pause`` is the longest time between two probes: what happened within it was not seen.
    """

    probes: int
    refused: int
    lost: int
    slow: int
    slowest: float
    longest_gap: float
    longest_pause: float

    @property
    def failed(self) -> int:
        return self.refused + self.lost

    @property
    def felt(self) -> bool:
        return bool(self.failed or self.slow)

    def as_json(self) -> dict[str, object]:
        """Return the fields under their names; docs/rehearse.md lists them."""
        return {key: round(value, 4) if isinstance(value, float) else value for key, value in asdict(self).items()}


def tally(probes: Sequence[Probe], began: float, ended: float) -> Tally:
    """Count the probes that were sent from ``began`` until before ``ended``; a gap counts where it begins."""
    ordered = sorted(probes, key=lambda each: each.sent)
    within = [each for each in ordered if began <= each.sent < ended]
    answered = [each.seconds for each in within if not each.failed]
    outcomes = [each.outcome for each in within]
    return Tally(
        probes=len(within),
        refused=outcomes.count(Outcome.REFUSED),
        lost=outcomes.count(Outcome.LOST),
        slow=sum(seconds > SLOW for seconds in answered),
        slowest=max(answered, default=0.0),
        longest_gap=max((length for at, length in _gaps(ordered) if began <= at < ended), default=0.0),
        longest_pause=max((later.sent - each.sent for each, later in pairwise(within)), default=0.0),
    )


def _gaps(ordered: Sequence[Probe]) -> list[tuple[float, float]]:
    """Return when each run of failed probes began, and how long it was; one that never ended lasts until its last probe was given up."""
    gaps: list[tuple[float, float]] = []
    since: float | None = None
    for each in ordered:
        if each.failed and since is None:
            since = each.sent
        elif not each.failed and since is not None:
            gaps.append((since, each.sent - since))
            since = None
    if since is not None:
        gaps.append((since, ordered[-1].sent + ordered[-1].seconds - since))
    return gaps

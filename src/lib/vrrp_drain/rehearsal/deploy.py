"""What a deploy would meet that updates several instances at a time, as far as one of them can tell. Pure.

Whoever has the VIP leaves when somebody else can take it, and else serves on until the first that is being updated is back, for
``successor_timeout`` at most. So what matters is how many can take the VIP over now, and how long an update takes.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from vrrp_drain.config.model import VrrpDrain
from vrrp_drain.handover.prospects import Outlook
from vrrp_drain.notify.notice import Cause, Kind, Notice
from vrrp_drain.runtime.str_enum import StrEnum
from vrrp_drain.vrrp.bands import Band
from vrrp_drain.vrrp.state import VrrpState

_VALUE = re.compile(r"([0-9]{1,9})(%?)")


@dataclass(frozen=True)
class MaxInFlight:
    """A number of instances, or per cent of them, as it stands in a manifest."""

    number: int
    percent: bool

    @classmethod
    def parse(cls, text: str) -> "MaxInFlight":
        """Raises ValueError."""
        if (found := _VALUE.fullmatch(text.strip())) is None:
            raise ValueError("must be a number of instances, or a percentage of them, as 50%")
        return cls(int(found[1]), bool(found[2]))

    def of(self, instances: int) -> int:
        """Return how many of ``instances`` are updated at a time: per cent are rounded down, and one is the least.

        Source: director, numerical_value_calculator.rb and update_config.rb.
        """
        asked = self.number * instances // 100 if self.percent else self.number
        return max(1, min(asked, instances))

    def __str__(self) -> str:
        return f"{self.number}%" if self.percent else str(self.number)


class Prospect(StrEnum):
    """What becomes of the VIP in such a deploy."""

    SMOOTH = "smooth"  # there is always somebody who can take it over
    WAITS = "waits"  # the last one waits for the first that is back
    LOST = "lost"  # the last one would wait in vain


@dataclass(frozen=True)
class Forecast:
    """``asked`` is what the operator named; ``took`` is how many seconds the last update of this instance did, None if not known."""

    vip: str
    instances: int
    asked: MaxInFlight | None
    outlook: Outlook
    drain: VrrpDrain
    took: float | None

    @property
    def at_a_time(self) -> int | None:
        return None if self.asked is None else self.asked.of(self.instances)

    @property
    def spare(self) -> int:
        """Return how many may be updated at a time so that there is always somebody who can take the VIP over."""
        return len(self.outlook.able)

    @property
    def longest(self) -> float:
        """Return how many seconds an update may spend in our scripts alone: waiting for connections, and for haproxy."""
        return self.drain.drain_timeout + self.drain.post_start_timeout

    @property
    def prospect(self) -> Prospect | None:
        """Return None where nobody said how many are updated at a time."""
        if self.at_a_time is None:
            return None
        if self.at_a_time <= self.spare:
            return Prospect.SMOOTH
        return Prospect.LOST if self.took is not None and self.took > self.drain.successor_timeout else Prospect.WAITS

    @property
    def felt(self) -> bool:
        return self.prospect is Prospect.LOST

    def as_json(self) -> dict[str, object]:
        """Return it as docs/rehearse.md says."""
        return {
            "max_in_flight": str(self.asked) if self.asked else None,
            "at_a_time": self.at_a_time,
            "spare": self.spare,
            "prospect": self.prospect,
            "last_update_seconds": None if self.took is None else round(self.took, 1),
            "successor_timeout": self.drain.successor_timeout,
            "able": list(self.outlook.able),
            "not_able": str(self.outlook) if self.outlook.away or self.outlook.ended or self.outlook.unseen else "",
        }

    def sentences(self) -> Iterator[str]:
        """Yield it in plain words."""
        able, total = ", ".join(self.outlook.able) or "nobody", self.instances
        yield f"{able} could take {self.vip} over now" + (f"; {self.outlook}" if self.spare < total - 1 else "")
        if self.asked is None:
            yield f"with max_in_flight up to {max(1, self.spare)} of {total} there is always somebody; --max-in-flight tells of more"
            return
        at_a_time = f"max_in_flight {self.asked} is {self.at_a_time} of {total} at a time"
        if self.prospect is Prospect.SMOOTH:
            yield f"{at_a_time}: there is always somebody who can take the VIP over, and nobody waits"
            return
        yield f"{at_a_time}: the last one serves on until the first is back, for at most {self._timeout}"
        yield from self._in_time()

    def _in_time(self) -> Iterator[str]:
        drain = self.drain
        if self.took is not None and self.felt:
            end = "stopped with its clients" if drain.on_no_successor == "proceed" else "kept, and the deploy fails"
            why = "vrrp_drain.on_no_successor"
            yield f"the last update of this instance took {self.took:.0f} s, which is longer: the last one is {end} ({why})"
        elif self.took is not None:
            yield f"the last update of this instance took {self.took:.0f} s"
        elif self.longest > drain.successor_timeout:
            yield (
                f"how long an update takes here is not known; our scripts alone may wait {self.longest:g} s (vrrp_drain.drain_timeout and "
                "post_start_timeout), which is longer"
            )
        else:
            yield "how long an update takes here is not known: a new VM, or a watch time of the director's, may take longer"

    @property
    def _timeout(self) -> str:
        return f"{self.drain.successor_timeout:g} s (vrrp_drain.successor_timeout)"


def last_update(story: Sequence[Notice]) -> float | None:
    """Return how many seconds the last update of this instance took, from its demotion to its promotion, as the history has it.

    In an update all processes are stopped between the two; a demotion by an operator, a drill, and a reboot are none.
    """
    bands = [n for n, each in enumerate(story) if each.kind is Kind.BAND]
    for left, back in reversed([*pairwise(bands)]):
        between = story[left + 1 : back]
        stopped = any(each.kind is Kind.WATCHER and each.cause is Cause.START for each in between) or any(
            each.kind is Kind.STATE and each.state == VrrpState.STOPPED for each in between
        )
        rebooted = any(each.cause is Cause.REBOOT for each in between)
        if (story[left].state, story[back].state) == (str(Band.DRAINING), str(Band.ACTIVE)) and stopped and not rebooted:
            return max(0.0, story[back].at - story[left].at)
    return None

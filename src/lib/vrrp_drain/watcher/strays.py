"""What our rules in the kernel stopped lately: packets that went round between instances, and adverts of nobody we know."""

from dataclasses import dataclass

from vrrp_drain.handoff.rules import Rules

_LOOK_EVERY = 10.0  # seconds: a look asks the kernel for its rules, ten milliseconds of a core
_RECENT = 60.0  # seconds after which what is over is over


@dataclass
class _Counter:
    """How many there were when we looked last, of these how many in a row of looks that each found more, and when the last of them was."""

    seen: int | None = None
    lately: int = 0
    at: float = float("-inf")

    def look(self, value: int, now: float) -> None:
        """Take in what the kernel counts. Rules that were made anew begin at 0, and the first look has nothing to compare with."""
        if now - self.at > _RECENT:
            self.lately = 0
        before, self.seen = self.seen, value
        grown = 0 if before is None else value - before if value >= before else value
        if grown:
            self.lately, self.at = self.lately + grown, now


class Strays:
    """An action of the watcher's that only looks; ``circled`` and ``refused`` say what there is to tell, or nothing."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._circled, self._refused = _Counter(), _Counter()
        self._next = 0.0

    def tick(self, now: float) -> None:
        """Look if it is time. Raises SystemFault."""
        if now < self._next:
            return
        self._next = now + _LOOK_EVERY
        circled, refused = self._rules.stopped()
        self._circled.look(circled, now)
        self._refused.look(refused, now)

    @property
    def circled(self) -> str:
        if not self._circled.lately:
            return ""
        return (
            f"{self._circled.lately} packets that no instance knows came back and were answered here: instances take each other for "
            "who serves them. No client is hurt; vrrpctl status names whom each hands connections to"
        )

    @property
    def refused(self) -> str:
        if not self._refused.lately:
            return ""
        return (
            f"{self._refused.lately} VRRP packets of somebody who is not of the group, none of them a whole advert, were kept from "
            "keepalived: clients are not affected"
        )

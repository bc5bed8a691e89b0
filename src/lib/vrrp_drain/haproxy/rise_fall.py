"""When haproxy counts as dead and when as alive again, and when to look next: rise and fall. Pure."""

from dataclasses import dataclass

_SUSPICIOUS = 0.5  # of the interval: after a look that failed, the next one comes sooner
_AFTER_A_DEATH = 0.02  # seconds between looks at a service that has just lost a process
_DEATH_SECONDS = 1.0
_LONGEST_LOOK, _SHORTEST_LOOK = 1.0, 0.1  # seconds


@dataclass
class RiseFall:
    """``interval`` seconds lie between two looks; ``fall`` of them in a row that fail make it dead, ``rise`` that succeed alive.

    ``alive`` is None until the first look that succeeds: what has never been seen alive cannot die. A process that died makes the
    next look that fails decide. It is ``full`` after ``fall`` looks in a row that say so, and not after ``rise`` that do not.
    """

    interval: float
    fall: int
    rise: int
    alive: bool | None = None
    died: bool = False
    full: bool = False
    _otherwise: int = 0  # looks in a row that found it full though it counts as not full, or the other way round
    _failed: int = 0
    _succeeded: int = 0
    _died_at: float = float("-inf")

    @property
    def serves(self) -> bool | None:
        """Tell whether it is alive as far as anybody can know; None before the first look."""
        return False if self.alive is None and self._failed else self.alive

    @property
    def patience(self) -> float:
        """Return how long a look may take, in seconds."""
        return min(_LONGEST_LOOK, max(_SHORTEST_LOOK, self.interval / 5))

    def process_died(self, now: float) -> None:
        """A process of haproxy's has ended; whether the service has, the next looks tell."""
        self._died_at = now

    def looked(self, ok: bool, now: float, *, full: bool = False) -> bool:
        """Take in a look that ended at ``now`` (monotonic seconds); tell whether the verdict changed."""
        before = self.alive
        self._otherwise = self._otherwise + 1 if full is not self.full else 0
        if self._otherwise >= (self.fall if full else self.rise):
            self.full, self._otherwise = full, 0
        if ok:
            self._failed, self._succeeded = 0, self._succeeded + 1
            if self.alive is None or self._succeeded >= self.rise:
                self.alive = True
        else:
            self._failed, self._succeeded = self._failed + 1, 0
            self.died = now - self._died_at < _DEATH_SECONDS
            if self.alive and (self.died or self._failed >= self.fall):
                self.alive = False
        return self.alive is not before

    def pause(self, now: float) -> float:
        """Return how many seconds after the beginning of a look the next one begins."""
        if now - self._died_at < _DEATH_SECONDS and self.alive:
            return _AFTER_A_DEATH
        return self.interval * (_SUSPICIOUS if self._failed and self.alive else 1.0)

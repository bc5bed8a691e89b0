"""How old a file is, whatever becomes of the wall clock meanwhile."""

_LONGEST = 3600.0  # seconds; how old a band is does not matter beyond that


class Age:
    """How many seconds ago a file was written, whatever becomes of the wall clock afterwards."""

    def __init__(self) -> None:
        self._written: float | None = None
        self._since = self._looked = float("-inf")

    def look(self, written: float | None, now: float, at: float) -> float:
        """``written`` and ``at`` are since the epoch, ``now`` is monotonic: what is new was written since the last look."""
        if written != self._written:
            self._written = written
            self._since = now - min(max(0.0, at - (written or 0.0)), now - self._looked)
        self._looked = now
        return min(now - self._since, _LONGEST)

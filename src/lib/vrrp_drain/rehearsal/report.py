"""The report of a drill: one screen, or JSON."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vrrp_drain.runtime.errors import VrrpDrainError

from .client import Turn
from .deploy import Forecast
from .tally import SLOW, Outcome, Probe, Tally, tally

_WIDTH = 120
_LABEL = 9


@dataclass(frozen=True)
class Move:
    """A handover that ended, well or not, as ``reason`` says: it began at ``began`` (monotonic) and took ``seconds``, proof included."""

    name: str
    began: float
    seconds: float
    reason: str


@dataclass(frozen=True)
class Report:
    """``names`` are the instances by MAC; ``error`` is what ended the drill early, if anything did. Times are monotonic seconds."""

    instance: str
    vip: str
    port: int
    rate: int
    began: float
    ended: float
    moves: tuple[Move, ...]
    probes: Sequence[Probe]
    turns: Sequence[Turn]
    names: Mapping[str, str]
    error: VrrpDrainError | None = None
    deploy: Forecast | None = None

    @property
    def total(self) -> Tally:
        return tally(self.probes, self.began, self.ended)

    def of(self, move: Move) -> Tally:
        """Count the probes from the beginning of ``move`` to that of the next one, or to the end."""
        return tally(self.probes, move.began, self._end_of(move))

    @property
    def summary(self) -> str:
        found, where = self.total, f"{self.instance}: clients of {self.vip} port {self.port}"
        if not found.felt:
            return f"{where} would have felt nothing"
        counts = {"refused": found.refused, "without an answer": found.lost, f"slower than {SLOW * 1000:g} ms": found.slow}
        said = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        gap = f", for up to {_seconds(found.longest_gap)}" if found.failed else ""
        return f"{where} would have felt it: of {found.probes} connections {said}{gap}"

    def as_json(self) -> dict[str, object]:
        """Return it as docs/rehearse.md says."""
        return {
            "instance": self.instance,
            "vip": self.vip,
            "port": self.port,
            "rate": self.rate,
            "felt": self.total.felt,
            "moves": [
                {
                    "move": each.name,
                    "at": round(each.began - self.began, 4),
                    "seconds": round(each.seconds, 4),
                    "reason": each.reason,
                    **self.of(each).as_json(),
                }
                for each in self.moves
            ],
            "total": self.total.as_json(),
            "holders": [
                {"at": round(self._since(each), 4), "mac": each.mac, "instance": self.names.get(each.mac, "")} for each in self.turns
            ],
            "deploy": self.deploy.as_json() if self.deploy else None,
            "error": str(self.error) if self.error else None,
        }

    def lines(self) -> Iterator[str]:
        """Yield it in plain words."""
        yield self.summary
        yield ""
        yield f"{'':{_LABEL}}{'took':>8}{'probes':>8}{'failed':>8}{'slowest':>10}{'longest gap':>14}{'longest pause':>16}"
        for each in self.moves:
            yield _row(each.name, _seconds(each.seconds), self.of(each))
        yield _row("in total", _seconds(self.ended - self.began), self.total)
        yield ""
        for number, turn in enumerate(self.turns):
            yield f"{'' if number else 'VIP at':{_LABEL}}{_seconds(self._since(turn)):>8}  {self._holder(turn.mac)}"
        for each in self.moves:
            yield from self._first_failure(each)
        if self.deploy is not None:
            yield ""
            for number, sentence in enumerate(self.deploy.sentences()):
                yield from _wrapped("" if number else "deploy", sentence)

    def _first_failure(self, move: Move) -> Iterator[str]:
        failed = [each for each in self.probes if each.failed and move.began <= each.sent < self._end_of(move)]
        if not failed:
            return
        first = min(failed, key=lambda each: each.sent)
        what = "refused a connection" if first.outcome is Outcome.REFUSED else "did not answer a connection"
        text = f"{_seconds(first.sent - self.began)} after the beginning {self._holder(first.mac)} {what}: the first of {len(failed)}"
        yield ""
        yield from _wrapped(move.name, text)

    def _end_of(self, move: Move) -> float:
        return min((each.began for each in self.moves if each.began > move.began), default=self.ended)

    def _since(self, turn: Turn) -> float:
        return max(0.0, turn.at - self.began)

    def _holder(self, mac: str) -> str:
        name = self.names.get(mac, "a machine that is no instance")
        return f"{name} ({mac})"


def _wrapped(label: str, text: str) -> list[str]:
    indent = " " * _LABEL
    return textwrap.wrap(text, _WIDTH, initial_indent=f"{label:{_LABEL}}", subsequent_indent=indent, break_on_hyphens=False)


def _row(name: str, took: str, found: Tally) -> str:
    gap = _seconds(found.longest_gap) if found.longest_gap else "-"
    slowest, pause = f"{found.slowest * 1000:.1f} ms", f"{found.longest_pause * 1000:.0f} ms"
    return f"{name:{_LABEL}}{took:>8}{found.probes:>8}{found.failed:>8}{slowest:>10}{gap:>14}{pause:>16}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s"

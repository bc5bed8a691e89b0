"""The report of an examination: one screen, problems first, or JSON."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from .finding import Finding, Severity
from .patient import Wait

_WIDTH = 120
_LABEL = 9


@dataclass(frozen=True)
class Report:
    """``instance`` is empty where the configuration could not be read; times in seconds."""

    instance: str
    findings: tuple[Finding, ...]
    waits: tuple[Wait, ...]
    seconds: float

    @property
    def healthy(self) -> bool:
        return not self.of(Severity.PROBLEM)

    @property
    def summary(self) -> str:
        """Return how many findings of each kind there are."""
        counts = [(severity.value, len(self.of(severity))) for severity in (Severity.PROBLEM, Severity.WARNING, Severity.NOTE)]
        said = ", ".join(f"{count} {name}{'s' if count > 1 else ''}" for name, count in counts if count)
        return f"{self.instance or 'this instance'}: {said or 'nothing found'}"

    def of(self, severity: Severity) -> list[Finding]:
        return [each for each in self.findings if each.severity is severity]

    def as_json(self) -> dict[str, object]:
        """Return it as docs/doctor.md says, problems first."""
        return {
            "instance": self.instance,
            "healthy": self.healthy,
            "findings": [finding.as_json() for severity in Severity for finding in self.of(severity)],
            "waited": [{"for": wait.what, "seconds": round(wait.seconds, 3)} for wait in self.waits],
            "seconds": round(self.seconds, 3),
        }

    def lines(self) -> Iterator[str]:
        """Yield it in plain words."""
        yield self.summary
        for severity in (Severity.PROBLEM, Severity.WARNING, Severity.NOTE):
            for finding in self.of(severity):
                yield ""
                name = severity.value.upper() if severity is Severity.PROBLEM else severity.value
                yield from _wrapped(name, f"{finding.check}: {finding.what}")
                yield from _wrapped("  means", finding.means)
                yield from _wrapped("  mend", finding.mend)
        yield ""
        if fine := self.of(Severity.OK):
            yield from _wrapped("ok", ", ".join(f"{each.check} ({each.detail})" if each.detail else each.check for each in fine))
        waited = ", ".join(f"{wait.seconds:.1f} s for {wait.what}" for wait in self.waits if wait.seconds >= 0.05)
        yield from _wrapped("took", f"{self.seconds:.1f} s" + (f": {waited}" if waited else ""))


def _wrapped(label: str, text: str) -> list[str]:
    if not text:
        return []
    return textwrap.wrap(f"{label:{_LABEL}}{text}", _WIDTH, subsequent_indent=" " * _LABEL, break_long_words=False, break_on_hyphens=False)

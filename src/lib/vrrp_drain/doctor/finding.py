"""What a check finds out, and what is told of it: how bad it is, what it is, what it means for clients, and the mend.

A check returns facts (``Found``): nothing is decided by a sentence. The sentences stand in the modules named findings; whoever runs a check
makes them, and adds its name.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

from vrrp_drain.runtime.str_enum import StrEnum


class Severity(StrEnum):
    """In order of urgency. Only a problem changes the exit code."""

    PROBLEM = "problem"
    WARNING = "warning"
    NOTE = "note"
    OK = "ok"


@dataclass(frozen=True)
class Finding:
    """``check`` is the slug of the check; ``means`` and ``mend`` are empty where all is well, ``detail`` is said beside ``what`` there."""

    severity: Severity
    what: str
    means: str = ""
    mend: str = ""
    check: str = ""
    detail: str = ""

    def as_json(self) -> dict[str, str]:
        """Return the fields under their names; docs/doctor.md lists them."""
        what = f"{self.what}: {self.detail}" if self.detail else self.what
        return {"severity": self.severity.value, "check": self.check, "what": what, "means": self.means, "mend": self.mend}

    def line(self) -> str:
        """Return it as one line, for a log."""
        return ". ".join(filter(None, (f"{self.check}: {self.what}", self.means, self.mend)))


class Found(ABC):
    """What a check found out."""

    @abstractmethod
    def told(self) -> Finding:
        """Return it in words for people, without the name of the check."""


def listed(things: Iterable[object]) -> str:
    """Return the things in one line."""
    return ", ".join(sorted(map(str, things)))


def problem(what: str, means: str, mend: str) -> Finding:
    """Clients suffer now, or will at the next move."""
    return Finding(Severity.PROBLEM, what, means, mend)


def warning(what: str, means: str, mend: str) -> Finding:
    """It works, but less well than it should, or not for long."""
    return Finding(Severity.WARNING, what, means, mend)


def note(what: str, means: str = "", mend: str = "") -> Finding:
    """Worth to know: what cannot be proven from here, what is so on purpose."""
    return Finding(Severity.NOTE, what, means, mend)


@dataclass(frozen=True)
class NotChecked(Found):
    """A check that could not be made, and what is not known by that."""

    why: str
    unknown: str

    def told(self) -> Finding:
        means = f"nobody knows whether this is so: {self.unknown}"
        return warning(f"could not be checked: {self.why}", means, "mend that first, then ask again")

"""What a check says: how bad it is, what it is, what it means for clients, and the mend. Whoever runs a check adds its name."""

from dataclasses import dataclass

from vrrp_drain.runtime.errors import VrrpDrainError
from vrrp_drain.runtime.str_enum import StrEnum


class Severity(StrEnum):
    """In order of urgency. Only a problem changes the exit code."""

    PROBLEM = "problem"
    WARNING = "warning"
    NOTE = "note"
    OK = "ok"


@dataclass(frozen=True)
class Finding:
    """``check`` is the slug of the check; ``means`` and ``mend`` are empty where all is well."""

    severity: Severity
    what: str
    means: str = ""
    mend: str = ""
    check: str = ""

    def as_json(self) -> dict[str, str]:
        """Return the fields under their names; docs/doctor.md lists them."""
        return {"severity": self.severity.value, "check": self.check, "what": self.what, "means": self.means, "mend": self.mend}

    def line(self) -> str:
        """Return it as one line, for a log."""
        return ". ".join(filter(None, (f"{self.check}: {self.what}", self.means, self.mend)))


def problem(what: str, means: str, mend: str) -> Finding:
    """Clients suffer now, or will at the next move."""
    return Finding(Severity.PROBLEM, what, means, mend)


def warning(what: str, means: str, mend: str) -> Finding:
    """It works, but less well than it should, or not for long."""
    return Finding(Severity.WARNING, what, means, mend)


def note(what: str, means: str = "", mend: str = "") -> Finding:
    """Worth to know: what cannot be proven from here, what is so on purpose."""
    return Finding(Severity.NOTE, what, means, mend)


def what_happened(error: OSError | VrrpDrainError) -> str:
    """Return an error in words for people: ours have them, of the kernel's the reason and the file."""
    if isinstance(error, VrrpDrainError):
        return str(error)
    reason = error.strerror or "the machine does not let us"
    return f"{error.filename}: {reason}" if error.filename else reason

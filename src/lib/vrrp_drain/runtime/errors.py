"""Errors, sorted by what the caller can do about them, and the exit codes they become.

Commands raise; ``commands.main.main`` prints one line and exits with ``exit_code``. Lifecycle scripts know only
success and failure, so for BOSH every error is exit code 1.
"""

from collections.abc import Callable
from enum import IntEnum


class ExitCode(IntEnum):
    """What ``vrrpctl`` tells the shell. The table in README.md is checked against this one."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NO_SUCCESSOR = 3
    BAD_CONFIG = 4
    NOT_SETTLED = 5
    BUSY = 6
    CANCELLED = 7
    UNWELL = 8
    FELT = 9


MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "done, and proven unless --no-wait or --keep was given",
    ExitCode.FAILED: "something outside our control failed (keepalived, haproxy, the kernel); every failure of a lifecycle script",
    ExitCode.USAGE: "the command line is wrong",
    ExitCode.NO_SUCCESSOR: "demote, leave: nobody took the VIP over in time",
    ExitCode.BAD_CONFIG: "a property is wrong or contradicts another one",
    ExitCode.NOT_SETTLED: "promote: neither MASTER nor outranked by a peer in time, or somebody else uses the VRID or the VIP",
    ExitCode.BUSY: "another vrrpctl held the lock for longer than we may wait",
    ExitCode.CANCELLED: "stopped by SIGTERM or SIGINT; the priority was put back",
    ExitCode.UNWELL: "doctor: there is a problem; rehearse: refused, nothing was moved",
    ExitCode.FELT: "rehearse: clients would have felt something, or would in such a deploy",
}


class VrrpDrainError(Exception):
    """Base of all errors of this package; its text is the line an operator reads."""

    exit_code = ExitCode.FAILED


class SystemFault(VrrpDrainError):
    """The machine (kernel, keepalived, haproxy, disk) did not do its part: look at the machine."""


class ConfigError(VrrpDrainError):
    """A property is wrong: correct the manifest and deploy again."""

    exit_code = ExitCode.BAD_CONFIG

    def __init__(self, name: str, value: object, allowed: str) -> None:
        super().__init__(f"{name} is {value!r}: {allowed}")
        self.name = name


LOOK_AT_PEERS = "On its peers, vrrpctl status says whether keepalived runs, haproxy answers, and adverts arrive"


HOW_TO_STOP = (
    "To stop it all the same, and take the VIP away from clients: vrrpctl let-go on this instance, then the same bosh command again; "
    "bosh stop --skip-drain does it without asking us, and cuts what is open"
)


class NoSuccessor(VrrpDrainError):
    """Nobody took the VIP over: look at the peers."""

    exit_code = ExitCode.NO_SUCCESSOR


class NotSettled(VrrpDrainError):
    """The VRRP state could not be proven after a promotion: look at the segment."""

    exit_code = ExitCode.NOT_SETTLED


class Busy(VrrpDrainError):
    """Another vrrpctl is at work: wait for it, or end it."""

    exit_code = ExitCode.BUSY


class Cancelled(VrrpDrainError):
    """The operator or BOSH told us to stop."""

    exit_code = ExitCode.CANCELLED


class Unwell(VrrpDrainError):
    """doctor found a problem: its report says which, and the mend. Or a drill was refused, before anything was moved."""

    exit_code = ExitCode.UNWELL


class Felt(VrrpDrainError):
    """Clients would have felt the moves of a drill: its report says when, and at which instance."""

    exit_code = ExitCode.FELT


class AdvertError(VrrpDrainError):
    """A packet is not a valid VRRP advert: ignore the packet."""

    def __init__(self, field: str, got: object, expected: object) -> None:
        super().__init__(f"{field} is {got}, expected {expected}")
        self.field = field


def all_of(*steps: Callable[[], object]) -> None:
    """Do every one of ``steps``, whatever becomes of the others. Raises SystemFault then, with what each of them could not do."""
    faults: list[str] = []
    for step in steps:
        try:
            step()
        except SystemFault as fault:
            faults.append(str(fault))
    if faults:
        raise SystemFault("; ".join(dict.fromkeys(faults)))


def what_happened(error: Exception) -> str:
    """Return an error in words for people: ours have them, of the kernel's the reason and the file, of others what they mean."""
    if isinstance(error, VrrpDrainError):
        return str(error)
    if isinstance(error, OSError):
        reason = error.strerror or "the machine does not let us"
        return f"{error.filename}: {reason}" if error.filename else reason
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8 text"
    if hasattr(error, "lineno") and hasattr(error, "colno"):  # json.JSONDecodeError
        return f"it is no JSON from line {error.lineno}, column {error.colno} on"
    return f"a fault of vrrp-drain itself ({type(error).__name__}), please report it"

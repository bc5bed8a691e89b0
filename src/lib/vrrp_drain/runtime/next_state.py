"""What BOSH is about to do with this instance: pre-stop is told in its environment, drain in its first argument, and each not all of it.

Sources: director, stopper.rb (``BOSH_*_NEXT_STATE``, and the type of a drain: ``shutdown`` where the instance is stopped, or its VM made
anew); bosh-agent, agent/script/drain/shutdown_params.go (``job_shutdown``).
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import files
from .str_enum import StrEnum

log = logging.getLogger(__name__)

_SHUTDOWN = "job_shutdown"


class NextState(StrEnum):
    """The value is what pre-stop leaves for drain, in a file."""

    DEPLOYMENT_DELETED = "the deployment is deleted"
    INSTANCE_DELETED = "the instance is deleted"
    VM_DELETED = "the VM is deleted"  # and made anew, or `bosh stop --hard`: nobody tells which
    VM_KEPT = "the VM is kept"
    UNKNOWN = "unknown"  # an old director knows no pre-stop

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "NextState":
        """Return what the environment of pre-stop says."""
        told = {"DEPLOYMENT": cls.DEPLOYMENT_DELETED, "INSTANCE": cls.INSTANCE_DELETED, "VM": cls.VM_DELETED}
        for what, state in told.items():
            if environment.get(f"BOSH_{what}_NEXT_STATE") == "delete":
                return state
        return cls.VM_KEPT if environment.get("BOSH_VM_NEXT_STATE") == "keep" else cls.UNKNOWN

    @property
    def is_deletion(self) -> bool:
        """Tell whether nothing of this instance is left then."""
        return self in (NextState.DEPLOYMENT_DELETED, NextState.INSTANCE_DELETED)

    def ends(self, arguments: Sequence[str] = ()) -> bool:
        """Tell whether BOSH will not start this instance again by itself; ``arguments`` are those of drain."""
        return self.is_deletion or (self is NextState.VM_KEPT and _SHUTDOWN in arguments[:1])


class Told:
    """The file; on tmpfs, like all that no reboot outlives."""

    def __init__(self, run_directory: Path) -> None:
        self._path = run_directory / "next-state"

    def read(self) -> NextState:
        """Return what pre-stop was told; unknown where there was none."""
        try:
            return NextState(files.read_text(self._path))
        except (OSError, ValueError):
            return NextState.UNKNOWN

    def write(self, state: NextState) -> None:
        """Keep it for drain. Where it cannot be kept, that is said: drain then knows less."""
        try:
            if state is NextState.UNKNOWN:
                files.remove(self._path)
            else:
                files.replace(self._path, state)
        except OSError as error:
            log.warning("cannot change %s: %s; drain may wait for a successor where nobody comes", self._path, error.strerror)

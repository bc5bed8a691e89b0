"""What this machine has been through since it was started: a reboot runs no lifecycle script, so the watcher does their work.

The file is on tmpfs: where it is missing, nothing of ours has run yet.
"""

import logging
from enum import Enum
from pathlib import Path

from . import files

log = logging.getLogger(__name__)


class Stage(Enum):
    """How far it has come."""

    REBOOTED = "rebooted: to be promoted when haproxy answers"
    ASKED = "a lifecycle script or an operator has said since what this instance is to be"


class Boot:
    """Written by whoever changes the stage; a directory that cannot be written costs the promotion after a reboot, and nothing else."""

    def __init__(self, run_directory: Path) -> None:
        self._path = run_directory / "boot"

    def stage(self) -> Stage | None:
        """Return the stage, None where the machine was just started."""
        try:
            return Stage(files.read_text(self._path))
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            return Stage.ASKED

    def enter(self, stage: Stage) -> None:
        try:
            files.replace(self._path, stage.value)
        except OSError as error:
            log.warning("cannot write %s: %s; the watcher may take this for a reboot", self._path, error.strerror)

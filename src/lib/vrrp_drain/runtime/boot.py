"""Who last said what this instance is to be. Where no lifecycle script finishes what one began, or a reboot ran none, the watcher does.

The file is on tmpfs: where it is missing, nothing of ours has run yet.
"""

import logging
from enum import Enum
from pathlib import Path

from . import files

log = logging.getLogger(__name__)


class Stage(Enum):
    """Whose word it is."""

    REBOOTED = "reboot"
    STARTED = "pre-start"
    LEAVING = "drain"  # or pre-stop
    ENDING = "last drain"  # or pre-stop: BOSH stops or deletes this instance, and does not start it again by itself
    LEFT = "leave"  # an operator is about to reboot or to stop this machine
    DEMOTED = "demote"
    PROMOTED = "promote"  # or post-start
    DIED = "the end of keepalived"  # the watcher's word: it died, hung or was stopped while this instance was MASTER
    UNKNOWN = "unknown"  # it cannot be read


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
            return Stage.UNKNOWN

    def word(self) -> str:
        """Return what tells this word from every other one, also from the same said again."""
        return f"{(self.stage() or Stage.UNKNOWN).value}@{self.entered_at() or 0.0}"

    def entered_at(self) -> float | None:
        """Return when that was said, in seconds since the epoch; None where nothing was."""
        return files.changed_at(self._path)

    def enter(self, stage: Stage) -> None:
        try:
            files.replace(self._path, stage.value)
        except OSError as error:
            log.warning("cannot write %s: %s; the watcher may take this for a reboot", self._path, error.strerror)

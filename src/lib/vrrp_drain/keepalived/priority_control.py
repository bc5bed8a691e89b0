"""How we set the priority that keepalived adverts: through track files of our job, or through another job's configuration."""

import logging
from pathlib import Path
from typing import Protocol

from vrrp_drain.config.model import Config
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.paths import Paths
from vrrp_drain.vrrp.bands import Band

from .track_files import TrackFiles
from .upstream_config import UpstreamConfig

log = logging.getLogger(__name__)


class PriorityControl(Protocol):
    """The band is the word of scripts and operators, the mark is the watcher's: neither undoes what the other said."""

    @property
    def path(self) -> Path: ...

    def read(self) -> Band | None:
        """Return the band, or None where nothing is written yet. Raises SystemFault for what is no band."""

    def write(self, band: Band) -> None:
        """Make ``band`` the band. Raises SystemFault; what was there before then still holds."""

    def unhealthy(self) -> bool:
        """Tell whether the watcher has marked haproxy as dead. Raises SystemFault."""

    def mark(self, *, unhealthy: bool) -> None:
        """Have keepalived advert a priority of the unhealthy band, or no longer. Raises SystemFault; nothing is changed then."""

    def changed_at(self) -> float | None:
        """Return when the band was written, in seconds since the epoch, or None where nothing is."""


def find(config: Config, paths: Paths) -> PriorityControl:
    """Return the control of whichever keepalived runs here."""
    upstream = config.drain.upstream_job
    return TrackFiles(paths.keepalived_run) if upstream is None else UpstreamConfig(upstream)


def band(control: PriorityControl) -> Band:
    """Return the band that this instance is in; what cannot be read counts as active."""
    try:
        return control.read() or Band.ACTIVE
    except SystemFault as error:
        log.warning("%s; taken as %s", error, Band.ACTIVE)
        return Band.ACTIVE


def put_back(control: PriorityControl, before: Band) -> None:
    """Write the band that was there before; why we got here is what the caller is told."""
    try:
        control.write(before)
    except SystemFault as error:
        log.warning("%s", error)

"""Everything that the watcher tells: into the log, the metrics, and to receivers that return at once."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence

from vrrp_drain.notify.damper import Damper
from vrrp_drain.notify.notice import Notice, Severity

from .metrics import Metrics

log = logging.getLogger(__name__)


class Telling:
    """``receivers`` are called with every notice, after the log; all of them count in ``metrics``."""

    def __init__(self, metrics: Metrics, receivers: Sequence[Callable[[Notice], None]]) -> None:
        self._metrics, self._receivers, self._damper = metrics, receivers, Damper()

    def tell(self, notice: Notice) -> None:
        """Count it, and tell it unless there are too many of its kind."""
        self._metrics.notice(notice)
        self._tell_all(self._damper.take(notice, time.monotonic()))

    def tick(self) -> None:
        """Tell what was held back, if it is time."""
        self._tell_all(self._damper.due(time.monotonic()))

    def close(self) -> None:
        """Tell the rest."""
        self._tell_all(self._damper.rest(time.monotonic()))

    def _tell_all(self, notices: Iterable[Notice]) -> None:
        for notice in notices:
            log.log(logging.WARNING if notice.severity is Severity.WARNING else logging.INFO, "%s", notice.line())
            for receive in self._receivers:
                receive(notice)

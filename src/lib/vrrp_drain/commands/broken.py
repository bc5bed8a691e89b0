"""An instance that cannot hand over what it has: its interface is gone, its configuration or its disk broken. May BOSH stop it?

It has to be stopped to be mended, and a stop that fails here fails for ever. So it is let go with a warning, unless the operator wants
otherwise; what is deleted is let go in any case. The policy is read from what was rendered, since nothing that is built from it is there.
"""

import logging
from collections.abc import Mapping

from vrrp_drain.runtime.errors import HOW_TO_STOP, VrrpDrainError
from vrrp_drain.runtime.next_state import NextState, Told
from vrrp_drain.runtime.paths import Paths

from . import policy

log = logging.getLogger(__name__)


def let_go(paths: Paths, environment: Mapping[str, str], error: VrrpDrainError) -> None:
    """Have a pre-stop or drain that failed with ``error`` succeed all the same, and say what it costs.

    Raises ``error`` where vrrp_drain.on_no_successor is fail, unless the instance is deleted or an operator has let it go. Of a deletion
    pre-stop's environment tells, and drain the word that pre-stop left.
    """
    state = NextState.of(environment)
    if state is NextState.UNKNOWN:
        state = Told(paths.drain_run).read()
    else:
        Told(paths.drain_run).write(state)
    if (why := policy.why_it_may_go(paths, policy.rendered(paths), state)) is None:
        log.warning("%s", HOW_TO_STOP)
        raise error
    log.warning(
        "%s: nothing was handed over; stopping this instance moves the VIP, if it is here, the hard way, and cuts its connections (%s)",
        error,
        why,
    )

"""May BOSH stop an instance whose VIP nobody takes over? As vrrp_drain.on_no_successor, BOSH itself and an operator say."""

import json

from vrrp_drain.runtime.next_state import NextState
from vrrp_drain.runtime.paths import Paths
from vrrp_drain.runtime.standing_order import StandingOrder


def why_it_may_go(paths: Paths, on_no_successor: object, state: NextState) -> str | None:
    """Return why it may, for people; None where it is kept. ``state`` is what BOSH is about to do with it."""
    if state.is_deletion:
        return str(state)
    if on_no_successor != "fail":
        return "vrrp_drain.on_no_successor is proceed"
    order = StandingOrder.let_go(paths).read()
    return None if order is None else f"vrrpctl let-go, {order}"


def rendered(paths: Paths) -> object:
    """Return on_no_successor as the job was rendered, where nothing that is built from it may be there."""
    try:
        return json.loads(paths.drain_config.read_bytes())["vrrp_drain"]["on_no_successor"]
    except (OSError, ValueError, LookupError, TypeError):
        return "proceed"  # the default: whoever wanted another one cannot be asked any more

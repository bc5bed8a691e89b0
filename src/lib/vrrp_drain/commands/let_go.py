"""`vrrpctl let-go`."""

import logging
import os

import click

from vrrp_drain.runtime import logs
from vrrp_drain.runtime.standing_order import StandingOrder, whoever_runs_this

from . import policy
from .session import Session

log = logging.getLogger(__name__)


@click.command("let-go")
@click.option(
    "--within",
    type=click.FloatRange(min=1, max=86400),
    default=3600,
    show_default=True,
    help="Seconds for which BOSH may; its next start of this instance, or a reboot, ends it too.",
)
@click.option("--by", help="Who lets it go, for status and the log.  [default: whoever runs this]")
@click.option("--revoke", is_flag=True, help="Take it back.")
@click.pass_obj
def command(session: Session, within: float, by: str | None, revoke: bool) -> None:
    """Let BOSH stop this instance although nobody can take the VIP over: clients are without it then.

    For vrrp_drain.on_no_successor: fail, which otherwise keeps the last instance. A pre-stop or drain that is waiting
    for a successor goes on waiting as long as it may, and then lets go. Moves nothing, waits for nobody, and works where nothing
    else does any more.
    """
    logs.set_up("let-go", session.paths.drain_log, chatty=True)
    order = StandingOrder.let_go(session.paths)
    if revoke:
        order.take_back()
        log.info("this instance is kept again, where nobody can take its VIP over")
        return
    given = order.give(by or whoever_runs_this(os.environ), within)
    if policy.rendered(session.paths) != "fail":
        log.info("vrrp_drain.on_no_successor is proceed: BOSH may stop this instance in any case")
    log.info("BOSH may stop this instance although nobody can take its VIP over (%s)", given)

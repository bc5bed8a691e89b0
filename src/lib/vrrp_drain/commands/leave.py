"""`vrrpctl leave`."""

import logging
from contextlib import ExitStack

import click

from vrrp_drain.handover.demote import Demote
from vrrp_drain.handover.services import Services
from vrrp_drain.runtime import logs
from vrrp_drain.runtime.boot import Boot, Stage
from vrrp_drain.runtime.errors import LOOK_AT_PEERS, Cancelled, NoSuccessor
from vrrp_drain.runtime.standing_order import StandingOrder

from . import finishing, moves
from .session import SECONDS, Session

log = logging.getLogger(__name__)


@click.command("leave")
@click.option(
    "--timeout",
    type=SECONDS,
    help="Seconds to wait for a successor.  [default: vrrp_drain.handover_timeout, or successor_timeout as long as one may come]",
)
@click.pass_obj
def command(session: Session, timeout: float | None) -> None:
    """Hand the VIP to a peer and wait for connections to end, so that this machine may be rebooted or stopped.

    For a reboot or a stop without BOSH, which runs no script. It takes part again by itself when keepalived has been
    started anew, or after vrrpctl promote. Where nobody takes over it fails, and this instance goes on as before.
    """
    logs.set_up("leave", session.paths.drain_log, chatty=True)
    with session.opened() as opened, ExitStack() as held:
        services = opened.services
        with session.lock(opened, timeout):
            moves.say_who_finishes(session.paths)
            _hand_over(services, timeout)
            session.finishing(opened, held)
        finishing.finish_connections(services, opened.cancellation, by_bosh=False)
    log.info("%s may be rebooted or stopped now, by shutdown -r now or monit stop all", services.instance.name)


def _hand_over(services: Services, timeout: float | None) -> None:
    """Demote, and have the watcher know what ends that. Raises NoSuccessor and Cancelled, with everything as it was."""
    instance, drain = services.instance, services.instance.config.drain
    boot, out = Boot(instance.paths.drain_run), StandingOrder.stay_out(instance.paths).read()
    boot.enter(Stage.DEMOTED if out else Stage.LEFT)
    ending = services.handover.demote(timeout or drain.handover_timeout, patience=0.0 if timeout else drain.successor_timeout)
    if ending.state is Demote.DONE:
        return
    boot.enter(Stage.DEMOTED if out else Stage.PROMOTED)
    if ending.state is Demote.CANCELLED:
        moves.stay_out(services)
        raise Cancelled(f"{instance.name} goes on as before")
    raise NoSuccessor(
        f"no successor: the priority of {instance.name} is back at {moves.stay(services)}, and it serves. To reboot or stop it now takes "
        f"{instance.vip} away from clients until it, or a peer, is back. {LOOK_AT_PEERS}"
    )

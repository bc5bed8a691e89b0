"""`vrrpctl demote`."""

import click

from vrrp_drain.handover.demote import Demote
from vrrp_drain.runtime import logs
from vrrp_drain.runtime.boot import Boot, Stage
from vrrp_drain.runtime.errors import LOOK_AT_PEERS, Cancelled, NoSuccessor
from vrrp_drain.vrrp.bands import Band

from . import moves
from .session import SECONDS, Session


@click.command("demote")
@click.option("--timeout", type=SECONDS, help="Seconds to wait for a successor.  [default: vrrp_drain.handover_timeout]")
@click.option("--no-wait", is_flag=True, help="Lower the priority and return; prove nothing.")
@click.option("--keep", is_flag=True, help="Stay demoted even if nobody takes over.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_obj
def command(session: Session, timeout: float | None, no_wait: bool, keep: bool, as_json: bool) -> None:
    """Hand the VIP to a peer, and stay out of the election until promoted."""
    logs.set_up("demote", session.paths.drain_log, chatty=True)
    with session.alone(timeout) as opened:
        services, instance = opened.services, opened.services.instance
        moves.say_who_finishes(instance.paths)
        Boot(instance.paths.drain_run).enter(Stage.DEMOTED)
        if no_wait:
            moves.change_band(services, Band.DRAINING, as_json)
            return
        ending = services.handover.demote(timeout or instance.config.drain.handover_timeout)
        if as_json:
            moves.print_ending(instance, ending)
        if ending.state is Demote.CANCELLED:
            raise Cancelled(f"{instance.name} goes on as before")
        if ending.state is Demote.NO_SUCCESSOR and not keep:
            moves.stay(services)
            raise NoSuccessor(f"no successor: the priority of {instance.name} is back at {instance.active}. {LOOK_AT_PEERS}")

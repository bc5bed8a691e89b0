"""`vrrpctl demote`."""

import os
from contextlib import ExitStack

import click

from vrrp_drain.handover.demote import Demote
from vrrp_drain.runtime import logs
from vrrp_drain.runtime.boot import Boot, Stage
from vrrp_drain.runtime.errors import LOOK_AT_PEERS, Cancelled, NoSuccessor
from vrrp_drain.runtime.standing_order import StandingOrder, whoever_runs_this
from vrrp_drain.vrrp.bands import Band

from . import moves
from .session import SECONDS, Session


@click.command("demote")
@click.option("--timeout", type=SECONDS, help="Seconds to wait for a successor.  [default: vrrp_drain.handover_timeout]")
@click.option("--no-wait", is_flag=True, help="Lower the priority and return; prove nothing.")
@click.option("--keep", is_flag=True, help="Stay demoted even if nobody takes over.")
@click.option("--until-promoted", is_flag=True, help="Stay demoted after a reboot and a deploy too, until vrrpctl promote.")
@click.option("--by", help="Who wants that, for status and the history.  [default: whoever runs this]")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_obj
def command(
    session: Session, timeout: float | None, no_wait: bool, keep: bool, until_promoted: bool, by: str | None, as_json: bool
) -> None:
    """Hand the VIP to a peer, and stay out of the election until promoted, rebooted, or deployed."""
    if by is not None and not until_promoted:
        raise click.UsageError("--by goes with --until-promoted")
    logs.set_up("demote", session.paths.drain_log, chatty=True)
    with session.alone(timeout) as opened, ExitStack() as undo:
        services, instance = opened.services, opened.services.instance
        moves.say_who_finishes(instance.paths)
        stay_out = StandingOrder.stay_out(instance.paths)
        if until_promoted and not moves.said_already(stay_out):
            stay_out.give(by or whoever_runs_this(os.environ))
            undo.callback(stay_out.take_back)
        Boot(instance.paths.drain_run).enter(Stage.DEMOTED)
        if no_wait:
            moves.change_band(services, Band.DRAINING, as_json)
            undo.pop_all()
            return
        ending = services.handover.demote(timeout or instance.config.drain.handover_timeout)
        if as_json:
            moves.print_ending(instance, ending)
        if ending.state is Demote.DONE or (ending.state is Demote.NO_SUCCESSOR and keep):
            undo.pop_all()
            return
        undo.close()
        if ending.state is Demote.CANCELLED:
            moves.stay_out(services)
            raise Cancelled(f"{instance.name} goes on as before")
        raise NoSuccessor(f"no successor: the priority of {instance.name} is back at {moves.stay(services)}. {LOOK_AT_PEERS}")

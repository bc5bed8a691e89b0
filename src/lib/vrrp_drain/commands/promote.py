"""`vrrpctl promote`."""

import logging

import click

from vrrp_drain.runtime import logs
from vrrp_drain.runtime.boot import Boot, Stage
from vrrp_drain.runtime.standing_order import StandingOrder
from vrrp_drain.vrrp.bands import Band

from . import moves
from .session import SECONDS, Session

log = logging.getLogger(__name__)


@click.command("promote")
@click.option("--timeout", type=SECONDS, help="Seconds to wait for a settled state.  [default: vrrp_drain.handover_timeout]")
@click.option("--no-wait", is_flag=True, help="Raise the priority and return; prove nothing.")
@click.option("--if-nothing-since", "word", hidden=True, help="For the watcher: change nothing if anybody has asked for anything since.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_obj
def command(session: Session, timeout: float | None, no_wait: bool, word: str | None, as_json: bool) -> None:
    """Take part in the election again; ends when this instance is MASTER or a peer outranks it."""
    logs.set_up("promote", session.paths.drain_log, chatty=True)
    with session.alone(timeout, makes_way=word is not None) as opened:
        services, instance = opened.services, opened.services.instance
        boot = Boot(instance.paths.drain_run)
        stay_out = StandingOrder.stay_out(instance.paths)
        if word is not None and (word != boot.word() or stay_out.read()):
            log.info("somebody has asked for something else meanwhile: this instance is not promoted")
            return
        moves.refuse_while_one_finishes(instance)
        if no_wait:
            moves.change_band(services, Band.ACTIVE, as_json)
        else:
            ending = services.handover.promote(timeout or instance.config.drain.handover_timeout)
            if as_json:
                moves.print_ending(instance, ending)
            moves.settled(instance, ending)
        boot.enter(Stage.PROMOTED)
        stay_out.take_back()

"""What the commands that move this instance have in common: what they print, how they end, and whom they meet."""

import json
import logging

import click

from vrrp_drain.handover.promote import Promote
from vrrp_drain.handover.runner import Ending
from vrrp_drain.handover.services import Services
from vrrp_drain.handover.transitions import State
from vrrp_drain.keepalived.instance import Instance
from vrrp_drain.runtime.errors import Busy, Cancelled, NotSettled
from vrrp_drain.runtime.lock import Lock
from vrrp_drain.runtime.paths import Paths
from vrrp_drain.runtime.standing_order import StandingOrder
from vrrp_drain.vrrp.bands import Band

log = logging.getLogger(__name__)


def change_band(services: Services, band: Band, as_json: bool) -> None:
    """Write the band, and prove nothing."""
    services.control.write(band)
    instance = services.instance
    priority = instance.lowered if band is Band.DRAINING else instance.active
    log.info("priority is %s (%s); not waiting for what follows", priority, band)
    if as_json:
        click.echo(json.dumps({"instance": instance.name, "vip": str(instance.vip), "state": str(band), "priority": priority}))


def stay(services: Services) -> int:
    """Be again what this instance was before it was to leave, tell the peers, and return the priority.

    That is in the election, unless an operator has taken it out until it is promoted.
    """
    instance, out = services.instance, StandingOrder.stay_out(services.instance.paths).read()
    services.control.write(Band.DRAINING if out else Band.ACTIVE)
    services.announcements.greet(log.warning)
    return instance.lowered if out else instance.active


def stay_out(services: Services) -> None:
    """After a move that was told to stop, which has put the priority back: lower it again where an operator wants this instance out."""
    if StandingOrder.stay_out(services.instance.paths).read():
        stay(services)


def print_ending(instance: Instance, ending: Ending[State]) -> None:
    """Print how a move ended, as JSON."""
    found = {
        "instance": instance.name,
        "vip": str(instance.vip),
        "state": ending.state.name.lower(),
        "reason": ending.reason,
        "seconds": round(ending.seconds, 3),
    }
    click.echo(json.dumps(found))


def settled(instance: Instance, ending: Ending[Promote]) -> None:
    """Raise what a promotion ended with, if it did not end well; the log line before it is the reason."""
    if ending.state is Promote.CANCELLED:
        raise Cancelled(f"{instance.name} stays as it was")
    if ending.state is Promote.FAILED:
        raise NotSettled(f"{instance.name} could not be promoted: its priority is what it was before")


def said_already(order: StandingOrder) -> bool:
    """Tell whether an order stands already; whoever gave it first remains the one who did."""
    if found := order.read():
        log.info("that stands already: %s", found)
    return found is not None


def say_who_finishes(paths: Paths) -> None:
    """Say who waits here for connections to end: a demotion is no obstacle to that."""
    if holder := Lock.held_by(paths.finishing):
        log.info("%s serves the connections that are open here until they have ended; this goes on beside it", holder)


def refuse_while_one_finishes(instance: Instance) -> None:
    """Raise Busy where a drain waits for connections to end: this instance is stopped when it has, so the VIP must not come back."""
    if holder := Lock.held_by(instance.paths.finishing):
        raise Busy(
            f"{holder} serves the connections that are open on {instance.name} until they have ended, and then it is stopped: nothing was "
            "changed. Promote it when that is over, or end it first: a deploy by bosh cancel-task, vrrpctl leave by Ctrl-C"
        )

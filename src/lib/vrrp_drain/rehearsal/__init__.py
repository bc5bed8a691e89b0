"""A drill on a live cluster: demote, prove, promote, prove, while a client's connections to the VIP are tried all the time.

Before anything is moved it is refused where doctor finds a problem, or where there is nothing to move. However it ends, this
instance is in the active band again, as it was before.
"""

import logging
import select
import time
from collections.abc import Mapping

from vrrp_drain import doctor
from vrrp_drain.config.model import Proof
from vrrp_drain.doctor import survey
from vrrp_drain.handover.demote import Demote
from vrrp_drain.handover.promote import Promote
from vrrp_drain.handover.prospects import Prospects
from vrrp_drain.handover.services import Services
from vrrp_drain.keepalived import priority_control
from vrrp_drain.notify.history import History
from vrrp_drain.runtime.errors import LOOK_AT_PEERS, Cancelled, NoSuccessor, NotSettled, SystemFault, Unwell, VrrpDrainError
from vrrp_drain.runtime.ip import IPAddress
from vrrp_drain.runtime.signals import Cancellation
from vrrp_drain.runtime.standing_order import StandingOrder
from vrrp_drain.vrrp.bands import Band

from . import ports
from .client import Client, Target
from .deploy import Forecast, MaxInFlight, last_update
from .prober import Prober
from .report import Move, Report

log = logging.getLogger(__name__)

_BEFORE, _BETWEEN, _AFTER = 0.5, 1.0, 0.5  # seconds in which nothing is moved: what comes late is to be seen as well
_STORY = 500  # notices of the history that are looked through for the last update
_DOCTOR = 4.0  # advert intervals that doctor takes, beside its own seconds
_STOPPED = "told to stop: this instance is in the active band as before, and takes the VIP back where a peer has it"


def check(services: Services) -> None:
    """Raise Unwell where a drill would prove nothing, or do harm; takes as long as doctor does. Changes nothing."""
    if problem := _nothing_to_move(services) or _unwell(services):
        raise Unwell(f"{problem}. Nothing was moved")


def target(services: Services, port: int | None) -> Target:
    """Return what clients connect to; ``port`` where it is known better. Raises SystemFault."""
    instance = services.instance
    vip, interface, netlink = instance.vip, instance.interface, services.machine.netlink
    networks = [each for each in netlink.networks_on(interface, vip.version) if each.ip not in instance.config.keepalived.addresses]
    nearest = sorted(networks, key=lambda each: (vip not in each.network, each.ip.is_link_local))
    if not nearest:
        raise SystemFault(f"{interface} has no IPv{vip.version} address of its own to connect from")
    return Target(vip, port or ports.of_clients(instance.config), interface, nearest[0].ip, netlink.mac(interface), netlink.macs())


def names(services: Services) -> dict[str, str]:
    """Return the instances by the MACs that they answer with, ours first. Raises SystemFault."""
    instance = services.instance
    peers: Mapping[IPAddress, str] = {each.address: str(each) for each in instance.config.peers}
    answers = survey.listen(services, survey.LEAST_SECONDS, peers).answers
    found = {mac: name for address, name in peers.items() for mac in answers.get(address, ())}
    return {services.machine.netlink.mac(instance.interface): instance.name, **found}


def forecast(services: Services, asked: MaxInFlight | None) -> Forecast:
    """Return what a deploy would meet that updates as many as ``asked`` at a time, as things stand now."""
    instance = services.instance
    outlook = Prospects(instance, services.membership).look()
    took = last_update(History(instance.paths.history).last(_STORY))
    return Forecast(str(instance.vip), len(instance.config.peers) + 1, asked, outlook, instance.config.drain, took)


def rehearse(services: Services, cancellation: Cancellation, prober: Prober, known: Mapping[str, str], timeout: float) -> Report:
    """Move the VIP away and back, each within ``timeout`` seconds, and return what clients would have felt.

    What ended it early is in the report. Raises Unwell or Cancelled before anything was moved, SystemFault where probing failed.
    """
    instance = services.instance
    moves: list[Move] = []
    client = prober.client
    began = time.monotonic()
    prober.start()
    try:
        _pause(cancellation, _BEFORE)
        _refuse_failing_probes(client, known)
        error = _move_there_and_back(services, cancellation, timeout, moves)
    finally:
        ended = time.monotonic()
        prober.stop()
    probed = (client.target.port, prober.rate, began, ended, tuple(moves), tuple(client.probes), tuple(client.turns))
    return Report(instance.name, str(instance.vip), *probed, known, error)


def _move_there_and_back(services: Services, cancellation: Cancellation, timeout: float, moves: list[Move]) -> VrrpDrainError | None:
    """Fill ``moves``, and return what went wrong; whatever it is, this instance is in the active band then."""
    instance = services.instance
    try:
        began = time.monotonic()
        demoted = services.handover.demote(timeout)
        moves.append(Move("demote", began, demoted.seconds, demoted.reason))
        if demoted.state is Demote.CANCELLED:
            raise Cancelled(_STOPPED)
        if demoted.state is Demote.NO_SUCCESSOR:
            priority = instance.config.keepalived.priority
            raise NoSuccessor(f"no successor: the priority of {instance.name} is back at {priority}. {LOOK_AT_PEERS}")
        _pause(cancellation, _BETWEEN)
        began = time.monotonic()
        promoted = services.handover.promote(timeout)
        moves.append(Move("promote", began, promoted.seconds, promoted.reason))
        if promoted.state is Promote.CANCELLED:
            raise Cancelled(_STOPPED)
        if promoted.state is Promote.FAILED:
            raise NotSettled(f"{instance.vip} did not come back in time: {promoted.reason}. {instance.name} still competes for it")
        _pause(cancellation, _AFTER)
    except VrrpDrainError as error:
        return error
    finally:
        _go_back(services)
    return None


def _go_back(services: Services) -> None:
    """Enter the active band again; where a peer has the VIP by now, it keeps the connections that it serves."""
    try:
        if priority_control.band(services.control) is Band.DRAINING:
            services.arming.leave_with_the_master()
    except (OSError, VrrpDrainError) as error:
        log.warning("%s: connections that are open are cut when %s comes back", error, services.instance.vip)
    finally:
        services.control.write(Band.ACTIVE)


def _pause(cancellation: Cancellation, seconds: float) -> None:
    if select.select([cancellation.fileno()], [], [], seconds)[0]:
        raise Cancelled(_STOPPED)


def _nothing_to_move(services: Services) -> str:
    """Return why this is not the instance to run a drill on, or nothing."""
    instance = services.instance
    me, vip = instance.name, instance.vip
    if instance.config.keepalived.use_vmac:
        return f"with keepalived.use_vmac every instance has the same MAC for {vip}, so that a client played here cannot tell them apart"
    if (proof := instance.config.drain.takeover_proof) is not Proof.ARP:
        return (
            f"vrrp_drain.takeover_proof is {proof}: clients find {vip} by what the network knows, and a client played here asks by ARP. "
            f"vrrpctl demote and vrrpctl promote prove the moves; a client beyond the network shows what is felt"
        )
    if not instance.config.peers:
        return f"{me} is the only instance: there is nobody to move {vip} to"
    if not services.vip.is_here():
        master = next(iter(survey.look(services).current_masters), None)
        if master is None:
            return f"{me} is not MASTER and hears none: vrrpctl doctor says more"
        name = next((f" ({each})" for each in instance.config.peers if each.address == master.source), "")
        return f"{me} is not MASTER: {vip} is at {master.source}{name}, run it there"
    if priority_control.band(services.control) is Band.DRAINING:
        if order := StandingOrder.stay_out(instance.paths).read():
            return f"{me} stays out until vrrpctl promote: {order}"
        return f"{me} is in the draining band: a deploy is at work, or vrrpctl promote is due"
    return ""


def _unwell(services: Services) -> str:
    """Return the first problem that doctor finds, and how many more there are, or nothing."""
    instance = services.instance
    log.info("vrrpctl doctor first: nothing is moved while it finds a problem")
    found = doctor.examine(instance.paths, doctor.TIMEOUT + _DOCTOR * instance.config.keepalived.advert_int).of(doctor.Severity.PROBLEM)
    if not found:
        return ""
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return f"vrrpctl doctor finds a problem{more}: {found[0].line()}"


def _refuse_failing_probes(client: Client, known: Mapping[str, str]) -> None:
    """What fails before anything was moved will not be better afterwards."""
    where = f"{client.target.vip} port {client.target.port}"
    if any(each.failed for each in client.probes) or not client.probes:
        failed = sum(each.failed for each in client.probes)
        what = f"{failed} of {len(client.probes)} connections to {where} failed here, on the MASTER"
        raise Unwell(f"{what}: --port says where clients connect. Nothing was moved")
    silent = client.peers - {each.mac for each in client.trials if not each.failed}
    if not silent:
        return
    what = f"no connection to {where} that is sent to {', '.join(sorted(known[mac] for mac in silent))} is accepted there"
    why = "a firewall drops it, haproxy does not listen at that port, or the VIP is not on lo; vrrpctl doctor there says more"
    if silent == client.peers:
        raise Unwell(f"{what}: {why}. Nothing was moved")
    log.warning("%s: %s", what, why)


__all__ = [
    "Client",
    "Forecast",
    "MaxInFlight",
    "Move",
    "Prober",
    "Report",
    "Target",
    "check",
    "forecast",
    "names",
    "rehearse",
    "target",
]

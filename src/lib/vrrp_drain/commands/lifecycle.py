"""The five scripts that BOSH runs around an update of this instance.

Order (bosh director, stopper.rb; bosh-agent, agent/action/drain.go): pre-stop of all jobs in parallel, unmonitor,
drain of all jobs in parallel, monit stop, post-stop, pre-start, monit start, post-start. Each of them raises a
VrrpDrainError on failure; what it returns means success.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from vrrp_drain.handover import joining, speaking, unheard
from vrrp_drain.handover.demote import Demote
from vrrp_drain.handover.own_addresses import OwnAddresses
from vrrp_drain.handover.services import Services
from vrrp_drain.keepalived import priority_control
from vrrp_drain.linux import listeners
from vrrp_drain.runtime import files
from vrrp_drain.runtime.boot import Boot, Stage
from vrrp_drain.runtime.errors import HOW_TO_STOP, LOOK_AT_PEERS, Cancelled, NoSuccessor, NotSettled, SystemFault, all_of
from vrrp_drain.runtime.ip import IPAddress
from vrrp_drain.runtime.next_state import NextState, Told
from vrrp_drain.runtime.signals import Cancellation
from vrrp_drain.runtime.standing_order import StandingOrder
from vrrp_drain.vrrp.bands import Band
from vrrp_drain.vrrp.hello import Open

from . import moves, policy

log = logging.getLogger(__name__)

_LOOK_EVERY = 0.2  # seconds between two looks at haproxy
_LATE = 0.1  # seconds that an advert may be late
_ONCE = 60.0  # seconds after a pre-stop that waited in vain, for which its drain does not wait again


@dataclass(frozen=True)
class Bounds:
    """Until when (monotonic seconds) a handover must have ended, and until when a MASTER waits for somebody who may take over."""

    until: float
    patient_until: float

    @classmethod
    def of(cls, services: Services) -> "Bounds":
        """Return those of a script that begins now; the wait for the lock counts."""
        now, drain = time.monotonic(), services.instance.config.drain
        return cls(now + drain.handover_timeout, now + drain.successor_timeout)


def pre_start(services: Services) -> None:
    """Check what a handover needs, and start in the draining band: post-start promotes.

    keepalived does not run yet, so whoever else uses our VRID is heard now: later the two silence each other. The rules are there
    before that: they learn which peers have another address than the link says.
    """
    from vrrp_drain import doctor  # no other script has use for it, and all would wait for the import

    instance = services.instance
    for finding in doctor.at_start(services):
        log.warning("%s", finding.line())
    services.installation.hold()
    speaking.wait(instance, services.machine)
    services.announcements.greet(log.warning, _open_here(services))
    obstacle, taken = _listen(services)
    for address, macs in taken.items():
        log.warning("%s", doctor.taken(address, macs).line())
    if obstacle:
        try:
            services.installation.let_go()
        except SystemFault as error:
            log.warning("%s", error)
        raise NotSettled(obstacle)
    Told(instance.paths.drain_run).write(NextState.UNKNOWN)
    try:
        StandingOrder.let_go(instance.paths).take_back()
    except SystemFault as error:
        log.warning("%s", error)
    services.control.mark(unhealthy=False)
    services.control.write(Band.DRAINING)
    order = StandingOrder.stay_out(instance.paths).read()
    Boot(instance.paths.drain_run).enter(Stage.DEMOTED if order else Stage.STARTED)
    services.announcements.greet(log.warning)
    if order:
        log.info("%s will start on %s in the draining band and stay there: %s", instance.vip, instance.attachment.vip_interface, order)
        return
    log.info("%s will start on %s in the draining band; post-start promotes it", instance.vip, instance.attachment.vip_interface)


def _listen(services: Services) -> tuple[str, Mapping[IPAddress, frozenset[str]]]:
    """Return why keepalived must not start here, and the MACs of others that have an address of ours, by that. Raises SystemFault."""
    instance, machine = services.instance, services.machine
    listening = max(1.0, instance.config.keepalived.advert_int) + _LATE
    register = services.membership.register()
    with OwnAddresses(instance, machine) as own:
        obstacle = joining.stranger(instance, machine, register, listening, own.ask)
        return obstacle or unheard.master(instance, machine, register, services.announcements), own.taken()


def post_start(services: Services, cancellation: Cancellation) -> None:
    """Wait until keepalived runs and haproxy answers, then promote and prove the result. What a later move would cut is a warning.

    An instance that an operator has taken out until it is promoted stays out: that is no failure of the deploy.

    Readiness has ``post_start_timeout``; the promotion has what is left of it, but never less than a handover needs.
    """
    instance = services.instance
    timeout = instance.config.drain.post_start_timeout
    deadline = time.monotonic() + timeout
    while problem := _not_ready(services):
        if cancellation.requested:
            raise Cancelled("told to stop: this instance stays in the draining band")
        if time.monotonic() >= deadline:
            raise NotSettled(
                f"{problem}; waited {timeout:g} s (vrrp_drain.post_start_timeout). This instance stays in the draining band, "
                f"{instance.vip} stays where it is, and the rollout halts here"
            )
        services.machine.sleep(_LOOK_EVERY)
    _refuse_disabled_checks(services)
    if order := StandingOrder.stay_out(instance.paths).read():
        log.warning("%s is well, and stays out of the election until vrrpctl promote: %s", instance.name, order)
        _tell_frontends(services)
        _warn_of_listeners(services)
        return
    _tell_frontends(services)
    moves.settled(instance, services.handover.promote(max(instance.config.drain.handover_timeout, deadline - time.monotonic())))
    Boot(instance.paths.drain_run).enter(Stage.PROMOTED)
    _warn_of_listeners(services)


def _refuse_disabled_checks(services: Services) -> None:
    """Raise NotSettled where keepalived does not look after haproxy: its priority is not the one that is waited for, and never will be."""
    try:
        found = services.vip.disabled_checks()
    except SystemFault as error:
        log.warning("%s", error)
        return
    if found:
        mends = "; ".join(f"{each.name}: {each.mend}" for each in found)
        raise NotSettled(
            f"{'; '.join(map(str, found))}. So its priority says nothing of haproxy, and nobody is waited for. {mends}. This instance "
            "stays in the draining band, and the rollout halts here"
        )


def _tell_frontends(services: Services) -> None:
    """haproxy listens now: before clients come, the rules know where. Frontends of which they cannot know are warned of later."""
    with suppress(SystemFault):
        services.installation.tell_frontends()


def _warn_of_listeners(services: Services) -> None:
    try:
        if bound := services.installation.bound_to_vip():
            log.warning("%s", listeners.advice(bound))
    except SystemFault as error:
        log.warning("%s: whether a listener is bound to the VIP itself is not known", error)


def pre_stop(services: Services, environment: Mapping[str, str], bounds: Bounds) -> None:
    """Hand the VIP over before any other job's drain closes a listener."""
    state = NextState.of(environment)
    Told(services.instance.paths.drain_run).write(state)
    _in_vain(services, remember=False)
    if state is NextState.DEPLOYMENT_DELETED:
        log.info("the deployment is being deleted: all instances stop at once, so nobody is waited for")
        return
    if leave(services, bounds, state, ends=state.ends()) is Demote.NO_SUCCESSOR:
        _in_vain(services, remember=True)


def drain(services: Services, arguments: Sequence[str], bounds: Bounds) -> bool:
    """The same again, for directors that know no pre-stop; after a pre-stop it confirms. Tell whether a peer has the VIP then."""
    state = Told(services.instance.paths.drain_run).read()
    if state is NextState.DEPLOYMENT_DELETED:
        log.info("the deployment is being deleted: nobody is waited for")
        return False
    if _waited_in_vain(services):
        bounds = Bounds(bounds.until, bounds.until)
    return leave(services, bounds, state, ends=state.ends(arguments)) is Demote.DONE


def _open_here(services: Services) -> Open:
    """Return what peers may be told of connections here, before anything of this start runs: there are none, unless haproxy never ended."""
    try:
        config = services.instance.config
        found = services.machine.haproxy.connected(config.keepalived.addresses, config.drain.quic_ports)
    except SystemFault:
        return Open.UNTOLD
    return Open.UNTOLD if found else Open.NONE


def post_stop(services: Services) -> None:
    """Leave nothing behind: what pre-start added, and a VIP that is stale because keepalived has ended.

    Each of them goes whatever becomes of the others; what stays is said. Raises SystemFault then. Peers are told first that no connection
    is open here any more: without the rules a packet that they hand to us is lost.
    """
    if services.instance.hands_off:
        try:
            services.announcements.say_hello(Open.NONE)
        except SystemFault as error:
            log.warning(
                "%s: peers go on handing packets to %s, which has ended; clients of other instances that left may hang until "
                "vrrp_drain.handoff_window is over",
                error,
                services.instance.name,
            )
    all_of(partial(_remove_stale_vip, services), services.installation.let_go)


def _remove_stale_vip(services: Services) -> None:
    instance = services.instance
    if services.vip.remove_stale():
        log.warning("%s was still on %s after keepalived had ended: taken off", instance.vip, instance.attachment.vip_interface)


def leave(services: Services, bounds: Bounds, state: NextState, *, ends: bool) -> Demote:
    """Demote for BOSH, and return how it ended; with nobody to take over, ``on_no_successor`` decides.

    ``ends`` tells that BOSH does not start this instance again by itself. Raises SystemFault where nothing could be done.
    """
    instance = services.instance
    boot = Boot(instance.paths.drain_run)
    if (
        boot.stage() is not Stage.DEMOTED or priority_control.band(services.control) is not Band.DRAINING
    ):  # what an operator wants outlives a stop that fails
        boot.enter(Stage.ENDING if ends else Stage.LEAVING)
    now = time.monotonic()
    ending = services.handover.demote(
        max(bounds.until - now, instance.config.keepalived.slowest_takeover), patience=max(0.0, bounds.patient_until - now)
    )
    if ending.state is Demote.CANCELLED:
        moves.stay_out(services)
        raise Cancelled(f"{instance.name} goes on as before")
    if ending.state is Demote.NO_SUCCESSOR:
        if (why := policy.why_it_may_go(instance.paths, instance.config.drain.on_no_successor, state)) is None:
            priority = moves.stay(services)
            raise NoSuccessor(
                f"no successor for {instance.vip}, and vrrp_drain.on_no_successor is fail: the priority of {instance.name} is "
                f"back at {priority}, BOSH stops here. {LOOK_AT_PEERS}. {HOW_TO_STOP}"
            )
        log.warning(
            "no successor on %s for %s: stopping this instance takes the VIP away from clients until a peer or this instance is back (%s)",
            instance.name,
            instance.vip,
            why,
        )
    return ending.state


def _not_ready(services: Services) -> str:
    instance = services.instance
    if services.vip.keepalived() is None:
        return f"keepalived does not run (no process for {instance.pid_file}): see {instance.paths.keepalived_log}"
    if problem := services.machine.haproxy.health(instance.config.drain).problem:
        return f"{problem}; this is what vrrp_drain.health_check asks"
    return "the watcher still holds haproxy for dead" if services.control.unhealthy() else ""


def _in_vain(services: Services, *, remember: bool) -> None:
    """Have drain know that pre-stop waited for a successor in vain, or forget it."""
    path = services.instance.paths.drain_run / "no-successor"
    try:
        if remember:
            files.replace(path, "")
        else:
            files.remove(path)
    except OSError as error:
        log.warning("cannot change %s: %s; drain may wait for a successor once more", path, error.strerror)


def _waited_in_vain(services: Services) -> bool:
    at = files.changed_at(services.instance.paths.drain_run / "no-successor")
    return at is not None and time.time() - at < _ONCE

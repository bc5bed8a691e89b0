"""The five scripts that BOSH runs around an update of this instance.

Order (bosh director, stopper.rb; bosh-agent, agent/action/drain.go): pre-stop of all jobs in parallel, unmonitor,
drain of all jobs in parallel, monit stop, post-stop, pre-start, monit start, post-start. Each of them raises a
VrrpDrainError on failure; what it returns means success.
"""

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from vrrp_drain.handover.demote import Demote
from vrrp_drain.handover.node import Node
from vrrp_drain.handover.promote import Promote
from vrrp_drain.handover.runner import Ending
from vrrp_drain.haproxy import health, health_check, other_drain
from vrrp_drain.linux import connections, listeners
from vrrp_drain.runtime import files
from vrrp_drain.runtime.boot import Boot, Stage
from vrrp_drain.runtime.errors import LOOK_AT_PEERS, Cancelled, NoSuccessor, NotSettled, SystemFault, all_of
from vrrp_drain.runtime.signals import Cancellation
from vrrp_drain.vrrp.bands import Band

log = logging.getLogger(__name__)

_LOOK_EVERY = 0.2  # seconds between two looks at haproxy, or at its connections
_LOOK_AT_LEAST_EVERY = 2.0  # seconds, however much a look costs: a signal has to be seen
_COUNTING = 0.1  # of one core, at most: it serves clients
_SAY_EVERY = 5.0  # seconds

_LATE = 0.1  # seconds that an advert may be late


def pre_start(node: Node) -> None:
    """Check what a handover needs, and start in the draining band: post-start promotes.

    keepalived does not run yet, so whoever else uses our VRID is heard now: later the two silence each other. The rules are there
    before that: they learn which peers have another address than the link says.
    """
    from vrrp_drain import doctor  # no other script has use for it, and all would wait for the import

    findings = doctor.at_start(node)
    node.hold()
    node.greet()
    if stranger := node.stranger(max(1.0, node.config.keepalived.advert_int) + _LATE):
        try:
            node.let_go()
        except SystemFault as error:
            log.warning("%s", error)
        raise NotSettled(stranger)
    _deleted_marker(node, present=False)
    for finding in findings:
        log.warning("%s", finding.line())
    node.priority_control.mark(unhealthy=False)
    node.priority_control.write(Band.DRAINING)
    Boot(node.paths.drain_run).enter(Stage.STARTED)
    log.info("%s will start on %s in the draining band; post-start promotes it", node.config.vip, node.interface)


def post_start(node: Node, cancellation: Cancellation, sleep: Callable[[float], None] = time.sleep) -> None:
    """Wait until keepalived runs and haproxy answers, then promote and prove the result. What a later move would cut is a warning.

    Readiness has ``post_start_timeout``; the promotion has what is left of it, but never less than a handover needs.
    """
    timeout = node.config.drain.post_start_timeout
    deadline = time.monotonic() + timeout
    while problem := _not_ready(node):
        if cancellation.requested:
            raise Cancelled("told to stop: this instance stays in the draining band")
        if time.monotonic() >= deadline:
            raise NotSettled(
                f"{problem}; waited {timeout:g} s (vrrp_drain.post_start_timeout). This instance stays in the draining band, "
                f"{node.config.vip} stays where it is, and the rollout halts here"
            )
        sleep(_LOOK_EVERY)
    settled(node, node.promote(max(node.config.drain.handover_timeout, deadline - time.monotonic())))
    Boot(node.paths.drain_run).enter(Stage.PROMOTED)
    _warn_of_listeners(node)


def _warn_of_listeners(node: Node) -> None:
    try:
        if bound := node.bound_to_vip():
            log.warning("%s", listeners.advice(bound))
    except SystemFault as error:
        log.warning("%s: whether a listener is bound to the VIP itself is not known", error)


def pre_stop(node: Node, environment: Mapping[str, str]) -> None:
    """Hand the VIP over before any other job's drain closes a listener."""
    deleting = environment.get("BOSH_DEPLOYMENT_NEXT_STATE") == "delete"
    _deleted_marker(node, present=deleting)
    if deleting:
        log.info("the deployment is being deleted: all instances stop at once, so nobody is waited for")
        return
    leave(node)


def drain(node: Node, cancellation: Cancellation, sleep: Callable[[float], None] = time.sleep) -> None:
    """The same again, for directors that know no pre-stop; after a pre-stop it confirms. Then the connections may end."""
    if files.changed_at(_marker(node)) is not None:
        log.info("the deployment is being deleted: nobody is waited for")
        return
    if leave(node) and node.hands_off:
        finish_connections(node, cancellation, sleep)


def finish_connections(node: Node, cancellation: Cancellation, sleep: Callable[[float], None]) -> None:
    """Serve the connections that are open here until they are gone, for at most ``drain_timeout`` seconds."""
    drain, vips = node.config.drain, node.config.keepalived.addresses
    others = other_drain.ending_haproxy(node.paths.jobs, drain.haproxy_pid_file)
    if others:
        log.info("haproxy is left to the drain of the job %s, which ends it: here its connections are waited for", ", ".join(others))
    finishing = drain.haproxy_soft_stop and not others and _told_to_finish(drain.haproxy_pid_file)
    started = said = time.monotonic()
    try:
        while True:
            looked = time.monotonic()
            left = connections.count(vips)
            if not left:
                break
            cost, waited = time.monotonic() - looked, time.monotonic() - started
            if cancellation.requested:
                _cancel(node, finishing=finishing or bool(others and health.problem(drain)))
            if waited >= drain.drain_timeout:
                log.warning("%d connections are still open after %.0f s (vrrp_drain.drain_timeout): haproxy's stop cuts them", left, waited)
                return
            if time.monotonic() - said >= _SAY_EVERY:
                said = time.monotonic()
                log.info("%d connections are still served from here, after %.0f s of at most %g", left, waited, drain.drain_timeout)
            sleep(min(_pause_after(cost), drain.drain_timeout - waited))
    except SystemFault as error:
        log.warning("%s: not waiting for connections, haproxy's stop cuts those that are open", error)
        return
    log.info("no connection of a client is left here")


def _pause_after(cost: float) -> float:
    """Return how long to wait after a look that took ``cost`` seconds."""
    return min(max(_LOOK_EVERY, cost / _COUNTING - cost), _LOOK_AT_LEAST_EVERY)


def _told_to_finish(pid_file: Path) -> bool:
    try:
        log.info("haproxy (pid %d) was told to finish its connections", health_check.soft_stop(pid_file))
    except SystemFault as error:
        log.warning("%s: clients are not asked to close", error)
        return False
    return True


def _cancel(node: Node, *, finishing: bool) -> None:
    """Raise Cancelled, with the priority back unless haproxy is ending."""
    if finishing:
        raise Cancelled(
            f"told to stop: haproxy of {node.config.me} is finishing, so it stays in the draining band; restart haproxy, then promote"
        )
    node.priority_control.write(Band.ACTIVE)
    raise Cancelled(f"told to stop: {node.config.me} goes on as before")


def post_stop(node: Node) -> None:
    """Leave nothing behind: what pre-start added, and a VIP that is stale because keepalived has ended.

    Each of them goes whatever becomes of the others; what stays is said. Raises SystemFault then.
    """
    all_of(partial(_remove_stale_vip, node), node.let_go)


def _remove_stale_vip(node: Node) -> None:
    if node.remove_stale_vip():
        log.warning("%s was still on %s after keepalived had ended: taken off", node.config.vip, node.interface)


def leave(node: Node) -> bool:
    """Demote for BOSH, and tell whether a peer serves clients now; with nobody to take over, ``on_no_successor`` decides."""
    boot = Boot(node.paths.drain_run)
    if boot.stage() is not Stage.DEMOTED or node.band() is not Band.DRAINING:  # what an operator wants outlives a stop that fails
        boot.enter(Stage.LEAVING)
    try:
        ending = node.demote(node.config.drain.handover_timeout)
    except SystemFault as error:
        if node.config.drain.on_no_successor == "fail":
            raise
        log.warning(
            "%s: nothing was handed over; stopping this instance moves %s the hard way, and cuts its connections "
            "(vrrp_drain.on_no_successor is proceed)",
            error,
            node.config.vip,
        )
        return False
    if ending.state is Demote.CANCELLED:
        raise Cancelled(f"{node.config.me} goes on as before")
    if ending.state is Demote.NO_SUCCESSOR:
        if node.config.drain.on_no_successor == "fail":
            node.priority_control.write(Band.ACTIVE)
            raise NoSuccessor(
                f"no successor for {node.config.vip}, and vrrp_drain.on_no_successor is fail: the priority of {node.config.me} is "
                f"back at {node.config.keepalived.priority}, BOSH stops here. {LOOK_AT_PEERS}"
            )
        log.warning(
            "no successor on %s for %s: stopping this instance takes the VIP away from clients until a peer or this instance "
            "is back (vrrp_drain.on_no_successor is proceed)",
            node.config.me,
            node.config.vip,
        )
    return ending.state is Demote.DONE


def settled(node: Node, ending: Ending[Promote]) -> None:
    """Raise what a promotion ended with, if it did not end well; the log line before it is the reason."""
    if ending.state is Promote.CANCELLED:
        raise Cancelled(f"{node.config.me} stays as it was")
    if ending.state is Promote.FAILED:
        raise NotSettled(f"{node.config.me} could not be promoted: its priority is what it was before")


def _not_ready(node: Node) -> str:
    if node.keepalived_pid() is None:
        return f"keepalived does not run (no process for {node.pid_file}): see {node.paths.keepalived_log}"
    if problem := health.problem(node.config.drain):
        return f"{problem}; this is what vrrp_drain.health_check asks"
    return "the watcher still holds haproxy for dead" if node.priority_control.unhealthy() else ""


def _marker(node: Node) -> Path:
    return node.paths.drain_run / "deployment-delete"


def _deleted_marker(node: Node, *, present: bool) -> None:
    """drain is not told that the deployment is being deleted; pre-stop is, and leaves word."""
    try:
        if present:
            files.replace(_marker(node), "")
        else:
            files.remove(_marker(node))
    except OSError as error:
        log.warning("cannot change %s: %s; drain may wait for a successor that is being deleted too", _marker(node), error.strerror)

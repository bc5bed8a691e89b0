"""What drain does once a peer has the VIP: accept whoever still comes here, then serve what is open until it is gone.

Some learn late where the VIP is: a router that takes no notice of gratuitous ARP, a client whose switch lost it. They come to this
instance, and a haproxy that was told to finish refuses them. So it is told when nobody new has come for ``vrrp_drain.quiet_time``.
"""

import logging
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial

from vrrp_drain.config.model import VrrpDrain
from vrrp_drain.handover.machine import Newcomers
from vrrp_drain.handover.services import Services
from vrrp_drain.haproxy import other_drain
from vrrp_drain.runtime.boot import Boot
from vrrp_drain.runtime.errors import Cancelled, SystemFault
from vrrp_drain.runtime.logs import Complaints
from vrrp_drain.runtime.signals import Cancellation
from vrrp_drain.vrrp.hello import Open

from . import moves

log = logging.getLogger(__name__)

_LOOK_EVERY = 0.2  # seconds between two looks at who comes, or at the connections
_LOOK_AT_LEAST_EVERY = 2.0  # seconds, however much a look costs: a signal has to be seen
_LOOKING = 0.1  # of one core, at most: it serves clients
_SAY_EVERY = 5.0  # seconds

_TELL_PEERS_EVERY = 1.0  # seconds, while somebody comes: the MASTER announces itself again
_UNSEEN = 5.0  # seconds for which haproxy accepts where it cannot be seen who comes
_TO_CLOSE, _SHARE_TO_CLOSE = 10.0, 0.2  # seconds, or that part of drain_timeout, for clients of keep-alive connections to be asked to close


def finish_connections(services: Services, cancellation: Cancellation, *, by_bosh: bool = True) -> None:
    """Accept until nobody comes, then serve what is open until it is gone; both for at most ``drain_timeout`` seconds.

    Where open connections do not survive a move, they are not waited for. ``by_bosh`` tells that the drains of other jobs run as well, and
    one of them may end haproxy.
    """
    instance = services.instance
    word = Boot(instance.paths.drain_run).word()
    drain, vips = instance.config.drain, instance.config.keepalived.addresses
    others = other_drain.ending_haproxy(instance.paths.jobs, drain.haproxy_pid_file) if by_bosh else []
    if others:
        log.info("haproxy is left to the drain of the job %s, which ends it: here its connections are waited for", ", ".join(others))

    def stop_if_told(*, told: bool = False) -> None:
        if cancellation.requested:
            _cancel(services, word, finishing=told or bool(others and services.machine.haproxy.health(drain).problem))

    started = said = time.monotonic()
    finish_at = started + drain.drain_timeout - _to_close(services)
    _accept_until_nobody_comes(services, stop_if_told, finish_at)
    if not instance.hands_off:
        return
    to_tell, told, peers_know = drain.haproxy_soft_stop and not others, False, False
    try:
        while True:
            looked = time.monotonic()
            if to_tell and (looked >= finish_at or not _serves_quic(services)):
                to_tell, told = False, _told_to_finish(services)
            if not services.machine.haproxy.connected(vips, drain.quic_ports):
                break
            if not peers_know:  # whoever took the VIP over from us while we were healthy does; the others must, before that one leaves
                peers_know = services.announcements.greet(log.warning, Open.SOME)
            cost, waited = time.monotonic() - looked, time.monotonic() - started
            stop_if_told(told=told)
            if waited >= drain.drain_timeout:
                left = services.machine.haproxy.connections(vips, drain.quic_ports)
                log.warning("%d connections are still open after %.0f s (vrrp_drain.drain_timeout): haproxy's stop cuts them", left, waited)
                return
            if time.monotonic() - said >= _SAY_EVERY:
                left = services.machine.haproxy.connections(vips, drain.quic_ports)  # of a hundred thousand that takes a fifth of a second
                said = time.monotonic()
                peers_know = False  # who has started since does not
                log.info("%d connections are still served from here, after %.0f s of at most %g", left, waited, drain.drain_timeout)
            services.machine.sleep(min(_pause_after(cost), drain.drain_timeout - waited))
    except SystemFault as error:
        log.warning("%s: not waiting for connections, haproxy's stop cuts those that are open", error)
        return
    log.info("no connection of a client is left here")


def _serves_quic(services: Services) -> bool:
    """Tell whether haproxy has connections of QUIC: when it is told to finish it ends them at once, what is under way too (haproxy 3.0)."""
    config = services.instance.config
    if not config.drain.quic_ports:
        return False
    try:
        return services.machine.haproxy.serves_quic(config.keepalived.addresses, config.drain.quic_ports)
    except SystemFault:
        return True  # the kernel does not tell: it may


def _to_close(services: Services) -> float:
    """Return for how many seconds of drain_timeout haproxy is finishing, whoever still comes."""
    drain = services.instance.config.drain
    return min(_TO_CLOSE, _SHARE_TO_CLOSE * drain.drain_timeout) if services.instance.hands_off and drain.haproxy_soft_stop else 0.0


def _accept_until_nobody_comes(services: Services, stop_if_told: Callable[[], None], end: float) -> None:
    """Return when nobody has opened a connection here for ``quiet_time`` seconds, haproxy takes nobody any more, or at ``end``."""
    drain = services.instance.config.drain
    if not drain.quiet_time:
        return
    try:
        with closing(services.machine.newcomers(services.instance.config.keepalived.addresses)) as newcomers:
            _Doorkeeper(services, newcomers, end).wait(stop_if_told)
    except SystemFault as error:
        seconds = max(0.0, min(max(drain.quiet_time, _UNSEEN), end - time.monotonic()))
        log.warning("%s: haproxy accepts for %g s more, and who learns later than that where the VIP is gets refused", error, seconds)
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            stop_if_told()
            services.machine.sleep(min(_LOOK_EVERY, left))


class _Doorkeeper:
    """Sees who still comes, says so, and has the peers hear of it: the one that has the VIP announces it once more (watcher)."""

    def __init__(self, services: Services, newcomers: Newcomers, end: float) -> None:
        self._services, self._newcomers, self._end = services, newcomers, end
        self._drain: VrrpDrain = services.instance.config.drain
        self._complaints = Complaints(log)
        self._say_at = self._tell_at = float("-inf")

    def wait(self, stop_if_told: Callable[[], None]) -> None:
        """Raises SystemFault when it cannot be seen any more who comes."""
        quiet_at, last = time.monotonic() + self._drain.quiet_time, ""
        while (now := time.monotonic()) < min(quiet_at, self._end):
            stop_if_told()
            self._services.machine.sleep(min(_LOOK_EVERY, min(quiet_at, self._end) - now))
            if (newcomer := self._newcomers.latest()) is None:
                continue
            now, last = time.monotonic(), f"{newcomer.client} through {newcomer.mac}"
            quiet_at = now + self._drain.quiet_time
            self._say(last, now)
            if now >= self._tell_at:
                self._tell_at = now + _TELL_PEERS_EVERY
                self._services.announcements.greet(partial(self._complaints.about, "hello"))
                if problem := self._services.machine.haproxy.health(self._drain).problem:
                    log.warning("%s: clients that still come here are refused", problem)
                    return
        if not last:
            return
        if time.monotonic() < quiet_at:
            log.warning(
                "clients still come here, the last one was %s: from now on they are refused until they learn where the VIP is", last
            )
        else:
            log.info("nobody new has come here for %g s", self._drain.quiet_time)

    def _say(self, last: str, now: float) -> None:
        if now >= self._say_at:
            self._say_at = now + _SAY_EVERY
            log.info(
                "clients still come here that have not learnt where the VIP is, the last one was %s: haproxy accepts them until nobody new "
                "has come for %g s",
                last,
                self._drain.quiet_time,
            )


def _pause_after(cost: float) -> float:
    """Return how long to wait after a look that took ``cost`` seconds."""
    return min(max(_LOOK_EVERY, cost / _LOOKING - cost), _LOOK_AT_LEAST_EVERY)


def _told_to_finish(services: Services) -> bool:
    try:
        pid = services.machine.haproxy.finish(services.instance.config.drain.haproxy_pid_file)
    except SystemFault as error:
        log.warning("%s: clients are not asked to close", error)
        return False
    log.info("haproxy (pid %d) was told to finish its connections", pid)
    return True


def _cancel(services: Services, word: str, *, finishing: bool) -> None:
    """Raise Cancelled, with the priority back unless haproxy is ending, or somebody has said since what this instance is to be."""
    instance = services.instance
    if finishing:
        raise Cancelled(
            f"told to stop: haproxy of {instance.name} is finishing, so it stays in the draining band; restart haproxy, then promote"
        )
    if Boot(instance.paths.drain_run).word() != word:
        raise Cancelled(f"told to stop: {instance.name} stays as it was told to be since")
    moves.stay(services)
    raise Cancelled(f"told to stop: {instance.name} goes on as before")

"""Has keepalived send its unicast adverts to whoever has said hello from an address that nobody named: it would be MASTER too else.

It is `vrrpctl keepalived reload`, as a process of its own.
"""

import logging

from vrrp_drain.handover.membership import Membership
from vrrp_drain.keepalived.instance import Instance
from vrrp_drain.vrrp import hello

from .own_command import OwnCommand

log = logging.getLogger(__name__)


class Acquaintance:
    """An action of the watcher's."""

    def __init__(self, instance: Instance, membership: Membership) -> None:
        self._instance, self._membership = instance, membership
        self._known = instance.attachment.peers
        self._reload = OwnCommand(instance.paths, "keepalived", "reload")
        self._next = 0.0

    def hear(self) -> None:
        """Somebody has said hello."""
        self._next = 0.0

    def tick(self, now: float) -> None:
        if self._reload.runs():
            return
        if why := self._reload.failure():
            log.warning("%s: a peer with a new address does not hear this instance; it is tried again", why)
            self._known = self._instance.attachment.peers
        if now < self._next or not self._instance.attachment.peers or self._instance.config.drain.upstream_job is not None:
            return
        self._next = now + hello.EVERY
        known = self._membership.unicast_peers()
        if known != self._known:
            log.info("keepalived is told to advert to %s too", ", ".join(str(each) for each in known if each not in self._known))
            self._known = known
            self._reload.start()

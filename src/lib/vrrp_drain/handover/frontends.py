"""Frontends that are bound to a VIP itself: the kernel is told of them, so that their connections survive moves as well."""

import logging
from collections.abc import Collection
from contextlib import suppress

from vrrp_drain.handoff.inherited_marks import NAME, InheritedMarks
from vrrp_drain.handoff.sockets import MOST_OLDER
from vrrp_drain.keepalived.instance import Instance
from vrrp_drain.linux.sock_diag import End, Socket
from vrrp_drain.runtime import ip
from vrrp_drain.runtime.errors import SystemFault

from .machine import Machine

log = logging.getLogger(__name__)


class Frontends:
    """All methods raise SystemFault."""

    def __init__(self, instance: Instance, machine: Machine) -> None:
        self._instance, self._machine = instance, machine
        self._marks = InheritedMarks(instance.paths.drain_run, instance.paths.tcp_settings / "tcp_fwmark_accept")

    def tell_apart(self) -> None:
        """Have the rules tell connections of frontends that are there now from their listeners; idempotent, and mends what was taken away.

        What they were told of before stays: a listener that is away for a moment need not be told anew.
        """
        mark = self._instance.config.drain.handoff_mark
        if not (mark and self._instance.hands_off):
            return
        wanted, there = {each.end for each in self._bound() if not each.mark}, self._machine.rules.told_apart()
        if wanted <= there and (not there or self._marks.on()):
            return
        known = wanted | there
        self._machine.rules.mark(mark, known)
        if self._marks.hold():
            log.warning("%s was switched off by somebody: switched on again, for frontends that are bound to a VIP", NAME)
        older = self._machine.haproxy.unmarked(known)
        if len(older) > MOST_OLDER:
            names = ", ".join(ip.host_port(*each) for each in sorted(known, key=str))
            raise SystemFault(f"{len(older)} connections to {names} are older than our rules, which keep {MOST_OLDER}: a move cuts them")
        self._machine.rules.tell_apart(known, older)

    def cut(self) -> list[str]:
        """Return where frontends are bound to a VIP whose connections are not told from their listener, as 10.0.0.10:80."""
        if not self._instance.hands_off or not (bound := self._bound()):
            return []
        told: Collection[End] = ()
        with suppress(SystemFault):  # without rules a move cuts them as well
            told = self._machine.rules.told_apart() if self._marks.on() else ()
        return [ip.host_port(*each.end) for each in bound if each.end not in told or each.mark]

    def let_go(self) -> None:
        """Put back what was set for them."""
        self._marks.release()

    def _bound(self) -> list[Socket]:
        return self._machine.haproxy.bound_to(self._instance.config.keepalived.addresses)

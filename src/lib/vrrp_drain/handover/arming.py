"""Before we take the VIP over from a MASTER that stays healthy: it goes on serving the connections that it has.

Packets of clients go to it then, so it must have proven that it is one of us.
"""

import logging
import time
from collections.abc import Sequence

from vrrp_drain.handoff.tunnel import Tunnels
from vrrp_drain.keepalived.instance import Instance
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import IPAddress
from vrrp_drain.vrrp import bands
from vrrp_drain.vrrp.election import Electorate, Standing

from .advert_stream import AdvertStream
from .machine import Machine
from .membership import Membership
from .vip import Vip

log = logging.getLogger(__name__)

_ADVERTS = 2.2  # intervals in which a MASTER must have been heard, one of its adverts being lost
_PROOF_SECONDS = 0.5  # for the answers to questions who has an address


class Arming:
    """Leaves connections with a peer for a window of vrrp_drain.handoff_window seconds. What cannot be done is said in the log."""

    def __init__(self, instance: Instance, machine: Machine, membership: Membership) -> None:
        self._instance, self._machine, self._membership = instance, machine, membership
        self._tunnels = Tunnels(machine.vxlan, instance.paths.interface_settings, instance.paths.ipv6_settings)

    def leave_with_the_master(self) -> None:
        """Listen for the MASTER, and leave its connections with it. It may take two advert intervals and half a second."""
        if not self._would_take_over or Vip(self._instance, self._machine).is_here():
            return
        register = self._membership.register()
        with AdvertStream(self._machine, self._instance, register) as stream:
            end = time.monotonic() + _ADVERTS * register.current.advert_int
            for heard in stream.until(lambda: end):
                if heard.standing is Standing.PEER and heard.advert is not None and bands.is_active(heard.advert.priority):
                    self._leave_with(heard.source, heard.advert.priority, register.current, ask=True)
                    return

    def leave_with(self, master: IPAddress, priority: int) -> None:
        """The same where the MASTER is known, with the priority that it adverts; it asks nobody and takes no time."""
        if self._would_take_over:
            self._leave_with(master, priority, self._membership.electorate(), ask=False)

    def leave_with_who_lives(self, master: IPAddress) -> list[IPAddress]:
        """The same for one that said nothing of leaving, and lives, be its priority what it may; return its addresses, or nothing.

        Nothing is left with one that has not proven to be of the group. Raises SystemFault.
        """
        if not self._instance.hands_off or master not in self._membership.electorate().members or self._is_far(master):
            return []
        peer = self._addresses_of(master)
        self._arm(peer)
        return peer

    @property
    def _would_take_over(self) -> bool:
        return self._instance.hands_off and self._instance.config.keepalived.preempt

    def _leave_with(self, master: IPAddress, priority: int, electorate: Electorate, *, ask: bool) -> None:
        if not bands.is_active(priority) or priority >= self._instance.active:
            return
        if master not in electorate.members and not (ask and self._has_an_address_of(electorate.peers, master)):
            log.warning(
                "%s is MASTER, but has not proven to be an instance of this group: its open connections are cut, not sent to it", master
            )
            return
        if self._is_far(master):
            log.info("%s is MASTER behind a router: its open connections are cut, not sent to it", master)
            return
        vips, peer = self._instance.config.keepalived.addresses, self._addresses_of(master)
        if cut := [str(vip) for vip in vips if vip.version not in {each.version for each in peer}]:
            log.warning(
                "%s is MASTER, and has not told its address of the other family: open connections to %s are cut", master, ", ".join(cut)
            )
        try:
            self._arm(peer)
        except SystemFault as error:
            log.warning("%s", error)

    def _arm(self, peer: Sequence[IPAddress]) -> None:
        """Leave what is open with whoever has the addresses ``peer``, and have a way there where it goes through a tunnel."""
        if tunnel := self._membership.tunnel():
            self._tunnels.reach(tunnel, peer)
        self._machine.rules.arm(self._instance.config.keepalived.addresses, *peer)

    def _addresses_of(self, master: IPAddress) -> list[IPAddress]:
        """Return its address, and that of the other family where it has told it."""
        further = self._membership.further().get(master)
        return [master] if further is None else [master, further]

    def _is_far(self, master: IPAddress) -> bool:
        """Tell whether a router is between us, which would send back what is handed on outside a tunnel."""
        routed = self._instance.config.keepalived.unicast_hops and not self._instance.tunnels
        return bool(routed) and not self._machine.netlink.is_on_segment(self._instance.interface, master)

    def _has_an_address_of(self, peers: frozenset[IPAddress], source: IPAddress) -> bool:
        """Tell whether the machine that speaks from ``source`` answers for an address that the link gives a peer."""
        try:
            others = peers - self._machine.netlink.addresses()
            return self._machine.one_machine(self._instance.interface, source, others, _PROOF_SECONDS)
        except SystemFault as error:
            log.warning("%s: whether %s is an instance of this group is not known", error, source)
            return False

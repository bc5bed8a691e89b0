"""What a smooth handover needs of the kernel, from pre-start to post-stop: the VIPs on lo, and the rules of the handoff."""

import logging
from contextlib import suppress
from dataclasses import replace
from functools import partial

from vrrp_drain.handoff.tunnel import Tunnels
from vrrp_drain.handoff.vip_on_lo import VipOnLo
from vrrp_drain.keepalived.instance import Instance
from vrrp_drain.linux import ipv6
from vrrp_drain.runtime.errors import SystemFault, all_of
from vrrp_drain.runtime.ip import IPAddress

from .frontends import Frontends
from .machine import Machine
from .membership import Membership

log = logging.getLogger(__name__)


class Installation:
    """Idempotent, and mends what a crash left half done."""

    def __init__(self, instance: Instance, machine: Machine, membership: Membership) -> None:
        self._instance, self._machine, self._membership = instance, machine, membership
        self._vip_on_lo = VipOnLo(instance.paths.drain_run, machine.netlink, instance.paths.interface_settings)
        self._frontends = Frontends(instance, machine)
        self._tunnels = Tunnels(machine.vxlan, instance.paths.interface_settings, instance.paths.ipv6_settings)

    def hold(self) -> None:
        """Put in place what a smooth handover needs; what cannot be had is said in the log, and done without."""
        for hold in (self.hold_vips, self.hold_connections):
            try:
                hold()
            except SystemFault as error:
                log.warning("%s", error)

    def hold_vips(self) -> None:
        """Put the VIPs on lo as well, so that moves overlap. Raises SystemFault; it works without, less smoothly."""
        self._remove_former_vips()
        self._vip_on_lo.hold(self.vips_for_lo(), self._instance.interface)

    def vips_for_lo(self) -> list[IPAddress]:
        """Return the VIPs that lo takes: where IPv6 is switched off, moves of the IPv4 ones overlap all the same."""
        without = ipv6.obstacle(self._instance.paths.ipv6_settings, "lo")
        return [vip for vip in self._instance.config.keepalived.addresses if vip.version == 4 or without is None]

    def hold_connections(self) -> None:
        """Install the rules that keep strangers' adverts out, and open connections alive if that is wanted. Raises SystemFault."""
        self._hold_rules()
        self._frontends.tell_apart()

    def tell_frontends(self) -> None:
        """Have the rules know frontends that are bound to a VIP, as they are now. Raises SystemFault."""
        self._frontends.tell_apart()

    def _hold_rules(self) -> None:
        group = self._membership.group()
        try:
            self._machine.rules.hold(group)
        except SystemFault:
            with suppress(SystemFault):  # why there are no rules matters more
                self._tunnels.release()  # without them everybody gets into it
            raise
        if group.tunnel is None:
            self._tunnels.release()
            return
        try:
            self._tunnels.hold(group.tunnel, self._membership.ends())
        except SystemFault as error:  # sent as they are, packets would get lost on the way, and clients would hang
            self._machine.rules.hold(replace(group, window=0.0))
            names = ", ".join(map(str, group.vips))
            raise SystemFault(f"{error}: a move of {names} cuts the connections that are open (vrrp_drain.handoff_transport)") from error

    def meet(self) -> None:
        """Have a way to whoever is a member by now, where packets are handed on through a tunnel. Raises SystemFault."""
        if tunnel := self._membership.tunnel():
            self._tunnels.reach(tunnel, self._membership.ends())

    def lacks(self) -> list[str]:
        """Return what is missing of ``hold``, taken away by somebody, in words; nothing where it is not held. Raises SystemFault."""
        if self._vip_on_lo.held() is None:
            return []
        return [*self._vip_on_lo.lacks(), *self._machine.rules.lacks(self._membership.group()), *self.lacks_of_tunnel()]

    def lacks_of_tunnel(self) -> list[str]:
        """Return what is missing of the tunnel, in words; nothing where packets are not handed on through one. Raises SystemFault."""
        tunnel = self._membership.tunnel()
        return self._tunnels.lacks(tunnel) if tunnel else []

    def mend(self) -> None:
        """Put back what was taken away, whatever keepalived does meanwhile. Raises SystemFault."""
        vips = partial(self._vip_on_lo.hold, self.vips_for_lo(), self._instance.interface)
        all_of(vips, self._mend_connections)

    def _mend_connections(self) -> None:
        """Rules that are whole stay as they are: they know who left, and by its index a tunnel that is made anew."""
        group = self._membership.group()
        if group.tunnel is None or self._machine.rules.lacks(group):
            self.hold_connections()
        elif self._tunnels.lacks(group.tunnel):
            self._tunnels.mend(group.tunnel, self._membership.ends())

    def let_go(self) -> None:
        """Undo ``hold``, the rest of it even where a part cannot be undone. Raises SystemFault."""
        vips = partial(self._vip_on_lo.release, self._instance.config.keepalived.addresses)
        all_of(vips, self._tunnels.release, self._machine.rules.release, self._frontends.let_go)

    def bound_to_vip(self) -> list[str]:
        """Return the listeners on a VIP itself whose connections are not handed off. Raises SystemFault."""
        return self._frontends.cut()

    def _remove_former_vips(self) -> None:
        """Take VIPs away that a killed keepalived left on the interface: of an earlier deployment, nobody else knows them any more."""
        held = self._vip_on_lo.held()
        if held is None or self._machine.processes.look(self._instance.pid_file) is not None:
            return
        for vip in held.vips:
            if self._machine.netlink.has_address(held.interface, vip):
                log.warning("%s was still on %s, left by a keepalived that was killed: taken off", vip, held.interface)
                self._machine.netlink.remove_address(held.interface, vip)

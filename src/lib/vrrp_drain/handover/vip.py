"""The VIP on this machine: is it here, and does keepalived stand behind it."""

from dataclasses import dataclass

from vrrp_drain.keepalived.checks import DisabledCheck
from vrrp_drain.keepalived.instance import Instance
from vrrp_drain.linux import ipv6
from vrrp_drain.linux.ipv6 import Doubt, Ipv6Obstacle
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import IPAddress

from .machine import Machine


@dataclass(frozen=True)
class Unserved:
    """A VIP that no client reaches when this instance is MASTER.

    It is on no interface then: the ``obstacle``, or None where this instance is MASTER now and lacks it. Or the kernel does not use it.
    """

    vip: IPAddress
    interface: str
    obstacle: Ipv6Obstacle | Doubt | None

    def __str__(self) -> str:
        if self.obstacle is None:
            return f"{self.vip} is not on {self.interface}, though this instance is MASTER"
        if isinstance(self.obstacle, Doubt):
            return f"{self.vip} is on {self.interface}, but {self.obstacle}"
        return f"{self.vip} cannot be on {self.interface}, which {self.obstacle}"


class Vip:
    """What the kernel says of it. Nothing but a dead keepalived's VIP is ever taken away here."""

    def __init__(self, instance: Instance, machine: Machine) -> None:
        self._instance, self._machine = instance, machine

    def is_here(self) -> bool:
        return self._machine.netlink.has_address(self._instance.attachment.vip_interface, self._instance.vip)

    def unserved(self) -> list[Unserved]:
        """Return the VIPs that clients do not reach when this instance is MASTER, or do not now that it is."""
        vips = self._instance.config.keepalived.addresses
        places = {vip: self._instance.interface_of(vip) for vip in vips}
        there = {where: self._machine.netlink.doubts(*where) for where in {(places[vip], vip.version) for vip in vips}}
        first = self._instance.vip
        is_master = first in there[places[first], first.version] and self.keepalived() is not None
        found = []
        for vip, interface in places.items():
            doubts = there[interface, vip.version]
            obstacle = (self.ipv6_obstacle(self._instance.interface) if vip.version == 6 else None) or doubts.get(vip)
            if obstacle is not None or (is_master and vip not in doubts):
                found.append(Unserved(vip, interface, obstacle))
        return found

    def ipv6_obstacle(self, interface: str) -> Ipv6Obstacle | None:
        """Return why ``interface`` takes no IPv6 address, or None."""
        return ipv6.obstacle(self._instance.paths.ipv6_settings, interface)

    def keepalived(self) -> int | None:
        """Return keepalived's pid, None where nothing of it speaks VRRP: it ended, or it is stopped."""
        return self._machine.keepalived(self._instance.pid_file)

    def disabled_checks(self) -> list[DisabledCheck]:
        """Return the checks that keepalived was given and does not run; none where it does not run itself. Raises SystemFault."""
        pid = self.keepalived()
        return [] if pid is None else self._machine.processes.disabled_checks(pid, self._instance.keepalived_conf)

    def problem(self) -> str:
        """Return why keepalived speaks for no VIP here; nothing where it does, as far as the kernel tells."""
        found = self._machine.processes.look(self._instance.pid_file)
        if found is None:
            return "does not run"
        if found.vrrp is None:
            return f"has no process that speaks VRRP (its parent is pid {found.main.pid})"
        return f"is stopped by a signal (pid {found.vrrp.pid}; kill -CONT lets it go on)" if found.vrrp.stopped else ""

    def remove_stale(self, *, hung: bool = False) -> bool:
        """Take the VIP away that a dead keepalived left behind; tell whether there was one. Raises SystemFault.

        One that is stopped or ``hung`` is killed before that, VIP or not: it would go on one day, and hold itself for the MASTER.
        """
        found, here = self._machine.processes.look(self._instance.pid_file), self.is_here()
        if (found is not None and found.works and not hung) or not (here or hung):
            return False
        if found is not None:
            self._machine.processes.kill(found)
        if not here:
            return False
        for address in self._instance.config.keepalived.addresses:
            self._machine.netlink.remove_address(self._instance.interface_of(address), address)
        return True

    def interface_index(self) -> int | None:
        """Return the kernel's number of the interface, None while it is gone."""
        try:
            return self._machine.netlink.index(self._instance.interface)
        except SystemFault:
            return None

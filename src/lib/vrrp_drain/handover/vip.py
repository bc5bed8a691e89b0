"""The VIP on this machine: is it here, and does keepalived stand behind it."""

from vrrp_drain.keepalived.instance import Instance
from vrrp_drain.runtime.errors import SystemFault

from .machine import Machine


class Vip:
    """What the kernel says of it. Nothing but a dead keepalived's VIP is ever taken away here."""

    def __init__(self, instance: Instance, machine: Machine) -> None:
        self._instance, self._machine = instance, machine

    def is_here(self) -> bool:
        return self._machine.netlink.has_address(self._instance.attachment.vip_interface, self._instance.vip)

    def keepalived(self) -> int | None:
        """Return keepalived's pid, None where nothing of it speaks VRRP: it ended, or it is stopped."""
        return self._machine.keepalived(self._instance.pid_file)

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
            self._machine.netlink.remove_address(self._instance.attachment.vip_interface, address)
        return True

    def interface_index(self) -> int | None:
        """Return the kernel's number of the interface, None while it is gone."""
        try:
            return self._machine.netlink.index(self._instance.interface)
        except SystemFault:
            return None

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
        """Return keepalived's pid, None where it does not run."""
        return self._machine.keepalived(self._instance.pid_file)

    def remove_stale(self) -> bool:
        """Take the VIP away that a dead keepalived left behind; tell whether there was one. Raises SystemFault."""
        if self.keepalived() is not None or not self.is_here():
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

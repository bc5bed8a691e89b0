"""Does another machine have an address of this instance? A VM that BOSH has replaced may still run: two machines with one address.

Adverts of such a twin never reach us: the kernel takes nothing from outside that comes from an address of its own. Both would be
MASTER, and neither could know. So it is asked before keepalived starts (RFC 5227 section 2.1.1, RFC 4862 section 5.4), for the addresses
of the VIP's interface and for the one that BOSH calls this instance by.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from types import TracebackType

from vrrp_drain.keepalived.instance import Instance
from vrrp_drain.linux.neighbour import Inquiry
from vrrp_drain.linux.rtnetlink import Netlink
from vrrp_drain.runtime.ip import IPAddress

from .machine import Machine


def elsewhere(instance: Instance, netlink: Netlink) -> Iterator[tuple[str, IPAddress]]:
    """Yield the address that BOSH calls this instance by, and its interface, where that is not the VIP's."""
    address = instance.config.me.address
    interface = netlink.interface_with(address)
    if interface not in (None, "lo", instance.interface):
        yield str(interface), address


def here(instance: Instance, netlink: Netlink) -> Iterator[tuple[str, IPAddress]]:
    """Yield the addresses of the VIPs' interface, without the VIPs; the kernel itself sees to link-local ones."""
    vips = instance.config.keepalived.addresses
    for family in sorted({vip.version for vip in vips}):
        for address in netlink.addresses_on(instance.interface, family):
            if address not in vips and not address.is_link_local:
                yield instance.interface, address


class OwnAddresses:
    """The question, which is asked as often as ``ask`` is called, and who answered; use it as a context manager."""

    def __init__(self, instance: Instance, machine: Machine) -> None:
        self._instance, self._machine = instance, machine
        self._stack = ExitStack()
        self._inquiries: dict[IPAddress, Inquiry] = {}
        self._answers: dict[IPAddress, set[str]] = {}

    def __enter__(self) -> "OwnAddresses":
        """Raises SystemFault."""
        netlink = self._machine.netlink
        with ExitStack() as stack:
            for interface, address in (*here(self._instance, netlink), *elsewhere(self._instance, netlink)):
                self._inquiries[address] = self._machine.inquire(interface, address)
                stack.callback(self._inquiries[address].close)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def ask(self) -> None:
        for each in self._inquiries.values():
            with suppress(OSError):  # the interface is down: nobody can answer
                each.ask()

    def taken(self) -> Mapping[IPAddress, frozenset[str]]:
        """Return the MACs that have answered up to now, by the address; none of ours is among them."""
        ours = self._machine.netlink.macs()
        for address, inquiry in self._inquiries.items():
            self._answers.setdefault(address, set()).update(inquiry.answers())
        return {address: frozenset(others) for address, macs in self._answers.items() if (others := macs - ours)}

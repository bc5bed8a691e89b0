"""What is asked of the kernel about addresses, links and routes, and what is changed of them: addresses alone."""

import errno
import ipaddress
import socket
from types import TracebackType
from typing import Any

from vrrp_drain.runtime.errors import ConfigError, SystemFault
from vrrp_drain.runtime.ip import IPAddress, IPInterface

from . import netlink
from .ipv6 import Doubt
from .message import Message
from .obstacle import Obstacle
from .route_socket import RouteSocket

_MAIN_TABLE = 254
_SCOPE_HOST = 254
_IFF_UP = 0x1  # linux/if.h
_NODAD, _OPTIMISTIC, _DADFAILED, _TENTATIVE = 0x02, 0x04, 0x08, 0x40  # linux/if_addr.h
_FOREVER = 0xFFFFFFFF
_VIRTUAL_MACS = ("00:00:5e:00:01:", "00:00:5e:00:02:")  # RFC 9568 section 7.3
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_CHANGES = 0x1 | 0x10 | 0x100  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR, linux/rtnetlink.h


class Netlink:
    """One rtnetlink socket (rtnetlink(7)); use it as a context manager."""

    def __init__(self, ipr: Any = None) -> None:
        self._ipr = RouteSocket() if ipr is None else ipr

    def __enter__(self) -> "Netlink":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._ipr.close()

    def interface_for(self, vip: IPAddress, wanted: str) -> str:
        """Return the interface that keepalived uses for ``vip``: ``wanted``, or for ``auto`` the one with the
        most specific connected route to it (what the upstream job's keepalived_ctl looks for).

        Raises ConfigError where there is no such interface.
        """
        names = {link["index"]: link.get_attr("IFLA_IFNAME") for link in self._ipr.get_links()}
        if wanted != "auto":
            if wanted not in names.values():
                raise ConfigError("keepalived.interface", wanted, f"must be auto or one of {', '.join(sorted(names.values()))}")
            return wanted
        best, interface = -1, ""
        for route in self._ipr.get_routes(family=_FAMILY[vip.version], table=_MAIN_TABLE):
            target, length = route.get_attr("RTA_DST"), route["dst_len"]
            if target is None or route.get_attr("RTA_GATEWAY") is not None or not best < length < vip.max_prefixlen:
                continue
            name = names.get(route.get_attr("RTA_OIF"), "lo")
            if name != "lo" and vip in ipaddress.ip_network(f"{target}/{length}", strict=False):
                best, interface = length, name
        if not interface:
            off = "" if vip.version == 4 else ", and see that it has IPv6 switched on (net.ipv6.conf.INTERFACE.disable_ipv6)"
            raise ConfigError("keepalived.interface", wanted, f"no interface has a connected network with {vip}: name the interface{off}")
        return interface

    def index(self, interface: str) -> int:
        """Return the interface's index. Raises SystemFault when it is gone."""
        found: list[int] = self._ipr.link_lookup(ifname=interface)
        if not found:
            raise SystemFault(f"interface {interface} does not exist (any more)")
        return found[0]

    def mac(self, interface: str) -> str:
        """Return the interface's link-layer address, as ``02:00:00:00:00:01``. Raises SystemFault when it is gone."""
        return str(self._link(interface).get_attr("IFLA_ADDRESS"))

    def obstacle(self, interface: str) -> Obstacle | None:
        """Return why nothing passes through ``interface``, or None. Raises SystemFault."""
        link = self._link(interface)
        if not link["flags"] & _IFF_UP:
            return Obstacle.DOWN
        return Obstacle.NO_CARRIER if link.get_attr("IFLA_CARRIER") == 0 else None

    def default_interface(self, family: int) -> str | None:
        """Return the interface of the first default route of ``family`` (4 or 6), or None where there is none."""
        for route in self._ipr.get_routes(family=_FAMILY[family], table=_MAIN_TABLE):
            if route["dst_len"] == 0 and (index := route.get_attr("RTA_OIF")) is not None:
                return str(self._ipr.get_links(index)[0].get_attr("IFLA_IFNAME"))
        return None

    def networks_on(self, interface: str, family: int) -> list[IPInterface]:
        """Return the addresses of ``family`` on ``interface`` with their prefix lengths."""
        messages = self._ipr.get_addr(family=_FAMILY[family], index=self.index(interface))
        return [ipaddress.ip_interface(f"{each.get_attr('IFA_ADDRESS')}/{each['prefixlen']}") for each in messages]

    def is_on_segment(self, interface: str, address: IPAddress) -> bool:
        """Tell whether no router is between ``interface`` and ``address``."""
        return address.is_link_local or any(address in each.network for each in self.networks_on(interface, address.version))

    def macs(self) -> frozenset[str]:
        """Return the link-layer addresses of all interfaces, without VRRP's virtual ones: these are nobody's own."""
        found = (str(link.get_attr("IFLA_ADDRESS")) for link in self._ipr.get_links())
        return frozenset(mac for mac in found if not mac.startswith(_VIRTUAL_MACS))

    def has_address(self, interface: str, address: IPAddress) -> bool:
        """Tell whether ``address`` is on ``interface`` (not: on another one, such as lo)."""
        return address in self.addresses_on(interface, address.version)

    def addresses_on(self, interface: str, family: int) -> list[IPAddress]:
        """Return the addresses of ``family`` (4 or 6) on ``interface``, as the kernel orders them; none where it is gone."""
        found = self._ipr.link_lookup(ifname=interface)
        if not found:
            return []
        each_message = self._ipr.get_addr(family=_FAMILY[family], index=found[0])
        return [ipaddress.ip_address(each.get_attr("IFA_ADDRESS")) for each in each_message]

    def interface_with(self, address: IPAddress) -> str | None:
        """Return the interface that has ``address``, None where none has."""
        for each in self._ipr.get_addr(family=_FAMILY[address.version]):
            if ipaddress.ip_address(each.get_attr("IFA_ADDRESS")) == address:
                return str(self._ipr.get_links(each["index"])[0].get_attr("IFLA_IFNAME"))
        return None

    def addresses(self) -> frozenset[IPAddress]:
        """Return all addresses of this machine."""
        return frozenset(ipaddress.ip_address(each.get_attr("IFA_ADDRESS")) for each in self._ipr.get_addr())

    def doubts(self, interface: str, family: int) -> dict[IPAddress, Doubt | None]:
        """Return the addresses of ``family`` on ``interface``, and why the kernel does not use them, None where it does."""
        found = self._ipr.link_lookup(ifname=interface)
        messages = self._ipr.get_addr(family=_FAMILY[family], index=found[0]) if found else []
        return {ipaddress.ip_address(each.get_attr("IFA_ADDRESS")): _doubt(each.get_attr("IFA_FLAGS") or 0) for each in messages}

    def add_to_lo(self, address: IPAddress) -> None:
        """Put ``address`` on lo, alone in its network, and never the source of what this machine sends."""
        found: dict[str, Any] = {"index": self.index("lo"), "address": str(address), "prefixlen": address.max_prefixlen}
        if address.version == 4:
            found["scope"] = _SCOPE_HOST
        else:
            found |= {"flags": _NODAD, "IFA_CACHEINFO": {"ifa_preferred": 0, "ifa_valid": _FOREVER}}  # deprecated from the start
        try:
            self._ipr.addr("add", **found)
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise SystemFault(f"{address} could not be put on lo: {error.strerror or error}") from error

    def remove_address(self, interface: str, address: IPAddress) -> None:
        """Take ``address`` off ``interface``; it is no error if it is not there."""
        index = self.index(interface)
        for each in self._ipr.get_addr(family=_FAMILY[address.version], index=index):
            if ipaddress.ip_address(each.get_attr("IFA_ADDRESS")) == address:
                try:
                    self._ipr.addr("del", index=index, address=str(address), prefixlen=each["prefixlen"])
                except OSError as error:
                    if error.errno != errno.EADDRNOTAVAIL:
                        raise SystemFault(f"{address} could not be taken off {interface}: {error.strerror or error}") from error

    def _link(self, interface: str) -> Message:
        index = self.index(interface)
        try:
            return self._ipr.get_links(index)[0]
        except OSError as error:  # it went meanwhile
            raise SystemFault(f"interface {interface} does not exist (any more): {error.strerror or error}") from error


def _doubt(flags: int) -> Doubt | None:
    if flags & _DADFAILED:
        return Doubt.DUPLICATE
    return Doubt.TENTATIVE if flags & _TENTATIVE and not flags & _OPTIMISTIC else None


class AddressWatch:
    """Wakes up when an address or a link changes; what changed is then asked, so a lost message costs nothing."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        self._socket.bind((0, _CHANGES))

    def fileno(self) -> int:
        return self._socket.fileno()

    def drain(self) -> None:
        """Throw the pending messages away."""
        for _ in netlink.pending(self._socket):
            pass

    def close(self) -> None:
        self._socket.close()

"""The segment: a bridge in a namespace of its own, and one cable from it to every machine."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from .namespace import Namespace


def mac_of(number: int) -> str:
    """Return the MAC of the machine with this ``number``."""
    return f"02:00:00:00:00:{number:02x}"


class Switch:
    """A layer 2 segment."""

    def __init__(self) -> None:
        self.namespace = Namespace("switch")
        self._ports = 0
        self.namespace.in_network(self._make_bridge)

    def attach(self, machine: Namespace, number: int, addresses: tuple[str, ...], interface: str = "eth0") -> str:
        """Give ``machine`` an ``interface`` with ``addresses`` (with prefix lengths) and return the switch's port."""
        self._ports += 1
        port = f"port{self._ports}"
        self.namespace.in_network(lambda: self._add_port(port, machine.pid, mac_of(number), interface))
        machine.in_network(lambda: _configure(addresses, interface))
        return port

    def detach(self, port: str) -> None:
        """Take a port away whose machine is gone; with the machine's network the cable went too, perhaps."""

        def remove() -> None:
            with IPRoute() as ipr:
                for index in ipr.link_lookup(ifname=port):
                    with suppress(NetlinkError):  # it went with its other end meanwhile
                        ipr.link("del", index=index)

        self.namespace.in_network(remove)

    def part(self, *ports: str, apart: bool = True) -> None:
        """Let nothing pass between ``ports``, or all of it again; whoever is at another port is reached from each of them."""

        def isolate() -> None:
            with IPRoute() as ipr:
                for port in ports:
                    ipr.brport("set", index=ipr.link_lookup(ifname=port)[0], isolated=int(apart))

        self.namespace.in_network(isolate)

    def plug(self, port: str, *, plugged: bool) -> None:
        """Pull the cable out of ``port``, or put it back: the machine loses its carrier."""
        self.namespace.in_network(lambda: _with_link(port, state="up" if plugged else "down"))

    def close(self) -> None:
        self.namespace.kill()

    def _make_bridge(self) -> None:
        _set_sysctl("net/ipv6/conf/all/disable_ipv6", "1")
        with IPRoute() as ipr:
            ipr.link("add", ifname="br0", kind="bridge", br_mcast_snooping=0, br_stp_state=0)
        _with_link("br0", state="up")

    def _add_port(self, port: str, pid: int, mac: str, interface: str) -> None:
        with IPRoute() as ipr:
            peer = {"ifname": interface, "net_ns_pid": pid, "address": mac}
            ipr.link("add", ifname=port, kind="veth", peer=peer)
            bridge = ipr.link_lookup(ifname="br0")[0]
            ipr.link("set", index=ipr.link_lookup(ifname=port)[0], master=bridge, state="up")


def _configure(addresses: tuple[str, ...], interface: str) -> None:
    _set_sysctl(f"net/ipv6/conf/{interface}/accept_dad", "0")  # addresses are usable at once
    _set_sysctl("net/ipv4/ip_local_port_range", "60000 65000")  # the ports below are traffic.NEW_PORTS
    _with_link("lo", state="up")
    _with_link(interface, state="up")
    with IPRoute() as ipr:
        index = ipr.link_lookup(ifname=interface)[0]
        for address in addresses:
            ip, _, length = address.partition("/")
            ipr.addr("add", index=index, address=ip, prefixlen=int(length))


def _with_link(name: str, **change: Any) -> None:
    with IPRoute() as ipr:
        ipr.link("set", index=ipr.link_lookup(ifname=name)[0], **change)


def _set_sysctl(name: str, value: str) -> None:
    Path("/proc/sys", name).write_text(value)

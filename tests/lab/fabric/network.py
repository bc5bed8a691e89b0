"""The segment: a bridge in a namespace of its own, and one cable from it to every machine."""

import fcntl
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from .namespace import Namespace

_TUNSETIFF, _IFF_TAP, _IFF_NO_PI = 0x400454CA, 0x0002, 0x1000  # linux/if_tun.h


def mac_of(number: int) -> str:
    """Return the MAC of the machine with this ``number``."""
    return f"02:00:00:00:00:{number:02x}"


class Switch:
    """A layer 2 segment; with ``dad`` machines look for duplicates of IPv6 addresses as the kernel does, else they use each at once."""

    def __init__(self, *, dad: bool = False) -> None:
        self._dad = dad
        self.namespace = Namespace("switch")
        self._ports = 0
        self.namespace.in_network(self._make_bridge)

    def attach(self, machine: Namespace, number: int, addresses: tuple[str, ...], interface: str = "eth0") -> str:
        """Give ``machine`` an ``interface`` with ``addresses`` (with prefix lengths) and return the switch's port."""
        self._ports += 1
        port = f"port{self._ports}"
        self.namespace.in_network(lambda: self._add_port(port, machine.pid, mac_of(number), interface))
        machine.in_network(lambda: _configure(addresses, interface, dad=self._dad))
        return port

    def tap(self) -> tuple[str, BinaryIO]:
        """Return a new port, and the cable in it for a virtual machine: what is written there comes out of the port, frame by frame."""
        self._ports += 1
        port = f"port{self._ports}"
        return port, self.namespace.in_network(lambda: self._add_tap(port))

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

    def carry_no_multicast_of(self, protocol: str) -> None:
        """Drop what goes to a group in packets of ``protocol``, as nft(8) calls it; neighbours find each other all the same."""
        rules = (f"ip protocol {protocol} ip daddr 224.0.0.0/4", f"ip6 nexthdr {protocol} ip6 daddr ff00::/8")
        chain = "add table bridge quiet; add chain bridge quiet forward { type filter hook forward priority 0; }"
        text = "; ".join((chain, *(f"add rule bridge quiet forward {each} drop" for each in rules)))
        done = self.namespace.run(["nft", text], {"PATH": "/usr/sbin:/sbin:/usr/bin"})
        assert done.returncode == 0, done.stderr

    def forget(self) -> None:
        """Forget at which port each machine is, as after a change of the topology: what is for it goes to all ports."""
        done = self.namespace.run(["ip", "link", "set", "br0", "type", "bridge", "fdb_flush"], {"PATH": "/usr/sbin:/sbin:/usr/bin"})
        assert done.returncode == 0, done.stderr

    def plug(self, port: str, *, plugged: bool) -> None:
        """Pull the cable out of ``port``, or put it back: the machine loses its carrier."""
        self.namespace.in_network(lambda: _with_link(port, state="up" if plugged else "down"))

    def silence(self, port: str, *, silent: bool) -> None:
        """Let nothing pass ``port`` at all, while its machine sees nothing wrong with its cable: as if that one's kernel stood still."""

        def take_out() -> None:
            with IPRoute() as ipr:
                bridge = ipr.link_lookup(ifname="br0")[0]
                ipr.link("set", index=ipr.link_lookup(ifname=port)[0], master=0 if silent else bridge)

        self.namespace.in_network(take_out)

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

    def _add_tap(self, port: str) -> BinaryIO:
        tap = _open_tap(port)
        with IPRoute() as ipr:
            ipr.link("set", index=ipr.link_lookup(ifname=port)[0], master=ipr.link_lookup(ifname="br0")[0], state="up")
        return tap


def _open_tap(name: str) -> BinaryIO:
    """Make a tap interface, which is there until the file is closed (tun(4))."""
    tap = Path("/dev/net/tun").open("r+b", buffering=0)  # noqa: SIM115  # whoever gets it closes it
    fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))
    return tap


def _configure(addresses: tuple[str, ...], interface: str, *, dad: bool) -> None:
    if not dad:
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

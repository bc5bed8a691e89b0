"""Handed-on packets inside others, for networks that let a machine send from its own addresses alone.

A client's packet that the new MASTER hands on (forwarding.py) has the client's address as its source: OpenStack's port security and its
like drop it. With ``vrrp_drain.handoff_transport: tunnel`` it goes to a VXLAN device instead of the interface, and the kernel wraps it into
UDP from the MASTER's own address to the leaver's. docs/decisions/0017-tunnel.md says why VXLAN.

- One device for each family that there are VIPs of, from pre-start to post-stop. The inner packet is not changed but for the hop that
  each handing-on takes: that is where it is kept how far it has come.
- Peers need not be asked for the MAC of their device: it follows from their address. Who is a member has a way; who becomes one by its
  hello gets one from the watcher, and from whoever takes the VIP over from it.
- In: the rules look at the outer packet, before the device sees it. It must be from a member, as near as its adverts come from, and what
  is in it must be to a VIP. All else to our port is dropped. Device and rule of a family take packets of that family alone.
- What comes out of the device goes through the same rules as what comes in by the interface: it may have to be handed on once more.
- Strict reverse path filtering (rp_filter 1) would drop it, since clients are not behind that device. The higher of ``all`` and the
  device's own number counts, so 2 (loose) does, which needs an address on the device: one of 127.0.0.0/8 is nobody's business but ours.
- Size: an IPv4 packet that gets too long for the link is sent in two fragments, which the leaver puts together. IPv6 has routers tell the
  sender: clients get a Packet Too Big from the VIP, and send smaller ones from then on.
"""

import errno
import hashlib
import os
import socket
import struct
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from vrrp_drain.linux.nftables.expressions import (
    ACCEPT,
    DROP,
    GOTO,
    IIFNAME,
    L4PROTO,
    TRANSPORT,
    Expression,
    compare,
    counter,
    interface_name,
    lookup,
    meta,
    payload,
    verdict,
)
from vrrp_drain.linux.nftables.objects import Family, Order, new_elements, new_set
from vrrp_drain.linux.vxlan import HEADERS, Device, Vxlan
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import IPAddress

from . import admission, forwarding

TUNNEL = "tunnel"
VIPS = "vips"
NAMES = {4: "vrrp-drain4", 6: "vrrp-drain6"}
INDEXES = {4: 0x76720004, 6: 0x76720006}  # no kernel counts that far
TABLES = {4: 0x7672, 6: 0x7672}  # the routing tables, one of each family
_VIPS_ID = 20
_ADDRESS = IPv4Address("127.118.114.4")
_LEAST_V6 = 1280  # RFC 8200 section 5
_ETHERTYPE = {4: b"\x08\x00", 6: b"\x86\xdd"}
_TYPE_AT, INNER_AT = 8 + 8 + 12, 8 + 8 + 14  # bytes from the beginning of the UDP header: the inner packet's type, and that packet
_HAS_NUMBER = 0x08  # RFC 7348 section 5
# with a link-local address it would look like an interface of the VIP's network; 1 is IN6_ADDR_GEN_MODE_NONE, linux/if_link.h
_WITHOUT_ADDRESS = {4: ("disable_ipv6", "1"), 6: ("addr_gen_mode", "1")}
_SETTINGS = {4: ("rp_filter", "2"), 6: ("disable_ipv6", "0")}  # what the device of a family needs
_NO_VXLAN = errno.EOPNOTSUPP  # what a kernel answers that has no such kind of link, and finds no module for it


@dataclass(frozen=True)
class Tunnel:
    """What both ends agree on: the UDP ``port`` and the ``number`` (VNI); and ours: the ``interface``, and an address of each family."""

    port: int
    number: int
    interface: str
    ends: tuple[IPAddress, ...]


def mac(address: IPAddress) -> bytes:
    """Return the MAC of the device of whoever has ``address``; the second lowest bit says that no vendor has given it."""
    return b"\x02" + hashlib.blake2b(address.packed, digest_size=5, person=b"vrrp-drain vxlan").digest()


def wrapped(tunnel: Tunnel, target: IPAddress, packet: bytes) -> bytes:
    """Return the payload of the UDP datagram that takes ``packet`` through the tunnel to whoever has ``target``, as the kernel makes it."""
    frame = mac(target) + bytes(6) + _ETHERTYPE[packet[0] >> 4] + packet
    return struct.pack("!B3xI", _HAS_NUMBER, tunnel.number << 8) + frame


def sets(family: Family, table: str, vips: Sequence[IPAddress]) -> list[Order]:
    """Return the orders that make the set of what may be inside."""
    made = new_set(family, table, _VIPS_ID, VIPS, family.kind, family.size, size=len(vips))
    return [made, new_elements(family, table, VIPS, [(each.packed, None) for each in vips])]


def rules(family: Family, version: int, port: int, hops: int, base: str) -> list[tuple[str, Sequence[Expression], str]]:
    """Return the rules as (chain, expressions, comment). Members are at most ``hops`` routers away.

    ``base`` is the chain that every packet comes to.
    """
    arrives = [meta(L4PROTO), compare(bytes((socket.IPPROTO_UDP,))), payload(TRANSPORT, 2, 2), compare(port.to_bytes(2, "big"))]
    holds = [payload(TRANSPORT, _TYPE_AT, 2), compare(_ETHERTYPE[version])]
    goes_to_vip = [payload(TRANSPORT, INNER_AT + family.destination, family.size), lookup(VIPS)]
    comes_out = [meta(IIFNAME), compare(interface_name(NAMES[version]))]
    return [
        (base, [*arrives, verdict(GOTO, TUNNEL)], "handed on to us"),
        (base, [*comes_out, *forwarding.to_known(family), verdict(GOTO, forwarding.ARMED)], "it may have to go on"),
        (TUNNEL, [*admission.from_member(family, hops), *holds, *goes_to_vip, verdict(ACCEPT)], "a member hands on what is for a VIP"),
        (TUNNEL, [counter(), verdict(DROP)], "of nobody we know, or for somebody else"),
    ]


class Tunnels:
    """The devices, from pre-start to post-stop. All public methods raise SystemFault."""

    def __init__(self, links: Vxlan, ipv4_settings: Path, ipv6_settings: Path) -> None:
        self._links, self._settings = links, {4: ipv4_settings, 6: ipv6_settings}

    def hold(self, tunnel: Tunnel, peers: Collection[IPAddress]) -> None:
        """Make the devices anew, with a way to each of ``peers``; where one cannot be had, none is."""
        self.release()
        try:
            for end in tunnel.ends:
                self._make(device := self._device(tunnel, end))
                self._links.add_ways(device, _macs(end, peers))
        except (OSError, SystemFault) as error:
            with suppress(SystemFault):  # why it could not be made is told; post-stop tries again
                self.release()
            if isinstance(error, SystemFault):
                raise
            raise SystemFault(f"the tunnel for packets of open connections cannot be made ({_why(error)})") from error

    def mend(self, tunnel: Tunnel, peers: Collection[IPAddress]) -> None:
        """Put back what is missing. A device that is there stays: there may be packets in it."""
        try:
            for end in tunnel.ends:
                device = self._device(tunnel, end)
                if not self._links.is_up(device):
                    self.hold(tunnel, peers)
                    return
                self._set(device)
                self._links.select(device)
        except OSError as error:
            raise SystemFault(f"the tunnel for packets of open connections cannot be mended ({_why(error)})") from error

    def reach(self, tunnel: Tunnel, peers: Iterable[IPAddress]) -> None:
        """Have a way to each of ``peers``; whoever has one keeps it."""
        wanted = [*peers]
        try:
            for end in tunnel.ends:
                device = self._device(tunnel, end)
                there = self._links.ways(device)
                self._links.add_ways(device, _macs(end, (each for each in wanted if each not in there)))
        except OSError as error:
            raise SystemFault(f"the tunnel has no way to {', '.join(map(str, wanted))} ({_why(error)})") from error

    def lacks(self, tunnel: Tunnel) -> list[str]:
        """Return what is missing of that which ``hold`` puts in place, in words. Ways are not: ``reach`` sees to them."""
        found = []
        try:
            for end in tunnel.ends:
                device = self._device(tunnel, end)
                if not self._links.is_up(device):
                    found.append(f"the tunnel {device.name}")
                    continue
                if not self._links.has_rule(device):
                    found.append(f"the routing rule of {device.name}")
                if self._read(end.version) != _SETTINGS[end.version][1]:
                    found.append(f"{_SETTINGS[end.version][0]} of {device.name}")
        except OSError as error:
            raise SystemFault(f"the kernel does not tell how the tunnel is ({_why(error)})") from error
        return found

    def release(self) -> None:
        """Take the devices away, whoever made them and with whatever properties."""
        try:
            for version in NAMES:
                self._links.remove(version, NAMES[version], TABLES[version])
        except OSError as error:
            raise SystemFault(f"the tunnel for packets of open connections cannot be taken away ({_why(error)})") from error

    def _make(self, device: Device) -> None:
        self._links.create(device)
        self._set(device)
        self._links.start(device, _ADDRESS if device.local.version == 4 else None)
        self._links.select(device)

    def _set(self, device: Device) -> None:
        """Write its settings, before it is up: an address of its own it has from that moment on."""
        version = device.local.version
        name, value = _SETTINGS[version]
        (self._settings[version] / device.name / name).write_text(value + "\n")
        name, value = _WITHOUT_ADDRESS[version]
        if (setting := self._settings[6] / device.name / name).exists():
            setting.write_text(value + "\n")

    def _read(self, version: int) -> str:
        return (self._settings[version] / NAMES[version] / _SETTINGS[version][0]).read_text().strip()

    def _device(self, tunnel: Tunnel, end: IPAddress) -> Device:
        version, mtu = end.version, self._links.mtu(tunnel.interface)
        if version == 6:
            mtu -= HEADERS[6]
            if mtu < _LEAST_V6:
                raise SystemFault(
                    f"the tunnel for packets of open connections cannot be made: with the MTU {mtu + HEADERS[6]} of {tunnel.interface} "
                    f"it takes IPv6 packets of {mtu} bytes, and {_LEAST_V6} must pass"
                )
        return Device(
            *(NAMES[version], INDEXES[version], mac(end), end, tunnel.interface, tunnel.number, tunnel.port), mtu, TABLES[version]
        )


def _macs(end: IPAddress, peers: Iterable[IPAddress]) -> list[tuple[IPAddress, bytes]]:
    return [(each, mac(each)) for each in peers if each.version == end.version and each != end]


def _why(error: OSError) -> str:
    if error.errno == _NO_VXLAN:
        return "this kernel has no VXLAN: module vxlan"
    if error.errno == errno.EADDRINUSE:
        return "somebody else has the port: vrrp_drain.handoff_tunnel_port chooses another one, on all instances the same"
    return os.strerror(error.errno or 0)

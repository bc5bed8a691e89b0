"""VRRP packets on the wire itself: what arrives before this machine's rules see it, and what this machine sends (packet(7)).

The rules keep out whoever is not of the group (docs/decisions/0012-who-is-heard.md), so who wants to know of strangers listens here,
and what keepalived hears is linux/advert_socket.py's. What the kernel's IP layer does for an IP socket is done by ``Packet`` here.

Somebody may send ten thousand packets a second. Of unknown sources only so many are taken in each second; then the kernel is
told to pass those of the known ones alone until the second is over.
"""

import errno
import os
import select
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from vrrp_drain.runtime.errors import AdvertError, SystemFault
from vrrp_drain.runtime.ip import ALL_HOSTS_V4, ALL_HOSTS_V6, GROUP_V4, GROUP_V6, PROTOCOL, IPAddress, Packet

from . import bpf
from .advert_socket import join
from .bpf import Condition

_ETH_P_ALL = 3  # linux/if_ether.h; a socket of one protocol does not see what is sent
_ETHER_TYPE = {4: 0x0800, 6: 0x86DD}
_PROTOCOL_AT = {4: 9, 6: 6}  # offset of the protocol in the header, RFC 791 section 3.1, RFC 8200 section 3
_SOURCE_AT = {4: slice(12, 16), 6: slice(8, 24)}
_GROUPS = {4: (GROUP_V4, ALL_HOSTS_V4), 6: (GROUP_V6, ALL_HOSTS_V6)}
_HOST, _BROADCAST, _MULTICAST, _OUTGOING = 0, 1, 2, 4  # PACKET_*, linux/if_packet.h; the others are for other machines
_HELLO = 0  # the VRID of a hello
_SO_RCVBUFFORCE = 33
_BUFFER = 4 << 20  # bytes: half a second of a flood, while we are busy
_LONGEST = 8192  # bytes: an advert of 255 IPv6 VIPs has half of it
_BURST = 64  # packets that are handed out at a time, so that a flood cannot keep its hearer from anything else
_LOOKS = 4096  # packets that are looked at for that
_UNKNOWN = 200  # packets of unknown sources a second
_SECOND = 1.0


class PacketCapture:
    """Collects from its making on; needs CAP_NET_RAW. ``interface`` must exist. Raises SystemFault."""

    def __init__(self, interface: str, family: int, vrid: int, *, outgoing: bool = False) -> None:
        """``family`` is 4 or 6; only adverts of ``vrid`` are taken, and hellos. ``outgoing`` tells to note what this machine sends."""
        self._family, self._vrid = family, vrid
        self._read = Packet.from_ipv4 if family == 4 else Packet.from_ipv6
        self._known: frozenset[bytes] = frozenset()
        self._left, self._renewed_at = _UNKNOWN, time.monotonic() + _SECOND
        self._shut = False
        self._outgoing = outgoing
        self.sent: Packet | None = None  # the last one
        try:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)  # protocol 0: nothing yet
            self._open()
            self._buffer()
            self._socket.bind((interface, _ETH_P_ALL if outgoing else _ETHER_TYPE[family]))
            self._member = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
            join(self._member, family, socket.if_nametoindex(interface))  # so that card and switches let the group through
        except OSError as error:
            raise SystemFault(f"cannot look at the packets on {interface}: {os.strerror(error.errno or 0)}; run as root") from error

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def wake_at(self) -> float:
        """Return when ``receive`` must be called at the latest, though nothing has arrived (monotonic seconds)."""
        return self._renewed_at if self._shut else float("inf")

    def know(self, sources: Iterable[IPAddress]) -> None:
        """Have packets of ``sources``, and of nobody else, taken whatever others send."""
        self._known = frozenset(each.packed for each in sources if each.version == self._family)

    def receive(self) -> list[Packet]:
        """Return what has arrived, at most a burst of it; what is no whole IP packet for this machine is dropped."""
        self._renew()
        found: list[Packet] = []
        for _ in range(_LOOKS):
            if len(found) == _BURST:
                break
            try:
                datagram, where = self._socket.recvfrom(_LONGEST)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno not in (errno.ENETDOWN, errno.ENODEV):  # the interface went: others will say so
                    raise
                break
            with suppress(AdvertError):
                if where[2] == _OUTGOING:
                    self.sent = self._read(datagram)
                elif where[2] in (_HOST, _BROADCAST, _MULTICAST) and self._takes(datagram[_SOURCE_AT[self._family]]):
                    packet = self._read(datagram)
                    if self._is_for_routers(packet):
                        found.append(packet)
        return found

    def close(self) -> None:
        self._socket.close()
        self._member.close()

    def _is_for_routers(self, packet: Packet) -> bool:
        """Tell whether keepalived hears it too: to its group or to a machine; or a hello, which it does not."""
        group, all_hosts = _GROUPS[self._family]
        hello = packet.payload[1:2] == bytes((_HELLO,))
        return not packet.destination.is_multicast or packet.destination == (all_hosts if hello else group)

    def _takes(self, source: bytes) -> bool:
        if source in self._known:
            return True
        if self._left:
            self._left -= 1
            return True
        if not self._shut:
            self._shut = True
            bpf.attach(self._socket, bpf.program(*self._of_the_known()))
        return False

    def _renew(self) -> None:
        now = time.monotonic()
        if now < self._renewed_at:
            return
        self._left, self._renewed_at = _UNKNOWN, now + _SECOND
        if self._shut:
            self._open()

    def _open(self) -> None:
        """Have all packets of the virtual router passed: a busy balancer's others stay in the kernel."""
        self._shut = False
        bpf.attach(self._socket, bpf.program(self._of(self._vrid), self._of(_HELLO)))

    def _of_the_known(self) -> Iterator[list[Condition]]:
        if self._outgoing:
            yield [bpf.packet_type(_OUTGOING), *self._of(self._vrid)]
        start = _SOURCE_AT[self._family].start
        for source in self._known:
            words = [bpf.word(start + at, source[at : at + 4]) for at in range(0, len(source), 4)]
            yield [*words, *self._of(self._vrid)]

    def _of(self, vrid: int) -> list[Condition]:
        """Match adverts of ``vrid``: the second byte behind the header."""
        second = bpf.byte_behind_ipv4(1, vrid) if self._family == 4 else bpf.byte(41, vrid)
        family, protocol = _ETHER_TYPE[self._family], bpf.byte(_PROTOCOL_AT[self._family], PROTOCOL)
        return [bpf.ether_type(family), protocol, second]

    def _buffer(self) -> None:
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        except PermissionError:  # root in a user namespace: as much as everybody may have
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)


def arrivals(capture: PacketCapture, end: Callable[[], float]) -> Iterator[Packet]:
    """Yield what arrives until ``end()``, monotonic seconds, which may change meanwhile."""
    while (now := time.monotonic()) < (until := end()):
        select.select([capture.fileno()], [], [], max(0.0, min(until, capture.wake_at) - now))
        yield from capture.receive()

"""What a machine of the lab shows of itself: its kernel's notices of addresses (rtnetlink(7)), what it sends of the VIP (packet(7))."""

import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

from vrrp_drain.linux import bpf
from vrrp_drain.linux.bpf import Condition
from vrrp_drain.runtime.ip import PROTOCOL, IPAddress

_ADDRESS_GROUPS = 0x10 | 0x100  # RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR, linux/rtnetlink.h
_NEW_ADDRESS, _ADDRESS_GONE = 20, 21  # RTM_NEWADDR, RTM_DELADDR
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: its first fields are length and type
_ABOUT = struct.Struct("=BBBBI")  # struct ifaddrmsg: the last field is the interface's index
_ATTRIBUTE = struct.Struct("=HH")  # struct rtattr: length and type
_IFA_ADDRESS, _IFA_LOCAL = 1, 2  # linux/if_addr.h
_ETH_P_ALL, _ETH_P_IP, _ETH_P_ARP, _ETH_P_IPV6 = 0x0003, 0x0800, 0x0806, 0x86DD  # linux/if_ether.h
_OUTGOING = 4  # PACKET_OUTGOING, linux/if_packet.h
_SENDER, _TARGET = 14, 24  # offsets of the two addresses in an ARP packet for IPv4, RFC 826
_ICMPV6, _NEIGHBOUR_ADVERTISEMENT = 58, 136  # RFC 4861 section 4.4
_IPV6_HEADER = 40
_ROUTER_OF_HELLO = 0  # hellos look like adverts of this virtual router


class AddressNotices:
    """The coming and going of addresses on one interface. Made in the thread that has entered the machine's network."""

    def __init__(self, interface: str, *addresses: IPAddress) -> None:
        self._index, self._addresses = socket.if_nametoindex(interface), {each.packed: each for each in addresses}
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        self._socket.bind((0, _ADDRESS_GROUPS))

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> list[tuple[IPAddress, bool]]:
        """Return what is new, in order: an address, and True where it came, False where it went."""
        with suppress(BlockingIOError):
            return list(self._of(self._socket.recv(65536)))
        return []

    def close(self) -> None:
        self._socket.close()

    def _of(self, datagram: bytes) -> Iterator[tuple[IPAddress, bool]]:
        while len(datagram) >= _HEADER.size:
            length, kind, *_ = _HEADER.unpack_from(datagram)
            message, datagram = datagram[_HEADER.size : length], datagram[_aligned(length) :]
            if kind not in (_NEW_ADDRESS, _ADDRESS_GONE) or _ABOUT.unpack_from(message)[-1] != self._index:
                continue
            found = dict(_attributes(message[_ABOUT.size :]))
            if address := self._addresses.get(found.get(_IFA_LOCAL, found.get(_IFA_ADDRESS, b""))):
                yield address, kind == _NEW_ADDRESS


class Sent:
    """What a machine sends about a VIP: its adverts, and its word to the segment that the VIP is here."""

    def __init__(self, interface: str, vip: IPAddress) -> None:
        self._four = vip.version == 4
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)  # protocol 0: nothing yet
        bpf.attach(self._socket, bpf.program(*(_four(vip) if self._four else _six(vip))))
        self._socket.bind((interface, _ETH_P_ALL))

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> list[str]:
        """Return what it said, in order: ``advert N`` with the priority, ``announced``."""
        said = []
        try:
            while True:
                packet, where = self._socket.recvfrom(256)
                if word := self._word(packet, where[1]):
                    said.append(word)
        except BlockingIOError:
            return said
        except OSError as error:
            if error.errno != errno.ENETDOWN:  # the interface went, with the machine's power
                raise
            return said

    def close(self) -> None:
        self._socket.close()

    def _word(self, packet: bytes, ether_type: int) -> str:
        if ether_type == _ETH_P_ARP or (not self._four and packet[6] == _ICMPV6):
            return "announced"
        _, router, priority = packet[(packet[0] & 15) * 4 if self._four else _IPV6_HEADER :][:3]
        return "" if router == _ROUTER_OF_HELLO else f"advert {priority}"


def _four(vip: IPAddress) -> Iterator[list[Condition]]:
    sent = bpf.packet_type(_OUTGOING)
    yield [sent, bpf.ether_type(_ETH_P_IP), bpf.byte(9, PROTOCOL)]
    yield [sent, bpf.ether_type(_ETH_P_ARP), bpf.word(_SENDER, vip.packed), bpf.word(_TARGET, vip.packed)]


def _six(vip: IPAddress) -> Iterator[list[Condition]]:
    sent = bpf.packet_type(_OUTGOING)
    yield [sent, bpf.ether_type(_ETH_P_IPV6), bpf.byte(6, PROTOCOL)]
    target = [bpf.word(_IPV6_HEADER + 8 + at, vip.packed[at : at + 4]) for at in range(0, len(vip.packed), 4)]
    yield [sent, bpf.ether_type(_ETH_P_IPV6), bpf.byte(6, _ICMPV6), bpf.byte(_IPV6_HEADER, _NEIGHBOUR_ADVERTISEMENT), *target]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        yield kind, data[_ATTRIBUTE.size : length]
        data = data[_aligned(length) :]


def _aligned(length: int) -> int:
    return length + 3 & ~3

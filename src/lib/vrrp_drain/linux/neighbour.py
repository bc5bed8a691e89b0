"""Who answers for an address on the segment: ARP probe (RFC 5227) and neighbour solicitation (RFC 4861).

Frames are built and read by pure functions; two small adapters send and hear them. Our own kernel does not hear
our own question, so every answer is somebody else's.
"""

import ipaddress
import os
import select
import socket
import struct
import time
from collections.abc import Iterable
from contextlib import ExitStack, closing, suppress
from typing import Protocol

from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import IPAddress

from . import icmp

_ETH_P_ARP = 0x0806
_ARP = struct.Struct("!HHBBH6s4s6s4s")  # RFC 826
_REQUEST, _REPLY = 1, 2
_SOLICITATION, _ADVERTISEMENT = 135, 136  # RFC 4861 sections 4.3, 4.4
_SOURCE_LINK, _TARGET_LINK = 1, 2
_SOLICITED, _OVERRIDE = 0x40, 0x20  # flags S and O
_ICMP6, _HOPS = 58, 255
_BURST = 64
_ASK_EVERY = 0.1  # seconds: a question or its answer may be lost
_NOBODY = bytes(6).hex(":")


class Inquiry(Protocol):
    """A question that can be asked again, and the MACs that answered it."""

    def fileno(self) -> int: ...
    def ask(self) -> None: ...
    def answers(self) -> list[str]: ...
    def close(self) -> None: ...


def arp_probe(mac: bytes, target: ipaddress.IPv4Address) -> bytes:
    """Return the Ethernet frame that asks for ``target`` with an all-zero sender (RFC 5227 section 2.1.1)."""
    ethernet = b"\xff" * 6 + mac + _ETH_P_ARP.to_bytes(2, "big")
    return ethernet + _ARP.pack(1, 0x0800, 6, 4, _REQUEST, mac, bytes(4), bytes(6), target.packed)


def arp_announcement(mac: bytes, address: ipaddress.IPv4Address) -> bytes:
    """Return the Ethernet frame that tells everybody who has ``address`` (RFC 5227 section 2.3)."""
    ethernet = b"\xff" * 6 + mac + _ETH_P_ARP.to_bytes(2, "big")
    return ethernet + _ARP.pack(1, 0x0800, 6, 4, _REQUEST, mac, address.packed, bytes(6), address.packed)


def arp_answer(frame: bytes, mac: bytes, target: ipaddress.IPv4Address) -> str | None:
    """Return the MAC that answers our probe for ``target``, or None: gratuitous ARP is no answer."""
    if frame[:6] != mac or frame[12:14] != _ETH_P_ARP.to_bytes(2, "big"):
        return None
    sender = _arp_sender(frame[14:], target, _REPLY)
    return sender.hex(":") if sender and sender != mac else None


def announced_mac(packet: bytes, target: IPAddress) -> str | None:
    """Return the MAC that whoever has ``target`` in its cache learns from ``packet``, an ARP or IPv6 one without its Ethernet header.

    That is the sender of any ARP packet (RFC 826), and the target of a neighbour advertisement that overrides (RFC 4861 section 7.2.5).
    """
    if isinstance(target, ipaddress.IPv4Address):
        mac = _arp_sender(packet, target, _REQUEST, _REPLY)
        found = mac.hex(":") if mac else None
    elif len(packet) > 40 and (packet[6], packet[7]) == (_ICMP6, _HOPS):
        found = advertised_mac(packet[40:], target, _OVERRIDE)
    else:
        found = None
    return found if found and found != _NOBODY and not int(found[:2], 16) & 1 else None  # nor a group's


def is_answer(packet: bytes, target: IPAddress) -> bool:
    """Tell whether what ``announced_mac`` learnt from is an answer to somebody's question, which only who had asked gets."""
    if isinstance(target, ipaddress.IPv4Address):
        return _arp_sender(packet, target, _REPLY) is not None and packet[24:28] != target.packed  # an announcement may be a reply too
    return advertised_mac(packet[40:], target) is not None


def solicitation(mac: bytes, target: ipaddress.IPv6Address) -> bytes:
    """Return the ICMPv6 message that asks for ``target``; the kernel fills in the checksum (RFC 3542 section 3.1)."""
    return struct.pack("!BBHI16sBB6s", _SOLICITATION, 0, 0, 0, target.packed, _SOURCE_LINK, 1, mac)


def unsolicited_advertisement(mac: bytes, address: ipaddress.IPv6Address) -> bytes:
    """Return the ICMPv6 message that tells everybody who has ``address`` (RFC 4861 section 7.2.6); the kernel fills in the checksum."""
    return struct.pack("!BBHB3x16sBB6s", _ADVERTISEMENT, 0, 0, _OVERRIDE, address.packed, _TARGET_LINK, 1, mac)


def solicited_node(target: ipaddress.IPv6Address) -> ipaddress.IPv6Address:
    """Return the multicast group that a holder of ``target`` hears (RFC 4291 section 2.7.1)."""
    prefix = ipaddress.IPv6Address("ff02::1:ff00:0").packed[:13]
    return ipaddress.IPv6Address(prefix + target.packed[13:])


def advertised_mac(message: bytes, target: ipaddress.IPv6Address, flag: int = _SOLICITED) -> str | None:
    """Return the MAC in a neighbour advertisement for ``target`` that has ``flag``, or None: an unsolicited one is no answer."""
    if len(message) < 24 or message[0] != _ADVERTISEMENT or message[8:24] != target.packed or not message[4] & flag:
        return None
    options = message[24:]
    while len(options) >= 8 and options[1]:
        if options[0] == _TARGET_LINK:
            return options[2:8].hex(":")
        options = options[options[1] * 8 :]
    return None


def _arp_sender(packet: bytes, target: ipaddress.IPv4Address, *operations: int) -> bytes | None:
    if len(packet) < _ARP.size:
        return None
    hardware, protocol, hlen, plen, operation, sender, sender_ip, _, _ = _ARP.unpack_from(packet)
    if (hardware, protocol, hlen, plen) != (1, 0x0800, 6, 4) or operation not in operations or sender_ip != target.packed:
        return None
    return bytes(sender)


def inquire(interface: str, mac: str, target: IPAddress) -> Inquiry:
    """Return the inquiry for ``target`` on ``interface``, which has ``mac``. Needs CAP_NET_RAW."""
    own = bytes.fromhex(mac.replace(":", ""))
    try:
        if isinstance(target, ipaddress.IPv4Address):
            return _ArpInquiry(interface, own, target)
        return _NeighbourInquiry(interface, own, target)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise SystemFault(f"cannot ask on {interface} who answers for {target}: {reason}; run as root") from error


def one_machine(interface: str, mac: str, source: IPAddress, others: Iterable[IPAddress], seconds: float) -> bool:
    """Ask who has ``source`` and who has each of ``others``; tell whether a machine answers for it and one of them within ``seconds``.

    Whoever lies about this has every packet for those addresses anyway. Raises SystemFault.
    """
    with ExitStack() as stack:
        asked = [stack.enter_context(closing(inquire(interface, mac, each))) for each in (source, *others)]
        theirs, those_of_others = set[str](), set[str]()
        ask_at = time.monotonic()
        end = ask_at + seconds
        while not theirs & those_of_others and (now := time.monotonic()) < end:
            if now >= ask_at:
                ask_at = now + _ASK_EVERY
                for each in asked:
                    with suppress(OSError):  # the interface is down: nobody can answer
                        each.ask()
            select.select(asked, [], [], max(0.0, min(ask_at, end) - now))
            theirs.update(asked[0].answers())
            those_of_others.update(found for each in asked[1:] for found in each.answers())
    return bool(theirs & those_of_others)


class _ArpInquiry:
    def __init__(self, interface: str, mac: bytes, target: ipaddress.IPv4Address) -> None:
        self._mac, self._target = mac, target
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(_ETH_P_ARP))
        self._socket.bind((interface, _ETH_P_ARP))

    def fileno(self) -> int:
        return self._socket.fileno()

    def ask(self) -> None:
        self._socket.send(arp_probe(self._mac, self._target))

    def answers(self) -> list[str]:
        found = []
        for _ in range(_BURST):
            try:
                mac = arp_answer(self._socket.recv(2048), self._mac, self._target)
            except BlockingIOError:
                break
            if mac:
                found.append(mac)
        return found

    def close(self) -> None:
        self._socket.close()


class _NeighbourInquiry:
    def __init__(self, interface: str, mac: bytes, target: ipaddress.IPv6Address) -> None:
        self._mac, self._target = mac, target
        self._index = socket.if_nametoindex(interface)
        self._socket = socket.socket(socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMPV6)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
        icmp.hear_only(self._socket, _ADVERTISEMENT)
        self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, self._index)
        self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
        self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)

    def fileno(self) -> int:
        return self._socket.fileno()

    def ask(self) -> None:
        group = str(solicited_node(self._target))
        self._socket.sendto(solicitation(self._mac, self._target), (group, 0, 0, self._index))

    def answers(self) -> list[str]:
        found = []
        for _ in range(_BURST):
            try:
                message, ancillary, _, _ = self._socket.recvmsg(2048, 64)
            except BlockingIOError:
                break
            hops = [data for level, kind, data in ancillary if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_HOPLIMIT]
            mac = advertised_mac(message, self._target)
            if mac and mac != self._mac.hex(":") and hops and hops[0][:4] == struct.pack("=i", 255):
                found.append(mac)
        return found

    def close(self) -> None:
        self._socket.close()

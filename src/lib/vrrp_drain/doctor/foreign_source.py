"""Do frames with a foreign source address arrive at our peers? The handoff of open connections sends such frames.

Needs nothing at a peer but its kernel. An echo request is sent to the peer's MAC with an unused address of the network as its
source; to answer, the peer has to ask the segment for that address, and everybody hears the question. An echo request from
our own address is the control: a peer that answers this one and does not ask for the other was sent it in vain. Nothing is
changed anywhere: the address is asked for first, and nobody has it.
"""

import ipaddress
import os
import random
import selectors
import socket
import struct
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from vrrp_drain.linux import icmp
from vrrp_drain.linux.ip_packet import ip_packet
from vrrp_drain.linux.neighbour import inquire, solicited_node
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import IPAddress, IPInterface, pseudo_header

SECONDS = 0.6  # for the answers
_UNUSED_SECONDS = 0.3  # in which nobody says that he has the address
_AGAIN = 0.2  # seconds between two requests
_ETH_P_IP, _ETH_P_ARP, _ETH_P_IPV6 = 0x0800, 0x0806, 0x86DD
_SOLICITATION, _SOURCE_LINK = 135, 1  # RFC 4861 sections 4.3, 4.6.1
_PAYLOAD = b"vrrp-drain doctor"
_ATTEMPTS = 5
_DRAWS = 100  # in a small network all may be taken


@dataclass(frozen=True)
class Outcome:
    """Of the peers that were asked: who answered our own address, and who tried to answer the foreign one."""

    unused: IPAddress
    own: frozenset[IPAddress]
    foreign: frozenset[IPAddress]


def probe(interface: str, mac: str, own: IPInterface, taken: Collection[IPAddress], peers: Mapping[IPAddress, str]) -> Outcome:
    """Ask ``peers`` (address to MAC) from ``own`` and from an address of its network that is not ``taken``. Raises SystemFault."""
    unused = _unused(interface, mac, own, taken)
    try:
        return _ask(interface, mac, own.ip, unused, peers)
    except OSError as error:
        raise SystemFault(f"cannot ask the peers on {interface}: {os.strerror(error.errno or 0)}") from error


def candidates(own: IPInterface, taken: Collection[IPAddress]) -> Iterator[IPAddress]:
    """Yield random addresses of the network, up to a hundred; neither its first nor its last, nor the one that a gateway likes to have."""
    network = own.network
    first, last = int(network.network_address) + 2, int(network.broadcast_address) - 2
    for _ in range(_DRAWS if first <= last else 0):
        found = ipaddress.ip_address(random.randint(first, last).to_bytes(own.max_prefixlen // 8, "big"))  # noqa: S311 (no secret)
        if found not in taken and found != own.ip:
            yield found


def echo_request(source: IPAddress, destination: IPAddress, identifier: int, sequence: int = 1, payload: bytes = _PAYLOAD) -> bytes:
    """Return the ICMP message, checksum and all."""
    size = icmp.HEADER.size + len(payload)
    covered = pseudo_header(source, destination, size, socket.IPPROTO_ICMPV6) if source.version == 6 else b""
    return icmp.echo_request(source.version, identifier, sequence, payload, covered)


def frame(mac: bytes, to: bytes, source: IPAddress, destination: IPAddress, identifier: int) -> bytes:
    """Return the Ethernet frame with an echo request from ``source``, whoever has that."""
    message = echo_request(source, destination, identifier)
    protocol = socket.IPPROTO_ICMP if source.version == 4 else socket.IPPROTO_ICMPV6
    ether_type = _ETH_P_IP if source.version == 4 else _ETH_P_IPV6
    return to + mac + ether_type.to_bytes(2, "big") + ip_packet(source, destination, protocol, message)


def asks_for_v4(packet: bytes, target: IPAddress) -> str | None:
    """Return the MAC that asks for ``target`` in an ARP packet (RFC 826), or None."""
    if len(packet) < 28 or packet[6:8] != b"\0\1" or packet[24:28] != target.packed:
        return None
    return packet[8:14].hex(":")


def asks_for_v6(message: bytes, target: IPAddress) -> str | None:
    """Return the MAC that asks for ``target`` in a neighbour solicitation, or None."""
    if len(message) < 32 or message[0] != _SOLICITATION or message[8:24] != target.packed or message[24] != _SOURCE_LINK:
        return None
    return message[26:32].hex(":")


def _unused(interface: str, mac: str, own: IPInterface, taken: Collection[IPAddress]) -> IPAddress:
    for _, candidate in zip(range(_ATTEMPTS), candidates(own, taken), strict=False):
        inquiry = inquire(interface, mac, candidate)
        try:
            inquiry.ask()
            time.sleep(_UNUSED_SECONDS / 2)
            inquiry.ask()
            time.sleep(_UNUSED_SECONDS / 2)
            if not inquiry.answers():
                return candidate
        except OSError as error:
            raise SystemFault(f"cannot ask on {interface} who has {candidate}: {os.strerror(error.errno or 0)}") from error
        finally:
            inquiry.close()
    raise SystemFault(f"no unused address was found in {own.network}")


def _ask(interface: str, mac: str, own: IPAddress, unused: IPAddress, peers: Mapping[IPAddress, str]) -> Outcome:
    address_of = {each: peer for peer, each in peers.items()}
    identifier = os.getpid() & 0xFFFF
    us = bytes.fromhex(mac.replace(":", ""))
    answered: set[IPAddress] = set()
    arrived: set[IPAddress] = set()
    with ExitStack() as stack:
        wire = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK))
        ping = stack.enter_context(_ping_socket(interface, own.version))
        selector = stack.enter_context(selectors.DefaultSelector())

        def hear_echo() -> None:
            data, sender = ping.recvfrom(2048)
            peer = ipaddress.ip_address(sender[0].partition("%")[0])
            message = data[(data[0] & 0x0F) * 4 :] if own.version == 4 else data
            if message[:1] == bytes((icmp.ECHO_REPLY[own.version],)) and message[4:6] == identifier.to_bytes(2, "big") and peer in peers:
                answered.add(peer)
            elif own.version == 6:
                note(asks_for_v6(message, unused))

        def note(asker: str | None) -> None:
            if asker in address_of:
                arrived.add(address_of[asker])

        selector.register(ping, selectors.EVENT_READ, hear_echo)
        if own.version == 4:
            questions = stack.enter_context(
                socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, socket.htons(_ETH_P_ARP))
            )
            questions.bind((interface, _ETH_P_ARP))
            selector.register(questions, selectors.EVENT_READ, lambda: note(asks_for_v4(questions.recv(2048), unused)))
        else:
            index = socket.if_nametoindex(interface)
            group = solicited_node(ipaddress.IPv6Address(int(unused))).packed
            ping.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, struct.pack("16si", group, index))
        end = time.monotonic() + SECONDS
        next_request = 0.0
        while (now := time.monotonic()) < end and not (len(answered) == len(arrived) == len(peers)):
            if now >= next_request:
                next_request = now + _AGAIN
                for peer, their_mac in peers.items():
                    to = bytes.fromhex(their_mac.replace(":", ""))
                    wire.sendto(frame(us, to, unused, peer, identifier), (interface, _ETH_P_IP if own.version == 4 else _ETH_P_IPV6))
                    with suppress(OSError):  # no route to that peer: it does not count as having answered
                        ping.sendto(echo_request(own, peer, identifier), (str(peer), 0))
            for key, _ in selector.select(max(0.0, min(end, next_request) - time.monotonic())):
                with suppress(BlockingIOError):
                    key.data()
    return Outcome(unused, frozenset(answered), frozenset(arrived))


def _ping_socket(interface: str, family: int) -> socket.socket:
    """Return a raw socket for echo replies, and for IPv6 for neighbour solicitations."""
    if family == 4:
        opened = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMP)
    else:
        opened = socket.socket(socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMPV6)
        icmp.hear_only(opened, icmp.ECHO_REPLY[6], _SOLICITATION)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
    return opened

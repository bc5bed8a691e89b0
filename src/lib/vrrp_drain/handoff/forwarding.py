"""nftables rules that keep established connections alive while a VIP moves.

Whoever takes the VIP over gets the packets of connections that the leaving node goes on serving. It sends them there,
unchanged but for their TTL, at layer 2; the leaving node has the VIP on lo (handoff/vip_on_lo.py) and answers the client itself. Everything
happens in the kernel:

- A member's advert of the draining band (handoff/admission.py) says: its sender is leaving. Its address goes into the map ``leaving`` (the
  last one to leave counts), its MAC into the set ``leavers``; both forget after the window.
- A packet to a VIP in ``leaving``, of a connection that no socket here knows, goes on to the address in the map and is
  dropped here. Only a SYN alone may open a connection here; the rest, SYN-ACK and RST too, belongs to one that exists.
  Where no socket at all is found (haproxy does not listen) the packet cannot be ours either, and goes on as well.
- A socket that is no whole one is a handshake of ours, or the TIME_WAIT of an earlier connection from the same port; only the first
  may keep the packet. So a SYN that comes while anybody is in ``leaving`` is remembered in ``opening`` for as long as a handshake takes.
- A packet from the MAC of a leaver stays here: without that two nodes that both left within the window would play
  ping-pong. It may go on from a MASTER that never left: with a third node MASTER, the second still knows the first.
- MACs are not enough: an instance that was made anew has another one. So whatever is handed on has MOST_HOPS hops left at most; each
  handing-on takes one, and who gets it with its last one keeps it, and answers it. No packet goes round for longer.
- An ICMP error about packet size is copied, not moved: a host ignores one about a connection that it does not know.

A MASTER that dies sends no such advert, so its clients get their reset at once. Limits: ``socket wildcard`` tells a
listener from a connection, so the frontend must be bound to the wildcard address; with a listener bound to the VIP the
packet stays here, as without these rules. With SYN cookies the handshake's last packet looks like a foreign one. With
keepalived.use_vmac a leaver's adverts come from another MAC than its packets, so these rules must not be installed. A client's packet
that arrives with its last hop stays here.

Sources: nft(8) for the rules, the kernel's nft_dynset.c, nft_socket.c, nft_dup_ipv4.c; nf_dup_ipv4.c takes a hop from each copy.
"""

import socket
import struct
from collections.abc import Sequence

from vrrp_drain.linux.nftables.expressions import (
    ACCEPT,
    DELETE,
    DROP,
    EQ,
    ETHERNET,
    GOTO,
    GTE,
    IIFTYPE,
    L4PROTO,
    LINK,
    LTE,
    NEQ,
    NETWORK,
    TRANSPORT,
    UPDATE,
    WILDCARD,
    Expression,
    compare,
    counter,
    duplicate,
    immediate,
    lookup,
    mapped,
    mask,
    meta,
    payload,
    put,
    socket_is,
    verdict,
    write,
)
from vrrp_drain.linux.nftables.objects import Family, Order, new_elements, new_set, no_elements
from vrrp_drain.runtime.ip import IPAddress

LEAVING, LEAVERS, OPENING = "leaving", "leavers", "opening"
ARM, ARMED, UNKNOWN, SEND, CIRCLED, COPY = CHAINS = "arm", "armed", "unknown", "send", "circled", "copy"
MOST_HOPS = 4  # one more than a packet is ever handed on
_LEAVING_ID, _LEAVERS_ID, _OPENING_ID = 1, 2, 4
_SIZE = 65535  # of a set that rules fill; what nft takes
_OPENINGS = 1 << 18  # handshakes at a time: 50,000 new connections a second
_HANDSHAKE = 5.0  # seconds
_LATER = 1.0  # seconds that a MAC is known for longer than the address beside it
_SYN, _ACK = 0x02, 0x10  # RFC 9293 section 3.1
_GROUP_BIT = b"\1"  # of a MAC's first byte, IEEE 802
_ETHER_TYPE, _PORT_TYPE, _TYPE_BITS = 9, 13, 6  # nftables' own numbers of ether_addr and inet_service: only nft needs them, to print sets
_SECOND = {4: 9, 16: 2}  # register behind an address of so many bytes in register 1


def sets(family: Family, table: str, window: float) -> list[Order]:
    """Return the orders that make the sets; ``window`` in seconds."""
    ports = family.kind << _TYPE_BITS | _PORT_TYPE
    return [
        new_set(family, table, _LEAVING_ID, LEAVING, family.kind, family.size, seconds=window, data=True, size=_SIZE),
        new_set(family, table, _LEAVERS_ID, LEAVERS, _ETHER_TYPE, 6, seconds=window + _LATER, size=_SIZE),
        new_set(family, table, _OPENING_ID, OPENING, ports, family.size + 4, seconds=_HANDSHAKE, size=_OPENINGS),
    ]


def rules(family: Family, vips: Sequence[IPAddress], index: int) -> list[tuple[str, Sequence[Expression], str]]:
    """Return the rules as (chain, expressions, comment); ``index`` is the interface's."""
    not_from_leaver = [*_source_mac(), lookup(LEAVERS, inverted=True)]
    to_leaver = [*to_known(family), immediate(struct.pack("=I", index), register=2), duplicate()]
    last_hop = [payload(NETWORK, family.hops, 1), compare(b"\1", LTE)]
    few_hops = [
        *(payload(NETWORK, family.hops, 1), compare(bytes((MOST_HOPS + 1,)), GTE)),
        *(immediate(bytes((MOST_HOPS,))), write(NETWORK, family.hops, 1, family.checksum)),
    ]
    return [
        (ARM, [*_from_one_machine(), put(LEAVERS, UPDATE)], "its packets stay here"),
        *((ARM, _remember(family, vip), str(vip)) for vip in vips),
        (ARMED, _opens(family), "a handshake"),
        (ARMED, [*not_from_leaver, *_of_a_connection(), verdict(GOTO, UNKNOWN)], "of a connection"),
        (ARMED, [*not_from_leaver, *_too_big(family), verdict(GOTO, COPY)], "smaller packets, please"),
        (UNKNOWN, [socket_is(WILDCARD), compare(b"\1"), verdict(GOTO, SEND)], "only a listener knows it"),
        (UNKNOWN, [socket_is(WILDCARD), compare(b"\0"), verdict(ACCEPT)], "a connection here knows it"),
        (UNKNOWN, [*_sender(family), lookup(OPENING), verdict(ACCEPT)], "a handshake here knows it"),
        (UNKNOWN, [verdict(GOTO, SEND)], "nobody here knows it"),
        (SEND, [*last_hop, verdict(GOTO, CIRCLED)], "it went round"),
        (SEND, few_hops, "not for long"),
        (SEND, [counter(), *to_leaver, verdict(DROP)], "the leaving node knows it"),
        (CIRCLED, [counter(), verdict(ACCEPT)], "answered here"),
        (COPY, [*last_hop, verdict(GOTO, CIRCLED)], "it went round"),
        (COPY, few_hops, "not for long"),
        (COPY, to_leaver, "for the leaving node as well"),
    ]


def to_known(family: Family) -> list[Expression]:
    """Match a packet to a VIP in ``leaving``, and load who left."""
    return [payload(NETWORK, family.destination, family.size), mapped(LEAVING)]


def arming(family: Family, table: str, vips: Sequence[IPAddress], peer: IPAddress) -> list[Order]:
    """Return the orders that put ``peer`` into the map for each of ``vips`` of its family, instead of who is there."""
    there = [(vip.packed, peer.packed) for vip in vips if vip.version == peer.version]
    return [no_elements(family, table, LEAVING), *([new_elements(family, table, LEAVING, there)] if there else [])]


def disarming(family: Family, table: str, vips: Sequence[bytes]) -> Order:
    """Return the order that takes whoever is in the map for ``vips`` out of it."""
    return no_elements(family, table, LEAVING, vips)


def _remember(family: Family, vip: IPAddress) -> list[Expression]:
    """Map ``vip`` to the packet's source. An update alone would keep the peer that left before, and make it stay longer."""
    return [
        expression
        for op in (DELETE, UPDATE)
        for expression in (
            immediate(vip.packed),
            payload(NETWORK, family.source, family.size, register=2),
            put(LEAVING, op, data=True),
        )
    ]


def _of_a_connection() -> list[Expression]:
    """Match TCP but for a SYN alone: that opens a connection, here."""
    return _tcp_syn(NEQ)


def _opens(family: Family) -> list[Expression]:
    """Remember whose SYN it is."""
    return [*_tcp_syn(EQ), *_sender(family), put(OPENING, UPDATE)]


def _tcp_syn(op: int) -> list[Expression]:
    return [
        *(meta(L4PROTO), compare(bytes((socket.IPPROTO_TCP,)))),
        *(payload(TRANSPORT, 13, 1), mask(bytes((_SYN | _ACK,))), compare(bytes((_SYN,)), op)),
    ]


def _sender(family: Family) -> list[Expression]:
    """Load source address and port, one behind the other."""
    return [payload(NETWORK, family.source, family.size), payload(TRANSPORT, 0, 2, register=_SECOND[family.size])]


def _too_big(family: Family) -> list[Expression]:
    """RFC 1191 section 3, RFC 8201 section 4: it must reach the sender, or the connection stalls."""
    return [meta(L4PROTO), compare(bytes((family.icmp,))), payload(TRANSPORT, 0, 1), compare(bytes((family.too_big,)))]


def _source_mac() -> list[Expression]:
    return [meta(IIFTYPE), compare(ETHERNET), payload(LINK, 6, 6)]


def _from_one_machine() -> list[Expression]:
    """Load the source MAC, unless it is a group's."""
    return [meta(IIFTYPE), compare(ETHERNET), payload(LINK, 6, 1), mask(_GROUP_BIT), compare(b"\0"), payload(LINK, 6, 6)]

"""nftables rules that keep established connections alive while a VIP moves.

Whoever takes the VIP over gets the packets of connections that others go on serving. It sends them on, unchanged but for their TTL, at
layer 2; whoever serves them has the VIP on lo (handoff/vip_on_lo.py) and answers the client itself. Everything happens in the kernel:

- Several may have left at a time. A member's advert of the draining band (handoff/admission.py) says that its sender leaves and serves
  what it has; a hello says the same, and goes on saying it to whoever has started since. The sender is put into ``leavers``, at its place
  in the group, the VIPs into ``leaving``. Both forget after the window, which begins anew with each such hello. One that says that
  nothing is served there any more takes its sender out at once: before it stops.
- A packet to a VIP in ``leaving``, of a connection that no socket here knows (sockets.py), is handed on to one of them and dropped here.
  Only a SYN alone may open a connection here; the rest, SYN-ACK and RST too, belongs to one that exists. Where no socket at all is found
  (haproxy does not listen) the packet cannot be ours either, and goes on as well.
- Who gets a packet and does not know it either hands it on in the same way: the last one to leave is asked first, it has most
  connections, and then one after the other by their places in the group, from that one's place on and round. The keepalived link says
  whose advert is of which place, and each hello says it of its sender.
- How far it has come stands in its hops, which each handing-on takes one of. A client's has more than MOST_HOPS left: they are set to
  that. As long as there are more than LATER_HOPS it goes to places above that of whoever hands it on; at the last one it begins anew at
  the lowest, with LATER_HOPS; and where there is none above then, all have been asked. So no packet goes round, whatever the instances
  know of each other: each round goes up only, and there are two. Who gets it with its last hop keeps it, and answers it.
- An ICMP error about packet size is copied, not moved: a host ignores one about a connection that it does not know.

A MASTER that dies sends no such advert, so its clients get their reset at once. Limit: a client's packet that arrives with LATER_HOPS
left or fewer is taken for one that was handed on, and may not reach all of them.

Sources: nft(8) for the rules, the kernel's nft_dynset.c, nft_dup_ipv4.c; nf_dup_ipv4.c takes a hop from each copy.
"""

import socket
import struct
from collections.abc import Iterable, Mapping, Sequence

from vrrp_drain.linux.nftables.expressions import (
    ACCEPT,
    DELETE,
    DROP,
    GOTO,
    L4PROTO,
    LTE,
    NEQ,
    NETWORK,
    TRANSPORT,
    UPDATE,
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
    verdict,
    write,
)
from vrrp_drain.linux.nftables.objects import Family, Order, new_elements, new_set, no_elements
from vrrp_drain.runtime.ip import IPAddress
from vrrp_drain.vrrp import hello
from vrrp_drain.vrrp.hello import Open

from . import sockets

LEAVING, LEAVERS, PLACES = "leaving", "leavers", "places"
OTHERS = "others"
ARM, TOLD, ARMED, UNKNOWN, ONWARD, NEXT, SEND, CIRCLED = CHAINS = (
    *("arm", "told", "armed", "unknown"),
    *("onward", "next", "send", "circled"),
)
MOST_HOPS = 16  # one more than a packet is ever handed on
LATER_HOPS = MOST_HOPS // 2  # of one that has begun anew at the lowest place
_LEAVING_ID, _LEAVERS_ID, _PLACES_ID = 1, 2, 7
_SIZE = 65535  # of a set that rules fill; what nft takes
_NUMBER_TYPE = 4  # nftables' own of an integer: only nft needs it, to print sets
LATEST = b"\0"  # the place of the last one to leave, whoever it is; the others begin at 1
_PLACES = hello.PLACE_BITS + 1  # that there may be
_LEAST = 7  # the last place that is asked at the least: the group may have grown since our keepalived link was made


def sets(family: Family, table: str, window: float, ranks: Iterable[tuple[IPAddress, int]]) -> list[Order]:
    """Return the orders that make the sets; ``window`` in seconds, ``ranks`` are the places of peers by their addresses."""
    place = (_NUMBER_TYPE, len(LATEST))
    known = [(_key(rank), address.packed) for address, rank in ranks]
    return [
        new_set(family, table, _LEAVING_ID, LEAVING, family.kind, family.size, seconds=window, size=_SIZE),
        new_set(family, table, _LEAVERS_ID, LEAVERS, *place, seconds=window, data=family, size=_PLACES),
        new_set(family, table, _PLACES_ID, PLACES, *place, data=family, size=_PLACES),
        *([new_elements(family, table, PLACES, known)] if known else []),
        *sockets.sets(family, table),
    ]


def rules(
    family: Family, vips: Sequence[IPAddress], index: int, rank: int, ranks: Sequence[tuple[IPAddress, int]]
) -> list[tuple[str, Sequence[Expression], str]]:
    """Return the rules as (chain, expressions, comment); ``rank`` is our place, ``ranks`` are the others'.

    ``index`` is that of what packets are sent on by: the interface, or the tunnel (tunnel.py).
    """
    hops = payload(NETWORK, family.hops, 1)
    last = max(_LEAST, rank, *(each for _, each in ranks))

    def set_hops(number: int) -> list[Expression]:
        return [immediate(bytes((number,))), write(NETWORK, family.hops, 1, family.checksum)]

    def hand_to(place: bytes) -> list[Expression]:
        return [immediate(place), mapped(LEAVERS), immediate(struct.pack("=I", index), register=2), duplicate(), verdict(GOTO, SEND)]

    def to_ranks(among: Iterable[int]) -> list[tuple[str, Sequence[Expression], str]]:
        return [(NEXT, hand_to(_key(each)), f"place {hello.place(each)}") for each in among]

    is_at = [(each, [payload(NETWORK, family.source, family.size), compare(address.packed)]) for address, each in ranks]
    return [
        (ARM, [immediate(LATEST), *_its_sender(family, LEAVERS)], "the last one to leave"),
        *((ARM, [*match, immediate(_key(each)), *_its_sender(family, LEAVERS)], f"place {hello.place(each)}") for each, match in is_at),
        *((ARM, [immediate(vip.packed), put(LEAVING, UPDATE)], str(vip)) for vip in vips),
        (TOLD, [*_place_said(), compare(b"\0"), verdict(DROP)], "of an earlier release"),
        (TOLD, [*_place_said(), *_its_sender(family, PLACES)], "where it is"),
        (TOLD, [*_said(Open.UNTOLD), verdict(DROP)], "no more than that"),
        (TOLD, [*_said(Open.NONE), immediate(LATEST), *_its_sender(family, LEAVERS, DELETE)], "it may be the last to leave"),
        (TOLD, [*_said(Open.NONE), *_place_said(), *_its_sender(family, LEAVERS, DELETE), verdict(DROP)], "it has ended"),
        (TOLD, [*_said(Open.LEFT), *_place_said(), *_its_sender(family, LEAVERS)], "it leaves"),
        (TOLD, [*_place_said(), *_its_sender(family, LEAVERS, UPDATE)], "it serves what it has"),
        *((TOLD, [immediate(vip.packed), put(LEAVING, UPDATE)], str(vip)) for vip in vips),
        (TOLD, [verdict(DROP)], "keepalived need not hear it"),
        *sockets.remembering(family, ARMED),
        (ARMED, [*sockets.is_syn(NEQ), verdict(GOTO, UNKNOWN)], "of a connection"),
        (ARMED, [*_too_big(family), verdict(GOTO, ONWARD)], "smaller packets, please"),
        *sockets.telling(family, UNKNOWN, ONWARD),
        (ONWARD, [hops, compare(b"\1", LTE), verdict(GOTO, CIRCLED)], "it went round"),
        (ONWARD, [hops, compare(bytes((MOST_HOPS,)), LTE), verdict(GOTO, NEXT)], "it was handed on"),
        (ONWARD, set_hops(MOST_HOPS), "not for long"),
        (ONWARD, hand_to(LATEST), "the last one to leave"),
        (ONWARD, [verdict(GOTO, NEXT)], "it has ended"),
        *to_ranks(range(rank + 1, last + 1)),
        (NEXT, [hops, compare(bytes((LATER_HOPS,)), LTE), verdict(ACCEPT)], "all were asked"),
        (NEXT, set_hops(LATER_HOPS), "from the lowest place on"),
        *to_ranks(range(rank)),
        (SEND, [meta(L4PROTO), compare(bytes((family.icmp,))), verdict(ACCEPT)], "a copy was sent"),
        (SEND, [counter(), verdict(DROP)], "whoever serves it gets it"),
        (CIRCLED, [counter(), verdict(ACCEPT)], "answered here"),
    ]


def to_known(family: Family) -> list[Expression]:
    """Match a packet to a VIP that somebody has left."""
    return [payload(NETWORK, family.destination, family.size), lookup(LEAVING)]


def beginning(family: Family, vips: Sequence[IPAddress], chain: str, elsewhere: Sequence[Expression]) -> list[sockets.Rule]:
    """Return the rules of ``chain``, which every packet meets, and those of OTHERS and ARMED that come before all else.

    While nobody has left, TCP costs a look at its protocol, and one at its destination: in the one VIP where there is one, in the set of
    those that were left otherwise, and if it is to a VIP. From which interface it came (``elsewhere``: from another one) is asked later.
    With a tunnel or a virtual MAC there are several ways in, and each is asked for first: this is not for them.
    """
    to_ours = [payload(NETWORK, family.destination, family.size), compare(vips[0].packed)] if len(vips) == 1 else []
    to_left = [*to_known(family), verdict(GOTO, ARMED)]
    no_tcp = [payload(NETWORK, family.protocol, 1), compare(bytes((socket.IPPROTO_TCP,)), NEQ)]
    return [
        (chain, [*no_tcp, verdict(GOTO, OTHERS)], "no TCP, or behind extension headers"),
        (chain, [*to_ours, *to_left], "somebody has left"),
        (OTHERS, to_left, "somebody has left"),
        (ARMED, [*elsewhere, verdict(ACCEPT)], "from elsewhere"),
    ]


def arming(
    family: Family, table: str, vips: Sequence[IPAddress], peer: IPAddress, there: Mapping[str, Mapping[bytes, bytes]]
) -> list[Order]:
    """Return the orders that let ``peer`` be the last one to leave ``vips`` of its family; ``there`` is what each set and map has now."""
    at = [place for place, address in there[PLACES].items() if address == peer.packed]
    wanted: dict[str, list[tuple[bytes, bytes | None]]] = {
        LEAVING: [(vip.packed, None) for vip in vips if vip.version == peer.version],
        LEAVERS: [(place, peer.packed) for place in (LATEST, *at)],
    }
    orders = []
    for name, elements in wanted.items():
        if stale := [key for key, _ in elements if key in there[name]]:
            orders.append(no_elements(family, table, name, stale))
        if elements:
            orders.append(new_elements(family, table, name, elements))
    return orders


def disarming(family: Family, table: str, places: Sequence[bytes]) -> Order:
    """Return the order that takes whoever is at ``places`` out of those who are handed packets."""
    return no_elements(family, table, LEAVERS, places)


def _key(rank: int) -> bytes:
    return bytes((hello.place(rank),))


def _its_sender(family: Family, name: str, *operations: int) -> list[Expression]:
    """Map register 1 to the packet's source, instead of who is there: an update alone would keep that one. Or do ``operations`` with it."""
    source = payload(NETWORK, family.source, family.size, register=2)
    return [source, *(put(name, op, data=True) for op in operations or (DELETE, UPDATE))]


def _place_said() -> list[Expression]:
    """Load the place that the sender of a hello says it has; 0 of an earlier release."""
    return [payload(TRANSPORT, hello.OPEN_OFFSET, 1), mask(bytes((hello.PLACE_BITS,)))]


def _said(found: Open) -> list[Expression]:
    """Match a hello that says ``found`` of connections that are open at its sender."""
    return [payload(TRANSPORT, hello.OPEN_OFFSET, 1), mask(bytes((0xFF ^ hello.PLACE_BITS,))), compare(bytes((found,)))]


def _too_big(family: Family) -> list[Expression]:
    """RFC 1191 section 3, RFC 8201 section 4: it must reach the sender, or the connection stalls."""
    return [meta(L4PROTO), compare(bytes((family.icmp,))), payload(TRANSPORT, 0, 1), compare(bytes((family.too_big,)))]

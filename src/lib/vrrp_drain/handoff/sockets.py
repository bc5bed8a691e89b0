"""nftables rules that tell which packets are of a socket here, however its listener is bound.

They are asked while somebody has left, of TCP to a VIP but for SYNs. In this order:

- A handshake that began here in the last seconds keeps its packets: a SYN that comes while anybody is in ``leaving`` is remembered in
  ``opening``, with both ends. Its last packet finds no whole socket: a request, or with SYN cookies nothing but the listener.
- A socket bound to the wildcard address is a listener: it does not know the packet.
- One with a mark is a connection, below; so is one that is bound to an address of its own, unless somebody listens at that address
  itself (``bound``): then the listener looks like its connections, all but for the mark.
- Connections of such a frontend that are older than the marks are in ``older``.
- What is no whole socket and no handshake is the TIME_WAIT of an earlier connection from the same port.

What is not sure stays here: a frontend of which we do not know is cut by a move, as without these rules, and nobody else is.

The mark: with net.ipv4.tcp_fwmark_accept an accepted socket inherits that of its SYN, with a cookie that of the ACK (the kernel's
inet_request_mark). So a packet to a frontend that is bound to a VIP gets one as the last thing before its socket, behind routing and
everybody else's rules, unless it has one: what others marked keeps theirs, and does as well. So does the one that haproxy's set-mark puts
in its place. Frontends that are bound to the wildcard need none, and have none. The sysctl: inherited_marks.py.

``opening`` under a flood of SYNs: whoever comes beyond the _CALM first ones of a second is remembered for _HURRIED seconds alone. So what
has gone makes room before the set is full, up to 100,000 SYNs a second: the kernel clears up once a second, which counts as well.

Sources: the kernel's nft_socket.c, nft_dynset.c, nft_limit.c, tcp_input.c; nft(8).
"""

import ipaddress
import socket
import struct
from collections.abc import Collection, Iterable, Iterator, Sequence

from vrrp_drain.linux.nftables.expressions import (
    ACCEPT,
    EQ,
    GOTO,
    L4PROTO,
    MARK,
    NEQ,
    NETWORK,
    SOCKET_MARK,
    TRANSPORT,
    UPDATE,
    WILDCARD,
    Expression,
    compare,
    immediate,
    lookup,
    mask,
    meta,
    more_than,
    payload,
    put,
    set_meta,
    socket_is,
    verdict,
)
from vrrp_drain.linux.nftables.objects import LAST, Family, Order, new_chain, new_elements, new_rule, new_set, no_elements, no_rules
from vrrp_drain.linux.sock_diag import End

OPENING, MARKED, BOUND, OLDER = "opening", "marked", "bound", "older"
MARKS = "marks"
MOST_OLDER = 1 << 16
_OPENING_ID, _MARKED_ID, _BOUND_ID, _OLDER_ID = 4, 24, 25, 26
_OPENINGS = 1 << 18  # handshakes at a time
_HANDSHAKE, _HURRIED = 5.0, 1.0  # seconds
_CALM = 10_000  # SYNs a second
_ENDS = 4096  # addresses with ports where somebody may listen
_SYN, _ACK = 0x02, 0x10  # RFC 9293 section 3.1
_PORT_TYPE, _TYPE_BITS = 13, 6  # nftables' own numbers: only nft needs them, to print sets
_BEHIND = {4: (9, 10, 11), 16: (12, 13, 17)}  # registers of source port, destination and its port behind a source of so many bytes
_AT_A_TIME = 500  # elements in a message, whose length has 16 bits
_NO_MARK = bytes(4)

Rule = tuple[str, Sequence[Expression], str]  # chain, expressions, comment


def sets(family: Family, table: str) -> list[Order]:
    """Return the orders that make the sets."""
    end, ends = _end_key(family), both_ends_key(family)
    return [
        new_set(family, table, _OPENING_ID, OPENING, *ends, seconds=_HANDSHAKE, size=_OPENINGS),
        new_set(family, table, _MARKED_ID, MARKED, *end, size=_ENDS),
        new_set(family, table, _BOUND_ID, BOUND, *end, size=_ENDS),
        new_set(family, table, _OLDER_ID, OLDER, *ends, size=MOST_OLDER),
    ]


def remembering(family: Family, chain: str) -> list[Rule]:
    """Return the rules that remember who opens a connection here."""
    syn = is_syn(EQ)
    return [
        (
            chain,
            [*syn, more_than(_CALM), *both_ends(family), put(OPENING, UPDATE, seconds=_HURRIED), verdict(ACCEPT)],
            "a flood of handshakes",
        ),
        (chain, [*syn, *both_ends(family), put(OPENING, UPDATE)], "a handshake"),
    ]


def telling(family: Family, chain: str, onward: str) -> list[Rule]:
    """Return the rules of ``chain``, which tells whose a packet is; what is nobody's here goes to the chain ``onward``."""
    whole = [socket_is(WILDCARD), compare(b"\0")]
    return [
        (chain, [*both_ends(family), lookup(OPENING), verdict(ACCEPT)], "a handshake here knows it"),
        (chain, [socket_is(WILDCARD), compare(b"\1"), verdict(GOTO, onward)], "only a listener knows it"),
        (chain, [socket_is(SOCKET_MARK), compare(_NO_MARK, NEQ), verdict(ACCEPT)], "a connection here knows it, by its mark"),
        (chain, [*whole, *_here(family), lookup(BOUND, inverted=True), verdict(ACCEPT)], "a connection here knows it"),
        (chain, [*whole, *both_ends(family), lookup(OLDER), verdict(ACCEPT)], "a connection here that is older than marks"),
        (chain, [verdict(GOTO, onward)], "nobody here knows it"),
    ]


def marking(family: Family, table: str, mark: int, there: Collection[End]) -> list[Order]:
    """Return the orders that have connections to the ends ``there`` marked from now on; what is in place already is put there anew."""
    unmarked = [meta(MARK), compare(_NO_MARK), immediate(struct.pack("=I", mark)), set_meta(MARK)]
    tcp = [meta(L4PROTO), compare(bytes((socket.IPPROTO_TCP,)))]
    return [
        new_chain(family, table, MARKS, hook=LAST),
        no_rules(family, table, MARKS),
        new_rule(family, table, MARKS, [*tcp, *_here(family), lookup(MARKED), *unmarked], "its connection inherits it"),
        new_elements(family, table, MARKED, [(end(each), None) for each in there]),
    ]


def telling_apart(family: Family, table: str, there: Iterable[End], older: Iterable[tuple[End, End]]) -> Iterator[list[Order]]:
    """Yield orders, a transaction each: from the last one on a listener at ``there`` is told from its connections.

    ``older`` are connections there, by the client and by the end here, that have no mark.
    """
    keys = [(end(client) + end(here), None) for client, here in older]
    yield [no_elements(family, table, OLDER)]
    for at in range(0, len(keys), _AT_A_TIME):
        yield [new_elements(family, table, OLDER, keys[at : at + _AT_A_TIME])]
    yield [new_elements(family, table, BOUND, [(end(each), None) for each in there])]


def is_syn(op: int) -> list[Expression]:
    """Match TCP that is a SYN alone, or is not: that opens a connection, here."""
    return [
        *(meta(L4PROTO), compare(bytes((socket.IPPROTO_TCP,)))),
        *(payload(TRANSPORT, 13, 1), mask(bytes((_SYN | _ACK,))), compare(bytes((_SYN,)), op)),
    ]


def end(there: End) -> bytes:
    """Return an address and a port as sets have them."""
    address, port = there
    return address.packed + port.to_bytes(2, "big") + bytes(2)


def end_of(key: bytes, family: Family) -> End:
    """Return the address and the port that ``end`` made ``key`` of."""
    return ipaddress.ip_address(key[: family.size]), int.from_bytes(key[family.size : family.size + 2], "big")


def _end_key(family: Family) -> tuple[int, int]:
    """Return the type of an address with a port, and how many bytes it has."""
    return family.kind << _TYPE_BITS | _PORT_TYPE, family.size + 4


def both_ends_key(family: Family) -> tuple[int, int]:
    """Return the same of what ``both_ends`` loads."""
    kind, size = _end_key(family)
    return kind << 2 * _TYPE_BITS | kind, 2 * size


def both_ends(family: Family) -> list[Expression]:
    """Load whose packet it is and to whom: four registers, one behind the other."""
    source_port, destination, port = _BEHIND[family.size]
    return [
        payload(NETWORK, family.source, family.size),
        payload(TRANSPORT, 0, 2, register=source_port),
        payload(NETWORK, family.destination, family.size, register=destination),
        payload(TRANSPORT, 2, 2, register=port),
    ]


def _here(family: Family) -> list[Expression]:
    """Load to whom it is."""
    return [payload(NETWORK, family.destination, family.size), payload(TRANSPORT, 2, 2, register=_BEHIND[family.size][0])]

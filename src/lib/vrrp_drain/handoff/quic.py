"""nftables rules for HTTP/3: which packet of QUIC is of a connection that lives here.

They are asked while somebody has left, of UDP to a VIP at the ports that ``vrrp_drain.quic_ports`` names, and of nothing else: what other
services on the VIP get over UDP stays here. A packet stays here as well

- that opens a connection: its first byte says so. A long header that is not of the type Handshake is an Initial, 0-RTT, or of a
  version that nobody knows yet; nobody sends one of those on a connection that is established.
- of which a connection here knows. haproxy gives each a socket of its own, bound to the VIP and connected to the client
  (``tune.quic.socket-owner connection``, its default): the kernel finds that one before the listener's, which is bound to the wildcard.
- of whoever has opened a connection here since, as long as it is not silent for long: where haproxy may not give it a socket of its own
  (without CAP_NET_BIND_SERVICE, for a port below 1024) a move cuts the connections that there were, and no new ones.

The rest is of a connection that somebody else has: short headers, and the end of a handshake that began before the VIP moved. That one's
haproxy knows the connection by its socket, or by its connection id where the client has another address since.

Sources: RFC 9000 sections 17.2 and 17.3 for version 1, RFC 9369 section 3.2 for version 2, whose 0-RTT looks like a Handshake of version 1:
what is lost of it is sent again. haproxy's configuration manual.
"""

import socket
from collections.abc import Sequence

from vrrp_drain.linux.nftables.expressions import (
    ACCEPT,
    GOTO,
    L4PROTO,
    TRANSPORT,
    UPDATE,
    WILDCARD,
    Expression,
    compare,
    lookup,
    mask,
    meta,
    payload,
    put,
    socket_is,
    verdict,
)
from vrrp_drain.linux.nftables.objects import Family, Order, new_set

from .sockets import both_ends, both_ends_key

QUIC, OPENED = "quic", "quic_opened"
_OPENED_ID = 23
_MOST_OPENED = 1 << 16
_SILENT = 60.0  # seconds; haproxy ends idle connections before that, by its default
_FIRST_BYTE = 8  # behind UDP's header
_LONG, _ESTABLISHING = 0x80, 0x20  # the bit of a long header; that of its type which Handshake has, and Initial has not

Rule = tuple[str, Sequence[Expression], str]  # chain, expressions, comment


def sets(family: Family, table: str) -> list[Order]:
    """Return the orders that make the set."""
    return [new_set(family, table, _OPENED_ID, OPENED, *both_ends_key(family), seconds=_SILENT, size=_MOST_OPENED)]


def rules(family: Family, ports: Sequence[int], armed: str, onward: str) -> list[Rule]:
    """Return the rules: from the chain ``armed``, and for what is of a connection that is elsewhere to ``onward``."""
    udp = [meta(L4PROTO), compare(bytes((socket.IPPROTO_UDP,)))]
    opens = [payload(TRANSPORT, _FIRST_BYTE, 1), mask(bytes((_LONG | _ESTABLISHING,))), compare(bytes((_LONG,)))]
    return [
        *((armed, [*udp, payload(TRANSPORT, 2, 2), compare(each.to_bytes(2, "big")), verdict(GOTO, QUIC)], "QUIC") for each in ports),
        (QUIC, [*opens, *both_ends(family), put(OPENED, UPDATE), verdict(ACCEPT)], "it opens a connection"),
        (QUIC, [*opens, verdict(ACCEPT)], "it opens a connection, of too many"),
        (QUIC, [socket_is(WILDCARD), compare(b"\0"), verdict(ACCEPT)], "a connection here knows it"),
        (QUIC, [*both_ends(family), lookup(OPENED), put(OPENED, UPDATE), verdict(ACCEPT)], "it was opened here"),
        (QUIC, [verdict(GOTO, onward)], "nobody here knows it"),
    ]

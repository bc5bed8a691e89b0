"""nftables rules for adverts that come in: whose keepalived hears, and whose word arms the handoff.

A packet of protocol 112 on our interface is one of these:

- A hello (vrrp/hello.py) with our token: its sender becomes a member, and what it says of itself is kept: whether it is away for a while,
  or has ended. One that names its sender's address of the other family says that alone, which is kept too. Other hellos are for others.
- Not of our virtual router: none of our business.
- Of a member, from this segment (TTL 255), or over as many routers as keepalived.unicast_hops allows: keepalived gets it, whatever it
  says. One of the draining band that is whole, for our VIP and of this segment says that its sender leaves, and arms the handoff
  (handoff/forwarding.py): what is handed on goes past no router, which would send it back to whoever has the VIP; but in a tunnel it does.
- Of anybody else: in a closed group, where the addresses of all members are known, it is dropped and counted. In an open one it
  passes if it is what keepalived would take, in length, version and VIP: it may be of a member that has not said hello.
  In the family that keepalived does not listen in it passes: the same VRID may be another group's there (RFC 9568 section 1).

Why before keepalived: an advert that it rejects still disturbs it. Its timer runs out while it is busy with one that has a wrong
checksum, and a MASTER answers every lower one with an advert and gratuitous ARP of its own.

An address in ``nobody`` (ours, a VIP, a broadcast address) and one of a group or of no host never gets in. Checksums are not looked at:
nft cannot, and whoever may forge the source can compute one.

Sources: RFC 9568 section 5.2, RFC 3768 section 5.3 for version 2.
"""

import ipaddress
from collections.abc import Iterable, Sequence

from vrrp_drain.linux.nftables.expressions import (
    ACCEPT,
    ADD,
    DELETE,
    DROP,
    GOTO,
    GTE,
    L4PROTO,
    LT,
    LTE,
    NEQ,
    NETWORK,
    TRANSPORT,
    UPDATE,
    Expression,
    compare,
    counter,
    lookup,
    meta,
    payload,
    put,
    verdict,
)
from vrrp_drain.linux.nftables.objects import Family, Order, new_elements, new_set
from vrrp_drain.runtime import ip
from vrrp_drain.runtime.ip import IPAddress
from vrrp_drain.vrrp import bands, hello
from vrrp_drain.vrrp.advert import TYPE_ADVERT

from . import virtual_mac

MEMBERS, AWAY, ENDED, FURTHER = "members", "away", "ended", "further"
ADVERTS, HELLO, WORD, MEMBER, REFUSED = CHAINS = "adverts", "hello", "word", "member", "refused"
MOST_MEMBERS = 128  # whoever has copied our token fills no more than that
REMEMBERED = 86400.0  # seconds for which a peer's word counts, unless it says another one
DRAINING = (bands.LOWEST_BASE + bands.Band.DRAINING.value, bands.HIGHEST + bands.Band.DRAINING.value)
_MEMBERS_ID, _AWAY_ID, _ENDED_ID, _FURTHER_ID = 3, 5, 6, 8
_HEADER, _AUTHENTICATION = 8, 8  # bytes
_V4_HEADER = b"\x45"  # version 4, five words: no options
_MULTICAST_V4, _MULTICAST_V6 = b"\xe0", b"\xff"  # from here on no address is a host's, RFC 1112 section 4, RFC 4291 section 2.7


def members(family: Family, table: str, named: set[IPAddress], learned: set[IPAddress]) -> list[Order]:
    """Return the orders that make the set of members: who is ``named`` by the link, and who said hello before as far as there is room.

    The kernel would refuse all of our rules for one member too many.
    """
    size = max(MOST_MEMBERS, 2 * len(named))
    known = [*_sorted(named), *_sorted(learned - named)][:size]
    there = [(each.packed, None) for each in known]
    made = new_set(family, table, _MEMBERS_ID, MEMBERS, family.kind, family.size, size=size)
    return [made, *([new_elements(family, table, MEMBERS, there)] if there else [])]


def words(family: Family, table: str, ended: Iterable[IPAddress]) -> list[Order]:
    """Return the orders that make the sets of who is away and who has ended, of whom some are known already."""
    there = [(each.packed, None) for each in _sorted(ended)][:MOST_MEMBERS]
    made = (
        new_set(family, table, number, name, family.kind, family.size, seconds=REMEMBERED, size=MOST_MEMBERS)
        for number, name in ((_AWAY_ID, AWAY), (_ENDED_ID, ENDED))
    )
    return [*made, *([new_elements(family, table, ENDED, there)] if there else [])]


def further(family: Family, table: str, other: Family | None) -> list[Order]:
    """Return the order that makes the map of members to their addresses of the ``other`` family, if there is one."""
    if other is None:
        return []
    size = MOST_MEMBERS
    return [new_set(family, table, _FURTHER_ID, FURTHER, family.kind, family.size, seconds=REMEMBERED, data=other, size=size)]


def _sorted(addresses: Iterable[IPAddress]) -> list[IPAddress]:
    return sorted(addresses, key=lambda each: each.packed)


def rules(
    family: Family,
    vrid: int,
    version: int,
    vip: IPAddress,
    token: bytes,
    nobody: Iterable[IPAddress],
    *,
    guarded: bool,
    closed: bool,
    hops: int,
    far: bool,
    arms: str,
    told: str,
    other: Family | None = None,
    virtual: bool = False,
) -> list[tuple[str, Sequence[Expression], str]]:
    """Return the rules as (chain, expressions, comment).

    ``arms`` is the chain for who says that it leaves, ``told`` that for hellos, which drops them; they are nothing without a handoff.

    ``version`` is VRRP's in this family, ``vip`` the address that stands in adverts, ``hops`` how many routers may be between us and
    a member: one behind them arms only where what is handed on goes as ``far``. Not ``guarded``: keepalived does not listen here. ``other``
    is the other family, where there are VIPs of both. ``virtual``: the VIP has a MAC of its own (virtual_mac.py).
    """
    introduced = [*_near(family, hops), *_says(family, token)]
    here = _near(family, 0) if hops and not far else []
    found: list[tuple[str, Sequence[Expression], str]] = [
        (ADVERTS, [*_starts(bytes((hello.VERSION_TYPE, hello.NO_ROUTER, vrid))), verdict(GOTO, HELLO)], "a peer introduces itself"),
        (ADVERTS, [payload(TRANSPORT, 1, 1), compare(bytes((vrid,)), NEQ), verdict(ACCEPT)], "of another virtual router"),
        (ADVERTS, [*from_member(family, hops), verdict(GOTO, MEMBER)], "of a member"),
    ]
    if guarded and not closed:
        plausible = [*_near(family, hops), *_whole(family, version), *_for(vip)]
        found.append((ADVERTS, [*plausible, verdict(ACCEPT)], "of somebody who may be a member"))
    if guarded:
        found.append((ADVERTS, [verdict(GOTO, REFUSED)], "of nobody we know"))
    if other is not None:
        named = [*_near(family, 0), *_says(family, token, other.size), *_from_somebody(family, nobody)]
        told_so = payload(TRANSPORT, hello.FURTHER_OFFSET, other.size, register=2)
        kept = [put(FURTHER, op, data=True) for op in (DELETE, UPDATE)]  # an update alone would keep what it said before
        found.append((HELLO, [*named, told_so, *kept, verdict(DROP)], "its address of the other family"))
    found += [
        (HELLO, [*introduced, *_from_somebody(family, nobody), put(MEMBERS, ADD), verdict(GOTO, WORD)], "a member from now on"),
        (HELLO, [verdict(DROP)], "to somebody else"),
        (WORD, [*_sender(family), put(AWAY, DELETE)], "it says anew what it is to do"),
        (WORD, [*_sender(family), put(ENDED, DELETE)], "it says anew what it is to do"),
        (WORD, [*_word(hello.Word.LEAVES), *_sender(family), put(AWAY, UPDATE)], "away for a while"),
        (WORD, [*_word(hello.Word.ENDS), *_sender(family), put(ENDED, UPDATE)], "it has ended"),
        *([(WORD, [*here, verdict(GOTO, told)], "what is open there")] if told else []),
        (WORD, [verdict(DROP)], "keepalived need not hear it"),
        (REFUSED, [counter(), verdict(DROP)], "keepalived does not hear it"),
    ]
    if virtual:
        found.append((MEMBER, [*_whole(family, version), *_for(vip), *virtual_mac.noted(virtual_mac.HEARD, vip)], "a member is MASTER"))
    if arms:
        leaves = [payload(TRANSPORT, 2, 1), compare(bytes(DRAINING[:1]), GTE), compare(bytes(DRAINING[1:]), LTE)]
        found.append((MEMBER, [*here, *_whole(family, version), *_for(vip), *leaves, verdict(GOTO, arms)], "a member is leaving"))
    return found


def is_advert() -> list[Expression]:
    """Match protocol 112, behind whatever extension headers: keepalived's socket gets it from there as well.

    What is asked of the advert itself stands in other chains: nft 1.0.6 aborts when it prints ``@th`` after this in one rule.
    """
    return [meta(L4PROTO), compare(bytes((ip.PROTOCOL,)))]


def from_member(family: Family, hops: int) -> list[Expression]:
    """Match what a member sent, with at most ``hops`` routers between it and us."""
    return [*_near(family, hops), *_sender(family), lookup(MEMBERS)]


def _sender(family: Family) -> list[Expression]:
    return [payload(NETWORK, family.source, family.size)]


def _word(said: hello.Word) -> list[Expression]:
    return [payload(TRANSPORT, hello.WORD_OFFSET, 1), compare(bytes((said,)))]


def _near(family: Family, hops: int) -> list[Expression]:
    """Match what at most ``hops`` routers have passed on (RFC 5082)."""
    nearest = [payload(NETWORK, family.hops, 1), compare(bytes((ip.TTL,)))]
    return [nearest[0], compare(bytes((ip.TTL - hops,)), GTE)] if hops else nearest


def _starts(data: bytes) -> list[Expression]:
    return [expression for offset, byte in enumerate(data) for expression in (payload(TRANSPORT, offset, 1), compare(bytes((byte,))))]


def _whole(family: Family, version: int) -> list[Expression]:
    """Match an advert of one address, of just its length: CARP's packets begin with the same byte, and are longer."""
    size = _HEADER + family.size + (_AUTHENTICATION if version == 2 else 0)
    return [*_sized(family, size), *_starts(bytes((version << 4 | TYPE_ADVERT,))), payload(TRANSPORT, 3, 1), compare(b"\1")]


def _for(vip: IPAddress) -> list[Expression]:
    return [payload(TRANSPORT, _HEADER, len(vip.packed)), compare(vip.packed)]


def _says(family: Family, token: bytes, more: int = 0) -> list[Expression]:
    """Match what is as long as a hello and ``more`` bytes, and holds our token."""
    size = _HEADER + hello.TOKEN_BYTES + more
    return [*_sized(family, size), payload(TRANSPORT, _HEADER, hello.TOKEN_BYTES), compare(token)]


def _sized(family: Family, size: int) -> list[Expression]:
    """Match what has ``size`` bytes after its IP header, one without options or extension headers."""
    plain, first = (0, _V4_HEADER) if family.header else (family.protocol, bytes((ip.PROTOCOL,)))
    return [
        payload(NETWORK, plain, 1),
        compare(first),
        payload(NETWORK, family.length, 2),
        compare((family.header + size).to_bytes(2, "big")),
    ]


def _from_somebody(family: Family, nobody: Iterable[IPAddress]) -> list[Expression]:
    """Load the source, unless it is none that a host of somebody else's can have."""
    first = _MULTICAST_V4 if family.size == 4 else _MULTICAST_V6
    unspecified = bytes(family.size)
    others = sorted({each.packed for each in nobody if len(each.packed) == family.size})
    return [
        *(payload(NETWORK, family.source, 1), compare(first, LT)),
        payload(NETWORK, family.source, family.size),
        *(compare(each, NEQ) for each in (unspecified, *others)),
    ]


def is_somebodys(address: IPAddress) -> bool:
    """Tell whether a host can have ``address`` on a segment."""
    is_broadcast = address == ipaddress.IPv4Address("255.255.255.255")
    return not (address.is_multicast or address.is_unspecified or address.is_loopback or is_broadcast)

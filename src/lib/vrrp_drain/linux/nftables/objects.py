"""What nftables holds: tables, sets, chains, rules, and the orders of a transaction that make them and take them away.

No rule of ours is known here. Source: linux/netfilter/nf_tables.h.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, NamedTuple

from ..netlink import APPEND, CREATE
from .expressions import ACCEPT, Expression, value


class Hook(NamedTuple):
    """Where a base chain sees packets, and behind whose chains (NF_INET_*, NF_IP_PRI_*, linux/netfilter.h, linux/netfilter_ipv4.h)."""

    number: int
    priority: int


FIRST = Hook(0, -301)  # before routing, and before raw's chains (-300), connection tracking (-200) and mangle's (-150)
GOING_OUT = Hook(3, -150)  # what this machine sends itself, NF_INET_LOCAL_OUT
ARRIVING_ARP = Hook(0, 0)  # NF_ARP_IN, linux/netfilter_arp.h
LAST = Hook(1, 1000)  # before a local socket gets it, behind everybody else


class Kind(IntEnum):
    """NFT_MSG_*: what a message does, or asks for."""

    NEWTABLE = 0
    GETTABLE = 1
    DELTABLE = 2
    NEWCHAIN = 3
    GETCHAIN = 4
    NEWRULE = 6
    GETRULE = 7
    DELRULE = 8
    NEWSET = 9
    GETSET = 10
    NEWSETELEM = 12
    GETSETELEM = 13
    DELSETELEM = 14


class Family(NamedTuple):
    """Where things are in a packet; ``number`` is NFPROTO_*, ``kind`` nftables' own of the address type. Offsets and sizes in bytes."""

    number: int
    kind: int
    size: int
    source: int
    destination: int
    protocol: int
    hops: int
    checksum: int | None  # of the header
    length: int  # of the packet (IPv4), or of what follows the header (IPv6)
    header: int  # bytes of the header that ``length`` counts
    icmp: int
    too_big: int  # ICMP type of an error about packet size; IPv4: destination unreachable, of which it is one


FAMILIES = {
    4: Family(2, 7, 4, 12, 16, protocol=9, hops=8, checksum=10, length=2, header=20, icmp=1, too_big=3),
    6: Family(10, 8, 16, 8, 24, protocol=6, hops=7, checksum=None, length=4, header=0, icmp=58, too_big=2),
}
INET, NETDEV = 1, 5  # NFPROTO_*: of tables for both families, and for what an interface takes in
ARP = Family(3, *(0,) * 11)  # no family of addresses, but one of tables: nothing but its number means anything


class Order(NamedTuple):
    """One message of a transaction: what to do, in which family, with which attributes."""

    kind: Kind
    family: int
    attributes: Sequence[tuple[str, Any]]
    flags: int = CREATE


def new_table(family: Family, table: str) -> Order:
    return Order(Kind.NEWTABLE, family.number, [("NFTA_TABLE_NAME", table)])


def removal(table: str, *numbers: int) -> list[Order]:
    """Return the orders that take the tables of these families away, NFPROTO_*, whether they are there or not."""
    return [Order(kind, each, [("NFTA_TABLE_NAME", table)]) for each in numbers for kind in (Kind.NEWTABLE, Kind.DELTABLE)]


def new_set(
    family: Family,
    table: str,
    number: int,
    name: str,
    kind: int,
    length: int,
    *,
    seconds: float = 0,
    data: Family | None = None,
    size: int,
) -> Order:
    """Make a set that rules may fill: with ``size`` elements, each for ``seconds`` or for good; with ``data`` a map to its addresses."""
    flags = {"NFT_SET_EVAL", *(["NFT_SET_TIMEOUT"] if seconds else []), *(["NFT_SET_MAP"] if data else [])}
    attributes: list[tuple[str, Any]] = [
        ("NFTA_SET_TABLE", table),
        ("NFTA_SET_NAME", name),
        ("NFTA_SET_ID", number),
        ("NFTA_SET_KEY_TYPE", kind),
        ("NFTA_SET_KEY_LEN", length),
        ("NFTA_SET_FLAGS", flags),
        *([("NFTA_SET_TIMEOUT", round(seconds * 1000))] if seconds else []),
        ("NFTA_SET_DESC", {"attrs": [("NFTA_SET_DESC_SIZE", size)]}),
        *([("NFTA_SET_DATA_TYPE", data.kind), ("NFTA_SET_DATA_LEN", data.size)] if data else []),
    ]
    return Order(Kind.NEWSET, family.number, attributes)


def new_elements(family: Family, table: str, name: str, elements: Sequence[tuple[bytes, bytes | None]]) -> Order:
    """Put keys, or in a map keys with their values, into a set."""
    found = [
        {"attrs": [("NFTA_SET_ELEM_KEY", value(key)), *([("NFTA_SET_ELEM_DATA", value(data))] if data is not None else [])]}
        for key, data in elements
    ]
    return Order(Kind.NEWSETELEM, family.number, [*elements_of(table, name), ("NFTA_SET_ELEM_LIST_ELEMENTS", found)])


def no_elements(family: Family, table: str, name: str, keys: Sequence[bytes] = ()) -> Order:
    """Take ``keys`` out of a set, or all that is in it. The kernel refuses one that is not there."""
    found = [{"attrs": [("NFTA_SET_ELEM_KEY", value(key))]} for key in keys]
    named = [("NFTA_SET_ELEM_LIST_ELEMENTS", found)] if found else []
    return Order(Kind.DELSETELEM, family.number, [*elements_of(table, name), *named], 0)


def new_chain(family: Family, table: str, name: str, *, hook: Hook | None = None) -> Order:
    """Make a chain; one with a ``hook`` is a base chain, and lets pass what its rules do."""
    attributes: list[tuple[str, Any]] = [("NFTA_CHAIN_TABLE", table), ("NFTA_CHAIN_NAME", name)]
    if hook is not None:
        where = {"attrs": [("NFTA_HOOK_HOOKNUM", hook.number), ("NFTA_HOOK_PRIORITY", hook.priority)]}
        attributes += [("NFTA_CHAIN_HOOK", where), ("NFTA_CHAIN_POLICY", ACCEPT), ("NFTA_CHAIN_TYPE", "filter")]
    return Order(Kind.NEWCHAIN, family.number, attributes)


def new_rule(family: Family, table: str, chain: str, expressions: Sequence[Expression], comment: str) -> Order:
    attributes: list[tuple[str, Any]] = [
        ("NFTA_RULE_TABLE", table),
        ("NFTA_RULE_CHAIN", chain),
        ("NFTA_RULE_EXPRESSIONS", list(expressions)),
        ("NFTA_RULE_USERDATA", comment),
    ]
    return Order(Kind.NEWRULE, family.number, attributes, CREATE | APPEND)


def no_rules(family: Family, table: str, chain: str) -> Order:
    """Take all rules out of a chain."""
    return Order(Kind.DELRULE, family.number, [("NFTA_RULE_TABLE", table), ("NFTA_RULE_CHAIN", chain)], 0)


def renamed(order: Order, before: str, after: str) -> Order:
    """Return the same order for another table."""
    return order._replace(attributes=[(name, after if value == before else value) for name, value in order.attributes])


def elements_of(table: str, name: str) -> list[tuple[str, Any]]:
    return [("NFTA_SET_ELEM_LIST_TABLE", table), ("NFTA_SET_ELEM_LIST_SET", name)]

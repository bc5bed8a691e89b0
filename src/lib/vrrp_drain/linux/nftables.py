"""nftables messages: the assembler's expressions, transactions, and what is read back. It knows no rule of ours.

Sources: nft(8), linux/netfilter/nf_tables.h for the numbers, and what nft(8) itself sends for the same rule: it prints no other forms.
"""

import errno
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pyroute2.netlink import NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REQUEST
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.nfnetlink import NFNL_SUBSYS_NFTABLES, nfgen_msg, nftsocket
from pyroute2.nftables.expressions import genex

from vrrp_drain.runtime.errors import SystemFault

Expression = Any  # as pyroute2 takes it

LINK, NETWORK, TRANSPORT = range(3)  # NFT_PAYLOAD_*
EQ, NEQ, LT, LTE, GT, GTE = range(6)  # NFT_CMP_*
IIFNAME, IIFTYPE, L4PROTO = 6, 8, 16  # NFT_META_*
WILDCARD = 2  # NFT_SOCKET_WILDCARD
ADD, UPDATE, DELETE = range(3)  # NFT_DYNSET_OP_*
DROP, ACCEPT, GOTO = 0, 1, -4  # NF_DROP, NF_ACCEPT, NFT_GOTO
MANGLE = -150  # NF_IP_PRI_MANGLE, linux/netfilter_ipv4.h
ETHERNET = struct.pack("=H", 1)  # ARPHRD_ETHER, linux/if_arp.h
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11  # NFNL_MSG_BATCH_BEGIN, linux/netfilter/nfnetlink.h
_INTERNET_CHECKSUM = 1  # NFT_PAYLOAD_CSUM_INET
_NO_NFTABLES = (errno.EPROTONOSUPPORT, errno.EINVAL)  # no nfnetlink; nfnetlink without nf_tables, asked for its tables


@dataclass(frozen=True)
class Family:
    """Where things are in a packet; ``kind`` is nftables' own number of the address type. Offsets and sizes in bytes."""

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
    4: Family(nftsocket.NFPROTO_IPV4, 7, 4, 12, 16, protocol=9, hops=8, checksum=10, length=2, header=20, icmp=1, too_big=3),
    6: Family(nftsocket.NFPROTO_IPV6, 8, 16, 8, 24, protocol=6, hops=7, checksum=None, length=4, header=0, icmp=58, too_big=2),
}


@dataclass(frozen=True)
class Order:
    """One message of a transaction: what to do, in which family, with which attributes."""

    kind: int
    family: int
    attributes: Sequence[tuple[str, Any]]
    flags: int = NLM_F_CREATE


# objects


def new_table(family: Family, table: str) -> Order:
    return Order(nftsocket.NFT_MSG_NEWTABLE, family.number, [("NFTA_TABLE_NAME", table)])


def removal(table: str, *versions: int) -> list[Order]:
    """Return the orders that take the tables away, whether they are there or not."""
    return [
        Order(kind, FAMILIES[each].number, [("NFTA_TABLE_NAME", table)])
        for each in versions
        for kind in (nftsocket.NFT_MSG_NEWTABLE, nftsocket.NFT_MSG_DELTABLE)
    ]


def new_set(
    family: Family, table: str, number: int, name: str, kind: int, length: int, *, seconds: float = 0, data: bool = False, size: int
) -> Order:
    """Make a set, with ``data`` a map to the same kind, that rules may fill: with ``size`` elements, each for ``seconds`` or for good."""
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
        *([("NFTA_SET_DATA_TYPE", kind), ("NFTA_SET_DATA_LEN", length)] if data else []),
    ]
    return Order(nftsocket.NFT_MSG_NEWSET, family.number, attributes)


def new_elements(family: Family, table: str, name: str, elements: Sequence[tuple[bytes, bytes | None]]) -> Order:
    """Put keys, or in a map keys with their values, into a set."""
    found = [
        {"attrs": [("NFTA_SET_ELEM_KEY", value(key)), *([("NFTA_SET_ELEM_DATA", value(data))] if data is not None else [])]}
        for key, data in elements
    ]
    return Order(nftsocket.NFT_MSG_NEWSETELEM, family.number, [*_elements_of(table, name), ("NFTA_SET_ELEM_LIST_ELEMENTS", found)])


def no_elements(family: Family, table: str, name: str, keys: Sequence[bytes] = ()) -> Order:
    """Take ``keys`` out of a set, or all that is in it. The kernel refuses one that is not there."""
    found = [{"attrs": [("NFTA_SET_ELEM_KEY", value(key))]} for key in keys]
    named = [("NFTA_SET_ELEM_LIST_ELEMENTS", found)] if found else []
    return Order(nftsocket.NFT_MSG_DELSETELEM, family.number, [*_elements_of(table, name), *named], 0)


def new_chain(family: Family, table: str, name: str, *, base: bool = False) -> Order:
    """Make a chain; a ``base`` chain sees what comes in before routing, and lets pass what its rules do."""
    attributes: list[tuple[str, Any]] = [("NFTA_CHAIN_TABLE", table), ("NFTA_CHAIN_NAME", name)]
    if base:
        hook = {"attrs": [("NFTA_HOOK_HOOKNUM", 0), ("NFTA_HOOK_PRIORITY", MANGLE)]}
        attributes += [("NFTA_CHAIN_HOOK", hook), ("NFTA_CHAIN_POLICY", ACCEPT), ("NFTA_CHAIN_TYPE", "filter")]
    return Order(nftsocket.NFT_MSG_NEWCHAIN, family.number, attributes)


def new_rule(family: Family, table: str, chain: str, expressions: Sequence[Expression], comment: str) -> Order:
    attributes: list[tuple[str, Any]] = [
        ("NFTA_RULE_TABLE", table),
        ("NFTA_RULE_CHAIN", chain),
        ("NFTA_RULE_EXPRESSIONS", list(expressions)),
        ("NFTA_RULE_USERDATA", comment),
    ]
    return Order(nftsocket.NFT_MSG_NEWRULE, family.number, attributes, NLM_F_CREATE | NLM_F_APPEND)


def renamed(order: Order, before: str, after: str) -> Order:
    """Return the same order for another table."""
    return replace(order, attributes=[(name, after if value == before else value) for name, value in order.attributes])


def _elements_of(table: str, name: str) -> list[tuple[str, Any]]:
    return [("NFTA_SET_ELEM_LIST_TABLE", table), ("NFTA_SET_ELEM_LIST_SET", name)]


# expressions; what they load is in register 1 unless another one is named


def value(data: bytes) -> Expression:
    return {"attrs": [("NFTA_DATA_VALUE", data)]}


def meta(key: int) -> Expression:
    return genex("meta", {"dreg": 1, "key": key})


def payload(base: int, offset: int, size: int, register: int = 1) -> Expression:
    return genex("payload", {"dreg": register, "base": base, "offset": offset, "len": size})


def write(base: int, offset: int, size: int, checksum: int | None) -> Expression:
    """Write register 1 into the packet, and keep the Internet checksum at the offset ``checksum`` right."""
    kept = {} if checksum is None else {"csum_type": _INTERNET_CHECKSUM, "csum_offset": checksum}
    return genex("payload", {"sreg": 1, "base": base, "offset": offset, "len": size, **kept})


def compare(data: bytes, op: int = EQ) -> Expression:
    return genex("cmp", {"sreg": 1, "op": op, "data": value(data)})


def mask(bits: bytes) -> Expression:
    return genex("bitwise", {"sreg": 1, "dreg": 1, "len": len(bits), "mask": value(bits), "xor": value(bytes(len(bits)))})


def immediate(data: bytes, register: int = 1) -> Expression:
    return genex("immediate", {"dreg": register, "data": value(data)})


def lookup(name: str, *, inverted: bool = False) -> Expression:
    return genex("lookup", {"set": name, "sreg": 1, **({"flags": {"NFT_LOOKUP_F_INV"}} if inverted else {})})


def mapped(name: str) -> Expression:
    """Load what the map has for register 1 into it; the rule ends here where it has nothing."""
    return genex("lookup", {"set": name, "sreg": 1, "dreg": 1})


def put(name: str, op: int, *, data: bool = False) -> Expression:
    """Have the set take register 1 in, in a map with register 2 as its value. The rule ends here where it is full."""
    return genex("dynset", {"set_name": name, "op": op, "sreg_key": 1, **({"sreg_data": 2} if data else {})})


def socket_is(key: int) -> Expression:
    """Load ``key`` of the socket that would get the packet; the rule ends here where there is none."""
    return genex("socket", {"key": key, "dreg": 1})


def counter() -> Expression:
    return genex("counter", {"bytes": 0, "packets": 0})


def duplicate() -> Expression:
    """Send a copy to the neighbour in register 1, through the interface whose index is in register 2; it has one hop less left."""
    return genex("dup", {"sreg_addr": 1, "sreg_dev": 2})


def verdict(code: int, chain: str = "") -> Expression:
    attributes = [("NFTA_VERDICT_CODE", code), *([("NFTA_VERDICT_CHAIN", chain)] if chain else [])]
    return genex("immediate", {"dreg": 0, "data": {"attrs": [("NFTA_DATA_VERDICT", {"attrs": attributes})]}})


# transactions and dumps


@dataclass(frozen=True)
class Element:
    """What a set holds; ``seconds`` until it goes, None where it stays."""

    key: bytes
    data: bytes | None
    seconds: float | None


class Nftables:
    """The kernel's nftables; ``make`` opens a netlink socket. Its methods raise Refusal."""

    def __init__(self, make: Callable[[], Any] = nftsocket.NFTSocket) -> None:
        self._make = make

    def change(self, orders: Sequence[Order], table: str) -> None:
        """Do all or nothing."""
        try:
            with self._make() as nft:
                _versions(nft, table)  # without the right or the kernel module a batch gets no answer that could be told apart; this does
                nft.nlm_request_batch([_edge(_BATCH_BEGIN), *map(_message, orders), _edge(_BATCH_END)])
        except (OSError, NetlinkError) as error:
            raise Refusal(error) from error

    def versions(self, table: str) -> tuple[int, ...]:
        """Return the IP versions for which ``table`` is there."""
        try:
            with self._make() as nft:
                return _versions(nft, table)
        except (OSError, NetlinkError) as error:
            raise Refusal(error) from error

    def elements(self, version: int, table: str, name: str) -> list[Element]:
        """Return what a set or map holds now; nothing where it is not there."""
        question = nftsocket.nft_set_elem_list_msg()
        question["attrs"] = _elements_of(table, name)
        try:
            answers = self._dump(nftsocket.NFT_MSG_GETSETELEM, question, version)
        except Refusal as error:
            if error.absent:
                return []
            raise
        return [
            Element(_bytes(each, "NFTA_SET_ELEM_KEY"), _bytes_or_none(each, "NFTA_SET_ELEM_DATA"), _seconds(each))
            for answer in answers
            for each in answer.get_attr("NFTA_SET_ELEM_LIST_ELEMENTS") or ()
        ]

    def counted(self, version: int, table: str) -> dict[str, int]:
        """Return how many packets the counters of each chain of ``table`` have seen."""
        question = nftsocket.nft_rule_msg()
        question["attrs"] = [("NFTA_RULE_TABLE", table)]
        found: dict[str, int] = {}
        for answer in self._dump(nftsocket.NFT_MSG_GETRULE, question, version):
            chain = answer.get_attr("NFTA_RULE_CHAIN")
            for packets in _counters(answer):
                found[chain] = found.get(chain, 0) + packets
        return found

    def _dump(self, kind: int, question: Any, version: int) -> Sequence[Any]:
        try:
            with self._make() as nft:
                return _dump(nft, kind, question, FAMILIES[version].number)
        except (OSError, NetlinkError) as error:
            raise Refusal(error) from error


class Refusal(SystemFault):
    """The kernel did not do it; nothing was changed."""

    def __init__(self, error: OSError | NetlinkError) -> None:
        self.code: int | None = error.code if isinstance(error, NetlinkError) else error.errno
        super().__init__(os.strerror(self.code) if self.code else str(error))

    @property
    def absent(self) -> bool:
        """Tell whether something that was named is not there; the kernel does not say what."""
        return self.code == errno.ENOENT

    @property
    def without_nftables(self) -> bool:
        """Tell whether the kernel has no nftables at all."""
        return self.code in _NO_NFTABLES


_CLASSES = {
    nftsocket.NFT_MSG_NEWTABLE: nftsocket.nft_table_msg,
    nftsocket.NFT_MSG_DELTABLE: nftsocket.nft_table_msg,
    nftsocket.NFT_MSG_NEWCHAIN: nftsocket.nft_chain_msg,
    nftsocket.NFT_MSG_NEWRULE: nftsocket.nft_rule_msg,
    nftsocket.NFT_MSG_NEWSET: nftsocket.nft_set_msg,
    nftsocket.NFT_MSG_NEWSETELEM: nftsocket.nft_set_elem_list_msg,
    nftsocket.NFT_MSG_DELSETELEM: nftsocket.nft_set_elem_list_msg,
}


def _message(order: Order) -> Any:
    """Return it as pyroute2 sends it. Each is answered: a batch fails without a word otherwise."""
    message = _CLASSES[order.kind]()
    message["nfgen_family"] = order.family
    message["header"]["type"] = NFNL_SUBSYS_NFTABLES << 8 | order.kind
    message["header"]["flags"] = NLM_F_REQUEST | NLM_F_ACK | order.flags
    message["attrs"] = list(order.attributes)
    return message


def _edge(kind: int) -> Any:
    """Begin or commit a transaction."""
    message = nfgen_msg()
    message["res_id"] = NFNL_SUBSYS_NFTABLES
    message["header"]["type"] = kind
    message["header"]["flags"] = NLM_F_REQUEST
    return message


def _versions(nft: Any, table: str) -> tuple[int, ...]:
    tables = [(each["nfgen_family"], each.get_attr("NFTA_TABLE_NAME")) for each in _dump(nft, nftsocket.NFT_MSG_GETTABLE, nfgen_msg(), 0)]
    return tuple(version for version, family in FAMILIES.items() if (family.number, table) in tables)


def _dump(nft: Any, kind: int, question: Any, family: int) -> Sequence[Any]:
    question["nfgen_family"] = family
    question["header"]["type"] = NFNL_SUBSYS_NFTABLES << 8 | kind
    question["header"]["flags"] = NLM_F_REQUEST | NLM_F_DUMP
    answers: list[Any] = nft.nlm_request_batch([question])
    return answers


def _counters(rule: Any) -> Iterator[int]:
    for expression in rule.get_attr("NFTA_RULE_EXPRESSIONS") or ():
        if expression.get_attr("NFTA_EXPR_NAME") == "counter":
            yield expression.get_attr("NFTA_EXPR_DATA").get_attr("NFTA_COUNTER_PACKETS")


def _bytes(element: Any, name: str) -> bytes:
    found: bytes = element.get_attr(name).get_attr("NFTA_DATA_VALUE")
    return found


def _bytes_or_none(element: Any, name: str) -> bytes | None:
    return None if element.get_attr(name) is None else _bytes(element, name)


def _seconds(element: Any) -> float | None:
    left = element.get_attr("NFTA_SET_ELEM_EXPIRATION")
    return None if left is None else left / 1000

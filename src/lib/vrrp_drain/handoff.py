"""nftables rules that keep established connections alive while a VIP moves.

Whoever takes the VIP over gets the packets of connections that the leaving node goes on serving. It sends them there,
unchanged, at layer 2; the leaving node has the VIP on lo (overlap.py) and answers the client itself. Everything happens
in the kernel:

- A valid advert of our virtual router with a priority of the draining band says: its sender is leaving. Its address goes
  into the map ``leaving`` (the last one to leave counts), its MAC into the set ``leavers``; both forget after the window.
- A packet to a VIP in ``leaving``, of a connection that no socket here knows, goes on to the address in the map and is
  dropped here. Only a SYN alone may open a connection here; the rest, SYN-ACK and RST too, belongs to one that exists.
  Where no socket at all is found (haproxy does not listen) the packet cannot be ours either, and goes on as well.
- A socket that is no whole one is a handshake of ours, or the TIME_WAIT of an earlier connection from the same port; only the first
  may keep the packet. So a SYN that comes while anybody is in ``leaving`` is remembered in ``opening`` for as long as a handshake takes.
- A packet from the MAC of a leaver stays here: without that two nodes that both left within the window would play
  ping-pong. It may go on from a MASTER that never left: with a third node MASTER, the second still knows the first.
- An ICMP error about packet size is copied, not moved: a host ignores one about a connection that it does not know.

A MASTER that dies sends no such advert, so its clients get their reset at once. Limits: ``socket wildcard`` tells a
listener from a connection, so the frontend must be bound to the wildcard address; with a listener bound to the VIP the
packet stays here, as without these rules. With SYN cookies the handshake's last packet looks like a foreign one. With
keepalived.use_vmac a leaver's adverts come from another MAC than its packets, so these rules must not be installed.

Sources: nft(8) for the rules, linux/netfilter/nf_tables.h for the numbers, the kernel's nft_dynset.c, nft_socket.c, nft_dup_ipv4.c.
"""

import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pyroute2.netlink import NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REQUEST
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.nfnetlink import NFNL_SUBSYS_NFTABLES, nfgen_msg, nftsocket
from pyroute2.nftables.expressions import genex

from . import advert, bands
from .advert import IPAddress
from .errors import SystemFault

TABLE = "vrrp_drain"
_TRIAL = "vrrp_drain_trial"
WINDOW = 300.0  # seconds that a leaving node is sent its connections after its last advert
DRAINING = (bands.LOWEST_BASE + bands.Band.DRAINING.value, bands.HIGHEST + bands.Band.DRAINING.value)

_LEAVING, _LEAVERS, _PEERS, _OPENING = "leaving", "leavers", "peers", "opening"
_CHAINS = _BASE, _ARM, _ARMED, _UNKNOWN, _SEND = "prerouting", "arm", "armed", "unknown", "send"
_MANGLE = -150  # NF_IP_PRI_MANGLE, linux/netfilter_ipv4.h
_SIZE = 65535  # of a set that rules fill; what nft takes
_OPENINGS = 1 << 18  # handshakes at a time: 50,000 new connections a second
_HANDSHAKE = 5.0  # seconds
_LATER = 1.0  # seconds that a MAC is known for longer than the address beside it
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11  # NFNL_MSG_BATCH_BEGIN, linux/netfilter/nfnetlink.h
_ETHERNET = struct.pack("=H", 1)  # ARPHRD_ETHER, linux/if_arp.h
_LINK, _NETWORK, _TRANSPORT = range(3)  # NFT_PAYLOAD_*
_EQ, _NEQ, _LTE, _GTE = 0, 1, 3, 5  # NFT_CMP_*
_IIFNAME, _IIFTYPE, _L4PROTO = 6, 8, 16  # NFT_META_*
_WILDCARD = 2  # NFT_SOCKET_WILDCARD
_UPDATE, _DELETE = 1, 2  # NFT_DYNSET_OP_*
_DROP, _ACCEPT, _GOTO = 0, 1, -4  # NF_DROP, NF_ACCEPT, NFT_GOTO
_SYN, _ACK = 0x02, 0x10  # RFC 9293 section 3.1
_ETHER_TYPE, _PORT_TYPE, _TYPE_BITS = 9, 13, 6  # nftables' own numbers of ether_addr and inet_service: only nft needs them, to print sets
_SECOND = {4: 9, 16: 2}  # register behind an address of so many bytes in register 1
_LACKING = "it lacks a part of nftables that they need: socket, dup or dynset"
_NO_NFTABLES = (errno.EPROTONOSUPPORT, errno.EINVAL)  # no nfnetlink; nfnetlink without nf_tables, asked for its tables

Expression = Any  # as pyroute2 takes it


@dataclass(frozen=True)
class _Family:
    """Where things are in a packet; ``kind`` is nftables' own number of the address type."""

    number: int
    kind: int
    size: int
    source: int
    destination: int
    protocol: int
    hops: int
    icmp: int
    too_big: int  # ICMP type of an error about packet size; IPv4: destination unreachable, of which it is one


_FAMILIES = {
    4: _Family(nftsocket.NFPROTO_IPV4, 7, 4, source=12, destination=16, protocol=9, hops=8, icmp=1, too_big=3),
    6: _Family(nftsocket.NFPROTO_IPV6, 8, 16, source=8, destination=24, protocol=6, hops=7, icmp=58, too_big=2),
}


@dataclass(frozen=True)
class Order:
    """One message of a transaction: what to do, in which family, with which attributes."""

    kind: int
    family: int
    attributes: Sequence[tuple[str, Any]]
    flags: int = NLM_F_CREATE


@dataclass(frozen=True)
class Armed:
    """Connections to ``vip`` that are unknown here go to ``peer``, for ``seconds`` more."""

    vip: IPAddress
    peer: IPAddress
    seconds: float


@dataclass(frozen=True)
class Situation:
    """What is installed: ``families`` (4, 6), none without our rules; ``sent`` counts the packets that were handed off."""

    families: tuple[int, ...] = ()
    armed: tuple[Armed, ...] = ()
    sent: int = 0
    members: tuple[IPAddress, ...] = ()


@dataclass
class Handoff:
    """Our table, one for each address family: in place from pre-start to post-stop. ``make`` opens a netlink socket."""

    make: Callable[[], Any] = field(default=nftsocket.NFTSocket)

    def hold(self, vips: Sequence[IPAddress], interface: str, vrid: int, window: float = WINDOW, peers: Iterable[IPAddress] = ()) -> None:
        """Install the rules anew, in one transaction: what was learnt is forgotten. Raises SystemFault; nothing is changed then.

        ``peers`` are the addresses that adverts may come from; none means any, for when they are not known.
        """
        names = ", ".join(map(str, vips))
        try:
            index = socket.if_nametoindex(interface)
        except OSError as error:
            raise SystemFault(f"interface {interface} does not exist (any more)") from error
        self._change(
            [*removal(4, 6), *installation(vips, interface, index, vrid, window, peers)],
            f"the kernel refuses the rules that hand open connections over: a move of {names} cuts them",
            _LACKING,
        )

    def arm(self, vips: Sequence[IPAddress], peer: IPAddress) -> None:
        """Before we take ``vips`` over from ``peer``, which stays healthy: its connections go to it for a window.

        ``peer`` is the source address of its adverts. Raises SystemFault.
        """
        self._change(
            arming(vips, peer),
            f"the connections that {peer} serves cannot be left with it: a move of {', '.join(map(str, vips))} cuts them",
            "our rules are not installed",
        )

    def release(self) -> None:
        """Take our tables away; it is no error if there are none, or no nftables at all. Raises SystemFault."""
        try:
            with self.make() as nft:
                families = _installed(nft)
        except (OSError, NetlinkError) as error:
            if _code(error) in _NO_NFTABLES:
                return
            raise SystemFault(f"the kernel does not tell whether our nftables table {TABLE} is there ({_reason(error)})") from error
        if families:
            self._change(removal(*families), f"the kernel keeps our nftables table {TABLE}", "it is not there")

    def trial(self, vips: Sequence[IPAddress], interface: str, vrid: int) -> None:
        """Install the rules and take them away again, in one transaction and under another name. Raises SystemFault.

        Nobody's packets meet them: the kernel checks all of it, and what is left is nothing.
        """
        orders = installation(vips, interface, socket.if_nametoindex(interface), vrid, WINDOW, ())
        families = {vip.version for vip in vips}
        away = [each for each in removal(*sorted(families)) if each.kind == nftsocket.NFT_MSG_DELTABLE]
        self._change(
            [_renamed(each) for each in (*orders, *away)], "the kernel refuses the rules that hand open connections over", _LACKING
        )

    def state(self) -> Situation:
        """Return what is installed and learnt now. Raises SystemFault."""
        try:
            with self.make() as nft:
                families = _installed(nft)
                armed = tuple(each for family in families for each in _armed(nft, family))
                return Situation(families, armed, sum(_sent(nft, family) for family in families))
        except (OSError, NetlinkError) as error:
            raise SystemFault(f"the kernel does not tell its nftables rules ({_reason(error)})") from error

    def _change(self, orders: Sequence[Order], failure: str, absent: str) -> None:
        """Do all or nothing. ``absent`` is what ENOENT means: the kernel does not say what it is that it does not find."""
        try:
            with self.make() as nft:
                _installed(nft)  # without the right or the kernel module a batch gets no answer that could be told apart; this does
                nft.nlm_request_batch([_edge(_BATCH_BEGIN), *map(_message, orders), _edge(_BATCH_END)])
        except (OSError, NetlinkError) as error:
            raise SystemFault(f"{failure} ({absent if _code(error) == errno.ENOENT else _reason(error)})") from error


def removal(*families: int) -> list[Order]:
    """Return the orders that take our tables away, whether they are there or not."""
    return [
        Order(kind, _FAMILIES[each].number, [("NFTA_TABLE_NAME", TABLE)])
        for each in families
        for kind in (nftsocket.NFT_MSG_NEWTABLE, nftsocket.NFT_MSG_DELTABLE)
    ]


def arming(vips: Sequence[IPAddress], peer: IPAddress) -> list[Order]:
    """Return the orders that put ``peer`` into the map for each of ``vips`` of its family, instead of who is there."""
    family = _FAMILIES[peer.version]
    there: list[tuple[str, Any]] = [("NFTA_SET_ELEM_LIST_TABLE", TABLE), ("NFTA_SET_ELEM_LIST_SET", _LEAVING)]
    elements: list[Expression] = [
        {"attrs": [("NFTA_SET_ELEM_KEY", _value(vip.packed)), ("NFTA_SET_ELEM_DATA", _value(peer.packed))]}
        for vip in vips
        if vip.version == peer.version
    ]
    return [
        Order(nftsocket.NFT_MSG_DELSETELEM, family.number, there, 0),  # all of them
        Order(nftsocket.NFT_MSG_NEWSETELEM, family.number, [*there, ("NFTA_SET_ELEM_LIST_ELEMENTS", elements)]),
    ]


def installation(
    vips: Sequence[IPAddress], interface: str, index: int, vrid: int, window: float, peers: Iterable[IPAddress]
) -> list[Order]:
    """Return the orders that make our tables, one for each family of ``vips``, where none is."""
    return [
        order
        for version in sorted({vip.version for vip in vips})
        for order in _table(
            version,
            [vip.packed for vip in vips if vip.version == version],
            (interface, index),
            vrid,
            window,
            sorted({peer.packed for peer in peers if peer.version == version}),
        )
    ]


def _table(
    version: int, vips: Sequence[bytes], interface: tuple[str, int], vrid: int, window: float, peers: Sequence[bytes]
) -> list[Order]:
    family = _FAMILIES[version]
    name, index = interface
    arrives = [_meta(_IIFNAME), _compare(name.encode().ljust(16, b"\0"))]
    to_known = [_payload(_NETWORK, family.destination, family.size), genex("lookup", {"set": _LEAVING, "sreg": 1, "dreg": 1})]
    not_from_leaver = [*_source_mac(), _lookup(_LEAVERS, inverted=True)]
    duplicate = [*to_known, _immediate(struct.pack("=I", index), register=2), genex("dup", {"sreg_addr": 1, "sreg_dev": 2})]
    orders = [Order(nftsocket.NFT_MSG_NEWTABLE, family.number, [("NFTA_TABLE_NAME", TABLE)])]
    orders.append(_set(family, 1, _LEAVING, family.kind, family.size, window, data=True))
    orders.append(_set(family, 2, _LEAVERS, _ETHER_TYPE, 6, window + _LATER))
    orders.append(_set(family, 4, _OPENING, family.kind << _TYPE_BITS | _PORT_TYPE, family.size + 4, _HANDSHAKE, size=_OPENINGS))
    if peers:
        orders.append(_set(family, 3, _PEERS, family.kind, family.size, 0))
        elements = [{"attrs": [("NFTA_SET_ELEM_KEY", _value(peer))]} for peer in peers]
        there = [("NFTA_SET_ELEM_LIST_TABLE", TABLE), ("NFTA_SET_ELEM_LIST_SET", _PEERS), ("NFTA_SET_ELEM_LIST_ELEMENTS", elements)]
        orders.append(Order(nftsocket.NFT_MSG_NEWSETELEM, family.number, there))
    orders += [_chain(family, each) for each in _CHAINS]
    rules = [
        (_BASE, [*arrives, *_leaves(family, version, vrid, bool(peers)), *_verdict(_GOTO, _ARM)], "a peer is leaving"),
        (_BASE, [*arrives, *to_known, *_verdict(_GOTO, _ARMED)], "somebody has left"),  # until then, this lookup is all that a packet costs
        (_ARMED, _opens(family), "a handshake"),
        (_ARMED, [*not_from_leaver, *_of_a_connection(), *_verdict(_GOTO, _UNKNOWN)], "of a connection"),
        (_ARMED, [*not_from_leaver, *_too_big(family), *duplicate], "smaller packets, please"),
        *((_ARM, _remember(family, vip), str(ipaddress.ip_address(vip))) for vip in vips),
        (_UNKNOWN, [*_socket(_WILDCARD), _compare(b"\1"), *_verdict(_GOTO, _SEND)], "only a listener knows it"),
        (_UNKNOWN, [*_socket(_WILDCARD), _compare(b"\0"), *_verdict(_ACCEPT)], "a connection here knows it"),
        (_UNKNOWN, [*_sender(family), _lookup(_OPENING), *_verdict(_ACCEPT)], "a handshake here knows it"),
        (_UNKNOWN, _verdict(_GOTO, _SEND), "nobody here knows it"),
        (_SEND, [genex("counter", {"bytes": 0, "packets": 0}), *duplicate, *_verdict(_DROP)], "the leaving node knows it"),
    ]
    return [*orders, *(_rule(family, chain, expressions, comment) for chain, expressions, comment in rules)]


def _leaves(family: _Family, version: int, vrid: int, known_peers: bool) -> list[Expression]:
    """Match an advert of the draining band (RFC 5798 section 5.2) and remember its sender's MAC.

    The protocol is asked for in the IP header, not with ``meta l4proto``: nft 1.0.6 aborts when it prints ``@th`` after that.
    """
    kind = [_payload(_TRANSPORT, 0, 1)]
    if version == 4:
        kind += [_mask(b"\xef"), _compare(bytes((2 << 4 | advert.TYPE_ADVERT,)))]  # 0x21 and 0x31
    else:
        kind += [_compare(bytes((3 << 4 | advert.TYPE_ADVERT,)))]
    return [
        *(_payload(_NETWORK, family.protocol, 1), _compare(bytes((advert.PROTOCOL,)))),
        *(_payload(_NETWORK, family.hops, 1), _compare(bytes((advert.TTL,)))),
        *kind,
        *(_payload(_TRANSPORT, 1, 1), _compare(bytes((vrid,)))),
        *(_payload(_TRANSPORT, 2, 1), _compare(bytes(DRAINING[:1]), _GTE), _compare(bytes(DRAINING[1:]), _LTE)),
        *([_payload(_NETWORK, family.source, family.size), _lookup(_PEERS)] if known_peers else []),
        *(*_source_mac(), genex("dynset", {"set_name": _LEAVERS, "op": _UPDATE, "sreg_key": 1})),
    ]


def _remember(family: _Family, vip: bytes) -> list[Expression]:
    """Map ``vip`` to the packet's source. An update alone would keep the peer that left before, and make it stay longer."""
    return [
        expression
        for op in (_DELETE, _UPDATE)
        for expression in (
            _immediate(vip),
            _payload(_NETWORK, family.source, family.size, register=2),
            genex("dynset", {"set_name": _LEAVING, "op": op, "sreg_key": 1, "sreg_data": 2}),
        )
    ]


def _of_a_connection() -> list[Expression]:
    """Match TCP but for a SYN alone: that opens a connection, here."""
    return _tcp_syn(_NEQ)


def _opens(family: _Family) -> list[Expression]:
    """Remember whose SYN it is."""
    return [*_tcp_syn(_EQ), *_sender(family), genex("dynset", {"set_name": _OPENING, "op": _UPDATE, "sreg_key": 1})]


def _tcp_syn(op: int) -> list[Expression]:
    return [
        *(_meta(_L4PROTO), _compare(bytes((socket.IPPROTO_TCP,)))),
        *(_payload(_TRANSPORT, 13, 1), _mask(bytes((_SYN | _ACK,))), _compare(bytes((_SYN,)), op)),
    ]


def _sender(family: _Family) -> list[Expression]:
    """Load source address and port, one behind the other."""
    return [_payload(_NETWORK, family.source, family.size), _payload(_TRANSPORT, 0, 2, register=_SECOND[family.size])]


def _too_big(family: _Family) -> list[Expression]:
    """RFC 1191 section 3, RFC 8201 section 4: it must reach the sender, or the connection stalls."""
    return [_meta(_L4PROTO), _compare(bytes((family.icmp,))), _payload(_TRANSPORT, 0, 1), _compare(bytes((family.too_big,)))]


def _source_mac() -> list[Expression]:
    return [_meta(_IIFTYPE), _compare(_ETHERNET), _payload(_LINK, 6, 6)]


def _set(
    family: _Family, number: int, name: str, kind: int, length: int, seconds: float, *, data: bool = False, size: int = _SIZE
) -> Order:
    attributes: list[tuple[str, Any]] = [
        ("NFTA_SET_TABLE", TABLE),
        ("NFTA_SET_NAME", name),
        ("NFTA_SET_ID", number),
        ("NFTA_SET_KEY_TYPE", kind),
        ("NFTA_SET_KEY_LEN", length),
    ]
    if seconds:
        attributes += [
            ("NFTA_SET_FLAGS", {"NFT_SET_TIMEOUT", "NFT_SET_EVAL", *(["NFT_SET_MAP"] if data else [])}),
            ("NFTA_SET_TIMEOUT", round(seconds * 1000)),
            ("NFTA_SET_DESC", {"attrs": [("NFTA_SET_DESC_SIZE", size)]}),
        ]
    if data:
        attributes += [("NFTA_SET_DATA_TYPE", kind), ("NFTA_SET_DATA_LEN", length)]
    return Order(nftsocket.NFT_MSG_NEWSET, family.number, attributes)


def _chain(family: _Family, name: str) -> Order:
    attributes: list[tuple[str, Any]] = [("NFTA_CHAIN_TABLE", TABLE), ("NFTA_CHAIN_NAME", name)]
    if name == _BASE:
        hook = {"attrs": [("NFTA_HOOK_HOOKNUM", 0), ("NFTA_HOOK_PRIORITY", _MANGLE)]}
        attributes += [("NFTA_CHAIN_HOOK", hook), ("NFTA_CHAIN_POLICY", _ACCEPT), ("NFTA_CHAIN_TYPE", "filter")]
    return Order(nftsocket.NFT_MSG_NEWCHAIN, family.number, attributes)


def _rule(family: _Family, chain: str, expressions: Sequence[Expression], comment: str) -> Order:
    attributes: list[tuple[str, Any]] = [
        ("NFTA_RULE_TABLE", TABLE),
        ("NFTA_RULE_CHAIN", chain),
        ("NFTA_RULE_EXPRESSIONS", list(expressions)),
    ]
    if comment:
        attributes.append(("NFTA_RULE_USERDATA", comment))
    return Order(nftsocket.NFT_MSG_NEWRULE, family.number, attributes, NLM_F_CREATE | NLM_F_APPEND)


def _value(data: bytes) -> Expression:
    return {"attrs": [("NFTA_DATA_VALUE", data)]}


def _meta(key: int) -> Expression:
    return genex("meta", {"dreg": 1, "key": key})


def _payload(base: int, offset: int, size: int, register: int = 1) -> Expression:
    return genex("payload", {"dreg": register, "base": base, "offset": offset, "len": size})


def _compare(data: bytes, op: int = _EQ) -> Expression:
    return genex("cmp", {"sreg": 1, "op": op, "data": _value(data)})


def _mask(mask: bytes) -> Expression:
    return genex("bitwise", {"sreg": 1, "dreg": 1, "len": len(mask), "mask": _value(mask), "xor": _value(bytes(len(mask)))})


def _immediate(data: bytes, register: int = 1) -> Expression:
    return genex("immediate", {"dreg": register, "data": _value(data)})


def _lookup(name: str, *, inverted: bool = False) -> Expression:
    return genex("lookup", {"set": name, "sreg": 1, **({"flags": {"NFT_LOOKUP_F_INV"}} if inverted else {})})


def _socket(key: int) -> list[Expression]:
    return [genex("socket", {"key": key, "dreg": 1})]


def _verdict(code: int, chain: str = "") -> list[Expression]:
    verdict = [("NFTA_VERDICT_CODE", code), *([("NFTA_VERDICT_CHAIN", chain)] if chain else [])]
    return [genex("immediate", {"dreg": 0, "data": {"attrs": [("NFTA_DATA_VERDICT", {"attrs": verdict})]}})]


def _renamed(order: Order) -> Order:
    """Return the same order for the table of a trial."""
    return replace(order, attributes=[(name, _TRIAL if value == TABLE else value) for name, value in order.attributes])


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


def _installed(nft: Any) -> tuple[int, ...]:
    """Return the families of our tables."""
    tables = [(each["nfgen_family"], each.get_attr("NFTA_TABLE_NAME")) for each in _dump(nft, nftsocket.NFT_MSG_GETTABLE, nfgen_msg(), 0)]
    return tuple(version for version, family in _FAMILIES.items() if (family.number, TABLE) in tables)


def _armed(nft: Any, version: int) -> list[Armed]:
    question = nftsocket.nft_set_elem_list_msg()
    question["attrs"] = [("NFTA_SET_ELEM_LIST_TABLE", TABLE), ("NFTA_SET_ELEM_LIST_SET", _LEAVING)]
    answers = _dump(nft, nftsocket.NFT_MSG_GETSETELEM, question, _FAMILIES[version].number)
    return [
        Armed(
            ipaddress.ip_address(_bytes(element, "NFTA_SET_ELEM_KEY")),
            ipaddress.ip_address(_bytes(element, "NFTA_SET_ELEM_DATA")),
            element.get_attr("NFTA_SET_ELEM_EXPIRATION") / 1000,
        )
        for answer in answers
        for element in answer.get_attr("NFTA_SET_ELEM_LIST_ELEMENTS") or ()
    ]


def _sent(nft: Any, version: int) -> int:
    question = nftsocket.nft_rule_msg()
    question["attrs"] = [("NFTA_RULE_TABLE", TABLE), ("NFTA_RULE_CHAIN", _SEND)]
    return sum(
        expression.get_attr("NFTA_EXPR_DATA").get_attr("NFTA_COUNTER_PACKETS")
        for answer in _dump(nft, nftsocket.NFT_MSG_GETRULE, question, _FAMILIES[version].number)
        for expression in answer.get_attr("NFTA_RULE_EXPRESSIONS") or ()
        if expression.get_attr("NFTA_EXPR_NAME") == "counter"
    )


def _dump(nft: Any, kind: int, question: Any, family: int) -> Sequence[Any]:
    question["nfgen_family"] = family
    question["header"]["type"] = NFNL_SUBSYS_NFTABLES << 8 | kind
    question["header"]["flags"] = NLM_F_REQUEST | NLM_F_DUMP
    answers: list[Any] = nft.nlm_request_batch([question])
    return answers


def _bytes(element: Any, name: str) -> bytes:
    value: bytes = element.get_attr(name).get_attr("NFTA_DATA_VALUE")
    return value


def _reason(error: OSError | NetlinkError) -> str:
    code = _code(error)
    return os.strerror(code) if code else str(error)


def _code(error: OSError | NetlinkError) -> int | None:
    code: int | None = error.code if isinstance(error, NetlinkError) else error.errno
    return code

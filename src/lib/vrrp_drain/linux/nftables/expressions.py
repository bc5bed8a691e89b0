"""What nftables' rules are made of: expressions, each as pyroute2 encodes it. What they load is in register 1 unless another one is named.

Sources: nft(8), linux/netfilter/nf_tables.h for the numbers, and what nft(8) itself sends for the same rule: it prints no other forms.
"""

import struct
from typing import Any

from ..codec import load

genex = load("nftables.expressions").genex

Expression = Any  # as pyroute2 takes it

LINK, NETWORK, TRANSPORT = range(3)  # NFT_PAYLOAD_*
EQ, NEQ, LT, LTE, GT, GTE = range(6)  # NFT_CMP_*
MARK, IIF, IIFNAME, OIFNAME, IIFTYPE, L4PROTO, PKTTYPE = 3, 4, 6, 7, 8, 16, 19  # NFT_META_*
SOCKET_MARK, WILDCARD = 1, 2  # NFT_SOCKET_*
ADD, UPDATE, DELETE = range(3)  # NFT_DYNSET_OP_*
DROP, ACCEPT, GOTO = 0, 1, -4  # NF_DROP, NF_ACCEPT, NFT_GOTO
ETHERNET = struct.pack("=H", 1)  # ARPHRD_ETHER, linux/if_arp.h
_INTERNET_CHECKSUM = 1  # NFT_PAYLOAD_CSUM_INET
_PACKETS, _INVERTED = 0, 1  # NFT_LIMIT_PKTS, NFT_LIMIT_F_INV


def interface_name(name: str) -> bytes:
    """Return what a rule compares IIFNAME and OIFNAME with: all of IFNAMSIZ."""
    return name.encode().ljust(16, b"\0")


def value(data: bytes) -> Expression:
    return {"attrs": [("NFTA_DATA_VALUE", data)]}


def meta(key: int) -> Expression:
    return genex("meta", {"dreg": 1, "key": key})


def set_meta(key: int) -> Expression:
    """Make register 1 the packet's ``key``."""
    return genex("meta", {"sreg": 1, "key": key})


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


def put(name: str, op: int, *, data: bool = False, seconds: float = 0) -> Expression:
    """Have the set take register 1 in, in a map with register 2 as its value. The rule ends here where it is full.

    ``seconds`` is for how long, instead of what the set says.
    """
    more = {**({"sreg_data": 2} if data else {}), **({"timeout": round(seconds * 1000)} if seconds else {})}
    return genex("dynset", {"set_name": name, "op": op, "sreg_key": 1, **more})


def more_than(packets: int) -> Expression:
    """Match what comes beyond the first ``packets`` of a second."""
    return genex("limit", {"rate": packets, "unit": 1, "burst": packets, "type": _PACKETS, "flags": _INVERTED})


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

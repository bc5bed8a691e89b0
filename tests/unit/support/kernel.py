"""A small nf_tables: runs the rules that we really send, as the kernel does (net/netfilter/nf_tables_core.c and the expressions' files)."""

import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from vrrp_drain.linux.nftables.expressions import ACCEPT, DROP, ETHERNET, GOTO
from vrrp_drain.linux.nftables.objects import Kind, Order

_MARK = 3  # NFT_META_MARK
_REGISTERS, _WORD = 20, 4  # of 32 bits; the first four are the verdict's
_COMPARE: dict[int, Callable[[bytes, bytes], bool]] = {
    0: bytes.__eq__,
    1: bytes.__ne__,
    2: bytes.__lt__,
    3: bytes.__le__,
    4: bytes.__gt__,
    5: bytes.__ge__,
}
_UPDATE, _DELETE = 1, 2
NO_MARK, MARK = bytes(4), struct.pack("=I", 1 << 28)
SOCKETS = {  # whether it is bound to the wildcard address, and its mark; a socket that is no whole one tells neither
    "connection": (b"\0", NO_MARK),
    "marked": (b"\0", MARK),
    "listener": (b"\1", NO_MARK),
    "listener at the VIP": (b"\0", NO_MARK),
    "listener with a mark": (b"\1", MARK),
    "handshake": None,
    "TIME_WAIT": None,
}


@dataclass
class Packet:
    """An Ethernet frame by its headers. ``sock`` is what would get it here: one of SOCKETS, or nothing.

    ``flooded``: more come of its kind than the rules that count a second's take for few.
    """

    link: bytearray
    network: bytearray
    transport: bytearray
    protocol: int = socket.IPPROTO_TCP
    sock: str = ""
    mark: bytes = NO_MARK
    flooded: bool = False

    def copied(self) -> "Packet":
        return Packet(bytearray(self.link), bytearray(self.network), bytearray(self.transport), self.protocol, self.sock)


class _Break(Exception):
    """This rule does not match."""


@dataclass
class Table:
    """One table, made by a transaction's orders."""

    orders: Sequence[Order]
    sets: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._chains: dict[str, list[list[tuple[str, dict[str, Any]]]]] = {}
        self._sizes: dict[str, int] = {}
        for order in self.orders:
            self.change(order)

    def change(self, order: Order) -> None:
        """Do what an order says, as far as it says something of sets, elements and rules."""
        found = dict(order.attributes)
        if order.kind == Kind.NEWSET:
            self.sets[found["NFTA_SET_NAME"]] = {}
            self._sizes[found["NFTA_SET_NAME"]] = found["NFTA_SET_DESC"]["attrs"][0][1]
        elif order.kind == Kind.DELRULE:
            self._chains[found["NFTA_RULE_CHAIN"]] = []
        elif order.kind == Kind.NEWRULE:
            rule = [_read(each) for each in found["NFTA_RULE_EXPRESSIONS"]]
            self._chains.setdefault(found["NFTA_RULE_CHAIN"], []).append(rule)
        elif order.kind in (Kind.NEWSETELEM, Kind.DELSETELEM):
            there = self.sets[found["NFTA_SET_ELEM_LIST_SET"]]
            if "NFTA_SET_ELEM_LIST_ELEMENTS" not in found:
                there.clear()
            for each in found.get("NFTA_SET_ELEM_LIST_ELEMENTS", ()):
                element = {name: value["attrs"][0][1] for name, value in each["attrs"]}
                key = element["NFTA_SET_ELEM_KEY"]
                if order.kind == Kind.DELSETELEM:
                    del there[key]  # the kernel refuses one that is not there
                else:
                    assert there.setdefault(key, element.get("NFTA_SET_ELEM_DATA", b"")) == element.get("NFTA_SET_ELEM_DATA", b"")

    def receive(self, packet: Packet, interface: str = "eth0", chain: str = "prerouting") -> tuple[bool, list[tuple[bytes, Packet]]]:
        """Run a base chain. Return whether the packet stays here, and copies with the address each goes to, a hop taken from it."""
        copies: list[tuple[bytes, Packet]] = []
        while True:
            for rule in self._chains.get(chain, []):
                try:
                    code, target = self._run(rule, packet, interface, copies, chain)
                except _Break:
                    continue
                if code == GOTO:
                    chain = target
                    break
                if code is not None:
                    return code == ACCEPT, copies
            else:
                return True, copies  # the policy; a chain that was gone to does not come back

    def _run(
        self,
        rule: list[tuple[str, dict[str, Any]]],
        packet: Packet,
        interface: str,
        copies: list[tuple[bytes, Packet]],
        chain: str,
    ) -> tuple[int | None, str]:
        registers = bytearray(_REGISTERS * _WORD)
        for name, at in rule:
            if name == "immediate" and "verdict" in at["data"]:
                code, target = at["data"]["verdict"]
                return code, target
            if name == "counter":
                self.counters[chain] = self.counters.get(chain, 0) + 1
            elif name == "dup":
                size = len(packet.network) - 4 and (16 if packet.network[0] >> 4 == 6 else 4)
                copy = packet.copied()
                hops = 7 if size == 16 else 8
                copy.network[hops] = (copy.network[hops] - 1) % 256
                copies.append((_load(registers, at["sreg_addr"], size), copy))
            else:
                self._expression(name, at, packet, interface, registers)
        return None, ""

    def _expression(self, name: str, at: dict[str, Any], packet: Packet, interface: str, registers: bytearray) -> None:
        match name:
            case "immediate":
                _store(registers, at["dreg"], at["data"]["value"])
            case "meta" if "sreg" in at:
                assert at["key"] == _MARK
                packet.mark = _load(registers, at["sreg"], len(NO_MARK))
            case "meta":
                known = {_MARK: packet.mark, 6: interface.encode().ljust(16, b"\0"), 8: ETHERNET, 16: bytes((packet.protocol,))}
                _store(registers, at["dreg"], known[at["key"]])
            case "limit":
                if not packet.flooded:
                    raise _Break
            case "payload":
                header = (packet.link, packet.network, packet.transport)[at["base"]]
                begin, end = at["offset"], at["offset"] + at["len"]
                if end > len(header):
                    raise _Break
                if "sreg" in at:
                    header[begin:end] = _load(registers, at["sreg"], at["len"])
                else:
                    _store(registers, at["dreg"], bytes(header[begin:end]))
            case "cmp":
                data = at["data"]["value"]
                if not _COMPARE[at["op"]](_load(registers, at["sreg"], len(data)), data):
                    raise _Break
            case "bitwise":
                value = _load(registers, at["sreg"], at["len"])
                mask, xor = at["mask"]["value"], at["xor"]["value"]
                _store(registers, at["dreg"], bytes(v & m ^ x for v, m, x in zip(value, mask, xor, strict=True)))
            case "lookup":
                self._lookup(at, registers)
            case "dynset":
                self._put(at, registers)
            case "socket":
                found = SOCKETS[packet.sock] if packet.sock else None
                if found is None:
                    raise _Break
                wildcard, mark = found
                _store(registers, at["dreg"], {1: mark, 2: wildcard}[at["key"]])
            case _:
                raise NotImplementedError(name)

    def _key(self, name: str, register: int, registers: bytearray, what: str = "KEY") -> bytes:
        (size,) = {dict(o.attributes)[f"NFTA_SET_{what}_LEN"] for o in self.orders if dict(o.attributes).get("NFTA_SET_NAME") == name}
        return _load(registers, register, size)

    def _lookup(self, at: dict[str, Any], registers: bytearray) -> None:
        found = self.sets[at["set"]].get(self._key(at["set"], at["sreg"], registers))
        if (found is None) is not ("flags" in at):
            raise _Break
        if "dreg" in at and found is not None:
            _store(registers, at["dreg"], found)

    def _put(self, at: dict[str, Any], registers: bytearray) -> None:
        name = at["set_name"]
        key, there = self._key(name, at["sreg_key"], registers), self.sets[name]
        if at["op"] == _DELETE:
            there.pop(key, None)
        elif key not in there:
            if len(there) >= self._sizes[name]:
                raise _Break
            there[key] = self._key(name, at["sreg_data"], registers, "DATA") if "sreg_data" in at else b""


def _read(expression: Any) -> tuple[str, dict[str, Any]]:
    (_, name), (_, data) = expression["attrs"]
    found = {}
    for key, value in data["attrs"]:
        if isinstance(value, dict):
            ((kind, inner),) = value["attrs"]
            value = {"value": inner} if kind == "NFTA_DATA_VALUE" else {"verdict": _verdict(inner)}
        found[key.split("_", 2)[2].lower()] = value
    return name, found


def _verdict(attributes: Any) -> tuple[int, str]:
    found = dict(attributes["attrs"])
    code = found["NFTA_VERDICT_CODE"]
    assert code in (ACCEPT, DROP, GOTO)
    return code, found.get("NFTA_VERDICT_CHAIN", "")


def _at(register: int) -> int:
    """Registers 1 to 4 have 16 bytes, those from 8 on are their words (linux/netfilter/nf_tables.h, enum nft_registers)."""
    return register * 16 if register < 8 else (register - 4) * _WORD


def _load(registers: bytearray, register: int, size: int) -> bytes:
    return bytes(registers[_at(register) : _at(register) + size])


def _store(registers: bytearray, register: int, data: bytes) -> None:
    padded = data.ljust(-(-len(data) // _WORD) * _WORD, b"\0")
    registers[_at(register) : _at(register) + len(padded)] = padded

"""Programs that have the kernel drop, before any copy, what a packet socket does not want (bpf(4), linux/filter.h)."""

import socket
import struct
from array import array
from collections.abc import Sequence

Condition = tuple[Sequence[tuple[int, int]], int]  # the loads, each how and from where, and what must be there then
_SO_ATTACH_FILTER = 26
_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x28, 0x30, 0x15, 0x06  # linux/bpf_common.h
_LOAD_HEADER_LENGTH, _LOAD_BYTE_BEHIND_IT = 0xB1, 0x50  # BPF_LDX | BPF_B | BPF_MSH, BPF_LD | BPF_B | BPF_IND
_MASK = 0x54  # BPF_ALU | BPF_AND | BPF_K
_ETHER_TYPE_OF_PACKET = 0xFFFFF000  # SKF_AD_OFF + SKF_AD_PROTOCOL, linux/filter.h
_TYPE_OF_PACKET = 0xFFFFF004  # SKF_AD_OFF + SKF_AD_PKTTYPE
_WHOLE = 0xFFFF


def ether_type(value: int) -> Condition:
    return ((_LOAD_HALF, _ETHER_TYPE_OF_PACKET),), value


def packet_type(value: int) -> Condition:
    """``value`` is one of PACKET_* (packet(7)): for whom the packet is, or that this machine sent it."""
    return ((_LOAD_BYTE, _TYPE_OF_PACKET),), value


def byte(offset: int, value: int) -> Condition:
    """``offset`` counts from the beginning of the network layer's packet, here and in ``word``."""
    return ((_LOAD_BYTE, offset),), value


def word(offset: int, value: bytes) -> Condition:
    """``value`` is four bytes as they are on the wire."""
    return ((_LOAD_WORD, offset),), int.from_bytes(value, "big")


def byte_behind_ipv4(offset: int, value: int) -> Condition:
    """``offset`` counts from the end of the IPv4 header, which may have options."""
    return ((_LOAD_HEADER_LENGTH, 0), (_LOAD_BYTE_BEHIND_IT, offset)), value


def masked(condition: Condition, bits: int) -> Condition:
    """Look at these ``bits`` of what the condition loads, and no others."""
    loads, value = condition
    return (*loads, (_MASK, bits)), value


def program(*alternatives: Sequence[Condition]) -> list[bytes]:
    """Return the instructions (struct sock_filter) that keep a packet for which all conditions of one of ``alternatives`` hold."""
    steps: list[bytes] = []
    for conditions in alternatives:
        left = sum(len(loads) + 1 for loads, _ in conditions)
        for loads, value in conditions:
            left -= len(loads) + 1
            steps += [*(_step(load, 0, offset) for load, offset in loads), _step(_JUMP_IF_EQUAL, left + 1, value)]
        steps.append(_step(_RETURN, 0, _WHOLE))
    return [*steps, _step(_RETURN, 0, 0)]


def attach(opened: socket.socket, instructions: Sequence[bytes]) -> None:
    """Have the kernel run ``instructions`` for ``opened``; do it before the socket is bound, or some packets pass it. Raises OSError."""
    code = array("B", b"".join(instructions))
    address, _ = code.buffer_info()
    opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(instructions), address))  # struct sock_fprog


def _step(code: int, unless: int, operand: int) -> bytes:
    """``unless`` is how many instructions are passed over where a comparison fails."""
    return struct.pack("=HBBI", code, 0, unless, operand)

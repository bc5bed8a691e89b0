"""Programs that have the kernel drop, before any copy, what a packet socket does not want (bpf(4), linux/filter.h)."""

import ctypes
import socket
import struct
from collections.abc import Sequence

Condition = tuple[int, int, int]  # how to load, from which offset in the network layer's packet, and what must be there
_SO_ATTACH_FILTER = 26
_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x28, 0x30, 0x15, 0x06  # linux/bpf_common.h
_ETHER_TYPE_OF_PACKET = 0xFFFFF000  # SKF_AD_OFF + SKF_AD_PROTOCOL, linux/filter.h
_WHOLE = 0xFFFF


def ether_type(value: int) -> Condition:
    return _LOAD_HALF, _ETHER_TYPE_OF_PACKET, value


def byte(offset: int, value: int) -> Condition:
    return _LOAD_BYTE, offset, value


def word(offset: int, value: bytes) -> Condition:
    """``value`` is four bytes as they are on the wire."""
    return _LOAD_WORD, offset, int.from_bytes(value, "big")


def program(*alternatives: Sequence[Condition]) -> list[bytes]:
    """Return the instructions (struct sock_filter) that keep a packet for which all conditions of one of ``alternatives`` hold."""
    steps: list[bytes] = []
    for conditions in alternatives:
        for left, (load, offset, value) in zip(range(len(conditions), 0, -1), conditions, strict=True):
            steps += [_step(load, 0, offset), _step(_JUMP_IF_EQUAL, 2 * left - 1, value)]
        steps.append(_step(_RETURN, 0, _WHOLE))
    return [*steps, _step(_RETURN, 0, 0)]


def attach(opened: socket.socket, instructions: Sequence[bytes]) -> None:
    """Have the kernel run ``instructions`` for ``opened``; do it before the socket is bound, or some packets pass it. Raises OSError."""
    code = ctypes.create_string_buffer(b"".join(instructions))
    opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(instructions), ctypes.addressof(code)))


def _step(code: int, unless: int, operand: int) -> bytes:
    """``unless`` is how many instructions are passed over where a comparison fails."""
    return struct.pack("=HBBI", code, 0, unless, operand)

"""A kernel that is asked over netlink, and answers what a test wants; netlink.py's own socket stands between."""

import socket
import struct
from collections.abc import Sequence
from typing import Any

HEADER = struct.Struct("=IHHII")
ERROR, DONE, INTERRUPTED = 2, 3, 0x10  # NLMSG_ERROR, NLMSG_DONE, NLM_F_DUMP_INTR, linux/netlink.h
TOLD_MORE = 0x200  # NLM_F_ACK_TLVS


def message(kind: int, body: bytes = b"", flags: int = 0, sequence: int = 0) -> bytes:
    """Return a message; what follows begins at a multiple of four bytes. The kernel numbers it where ``sequence`` is 0."""
    return HEADER.pack(HEADER.size + len(body), kind, flags, sequence, 0) + body + bytes(-len(body) % 4)


def status(kind: int, code: int = 0, sequence: int = 0) -> bytes:
    """Return an end, or an error, which may be none: an acknowledgement."""
    return message(kind, struct.pack("=i", -code) + bytes(16 if kind == ERROR else 0), sequence=sequence)


def rejection(code: int, sequence: int, asked: bytes, at: int) -> bytes:
    """Return an error that says which byte of the message ``asked`` is wrong (NLMSGERR_ATTR_OFFS)."""
    where = struct.pack("=HHI", 8, 2, at)
    return message(ERROR, struct.pack("=i", -code) + asked + bytes(-len(asked) % 4) + where, TOLD_MORE, sequence)


END, ACKNOWLEDGED = status(DONE), status(ERROR)


class FakeKernel:
    """A netlink socket and who is behind it: ``replies`` has, for each question, what is received one after the other."""

    def __init__(self) -> None:
        self.replies: list[Sequence[bytes | OSError]] = []
        self.opened: tuple[Any, ...] = ()
        self.asked: list[bytes] = []
        self.timeout: float | None = None
        self.closed = 0
        self._inbox: list[bytes | OSError] = []

    def open(self, *arguments: Any) -> "FakeKernel":
        self.opened = arguments
        return self

    def settimeout(self, seconds: float) -> None:
        self.timeout = seconds

    def setsockopt(self, level: int, option: int, value: int) -> None:
        assert (level, value) == (socket.SOL_SOCKET, 1 << 20) or (level, option, value) == (270, 11, 1)  # SOL_NETLINK, NETLINK_EXT_ACK

    def send(self, data: bytes) -> None:
        self.asked.append(bytes(data))
        (sequence,) = struct.unpack_from("=I", data, 8)
        reply = self.replies.pop(0)
        self._inbox += [each if isinstance(each, OSError) else _numbered(each, sequence) for each in reply]

    def recv(self, size: int) -> bytes:
        assert size == 1 << 16
        found = self._inbox.pop(0)
        if isinstance(found, OSError):
            raise found
        return found

    def close(self) -> None:
        self.closed += 1


def _numbered(data: bytes, sequence: int) -> bytes:
    numbered, offset = bytearray(data), 0
    while offset < len(data):
        length, _, _, own, _ = HEADER.unpack_from(data, offset)
        struct.pack_into("=I", numbered, offset + 8, own or sequence)
        offset += (length + 3) & ~3
    return bytes(numbered)

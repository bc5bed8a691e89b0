"""Who changed nftables, as the kernel tells it after each transaction."""

import os
import struct

import pytest

from vrrp_drain.linux.netlink import HEADER
from vrrp_drain.linux.nftables.watch import changed_by

NEW_GENERATION, NEW_TABLE = 10 << 8 | 15, 10 << 8


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def generation(pid: int, name: bytes = b"nft\0") -> bytes:
    body = bytes(4) + attribute(1, bytes(4)) + attribute(2, pid.to_bytes(4, "big")) + attribute(3, name)
    return HEADER.pack(HEADER.size + len(body), NEW_GENERATION, 0, 0, 0) + body


def table() -> bytes:
    body = bytes(4) + attribute(1, b"filter\0")
    found = HEADER.pack(HEADER.size + len(body), NEW_TABLE, 0, 0, 0) + body
    return found + bytes(-len(found) % 4)


@pytest.mark.parametrize(
    ("data", "by"),
    [
        (b"", None),
        (table(), None),
        (table() + generation(4711), "nft (pid 4711)"),
        (generation(12, b"firewalld\0") + table() + generation(4711), "nft (pid 4711)"),
        (generation(4711) + generation(os.getpid()), "nft (pid 4711)"),
        (generation(os.getpid()), ""),
        (generation(4711)[:-3], "n (pid 4711)"),
        (HEADER.pack(0, NEW_GENERATION, 0, 0, 0), ""),
        (generation(4711, b"\xff\0"), "\ufffd (pid 4711)"),
    ],
    ids=["nothing", "no end of a transaction", "nft", "the last one", "ours last", "ours", "cut off", "no length", "no text"],
)
def test_who_changed_it(data: bytes, by: str | None) -> None:
    """The last one that was not this process, once the change is over; what is damaged or says nothing costs nothing."""
    assert changed_by(data) == by

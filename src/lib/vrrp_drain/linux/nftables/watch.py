"""Tells when somebody changes nftables on this machine (nfnetlink's group of that name), and who it was."""

import os
import socket

from ..netlink import HEADER, NETFILTER, attributes, pending

_GROUP = 1 << 6  # NFNLGRP_NFTABLES, linux/netfilter/nfnetlink.h
_NEW_GENERATION = 10 << 8 | 15  # NFT_MSG_NEWGEN of NFNL_SUBSYS_NFTABLES: what each transaction ends with
_PID, _NAME = 2, 3  # NFTA_GEN_PROC_*, linux/netfilter/nf_tables.h
_FAMILY_HEADER = 4  # bytes, struct nfgenmsg


class RulesWatch:
    """Readable when something changed; what is then asked, so a lost message costs nothing. Raises OSError where there is no nfnetlink."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, NETFILTER)
        try:
            self._socket.bind((0, _GROUP))
        except OSError:
            self._socket.close()
            raise
        self.by: str | None = None

    def fileno(self) -> int:
        return self._socket.fileno()

    def drain(self) -> None:
        """Take the pending messages in. ``by`` is then the last program in them that was not ourselves, as ``nft (pid 4711)``, empty where
        it was or does not say, and None where the change is not over: its last message, which says who it was, is still to come."""
        ended = [by for each in pending(self._socket) if (by := changed_by(each)) is not None]
        self.by = next((by for by in reversed(ended) if by), "") if ended else None

    def close(self) -> None:
        self._socket.close()


def changed_by(data: bytes) -> str | None:
    """Return who made the last change that ends in ``data``, nothing where it was this process or does not say, None where none ends."""
    found = None
    while len(data) >= HEADER.size:
        length, kind, *_ = HEADER.unpack_from(data)
        if kind == _NEW_GENERATION:
            said = dict(attributes(data[HEADER.size + _FAMILY_HEADER : length]))
            pid, name = int.from_bytes(said.get(_PID, b""), "big"), said.get(_NAME, b"").rstrip(b"\0").decode(errors="replace")
            found = f"{name} (pid {pid})" if pid not in (0, os.getpid()) else found or ""
        data = data[max(length + 3 & ~3, HEADER.size) :]
    return found

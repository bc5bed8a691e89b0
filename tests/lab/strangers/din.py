"""Somebody on the segment who sends adverts of one kind as fast as he is told to, and no longer than he is told to.

    python -m lab.strangers.din '{"frame": hex, "rate": packets a second, "seconds": ..., "into": path}'

Ends at SIGTERM too, and writes how many packets he has sent in which time.
"""

import json
import signal
import socket
import sys
import threading
import time
from pathlib import Path

_BATCH_SECONDS = 0.005  # between two batches of a high rate: the clock is not asked for every packet


def send(frame: bytes, rate: float, seconds: float, stop: threading.Event) -> tuple[int, float]:
    """Send at ``rate`` until ``stop``, for ``seconds`` at most; return how many packets, and how long it took."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as opened:
        opened.bind(("eth0", 0))
        opened.settimeout(1.0)
        began, sent = time.monotonic(), 0
        while (now := time.monotonic()) - began < seconds and not stop.wait(max(_BATCH_SECONDS, began + sent / rate - now)):
            due = int((time.monotonic() - began) * rate) + 1 - sent
            for _ in range(min(due, int(rate * seconds) - sent)):
                opened.send(frame)
                sent += 1
        return sent, time.monotonic() - began


def main() -> None:
    settings = json.loads(sys.argv[1])
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    sent, took = send(bytes.fromhex(settings["frame"]), settings["rate"], settings["seconds"], stop)
    Path(settings["into"]).write_text(json.dumps({"sent": sent, "seconds": took}) + "\n")


if __name__ == "__main__":
    main()

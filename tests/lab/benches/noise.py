"""Moves while somebody on the segment sends what he should not: `python -m lab.benches.noise` makes 30 of each, and prints a table."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lab.clients.load import Load
from lab.clients.program import Program
from lab.fabric.cluster import VIP, Cluster, compiled_package
from lab.fabric.namespace import Namespace, missing
from lab.fabric.wait import until
from lab.fabric.watchdog import watchdog
from lab.scenarios.recorder import Recorder
from vrrp_drain.runtime.ip import GROUP_V4, PROTOCOL, TTL, internet_checksum
from vrrp_drain.vrrp.advert import Advert, build

STRANGERS_NUMBER = 66
STRANGER = f"10.0.0.{STRANGERS_NUMBER}"
CLIENTS_NUMBER = 101  # of the first pair's client
RATES = (2, 10_000)
_MAC, _GROUP_MAC = bytes.fromhex("020000000042"), bytes.fromhex("01005e000012")
_PAIRS = 15
_LONGEST = 40.0  # seconds that a pair of moves may take under noise, with all that is around it
_AFTER = 1.0  # seconds of noise after a move: what it breaks shows then


def frame(payload: bytes, *, source: str = STRANGER, destination: str = str(GROUP_V4), mac: bytes = _GROUP_MAC) -> bytes:
    """Return a whole Ethernet frame of a stranger."""
    sender, target = ip_address(source), ip_address(destination)
    head = (
        bytes((0x45, 0)) + (20 + len(payload)).to_bytes(2, "big") + bytes((0, 0, 0, 0, TTL, PROTOCOL, 0, 0)) + sender.packed + target.packed
    )
    head = head[:10] + internet_checksum(head).to_bytes(2, "big") + head[12:]
    return (mac + _MAC + b"\x08\x00" + head + payload).ljust(60, b"\0")


def _advert(priority: int = 10, *, vip: str = VIP, advert_int: float = 1.0, auth: tuple[int, bytes] = (0, bytes(8))) -> bytes:
    return build(Advert(2, 1, priority, advert_int, (ip_address(vip),), *auth), ip_address(STRANGER), GROUP_V4)


def _carp() -> bytes:
    """Return a CARP advertisement of virtual host 1: the same protocol number and first byte, another layout."""
    head = bytes((0x21, 1, 0, 7, 0, 1, 0, 0)) + bytes(28)
    return head[:6] + internet_checksum(head).to_bytes(2, "big") + head[8:]


KINDS: Mapping[str, bytes] = {
    "wrong checksum": _advert(98)[:6] + b"\x12\x34" + _advert(98)[8:],
    "other VIP": _advert(90, vip="10.0.0.99"),
    "lower priority": _advert(10),
    "higher priority": _advert(240),
    "draining priority": _advert(90),
    "priority 0": _advert(0),
    "priority 255": _advert(255),
    "other authentication": _advert(98, auth=(1, b"secret\0\0")),
    "other interval": _advert(98, advert_int=3.0),
    "wrong length": _advert(98)[:-4],
    "CARP": _carp(),
}


class Noise(Program):
    """Runs from entry to exit; ``sent`` packets in ``seconds`` then."""

    def __init__(self, machine: Namespace, kind: str, rate: float) -> None:
        super().__init__(machine, "strangers.din", {"frame": frame(KINDS[kind]).hex(), "rate": rate, "seconds": _LONGEST})

    def finish(self, lines: Sequence[dict[str, Any]]) -> None:
        (self.sent, self.seconds), *_ = ((int(line["sent"]), float(line["seconds"])) for line in lines)


@dataclass(frozen=True)
class Pair:
    """What a move away and back was like for the clients: requests that failed, and all the moves that there were."""

    sent: int
    rate: float
    requests: int
    failed: int
    broken: int
    moves: int

    @property
    def clean(self) -> bool:
        """Tell whether nobody felt anything, and nothing moved but what was told to."""
        return self.requests > 0 and (self.failed, self.broken, self.moves) == (0, 0, 2)


@contextmanager
def plugged_in(cluster: Cluster, name: str, number: int) -> Iterator[Namespace]:
    """Add a machine to the segment for a while: 10.0.0.``number``."""
    machine = Namespace(name)
    try:
        cluster.switch.attach(machine, number, (f"10.0.0.{number}/24",))
        yield machine
    finally:
        machine.kill()


def pair(cluster: Cluster, machine: Namespace, client: Namespace, kind: str, rate: float) -> Pair:
    """Demote the MASTER of a group of two and promote it again, under noise out of ``machine`` and a light load of ``client``'s.

    Each pair needs a client of its own: it leaves TIME_WAIT sockets behind, which the next one would meet from the same address.
    """
    first, second = cluster.nodes
    with (
        watchdog(_LONGEST + 10, machine),
        Recorder(cluster.nodes, cluster.vip) as recorder,
        Load(client, cluster.vip, rate=50, keep_alive=10) as load,
    ):
        until(lambda: load.answered > 50, "the clients to be served")
        with Noise(machine, kind, rate) as noise:
            time.sleep(_AFTER)
            for command, there in (("demote", second), ("promote", first)):
                code, _, stderr = first.vrrpctl(command)
                if code != 0:
                    raise RuntimeError(f"{kind} at {rate:g}/s: vrrpctl {command} exited {code}: {stderr}")
                there.wait_for(cluster.vip)
                time.sleep(_AFTER)
    found = load.found
    return Pair(
        sent=noise.sent,
        rate=noise.sent / max(noise.seconds, 1e-9),
        requests=len(found.requests),
        failed=len(found.failed("new")),
        broken=len(found.failed("established")),
        moves=len(recorder.moves()),
    )


def table(found: Mapping[tuple[str, float], Sequence[Pair]]) -> Table:
    shown = Table(title=f"{2 * _PAIRS} moves under each kind of noise")
    for label in ("noise", "a second", "pairs clean", "new failed", "open broken", "moves not asked for"):
        shown.add_column(label, justify="left" if label == "noise" else "right")
    for (kind, _), pairs in found.items():
        shown.add_row(
            kind,
            f"{sum(each.rate for each in pairs) / len(pairs):.0f}",
            f"{sum(each.clean for each in pairs)} of {len(pairs)}",
            *(str(sum(getattr(each, name) for each in pairs)) for name in ("failed", "broken")),
            str(sum(each.moves - 2 for each in pairs)),
        )
    return shown


def run(package: Path, console: Console, pairs: int = _PAIRS) -> Mapping[tuple[str, float], Sequence[Pair]]:
    found: dict[tuple[str, float], Sequence[Pair]] = {}
    for rate in RATES:
        for kind in KINDS:
            with group(package) as cluster, plugged_in(cluster, "stranger", STRANGERS_NUMBER) as machine:
                found[kind, rate] = [_next(cluster, machine, number, kind, rate) for number in range(pairs)]
            console.print(f"[dim]{kind}, {rate} a second: {sum(each.clean for each in found[kind, rate])} of {pairs}[/dim]")
    return found


@contextmanager
def group(package: Path) -> Iterator[Cluster]:
    """Deploy two instances with default adverts, whose haproxy serves on when it has handed over."""
    with Cluster(package, 2, vrrp_drain={"haproxy_soft_stop": False}) as cluster:
        cluster.create()
        cluster.nodes[0].wait_for(cluster.vip)
        yield cluster


def _next(cluster: Cluster, machine: Namespace, number: int, kind: str, rate: float) -> Pair:
    with plugged_in(cluster, "client", CLIENTS_NUMBER + number) as client:
        return pair(cluster, machine, client, kind, rate)


def main() -> None:
    if lack := missing():
        sys.exit(lack)
    console = Console()
    with compiled_package() as package:
        found = run(package, console)
    console.print(table(found))
    sys.exit(not all(each.clean for pairs in found.values() for each in pairs))


if __name__ == "__main__":
    main()

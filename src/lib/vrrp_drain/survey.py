"""One look at the segment: who adverts our virtual router, how regularly, and who answers for which address."""

import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field

from .advert import Advert, IPAddress
from .listener import adverts, valid
from .neighbour import inquire
from .node import Node
from .tap import Tap

LEAST_SECONDS = 0.4
ANSWER_SECONDS = 0.2  # everybody who has an address gets this long to say so
_CURRENT = 1.5  # advert intervals within which a MASTER adverts again


@dataclass(frozen=True)
class Router:
    """Somebody else who adverts our virtual router: the last advert, when each arrived (monotonic seconds), why it is none of ours."""

    source: IPAddress
    advert: Advert
    arrivals: tuple[float, ...]
    foreign: str = ""

    @property
    def longest_gap(self) -> float:
        """Return the longest time between two of its adverts in seconds, 0 where there was only one."""
        return max((later - earlier for earlier, later in zip(self.arrivals, self.arrivals[1:], strict=False)), default=0.0)


@dataclass(frozen=True)
class Survey:
    """``seconds`` were listened, until ``ended`` (monotonic). ``answers`` are MACs that are not ours, by the address asked for.

    With a tap, ``wire`` counts the adverts that arrived at the interface, by source, and ``sent`` is the last one of our own.
    """

    seconds: float
    ended: float
    routers: tuple[Router, ...]
    answers: Mapping[IPAddress, frozenset[str]]
    wire: Mapping[IPAddress, int] = field(default_factory=dict)
    sent: Advert | None = None

    @property
    def masters(self) -> tuple[Router, ...]:
        """Return those of our cluster who advert."""
        return tuple(router for router in self.routers if not router.foreign)

    @property
    def current_masters(self) -> tuple[Router, ...]:
        """Return those who adverted to the end: whoever gave the VIP up meanwhile is none."""
        return tuple(each for each in self.masters if each.arrivals[-1] > self.ended - _CURRENT * each.advert.advert_int)


def look(node: Node) -> Survey:
    """Ask once who answers for the VIP, and listen for one advert interval, but only until a MASTER is heard. Raises SystemFault."""
    seconds = max(LEAST_SECONDS, 1.1 * node.config.keepalived.advert_int)
    return _take(node, seconds, (), until_heard=True)


def listen(node: Node, seconds: float, others: Iterable[IPAddress]) -> Survey:
    """Listen for all of ``seconds``, with a tap, and ask twice for the VIP and ``others``. Raises SystemFault."""
    electorate = node.electorate()
    with closing(Tap(node.interface, node.config.vip.version)) as tap:
        found = _take(node, seconds, others, until_heard=False)
        on_the_wire = [(packet, ours) for packet, ours in tap.receive()]
    wire: dict[IPAddress, int] = {}
    sent = None
    for packet, ours in on_the_wire:
        for advert, _ in valid([packet]):
            if ours and advert.vrid == electorate.vrid:
                sent = advert
            elif not ours and electorate.concerns(advert, packet):
                wire[packet.source] = wire.get(packet.source, 0) + 1
    return Survey(found.seconds, found.ended, found.routers, found.answers, wire, sent)


def _take(node: Node, seconds: float, others: Iterable[IPAddress], *, until_heard: bool) -> Survey:
    vip, electorate, mac = node.config.vip, node.electorate(), node.netlink.mac(node.interface)
    own = node.netlink.macs()
    routers: dict[IPAddress, Router] = {}
    with ExitStack() as stack:
        inquiries = {target: inquire(node.interface, mac, target) for target in (vip, *others)}
        for inquiry in inquiries.values():
            stack.callback(inquiry.close)

        def ask() -> float:
            for inquiry in inquiries.values():
                with suppress(OSError):  # the interface is down: nobody can answer
                    inquiry.ask()
            return time.monotonic() + ANSWER_SECONDS

        def answers() -> dict[IPAddress, frozenset[str]]:
            return {target: frozenset(inquiry.answers()) - own for target, inquiry in inquiries.items()}

        started = time.monotonic()
        answers_until = ask()
        for advert, packet in adverts(node.interface, vip.version, seconds):
            if not electorate.concerns(advert, packet):
                continue
            before = routers.get(packet.source)
            arrivals = (*(before.arrivals if before else ()), time.monotonic())
            routers[packet.source] = Router(packet.source, advert, arrivals, electorate.foreign(advert, packet))
            if until_heard and not routers[packet.source].foreign:
                break
        ended = time.monotonic()
        found: dict[IPAddress, frozenset[str]] = {}
        if not until_heard:  # one answer may be lost, and the VIP may have moved meanwhile: the second one counts
            found, answers_until = answers(), ask()
        time.sleep(max(0.0, answers_until - time.monotonic()))
        found |= {target: macs for target, macs in answers().items() if macs or target not in found}
    return Survey(ended - started, ended, tuple(routers.values()), found)

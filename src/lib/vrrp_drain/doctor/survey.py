"""One look at the segment: who adverts our virtual router, how regularly, and who answers for which address."""

import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass

from vrrp_drain.handover.node import Node
from vrrp_drain.linux.advert_socket import AdvertListener
from vrrp_drain.linux.neighbour import inquire
from vrrp_drain.linux.packet_capture import PacketCapture, arrivals
from vrrp_drain.runtime.ip import IPAddress
from vrrp_drain.vrrp.advert import Advert, valid
from vrrp_drain.vrrp.election import Register
from vrrp_drain.vrrp.foreign import Foreign
from vrrp_drain.vrrp.strangers import span

LEAST_SECONDS = 0.4
ANSWER_SECONDS = 0.2  # everybody who has an address gets this long to say so
_CURRENT = 1.5  # advert intervals within which a MASTER adverts again


@dataclass(frozen=True)
class Router:
    """Somebody else who adverts our virtual router: the last advert, when each arrived (monotonic seconds).

    ``foreign`` tells why it is none of ours; None for a peer.
    """

    source: IPAddress
    advert: Advert
    arrivals: tuple[float, ...]
    foreign: Foreign | None = None

    def confirmed(self, advert_int: float) -> bool:
        """Tell whether it was more than one packet, or one and its copies; ``advert_int`` is our own."""
        return self.arrivals[-1] - self.arrivals[0] >= span(advert_int, self.advert.advert_int)

    @property
    def longest_gap(self) -> float:
        """Return the longest time between two of its adverts in seconds, 0 where there was only one."""
        return max((later - earlier for earlier, later in zip(self.arrivals, self.arrivals[1:], strict=False)), default=0.0)


@dataclass(frozen=True)
class Survey:
    """``seconds`` were listened, until ``ended`` (monotonic). ``answers`` are MACs that are not ours, by the address asked for.

    ``let_in`` are the sources whose adverts reached keepalived too, None where that was not asked; ``sent`` is the last advert of our own.
    """

    seconds: float
    ended: float
    routers: tuple[Router, ...]
    answers: Mapping[IPAddress, frozenset[str]]
    let_in: frozenset[IPAddress] | None = None
    sent: Advert | None = None

    @property
    def masters(self) -> tuple[Router, ...]:
        """Return those of our cluster who advert."""
        return tuple(router for router in self.routers if router.foreign is None)

    @property
    def current_masters(self) -> tuple[Router, ...]:
        """Return those who adverted to the end: whoever gave the VIP up meanwhile is none."""
        return tuple(each for each in self.masters if each.arrivals[-1] > self.ended - _CURRENT * each.advert.advert_int)


def look(node: Node) -> Survey:
    """Ask once who answers for the VIP, and listen for one advert interval, but only until a MASTER is heard. Raises SystemFault."""
    seconds = max(LEAST_SECONDS, 1.1 * node.config.keepalived.advert_int)
    return _take(node, seconds, (), until_heard=True)


def listen(node: Node, seconds: float, others: Iterable[IPAddress]) -> Survey:
    """Listen for all of ``seconds``, to what we send and to what our rules let in as well; ask twice for the VIP and ``others``.

    Raises SystemFault.
    """
    return _take(node, seconds, others, until_heard=False)


def _take(node: Node, seconds: float, others: Iterable[IPAddress], *, until_heard: bool) -> Survey:
    vip, register, mac = node.config.vip, Register(node.electorate), node.netlink.mac(node.interface)
    own = node.netlink.macs()
    routers: dict[IPAddress, Router] = {}
    let_in: set[IPAddress] = set()
    with ExitStack() as stack:
        behind = None if until_heard else stack.enter_context(closing(AdvertListener(node.interface, vip.version)))
        capture = stack.enter_context(closing(PacketCapture(node.interface, vip.version, register.current.vrid, outgoing=not until_heard)))
        capture.know(register.current.members)
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
        for advert, packet in valid(arrivals(capture, lambda: started + seconds)):
            if behind is not None:  # it never waits long: its buffer is small
                let_in.update(each.source for each in behind.receive())
            electorate = register.hearing(advert, packet, time.monotonic())
            if not electorate.concerns(advert, packet):
                continue
            before = routers.get(packet.source)
            heard_at = (*(before.arrivals if before else ()), time.monotonic())
            routers[packet.source] = Router(packet.source, advert, heard_at, electorate.foreign(advert, packet))
            if until_heard and routers[packet.source].foreign is None:
                break
        ended = time.monotonic()
        found: dict[IPAddress, frozenset[str]] = {}
        if not until_heard:  # one answer may be lost, and the VIP may have moved meanwhile: the second one counts
            found, answers_until = answers(), ask()
        time.sleep(max(0.0, answers_until - time.monotonic()))
        found |= {target: macs for target, macs in answers().items() if macs or target not in found}
        if behind is None:
            return Survey(ended - started, ended, tuple(routers.values()), found)
        let_in.update(each.source for each in behind.receive())
        sent = next((advert for advert, _ in valid([capture.sent] if capture.sent else [])), None)
        return Survey(ended - started, ended, tuple(routers.values()), found, frozenset(let_in), sent)

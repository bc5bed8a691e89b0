"""One look at the segment: who adverts our virtual router, how regularly, and who answers for which address."""

import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from vrrp_drain.handover.advert_stream import AdvertStream, WireStream
from vrrp_drain.handover.services import Services
from vrrp_drain.linux.neighbour import Inquiry
from vrrp_drain.runtime.ip import IPAddress
from vrrp_drain.vrrp.advert import Advert, valid
from vrrp_drain.vrrp.election import Standing
from vrrp_drain.vrrp.foreign import Foreign
from vrrp_drain.vrrp.strangers import span

LEAST_SECONDS = 0.4
ANSWER_SECONDS = 0.2  # everybody who has an address gets this long to say so
_CURRENT = 1.5  # advert intervals within which a MASTER adverts again


@dataclass(frozen=True)
class Router:
    """Somebody else who adverts our virtual router: the last advert, when each arrived (monotonic seconds), why it is none of ours."""

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
    ``far`` are peers whose adverts crossed so many routers, which are too many.
    """

    seconds: float
    ended: float
    routers: tuple[Router, ...]
    answers: Mapping[IPAddress, frozenset[str]]
    let_in: frozenset[IPAddress] | None = None
    sent: Advert | None = None
    far: Mapping[IPAddress, int] = field(default_factory=dict)

    @property
    def masters(self) -> tuple[Router, ...]:
        """Return those of our cluster who advert."""
        return tuple(router for router in self.routers if router.foreign is None)

    @property
    def current_masters(self) -> tuple[Router, ...]:
        """Return those who adverted to the end: whoever gave the VIP up meanwhile is none."""
        return tuple(each for each in self.masters if each.arrivals[-1] > self.ended - _CURRENT * each.advert.advert_int)


def look(services: Services) -> Survey:
    """Ask once who answers for the VIP, and listen for one advert interval, but only until a MASTER is heard. Raises SystemFault."""
    seconds = max(LEAST_SECONDS, 1.1 * services.instance.config.keepalived.advert_int)
    return _take(services, seconds, (), until_heard=True)


def listen(services: Services, seconds: float, others: Iterable[IPAddress]) -> Survey:
    """Listen for all of ``seconds``, to what we send and to what our rules let in as well; ask twice for the VIP and ``others``.

    Who adverts beside us is asked for too. Raises SystemFault.
    """
    return _take(services, seconds, others, until_heard=False)


def _take(services: Services, seconds: float, others: Iterable[IPAddress], *, until_heard: bool) -> Survey:
    instance, machine, register = services.instance, services.machine, services.membership.register()
    own = machine.netlink.macs()
    routers: dict[IPAddress, Router] = {}
    let_in: set[IPAddress] = set()
    far: dict[IPAddress, int] = {}
    with ExitStack() as stack:
        behind = None if until_heard else stack.enter_context(AdvertStream(machine, instance, register))
        stream = WireStream(machine, instance, register, outgoing=not until_heard)
        stack.callback(stream.close)
        inquiries: dict[IPAddress, Inquiry] = {}

        def inquire(target: IPAddress) -> None:
            inquiries[target] = machine.inquire(instance.interface, target)
            stack.callback(inquiries[target].close)

        for target in (instance.vip, *others):
            inquire(target)

        def ask() -> float:
            for inquiry in inquiries.values():
                with suppress(OSError):  # the interface is down: nobody can answer
                    inquiry.ask()
            return time.monotonic() + ANSWER_SECONDS

        def answers() -> dict[IPAddress, frozenset[str]]:
            return {target: frozenset(inquiry.answers()) - own for target, inquiry in inquiries.items()}

        started = time.monotonic()
        answers_until = ask()
        for heard in stream.until(lambda: started + seconds):
            if behind is not None:  # it never waits long: its buffer is small
                let_in.update(each.source for each in behind.receive())
            if heard.standing is Standing.FAR:
                far[heard.source] = heard.routers
            if heard.advert is None or heard.standing is Standing.ELSEWHERE:
                continue
            before = routers.get(heard.source)
            arrivals = (*(before.arrivals if before else ()), heard.at)
            routers[heard.source] = Router(heard.source, heard.advert, arrivals, heard.foreign)
            if not until_heard and heard.foreign is None and heard.source not in inquiries:  # whose MAC is that? It is asked below
                inquire(heard.source)
            if until_heard and heard.standing is not Standing.STRANGER:
                break
        ended = time.monotonic()
        found: dict[IPAddress, frozenset[str]] = {}
        if not until_heard:  # one answer may be lost, and the VIP may have moved meanwhile: the second one counts
            found, answers_until = answers(), ask()
        machine.sleep(max(0.0, answers_until - time.monotonic()))
        found |= {target: macs for target, macs in answers().items() if macs or target not in found}
        if behind is None:
            return Survey(ended - started, ended, tuple(routers.values()), found, far=far)
        let_in.update(each.source for each in behind.receive())
        sent = next((advert for advert, _ in valid([stream.sent] if stream.sent else [])), None)
        return Survey(ended - started, ended, tuple(routers.values()), found, frozenset(let_in), sent, far)

"""The instance that is examined: facts that several checks need are found once, and every wait is bounded and noted."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from vrrp_drain.config.model import Config
from vrrp_drain.handover import own_addresses
from vrrp_drain.handover.services import Services
from vrrp_drain.haproxy.health import Health
from vrrp_drain.linux.rtnetlink import Netlink
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import IPAddress, IPInterface
from vrrp_drain.vrrp.bands import Band

from . import survey
from .finding import Found
from .survey import Survey

T = TypeVar("T")
Examine = Callable[["Patient"], list[Found] | None]
_INTERVALS = 3.3  # advert intervals to listen for: as long as a BACKUP does before it takes over, and a bit
_RESERVE = 2.5  # seconds that everything after the survey may take


@dataclass(frozen=True)
class Wait:
    """What was waited for, and for how many seconds."""

    what: str
    seconds: float


@dataclass(frozen=True)
class Holder:
    """A MAC that answers for an address, and the peer whose it is, None where it is no peer's."""

    mac: str
    peer: IPAddress | None

    def __str__(self) -> str:
        return f"{self.mac} ({self.peer})" if self.peer else self.mac


@dataclass
class Patient:
    """``deadline`` is monotonic; a wait that would pass it is shortened, or refused by ``take_time``."""

    services: Services
    deadline: float
    waits: list[Wait] = field(default_factory=list)

    config: Config = field(init=False)
    netlink: Netlink = field(init=False)
    interface: str = field(init=False)
    vip: IPAddress = field(init=False)
    vips: tuple[IPAddress, ...] = field(init=False)

    def __post_init__(self) -> None:
        instance, self.netlink = self.services.instance, self.services.machine.netlink
        self.config, self.interface = instance.config, instance.interface
        self.vip, self.vips = instance.vip, instance.config.keepalived.addresses

    @property
    def left(self) -> float:
        """Return the seconds until the deadline."""
        return self.deadline - time.monotonic()

    def take_time(self, what: str, seconds: float, wait: Callable[[], T]) -> T:
        """Call ``wait``, which takes up to ``seconds``, and note how long it took. Raises SystemFault where they are not left."""
        if seconds > self.left:
            raise SystemFault(f"no time was left for {what} ({seconds:g} s): give --timeout more")
        started = time.monotonic()
        try:
            return wait()
        finally:
            self.waits.append(Wait(what, time.monotonic() - started))

    @cached_property
    def keepalived_pid(self) -> int | None:
        return self.services.vip.keepalived()

    @cached_property
    def vip_here(self) -> bool:
        return self.services.vip.is_here()

    @property
    def is_master(self) -> bool:
        return self.vip_here and self.keepalived_pid is not None

    @cached_property
    def band(self) -> Band:
        """Return the band, the active one where the file is damaged: another check says that."""
        try:
            return self.services.control.read() or Band.ACTIVE
        except SystemFault:
            return Band.ACTIVE

    @property
    def priority(self) -> int:
        """Return what keepalived here adverts while its check succeeds."""
        return self.services.instance.priority(self.band, unhealthy=False)

    @cached_property
    def peers(self) -> tuple[IPAddress, ...]:
        """Return the other instances' addresses, of whatever family."""
        found = {*self.config.peer_addresses, *(each.address for each in self.config.peers)}
        return tuple(sorted(found - self.netlink.addresses(), key=lambda each: (each.version, each.packed)))

    @cached_property
    def members(self) -> tuple[IPAddress, ...]:
        """Return where the other instances are, by the link and by what they say: on the VIP's network they may have other addresses."""
        ours, family = {*self.netlink.addresses(), *self.vips}, self.vip.version
        said = {each for each in self.services.membership.electorate().members if each.version == family}
        return (*self.peers, *sorted(said - ours - {*self.peers}, key=lambda each: each.packed))

    @property
    def silent_peers(self) -> list[IPAddress]:
        """Return the peers whose MAC nobody knows; none where as many members have one, be it by another address than the link's."""
        return [] if len({*self.peer_macs.values()}) >= len(self.peers) else [each for each in self.peers if each not in self.peer_macs]

    @property
    def own_addresses(self) -> tuple[IPAddress, ...]:
        """Return what this instance is called by on the interface."""
        return tuple(each.ip for each in self.networks(self.vip.version))

    def taken_elsewhere(self) -> Mapping[IPAddress, frozenset[str]]:
        """Return who else has the address that BOSH calls this instance by, where the survey did not ask: on another interface."""
        instance, machine = self.services.instance, self.services.machine
        if not [*own_addresses.elsewhere(instance, self.netlink)]:
            return {}

        def ask() -> Mapping[IPAddress, frozenset[str]]:
            with own_addresses.OwnAddresses(instance, machine) as own:
                for _ in range(2):  # one answer may be lost
                    own.ask()
                    machine.sleep(survey.ANSWER_SECONDS)
                return {address: macs for address, macs in own.taken().items() if address not in self.own_addresses}

        return self.take_time(f"answers for {self.config.me.address}", 2 * survey.ANSWER_SECONDS, ask)

    def networks(self, family: int) -> list[IPInterface]:
        """Return the addresses of ``family`` (4 or 6) on the interface with their prefix lengths, without the VIPs and link-local ones."""
        found = self.netlink.networks_on(self.interface, family)
        return [each for each in found if each.ip not in self.vips and not each.ip.is_link_local]

    @cached_property
    def survey(self) -> Survey:
        """Return what the segment says in three advert intervals, or in what is left of the time. Raises SystemFault."""
        wanted = max(_INTERVALS * self.config.keepalived.advert_int, survey.LEAST_SECONDS)
        seconds = max(survey.LEAST_SECONDS, min(wanted, self.left - _RESERVE))
        others = (*self.members, *self.own_addresses)
        what = f"adverts on {self.interface} and answers for {self.vip}"
        return self.take_time(what, seconds, lambda: survey.listen(self.services, seconds, others))

    @property
    def heard_enough(self) -> bool:
        """Tell whether a MASTER must have been heard twice."""
        return self.survey.seconds > 2.1 * self.config.keepalived.advert_int

    @property
    def peer_macs(self) -> dict[IPAddress, str]:
        """Return the MAC of each peer that answered for an address of its own: the link's, one that it told us or adverts from."""
        speakers = [each.source for each in self.survey.masters]
        return {peer: min(macs) for peer in (*self.members, *speakers) if (macs := self.survey.answers.get(peer))}

    def holders(self, target: IPAddress) -> list[Holder]:
        """Return who answers for ``target``, besides us."""
        peers = {mac: peer for peer, mac in reversed(self.peer_macs.items())}
        return [Holder(mac, peers.get(mac)) for mac in self.survey.answers.get(target, ())]

    @cached_property
    def haproxy(self) -> Health:
        return self.take_time("haproxy here", 1.0, lambda: self.services.machine.haproxy.health(self.config.drain))

    @property
    def haproxy_problem(self) -> str:
        return self.haproxy.problem


@dataclass(frozen=True)
class Check:
    """One row of the table: ``fine`` is what is true when it finds nothing, ``detail`` of what.

    ``early`` is what pre-start makes of it, before anything of ours is there, ``glance`` what status does, which neither waits nor writes.
    A check returns None where it has nothing to say: it does not apply here, or the cause is another check's finding.
    """

    name: str
    fine: str
    examine: Examine
    early: Examine | None = None
    glance: Examine | None = None
    detail: Callable[[Patient], str] = lambda patient: ""

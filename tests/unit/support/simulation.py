"""Two (or more) instances on one segment, in frozen time: the product's own services over simulated machines.

Each machine has its kernel's addresses, its sockets, and a keepalived that elects as RFC 3768 and RFC 5798 section 6.4 say, with the
priority that the real track files tell it. What one says the others hear 0.2 ms later. A whole handover is played by calling the
services of one instance: while it waits, everything else goes on.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from unit.support.fakes import Clock, FakeIPR, FakeRules, Message, address, link, rendered
from unit.support.machine import FakeRunning, FakeSender, FakeVxlan, FakeWatch, HeardInquiry, HeardListener
from unit.support.world import Timer, World, WorldSelector
from vrrp_drain.config.model import Config, VrrpDrain
from vrrp_drain.handover.services import Services, assemble
from vrrp_drain.haproxy.closing import Closing
from vrrp_drain.haproxy.health import Health
from vrrp_drain.keepalived.checks import DisabledCheck
from vrrp_drain.linux.newcomers import Newcomer
from vrrp_drain.linux.process import Keepalived as Processes
from vrrp_drain.linux.process import Process
from vrrp_drain.linux.rtnetlink import Netlink
from vrrp_drain.linux.sock_diag import End, Socket
from vrrp_drain.runtime.ip import GROUP_V4, IPAddress, Packet
from vrrp_drain.runtime.paths import Paths
from vrrp_drain.runtime.signals import Cancellation
from vrrp_drain.vrrp import bands, hello
from vrrp_drain.vrrp.advert import RESIGN, Advert, authentication, build
from vrrp_drain.vrrp.bands import Band
from vrrp_drain.vrrp.timing import master_down_interval, skew

_LATENCY = 0.0002  # seconds from one machine to another
_ETH0, _BURST = 2, 64


@dataclass(frozen=True)
class Moment:
    """Who had the VIP on its interface from a time on."""

    at: float
    holders: tuple[int, ...]


class Segment:
    """What connects the machines: everybody hears what the others send."""

    def __init__(
        self,
        clock: Clock,
        root: Path,
        cancellation: Cancellation,
        instances: int = 2,
        drain: Mapping[str, object] | None = None,
        **keepalived: object,
    ) -> None:
        self.world = World(clock)
        self.story: list[Moment] = []
        self.said: list[tuple[int, Packet]] = []
        self.deaf: set[int] = set()  # machines that hear nothing of the others, nor they of them
        self.carries_arp = True  # for the VIP
        self.network = ""  # to whose address something else than ARP sends the VIP
        self.ran: list[tuple[int, Mapping[str, str]]] = []
        base = rendered(instances, keepalived=dict(keepalived), vrrp_drain=dict(drain or {}))
        self.machines: list[SimulatedMachine] = []
        for number, me in enumerate(base["instances"]):
            config = Config.parse({**base, "instance": me})
            self.machines.append(SimulatedMachine(self, number, config, Paths(root / str(number)), cancellation))
        self.world.syncs.append(self._note)

    @property
    def holders(self) -> tuple[int, ...]:
        """Return who has the VIP on its interface."""
        return tuple(each.number for each in self.machines if each.has_vip)

    def since(self, begin: float) -> list[tuple[float, tuple[int, ...]]]:
        """Return who had the VIP from when on, in seconds after ``begin``."""
        before = [each for each in self.story if each.at < begin + 1e-5][-1:]
        after = [each for each in self.story if each.at >= begin + 1e-5]
        return [(max(0.0, round(each.at - begin, 3)), each.holders) for each in (*before, *after)]

    def send(self, sender: "SimulatedMachine", packet: Packet) -> None:
        self.said.append((sender.number, packet))
        for each in self.machines:
            if each is not sender and not {each.number, sender.number} & self.deaf:
                self.world.after(_LATENCY, lambda each=each: each.hears(packet))  # type: ignore[misc]

    def who_has(self, asker: "SimulatedMachine", target: IPAddress, answer: Callable[[str], None]) -> None:
        for each in self.machines:
            if each is not asker and not {each.number, asker.number} & self.deaf and each.answers_for(target):
                self.world.after(_LATENCY, lambda mac=each.mac: answer(mac))  # type: ignore[misc]

    def _note(self) -> None:
        if not self.story or self.story[-1].holders != self.holders:
            self.story.append(Moment(time.monotonic(), self.holders))


class _Kernel(FakeIPR):
    """Addresses of which a change is told, as rtnetlink's groups do."""

    def __init__(self, addresses: list[Message], changed: Callable[[], None]) -> None:
        super().__init__(addresses=addresses)
        self._changed = changed

    def addr(self, command: str, *, index: int, address: str, prefixlen: int, **more: object) -> None:
        super().addr(command, index=index, address=address, prefixlen=prefixlen, **more)
        self._changed()


class SimulatedHaproxy:
    """haproxy of one machine, which serves as long as that machine's ``health`` says so."""

    def __init__(self, machine: "SimulatedMachine") -> None:
        self._machine = machine

    def health(self, drain: VrrpDrain, seconds: float = 1.0) -> Health:
        return self._machine.health

    def answering(self, config: Config, peers: Sequence[IPAddress], seconds: float = 0.3) -> list[IPAddress]:
        well = {each.config.me.address for each in self._machine.segment.machines if not each.health.problem}
        return [each for each in peers if each in well]

    def finish(self, pid_file: Path) -> int:
        return 4712

    def closing(self, pid_file: Path) -> Closing:
        return Closing()

    def connections(self, vips: Collection[IPAddress], quic_ports: Collection[int] = ()) -> int:
        return self._machine.open_connections

    def connected(self, vips: Collection[IPAddress], quic_ports: Collection[int] = ()) -> bool:
        return self._machine.open_connections > 0

    def serves_quic(self, vips: Collection[IPAddress], ports: Collection[int]) -> bool:
        return False

    def bound_to(self, vips: Collection[IPAddress]) -> list[Socket]:
        return []

    def unmarked(self, there: Collection[End]) -> list[tuple[End, End]]:
        return []


class SimulatedNewcomers:
    """Nobody comes: every client has learnt where the VIP is."""

    def latest(self) -> Newcomer | None:
        return None

    def close(self) -> None:
        pass


class SimulatedProcesses:
    """keepalived's two processes, as far as it runs."""

    def __init__(self, machine: "SimulatedMachine") -> None:
        self._machine = machine
        self._turns = 0

    def look(self, pid_file: Path) -> Processes | None:
        self._turns += 1
        return Processes(Process(4711, False, 0), Process(4712, False, self._turns)) if self._machine.daemon.runs else None

    def fd(self, pid: int) -> int | None:
        return self._machine.keepalived_fd(Path())

    def disabled_checks(self, pid: int, config: Path) -> list[DisabledCheck]:
        return []

    def kill(self, keepalived: Processes) -> None:
        self._machine.daemon.dies()


class SimulatedMachine:
    """Machine (handover/machine.py) of one instance, with its kernel, its keepalived and its haproxy."""

    def __init__(self, segment: Segment, number: int, config: Config, paths: Paths, cancellation: Cancellation) -> None:
        self.segment, self.world, self.number, self.config = segment, segment.world, number, config
        self.mac = f"02:00:00:00:00:0{number + 1}"
        own = (f"{config.me.address}/24", f"fe80::{number + 1}/64")
        self.ipr = _Kernel([address(1, "127.0.0.1/8"), *(address(_ETH0, each) for each in own)], self._addresses_changed)
        self.ipr.links = [link(1, "lo", "00:00:00:00:00:00"), link(_ETH0, "eth0", self.mac)]
        self.netlink = Netlink(self.ipr)
        for setting in ("arp_ignore", "arp_announce"):
            for interface in ("eth0", "all"):
                file = paths.interface_settings / interface / setting
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text("0\n")
        self.rules = FakeRules()
        self.vxlan = FakeVxlan()
        self.haproxy = SimulatedHaproxy(self)
        self.processes = SimulatedProcesses(self)
        self.health = Health()
        self.open_connections = 0
        self.announced: list[IPAddress] = []
        self._listeners: list[HeardListener] = []
        self._captures: list[HeardListener] = []
        self._watches: list[FakeWatch] = []
        self.services: Services = assemble(config, paths, self, cancellation)
        self.daemon = Keepalived(self)
        self.world.syncs.append(self.daemon.sees_its_files)

    @property
    def has_vip(self) -> bool:
        return self.services.vip.is_here()

    def answers_for(self, target: IPAddress) -> bool:
        if target == self.config.vip and not self.segment.carries_arp:
            return False
        return target in self.netlink.addresses_on("eth0", target.version)

    def vip(self, *, here: bool) -> None:
        """Put the VIP on the interface, or take it off, as keepalived does."""
        vip = str(self.config.vip)
        if here and not self.has_vip:
            self.ipr.addresses.append(address(_ETH0, f"{vip}/32"))
        elif not here:
            self.ipr.addresses = [each for each in self.ipr.addresses if each.get_attr("IFA_ADDRESS") != vip]
        self._addresses_changed()

    def _addresses_changed(self) -> None:
        for each in self._watches:
            each.changed = True

    def hears(self, packet: Packet) -> None:
        to_us = packet.destination == self.config.me.address
        if hello.introduces(packet, self.services.membership.token, self.config.keepalived.virtual_router_id):
            self.rules.hears(packet.source, hello.word(packet))
        if packet.payload[8 : hello.FURTHER_OFFSET] == self.services.membership.token and packet.payload[hello.FURTHER_OFFSET :]:
            self.rules.others[packet.source] = ip_address(packet.payload[hello.FURTHER_OFFSET :])
        for each in (*(self._listeners if to_us or packet.destination == GROUP_V4 else ()), *self._captures):
            if not each.closed:
                each.packets.append(packet)
        if to_us or packet.destination == GROUP_V4:
            self.daemon.hears(packet)

    # Machine

    def hear(self, interface: str, family: int) -> HeardListener:
        self._listeners.append(HeardListener(self.world, _BURST))
        return self._listeners[-1]

    def capture(self, interface: str, family: int, vrid: int, *, outgoing: bool = False) -> HeardListener:
        self._captures.append(HeardListener(self.world, _BURST))
        return self._captures[-1]

    def sender(self, interface: str, source: IPAddress | None) -> FakeSender:
        assert source is not None
        return FakeSender(source, lambda packet: self.segment.send(self, packet))

    def inquire(self, interface: str, target: IPAddress) -> HeardInquiry:
        inquiry = HeardInquiry(self.world)
        inquiry.on_ask = lambda: self.segment.who_has(self, target, inquiry.macs.append)
        return inquiry

    def echo(self, interface: str, target: IPAddress) -> HeardInquiry:
        return self.inquire(interface, target)

    def announce(self, interface: str, address: IPAddress) -> None:
        self.announced.append(address)

    def newcomers(self, vips: Collection[IPAddress]) -> "SimulatedNewcomers":
        return SimulatedNewcomers()

    def one_machine(self, interface: str, source: IPAddress, others: Iterable[IPAddress], seconds: float) -> bool:
        return any(each.answers_for(source) and any(map(each.answers_for, others)) for each in self.segment.machines if each is not self)

    def watch_addresses(self) -> FakeWatch:
        self._watches.append(FakeWatch(self.world))
        return self._watches[-1]

    def watch_rules(self) -> FakeWatch:
        return FakeWatch(self.world)

    def makes_links(self, kind: str) -> bool:
        return True

    def selector(self) -> WorldSelector:
        return WorldSelector(self.world)

    def sleep(self, seconds: float) -> None:
        self.world.sleep(seconds)

    def keepalived(self, pid_file: Path) -> int | None:
        return 4711 if self.daemon.runs else None

    def keepalived_fd(self, pid_file: Path) -> int | None:
        return self.world.fd(lambda: not self.daemon.runs) if self.daemon.runs else None

    def close(self, fd: int) -> None:
        pass

    def run(self, command: Sequence[str], environment: Mapping[str, str], seconds: float) -> FakeRunning:
        """Run a program that takes a tenth of a second, and has success where the network sends the VIP to its MASTER."""
        self.segment.ran.append((self.number, environment))
        return FakeRunning(self.world, command[0], lambda: "" if self.segment.network == environment["VRRP_DRAIN_MASTER"] else "not there")


class Keepalived:
    """The election of one virtual router, as keepalived runs it."""

    def __init__(self, machine: SimulatedMachine) -> None:
        self._machine, self._ours = machine, machine.config.keepalived
        self.runs = self.is_master = False
        self._timer: Timer | None = None
        self._priority = 0

    def start(self) -> None:
        self.runs, self._priority = True, self._reckon()
        self._wait(master_down_interval(self._priority, self._ours.advert_int, self._ours.vrrp_version))

    def stop(self) -> None:
        """End as it does by SIGTERM: a MASTER says so with priority 0, and takes the VIP away."""
        if self.is_master:
            self._advert(RESIGN)
            self._machine.vip(here=False)
        self.dies()

    def dies(self) -> None:
        """End as it does by SIGKILL: nothing is said, and the VIP stays."""
        self.runs = self.is_master = False
        self._wait(None)

    def sees_its_files(self) -> None:
        """inotify: a new priority is that of the next advert."""
        if self.runs:
            self._priority = self._reckon()

    def hears(self, packet: Packet) -> None:
        heard = self._machine.services.membership.electorate().classify(packet, time.monotonic())
        if not self.runs or heard.advert is None or heard.advert.addresses != (self._machine.config.vip,):
            return
        theirs = heard.advert.priority
        if self.is_master:
            if theirs == RESIGN:
                self._advert(self._priority)
            elif (theirs, packet.source.packed) > (self._priority, self._machine.config.me.address.packed):
                self._yield()
        elif theirs == RESIGN:
            self._wait(skew(self._priority, self._ours.advert_int, self._ours.vrrp_version))
        elif theirs >= self._priority or not self._ours.preempt:
            self._wait(master_down_interval(self._priority, self._ours.advert_int, self._ours.vrrp_version))

    def _reckon(self) -> int:
        control, instance = self._machine.services.control, self._machine.services.instance
        return bands.effective(instance.priority(control.read() or Band.ACTIVE, unhealthy=control.unhealthy()))

    def _wait(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self._machine.world.after(seconds, self._is_due)

    def _is_due(self) -> None:
        self._advert(self._priority)
        if not self.is_master:
            self.is_master = True
            self._machine.world.after(_LATENCY, lambda: self._machine.vip(here=self.is_master))  # after its first advert
        self._wait(self._ours.advert_int)

    def _yield(self) -> None:
        self.is_master = False
        self._machine.vip(here=False)
        self._wait(master_down_interval(self._priority, self._ours.advert_int, self._ours.vrrp_version))

    def _advert(self, priority: int) -> None:
        ours, source = self._ours, self._machine.config.me.address
        vips, proof = (self._machine.config.vip,), authentication(ours.auth_pass)
        advert = Advert(ours.vrrp_version, ours.virtual_router_id, priority, ours.advert_int, vips, *proof)
        where = self._machine.services.instance.attachment.peers or (GROUP_V4,)
        for each in where:
            self._machine.segment.send(self._machine, Packet(source, each, 255, build(advert, source, each)))


def settled(segment: Segment) -> None:
    """Start keepalived everywhere in the active band, and let the election end."""
    for each in segment.machines:
        each.services.control.write(Band.ACTIVE)
        each.daemon.start()
    segment.world.sleep(2 * segment.machines[0].config.keepalived.slowest_takeover)

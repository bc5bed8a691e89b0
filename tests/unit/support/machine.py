"""A machine of which a test says everything; what it is told to do is noted. simulation.py has two that are on one segment."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from unit.support.fakes import Clock, FakeInquiry, FakeListener, FakeRules
from unit.support.world import World, WorldSelector
from vrrp_drain.config.model import Config, VrrpDrain
from vrrp_drain.haproxy.closing import Closing
from vrrp_drain.haproxy.health import Health
from vrrp_drain.keepalived.checks import DisabledCheck
from vrrp_drain.linux.neighbour import Inquiry
from vrrp_drain.linux.newcomers import Newcomer
from vrrp_drain.linux.process import Keepalived, Process
from vrrp_drain.linux.rtnetlink import Netlink
from vrrp_drain.linux.sock_diag import LISTEN, End, Socket
from vrrp_drain.linux.vxlan import Device, Vxlan
from vrrp_drain.runtime.errors import AdvertError, SystemFault
from vrrp_drain.runtime.ip import IPAddress, Packet
from vrrp_drain.vrrp.advert import Advert, parse


@dataclass(frozen=True)
class Said:
    """One packet that was sent."""

    interface: str
    packet: Packet

    @property
    def advert(self) -> Advert | None:
        """Return the advert in it; a hello is none."""
        try:
            return parse(self.packet)
        except AdvertError:
            return None


class FakeSender(nullcontext[None]):
    """An AdvertSender whose packets go to ``send_packet``."""

    def __init__(self, source: IPAddress, send_packet: Callable[[Packet], object]) -> None:
        self.source, self._send_packet = source, send_packet

    def __enter__(self) -> "FakeSender":  # type: ignore[override]
        return self

    def send(self, build: Callable[[IPAddress], bytes], destinations: Iterable[IPAddress]) -> None:
        for each in destinations:
            self._send_packet(Packet(self.source, each, 255, build(each)))


class FakeWatch:
    """An AddressWatch that wakes up when it is told to."""

    def __init__(self, world: World) -> None:
        self.changed = self.closed = False
        self.drained = 0
        self._fd = world.fd(lambda: self.changed)

    def fileno(self) -> int:
        return self._fd

    by: str | None = ""  # who changed nftables last

    def drain(self) -> None:
        self.changed, self.drained = False, self.drained + 1

    def close(self) -> None:
        self.closed = True


class HeardListener(FakeListener):
    """A listener in a world: readable when there are packets, of which it gives a burst at a time."""

    def __init__(self, world: World, burst: int) -> None:
        super().__init__()
        self._burst = burst
        self._fd = world.fd(lambda: bool(self.packets))

    def receive(self) -> list[Packet]:
        taken, self.packets = self.packets[: self._burst], self.packets[self._burst :]
        return taken

    def fileno(self) -> int:
        return self._fd


class HeardInquiry(FakeInquiry):
    """An inquiry in a world: readable when there are answers."""

    def __init__(self, world: World, on_ask: Callable[[], None] = lambda: None, interface: str = "") -> None:
        super().__init__(time.monotonic, on_ask)
        self.interface = interface
        self._fd = world.fd(lambda: bool(self.macs))

    def fileno(self) -> int:
        return self._fd


class FakeRunning:
    """A program that ends a tenth of a second after its start, as ``how`` says then."""

    def __init__(self, world: World, name: str, how: Callable[[], str]) -> None:
        self.name, self.closed, self.expirations = name, False, 0
        self._outcome: str | None = None
        self._fd = world.fd(lambda: self._outcome is not None)
        world.after(0.1, lambda: self._end(how()))

    def fileno(self) -> int:
        return self._fd

    def expire(self) -> None:
        self.expirations += 1

    def outcome(self) -> str | None:
        return self._outcome

    def close(self) -> None:
        self.closed = True

    def _end(self, outcome: str) -> None:
        self._outcome = outcome


class FakeNewcomers:
    """Newcomers, each of whom a look sees that comes after ``came`` says so, or a fault."""

    def __init__(self, machine: "FakeMachine") -> None:
        self._machine = machine
        self.closed = False

    def latest(self) -> Newcomer | None:
        if self._machine.seeing_fault is not None:
            raise self._machine.seeing_fault
        found = self._machine.newcomer
        self._machine.newcomer = None
        return found

    def close(self) -> None:
        self.closed = True


class FakeHaproxyHere:
    """Haproxy, and its clients, as its machine has them."""

    def __init__(self, machine: "FakeMachine") -> None:
        self._machine = machine

    def health(self, drain: VrrpDrain, seconds: float = 1.0) -> Health:
        return self._machine.health

    def answering(self, config: Config, peers: Sequence[IPAddress], seconds: float = 0.3) -> list[IPAddress] | None:
        if config.drain.health_check is not None and config.drain.health_check.scheme == "unix":
            return None
        self._machine.asked_peers.append([*map(str, peers)])
        return [each for each in peers if str(each) in self._machine.healthy_peers]

    def finish(self, pid_file: Path) -> int:
        if self._machine.finishing_fault is not None:
            raise self._machine.finishing_fault
        self._machine.told_to_finish.append(pid_file)
        return 4711

    def closing(self, pid_file: Path) -> Closing:
        return self._machine.closing

    def connections(self, vips: Collection[IPAddress], quic_ports: Collection[int] = ()) -> int:
        self._machine.counted.append((*vips,))
        if self._machine.counting_fault is not None:
            raise self._machine.counting_fault
        return self._machine.connected[0]

    def connected(self, vips: Collection[IPAddress], quic_ports: Collection[int] = ()) -> bool:
        if len(self._machine.connected) > 1 and self._machine.looked_for:
            self._machine.connected.pop(0)
        self._machine.looked_for.append((*vips,))
        if self._machine.counting_fault is not None:
            raise self._machine.counting_fault
        return self._machine.connected[0] > 0

    def serves_quic(self, vips: Collection[IPAddress], ports: Collection[int]) -> bool:
        self._machine.looked_for_quic.append((*vips, *ports))
        if self._machine.counting_quic_fault is not None:
            raise self._machine.counting_quic_fault
        return self._machine.quic.pop(0) if len(self._machine.quic) > 1 else self._machine.quic[0]

    def bound_to(self, vips: Collection[IPAddress]) -> list[Socket]:
        if self._machine.counting_fault is not None:
            raise self._machine.counting_fault
        return self._machine.bound

    def unmarked(self, there: Collection[End]) -> list[tuple[End, End]]:
        if self._machine.counting_fault is not None:
            raise self._machine.counting_fault
        return [each for each in self._machine.unmarked if each[1] in there]


class FakeProcesses:
    """keepalived's processes: the one that its pid file names, 4711, and below it the one that speaks VRRP, 4712."""

    def __init__(self, machine: "FakeMachine") -> None:
        self._machine = machine
        self.disabled: list[DisabledCheck] = []
        self.disabled_fault: SystemFault | None = None
        self.vrrp: int | None = 4712
        self.stopped = self.main_stopped = False
        self.progresses, self.ready = True, False
        self.killed: list[Keepalived] = []
        self._turns = 0

    def look(self, pid_file: Path) -> Keepalived | None:
        if self._machine.pid is None:
            return None
        self._turns += self.progresses and not self.stopped
        vrrp = None if self.vrrp is None else Process(self.vrrp, self.stopped, self._turns, self.ready)
        return Keepalived(Process(self._machine.pid, self.main_stopped, 0), vrrp)

    def fd(self, pid: int) -> int | None:
        fd = self._machine.world.fd(lambda: self._machine.pid is None or pid not in (self._machine.pid, self.vrrp))
        self._machine.pidfds.append(fd)
        return fd

    def disabled_checks(self, pid: int, config: Path) -> list[DisabledCheck]:
        if self.disabled_fault is not None:
            raise self.disabled_fault
        return self.disabled

    def kill(self, keepalived: Keepalived) -> None:
        self.killed.append(keepalived)
        self.vrrp, self.stopped, self.progresses = None, False, True

    def vrrp_ends(self) -> None:
        self.vrrp = None

    def vrrp_starts(self) -> None:
        self.vrrp = 4713


class FakeVxlan(Vxlan):
    """VXLAN devices by their names, with whom each has a way to; ``fault`` is raised by whatever changes something."""

    def __init__(self) -> None:
        self.devices: dict[str, Device] = {}
        self.up: set[str] = set()
        self.to: dict[str, dict[IPAddress, bytes]] = {}
        self.rules: set[str] = set()
        self.made: list[str] = []
        self.link_mtu = 1500
        self.fault: OSError | None = None
        self.on_create: Callable[[Device], object] = lambda device: None

    def mtu(self, interface: str) -> int:
        return self.link_mtu

    def create(self, device: Device) -> None:
        if self.fault is not None:
            raise self.fault
        assert device.name not in self.devices
        self.devices[device.name], self.to[device.name] = device, {}
        self.made.append(device.name)
        self.on_create(device)

    def start(self, device: Device, address: IPAddress | None) -> None:
        self.up.add(device.name)

    def select(self, device: Device) -> None:
        self.rules.add(device.name)

    def remove(self, version: int, name: str, table: int) -> None:
        self.devices.pop(name, None)
        self.to.pop(name, None)
        self.up.discard(name)
        self.rules.discard(name)

    def is_up(self, device: Device) -> bool:
        return self.devices.get(device.name) == device and device.name in self.up

    def has_rule(self, device: Device) -> bool:
        return device.name in self.rules

    def ways(self, device: Device) -> set[IPAddress]:
        return {*self.to.get(device.name, ())}

    def add_ways(self, device: Device, peers: Iterable[tuple[IPAddress, bytes]]) -> None:
        if self.fault is not None:
            raise self.fault
        self.to[device.name].update(peers)


class FakeMachine:
    """Machine (handover/machine.py), with keepalived running, haproxy well, and nobody else on the segment."""

    def __init__(self, clock: Clock, netlink: Netlink) -> None:
        self.world = World(clock)
        self.netlink = netlink
        self.rules = FakeRules()
        self.vxlan = FakeVxlan()
        self.haproxy = FakeHaproxyHere(self)
        self.processes = FakeProcesses(self)
        self.burst = 64
        self.listeners: list[HeardListener] = []
        self.captures: list[HeardListener] = []
        self.inquiries: list[tuple[IPAddress, HeardInquiry]] = []
        self.echoes: list[tuple[IPAddress, HeardInquiry]] = []
        self.watches: list[FakeWatch] = []
        self.watches_of_rules: list[FakeWatch] = []
        self.selectors: list[WorldSelector] = []
        self.pidfds: list[int] = []
        self.closed: list[int] = []
        self.said: list[Said] = []
        self.on_say: Callable[[Said], object] = lambda said: None
        self.pid: int | None = 4711
        self.keepalived_ended = False
        self.health = Health()
        self.healthy_peers: list[str] = []
        self.asked_peers: list[list[str]] = []
        self.connected = [0]  # connections: each look whether there are any sees the next number, and the last one for ever
        self.quic = [False]  # whether there is any of QUIC, look by look
        self.looked_for_quic: list[tuple[IPAddress | int, ...]] = []
        self.looked_for: list[tuple[IPAddress, ...]] = []  # whether there are any of these VIPs
        self.counted: list[tuple[IPAddress, ...]] = []  # how many there are
        self.told_to_finish: list[Path] = []
        self.closing = Closing()
        self.newcomer: Newcomer | None = None  # who has come since the last look
        self.doors: list[tuple[tuple[IPAddress, ...], FakeNewcomers]] = []  # for which VIPs it was looked who comes
        self.seeing_fault: SystemFault | None = None
        self.announced: list[tuple[str, str]] = []  # addresses, and where
        self.finishing_fault: SystemFault | None = None
        self.bound: list[Socket] = []  # who listens at a VIP itself
        self.unmarked: list[tuple[End, End]] = []
        self.answers: dict[str, list[str]] = {}  # by the address that is asked for
        self.echoed: dict[str, list[str]] = {}  # the same of ICMP echo
        self.proven: list[tuple[str, list[str], float]] = []  # what was asked for that
        self.proofs: list[str] = []  # sources whose machine answers for a peer's address too
        self.listening_fault: SystemFault | None = None
        self.sending_fault: SystemFault | None = None
        self.inquiring_fault: SystemFault | None = None
        self.asking_fault: OSError | None = None
        self.counting_fault: SystemFault | None = None
        self.counting_quic_fault: SystemFault | None = None
        self.lacks_links: set[str] = set()  # kinds of interfaces that the kernel has not

        self.programs: list[tuple[Sequence[str], Mapping[str, str], FakeRunning]] = []
        self.program_ends: list[str] = [""]  # how programs end: each its own, and the last for ever
        self.program_fault: SystemFault | None = None

    # what happens

    def binds(self, *where: tuple[str, int], mark: int = 0) -> None:
        """Have somebody listen there."""
        self.bound = [*self.bound, *(Socket(LISTEN, ip_address(address), port, 4711, mark=mark) for address, port in where)]

    def hears(self, *packets: Packet, after: float = 0.0) -> None:
        """Have ``packets`` arrive, for whoever listens then."""

        def arrive() -> None:
            for each in (*self.listeners, *self.captures):
                if not each.closed:
                    each.packets.extend(packets)

        self.world.after(after, arrive)

    def opens(self, client: str, mac: str, *, at: Iterable[float]) -> None:
        """Have ``client`` open a connection here so many seconds from now, again and again."""
        for seconds in at:
            self.world.after(seconds, lambda: setattr(self, "newcomer", Newcomer(ip_address(client), mac)))

    def addresses_change(self, change: Callable[[], object] = lambda: None, *, after: float = 0.0) -> None:
        def happen() -> None:
            change()
            for each in self.watches:
                each.changed = True

        self.world.after(after, happen)

    def keepalived_ends(self, *, after: float = 0.0) -> None:
        def end() -> None:
            self.pid, self.keepalived_ended = None, True

        self.world.after(after, end)

    def adverts_said(self) -> list[int]:
        """Return the priorities that were sent, in their order."""
        return [each.advert.priority for each in self.said if each.advert]

    # what is asked of it

    def hear(self, interface: str, family: int) -> HeardListener:
        return self._listener(self.listeners)

    def capture(self, interface: str, family: int, vrid: int, *, outgoing: bool = False) -> HeardListener:
        return self._listener(self.captures)

    def _listener(self, made: list[HeardListener]) -> HeardListener:
        if self.listening_fault is not None:
            raise self.listening_fault
        made.append(HeardListener(self.world, self.burst))
        return made[-1]

    def sender(self, interface: str, source: IPAddress | None) -> FakeSender:
        if self.sending_fault is not None:
            raise self.sending_fault
        if source is None:
            raise SystemFault(f"{interface} has no address to send an advert from")
        return FakeSender(source, lambda packet: self._say(Said(interface, packet)))

    def _say(self, said: Said) -> None:
        self.said.append(said)
        self.on_say(said)

    def inquire(self, interface: str, target: IPAddress) -> Inquiry:
        return self._inquiry(interface, target, self.inquiries, self.answers)

    def echo(self, interface: str, target: IPAddress) -> Inquiry:
        return self._inquiry(interface, target, self.echoes, self.echoed)

    def _inquiry(
        self, interface: str, target: IPAddress, made: list[tuple[IPAddress, HeardInquiry]], answers: dict[str, list[str]]
    ) -> HeardInquiry:
        if self.inquiring_fault is not None:
            raise self.inquiring_fault

        def ask() -> None:
            if self.asking_fault is not None:
                raise self.asking_fault
            inquiry.macs.extend(answers.get(str(target), []))

        inquiry = HeardInquiry(self.world, ask, interface)
        made.append((target, inquiry))
        return inquiry

    def announce(self, interface: str, address: IPAddress) -> None:
        if self.sending_fault is not None:
            raise self.sending_fault
        self.announced.append((str(address), interface))

    def newcomers(self, vips: Collection[IPAddress]) -> FakeNewcomers:
        self.doors.append(((*vips,), FakeNewcomers(self)))
        return self.doors[-1][1]

    def one_machine(self, interface: str, source: IPAddress, others: Iterable[IPAddress], seconds: float) -> bool:
        if self.inquiring_fault is not None:
            raise self.inquiring_fault
        self.proven.append((str(source), sorted(map(str, others)), seconds))
        return str(source) in self.proofs

    def watch_addresses(self) -> FakeWatch:
        self.watches.append(FakeWatch(self.world))
        return self.watches[-1]

    def watch_rules(self) -> FakeWatch:
        self.watches_of_rules.append(FakeWatch(self.world))
        return self.watches_of_rules[-1]

    def makes_links(self, kind: str) -> bool:
        return kind not in self.lacks_links

    def selector(self) -> WorldSelector:
        self.selectors.append(WorldSelector(self.world))
        return self.selectors[-1]

    def sleep(self, seconds: float) -> None:
        self.world.sleep(seconds)

    def keepalived(self, pid_file: Path) -> int | None:
        found = self.processes.look(pid_file)
        return self.pid if found and found.works else None

    def keepalived_fd(self, pid_file: Path) -> int | None:
        if self.pid is None:
            return None
        self.pidfds.append(self.world.fd(lambda: self.keepalived_ended))
        return self.pidfds[-1]

    def close(self, fd: int) -> None:
        self.closed.append(fd)

    def run(self, command: Sequence[str], environment: Mapping[str, str], seconds: float) -> FakeRunning:
        if self.program_fault is not None:
            raise self.program_fault
        ends = self.program_ends.pop(0) if len(self.program_ends) > 1 else self.program_ends[0]
        self.programs.append((command, environment, FakeRunning(self.world, command[0], lambda: ends)))
        return self.programs[-1][2]

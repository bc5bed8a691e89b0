"""The one way in which a handover reaches the world: sockets, netlink, rules, processes, haproxy, and time that is waited for.

``ThisMachine`` is the real one. The unit tests have a simulated one, with two instances on one segment, so that whole handovers are
played on a frozen clock. What time it is now everybody asks time.monotonic() at the moment of use.
"""

import os
import selectors
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol

from vrrp_drain.config.model import Config, VrrpDrain
from vrrp_drain.handoff.rules import Rules
from vrrp_drain.haproxy import closing, config_files, health, health_check
from vrrp_drain.haproxy.closing import Closing
from vrrp_drain.haproxy.health import Health
from vrrp_drain.haproxy.listening import Listening
from vrrp_drain.linux import announcement, connections, listeners, neighbour, newcomers, process
from vrrp_drain.linux.advert_sender import AdvertSender
from vrrp_drain.linux.advert_socket import AdvertListener
from vrrp_drain.linux.neighbour import Inquiry
from vrrp_drain.linux.newcomers import Newcomer
from vrrp_drain.linux.nftables.watch import RulesWatch
from vrrp_drain.linux.packet_capture import PacketCapture
from vrrp_drain.linux.process import Keepalived
from vrrp_drain.linux.program import Program
from vrrp_drain.linux.rtnetlink import AddressWatch, Netlink
from vrrp_drain.runtime.ip import IPAddress, Packet


class Listener(Protocol):
    """Packets of protocol 112 as they arrive; readable when there are some."""

    def fileno(self) -> int: ...
    def receive(self) -> list[Packet]: ...
    def close(self) -> None: ...


class Capture(Listener, Protocol):
    """The same on the wire itself, before the kernel's rules."""

    sent: Packet | None

    @property
    def wake_at(self) -> float: ...
    def know(self, sources: Iterable[IPAddress]) -> None: ...


class Sender(Protocol):
    """Sends packets of protocol 112 from one address."""

    source: IPAddress

    def __enter__(self) -> "Sender": ...
    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None: ...
    def send(self, build: Callable[[IPAddress], bytes], destinations: Iterable[IPAddress]) -> None: ...


class Watch(Protocol):
    """Readable when an address or a link has changed."""

    def fileno(self) -> int: ...
    def drain(self) -> None: ...
    def close(self) -> None: ...


class WatchOfRules(Watch, Protocol):
    """``by`` is who changed nftables last, as far as it is known."""

    by: str


class Running(Protocol):
    """A program that runs; readable when there is news of it."""

    name: str

    def fileno(self) -> int: ...

    def expire(self) -> None:
        """End it where its time is over."""

    def outcome(self) -> str | None:
        """Return None while it runs, nothing when it has succeeded, or else how it ended; not asked again then."""

    def close(self) -> None:
        """End it, if it has not."""


class Newcomers(Protocol):
    """Who opens a connection to a VIP here, as seen on the wire."""

    def latest(self) -> Newcomer | None: ...
    def close(self) -> None: ...


class Haproxy(Protocol):
    """haproxy, and what the kernel knows of its clients."""

    def health(self, drain: VrrpDrain, seconds: float = 1.0) -> Health:
        """Say how haproxy is here, within ``seconds``."""

    def answering(self, config: Config, peers: Sequence[IPAddress], seconds: float = 0.3) -> list[IPAddress] | None:
        """Return those of ``peers`` whose haproxy answers within ``seconds``; None where they cannot be asked from here."""

    def finish(self, pid_file: Path) -> int:
        """Tell haproxy here to finish its connections; return its pid."""

    def closing(self, pid_file: Path) -> Closing:
        """Return how it closes what is open when it is told to finish."""

    def connections(self, vips: Collection[IPAddress]) -> int:
        """Return how many connections of clients with ``vips`` end here."""

    def bound_to(self, vips: Collection[IPAddress]) -> list[str]:
        """Return where somebody listens on one of ``vips`` itself."""


class Processes(Protocol):
    """keepalived's processes, by its pid file."""

    def look(self, pid_file: Path) -> Keepalived | None:
        """Return them, None where keepalived does not run."""

    def fd(self, pid: int) -> int | None:
        """Return a file descriptor that is readable when process ``pid`` has ended, None where it has."""

    def kill(self, keepalived: Keepalived) -> None:
        """End the one that speaks VRRP, and the other too where it could not start that anew."""


class Machine(Protocol):
    """What each method raises is what its counterpart in linux/ raises, SystemFault as a rule."""

    @property
    def netlink(self) -> Netlink: ...
    @property
    def rules(self) -> Rules: ...
    @property
    def haproxy(self) -> Haproxy: ...
    @property
    def processes(self) -> Processes: ...

    def hear(self, interface: str, family: int) -> Listener:
        """Hear what keepalived hears, behind the rules."""

    def capture(self, interface: str, family: int, vrid: int, *, outgoing: bool = False) -> Capture:
        """Hear what is on the wire."""

    def sender(self, interface: str, source: IPAddress | None) -> Sender:
        """Open a socket to send from ``source``."""

    def inquire(self, interface: str, target: IPAddress) -> Inquiry:
        """Open an inquiry who answers for ``target``."""

    def announce(self, interface: str, address: IPAddress) -> None:
        """Have the segment know that ``address`` is on ``interface`` here."""

    def newcomers(self, vips: Collection[IPAddress]) -> Newcomers:
        """See from now on who opens a connection to one of ``vips`` here."""

    def one_machine(self, interface: str, source: IPAddress, others: Iterable[IPAddress], seconds: float) -> bool:
        """Tell whether a machine answers for ``source`` and for one of ``others``."""

    def watch_addresses(self) -> Watch:
        """Hear of addresses and links that change."""

    def watch_rules(self) -> WatchOfRules:
        """Hear of changes of nftables. Raises OSError where the kernel tells of none."""

    def selector(self) -> selectors.BaseSelector:
        """Wait for several of them."""

    def sleep(self, seconds: float) -> None:
        """Wait for nothing but time."""

    def keepalived(self, pid_file: Path) -> int | None:
        """Return the pid of the keepalived that ``pid_file`` names, None where nothing of it speaks VRRP: it ended, or it is stopped."""

    def keepalived_fd(self, pid_file: Path) -> int | None:
        """Return a file descriptor that is readable when it speaks VRRP no more, None where it does not; ``close`` it."""

    def close(self, fd: int) -> None: ...

    def run(self, command: Sequence[str], environment: Mapping[str, str], seconds: float) -> Running:
        """Start a program of the operator's, which has ``seconds``."""


class _ThisHaproxy:
    def __init__(self, memory: Path | None) -> None:
        self._listening = Listening(memory)

    def health(self, drain: VrrpDrain, seconds: float = 1.0) -> Health:
        return health.look(drain, seconds, self._listening)

    def answering(self, config: Config, peers: Sequence[IPAddress], seconds: float = 0.3) -> list[IPAddress] | None:
        return health.answering(config, peers, seconds, self._listening)

    def finish(self, pid_file: Path) -> int:
        return health_check.soft_stop(pid_file)

    def closing(self, pid_file: Path) -> Closing:
        return closing.parse(config_files.text_of(health_check.master_process(pid_file)))

    def connections(self, vips: Collection[IPAddress]) -> int:
        return connections.count(vips)

    def bound_to(self, vips: Collection[IPAddress]) -> list[str]:
        return listeners.bound_to(vips)


class _TheseProcesses:
    def look(self, pid_file: Path) -> Keepalived | None:
        return process.look(pid_file)

    def fd(self, pid: int) -> int | None:
        return process.fd(pid)

    def kill(self, keepalived: Keepalived) -> None:
        process.kill(keepalived)


class ThisMachine:
    """The machine that this process runs on; ``memory`` is the file that says where haproxy listened when it was last seen."""

    def __init__(self, netlink: Netlink, memory: Path | None = None) -> None:
        self.netlink = netlink
        self.rules = Rules()
        self.haproxy = _ThisHaproxy(memory)
        self.processes = _TheseProcesses()

    def hear(self, interface: str, family: int) -> AdvertListener:
        return AdvertListener(interface, family)

    def capture(self, interface: str, family: int, vrid: int, *, outgoing: bool = False) -> PacketCapture:
        return PacketCapture(interface, family, vrid, outgoing=outgoing)

    def sender(self, interface: str, source: IPAddress | None) -> AdvertSender:
        return AdvertSender(interface, source)

    def inquire(self, interface: str, target: IPAddress) -> Inquiry:
        return neighbour.inquire(interface, self.netlink.mac(interface), target)

    def announce(self, interface: str, address: IPAddress) -> None:
        announcement.announce(interface, self.netlink.mac(interface), address)

    def newcomers(self, vips: Collection[IPAddress]) -> newcomers.Newcomers:
        return newcomers.Newcomers(vips)

    def one_machine(self, interface: str, source: IPAddress, others: Iterable[IPAddress], seconds: float) -> bool:
        return neighbour.one_machine(interface, self.netlink.mac(interface), source, others, seconds)

    def watch_addresses(self) -> AddressWatch:
        return AddressWatch()

    def watch_rules(self) -> RulesWatch:
        return RulesWatch()

    def selector(self) -> selectors.BaseSelector:
        return selectors.DefaultSelector()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def keepalived(self, pid_file: Path) -> int | None:
        found = process.look(pid_file)
        return found.main.pid if found is not None and found.works else None

    def keepalived_fd(self, pid_file: Path) -> int | None:
        found = process.look(pid_file)
        return process.fd(found.vrrp.pid) if found is not None and found.vrrp is not None and found.works else None

    def close(self, fd: int) -> None:
        os.close(fd)

    def run(self, command: Sequence[str], environment: Mapping[str, str], seconds: float) -> Program:
        return Program(command, environment, seconds)

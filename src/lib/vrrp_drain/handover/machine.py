"""The one way in which a handover reaches the world: sockets, netlink, rules, processes, haproxy, and time that is waited for.

The real one is in this_machine.py. The unit tests have a simulated one, with two instances on one segment, so that whole handovers
are played on a frozen clock. What time it is now everybody asks time.monotonic() at the moment of use.
"""

import selectors
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol

from vrrp_drain.config.model import Config, VrrpDrain
from vrrp_drain.handoff.rules import Rules
from vrrp_drain.haproxy.closing import Closing
from vrrp_drain.haproxy.health import Health
from vrrp_drain.keepalived.checks import DisabledCheck
from vrrp_drain.linux.neighbour import Inquiry
from vrrp_drain.linux.newcomers import Newcomer
from vrrp_drain.linux.process import Keepalived
from vrrp_drain.linux.rtnetlink import Netlink
from vrrp_drain.linux.sock_diag import End, Socket
from vrrp_drain.linux.vxlan import Vxlan
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
    """``by`` is who changed nftables last, as far as it is known; None while the change goes on."""

    by: str | None


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

    def connections(self, vips: Collection[IPAddress], quic_ports: Collection[int] = ()) -> int:
        """Return how many connections of clients with ``vips`` end here, of TCP, and of QUIC at those ports."""

    def connected(self, vips: Collection[IPAddress], quic_ports: Collection[int] = ()) -> bool:
        """Tell whether any does, which costs next to nothing where there are many."""

    def serves_quic(self, vips: Collection[IPAddress], ports: Collection[int]) -> bool:
        """Tell whether any of QUIC does."""

    def bound_to(self, vips: Collection[IPAddress]) -> list[Socket]:
        """Return who listens on one of ``vips`` itself."""

    def unmarked(self, there: Collection[End]) -> list[tuple[End, End]]:
        """Return the connections to ``there`` that have no mark: the client, and the end here."""


class Processes(Protocol):
    """keepalived's processes, by its pid file."""

    def look(self, pid_file: Path) -> Keepalived | None:
        """Return them, None where keepalived does not run."""

    def fd(self, pid: int) -> int | None:
        """Return a file descriptor that is readable when process ``pid`` has ended, None where it has."""

    def disabled_checks(self, pid: int, config: Path) -> list[DisabledCheck]:
        """Return the checks of ``config`` that the keepalived with this pid does not run. Raises SystemFault where it does not say."""

    def kill(self, keepalived: Keepalived) -> None:
        """End the one that speaks VRRP, and the other too where it could not start that anew."""


class Machine(Protocol):
    """What each method raises is what its counterpart in linux/ raises, SystemFault as a rule."""

    @property
    def netlink(self) -> Netlink: ...
    @property
    def rules(self) -> Rules: ...
    @property
    def vxlan(self) -> Vxlan: ...
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

    def echo(self, interface: str, target: IPAddress) -> Inquiry:
        """Open an inquiry that ``target`` itself answers, wherever it is."""

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

    def makes_links(self, kind: str) -> bool:
        """Tell whether the kernel has interfaces of a kind, as ``vxlan``. Raises OSError where it does not tell."""

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

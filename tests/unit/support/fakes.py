"""Stand-ins for the kernel, the clock and the network, shared by the unit tests."""

import math
import os
import selectors
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult

from freezegun.api import FrozenDateTimeFactory, StepTickTimeFactory, TickingDateTimeFactory

from vrrp_drain.handoff.group import Group
from vrrp_drain.handoff.rules import Rules
from vrrp_drain.handoff.situation import Armed, Members, Situation, Words
from vrrp_drain.handoff.vip_on_lo import VipOnLo
from vrrp_drain.linux.nftables.kernel import BaseChain
from vrrp_drain.linux.sock_diag import End
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import IPAddress, Packet
from vrrp_drain.vrrp.advert import Advert, build
from vrrp_drain.vrrp.hello import Word

VIP = "10.0.0.10"
IPV6_VIP = "2001:db8::10"
OWN = "10.0.0.1"
PEER = "10.0.0.2"
STRANGER = "10.0.0.77"
MAC = "02:00:00:00:00:01"
PEER_MAC = "02:00:00:00:00:02"


# What upstream_job.read finds in the configuration of a keepalived job like haproxy-boshrelease's.
OTHER_SETTINGS: dict[str, Any] = {
    "interface": "auto",
    "virtual_router_id": 1,
    "vrrp_version": 2,
    "advert_int": 1.0,
    "priority": 101,
    "weight": 2,
    "preempt": True,
    "healthcheck_weight": 0,
    "unicast": False,
    "unicast_peers": [],
    "auth_pass": None,
}


def rendered(instances: int = 2, /, **sections: dict[str, Any]) -> dict[str, Any]:
    """Return what the vrrp-drain job renders for the bootstrap instance of a group; ``sections`` add to its sections."""
    members = [
        {"name": "haproxy", "index": n, "id": f"id-{n}", "address": f"10.0.0.{n + 1 if n < 9 else n + 100}", "bootstrap": n == 0}
        for n in range(instances)
    ]
    base: dict[str, Any] = {"instance": members[0], "instances": members, "keepalived": {"vip": VIP}, "vrrp_drain": {}}
    return base | {name: base[name] | values for name, values in sections.items()}


def came_from(source: str, destination: str = "224.0.0.18") -> Packet:
    """Return a packet of which only the addresses matter."""
    return Packet(ip_address(source), ip_address(destination), 255, b"")


def carries(advert: Advert, source: str, destination: str = "224.0.0.18", ttl: int = 255) -> Packet:
    """Return the packet that ``advert`` comes in."""
    return Packet(ip_address(source), ip_address(destination), ttl, build(advert, ip_address(source), ip_address(destination)))


class Clock:
    """The frozen clock, and a ``sleep`` that moves it instead of waiting."""

    def __init__(self, frozen: FrozenDateTimeFactory | StepTickTimeFactory | TickingDateTimeFactory) -> None:
        self._frozen = frozen
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._frozen.tick(max(round(seconds, 6), 1e-6 if seconds > 0 else 0.0))  # it counts microseconds, and every sleep takes time


class RealClock(Clock):
    """The clock on the wall, for tests with real processes."""

    def __init__(self) -> None:
        self.slept = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        time.sleep(max(0.0, seconds))


class Message:
    """What pyroute2 gives for one netlink message: header fields by key, attributes through get_attr."""

    def __init__(self, attributes: Mapping[str, object], **fields: int) -> None:
        self._attributes = attributes
        self._fields = fields

    def __getitem__(self, name: str) -> int:
        return self._fields[name]

    def get_attr(self, name: str) -> object:
        return self._attributes.get(name)


def link(index: int, name: str, mac: str, *, up: bool = True, carrier: int = 1) -> Message:
    return Message({"IFLA_IFNAME": name, "IFLA_ADDRESS": mac, "IFLA_CARRIER": carrier}, index=index, flags=int(up))


def route(network: str, interface: int, gateway: str | None = None) -> Message:
    """A route as the kernel tells it; the default route has no RTA_DST."""
    target, _, length = network.partition("/")
    attributes = {"RTA_DST": target if int(length) else None, "RTA_OIF": interface, "RTA_GATEWAY": gateway}
    return Message(attributes, dst_len=int(length))


def address(index: int, text: str) -> Message:
    host, _, length = text.partition("/")
    return Message({"IFA_ADDRESS": host}, index=index, prefixlen=int(length), family=10 if ":" in host else 2)


class FakeIPR:
    """A RouteSocket over three lists: lo (1), eth0 (2) and eth1 (3) in the ordinary case."""

    def __init__(self, *, routes: list[Message] | None = None, addresses: list[Message] | None = None) -> None:
        self.links = [link(1, "lo", "00:00:00:00:00:00"), link(2, "eth0", MAC), link(3, "eth1", "02:00:00:00:01:01")]
        self.routes = [route("10.0.0.0/24", 2)] if routes is None else routes
        self.addresses = [address(1, "127.0.0.1/8"), address(2, f"{OWN}/24")] if addresses is None else addresses
        self.asked_tables: list[int] = []
        self.deletion_error: int | None = None
        self.addition_error: int | None = None
        self.added_with: dict[str, object] = {}
        self.closed = False

    def get_links(self, *indexes: int) -> list[Message]:
        return [each for each in self.links if not indexes or each["index"] in indexes]

    def get_routes(self, family: int, table: int) -> list[Message]:
        self.asked_tables.append(table)
        return self.routes

    def get_addr(self, family: int | None = None, index: int | None = None) -> list[Message]:
        return [each for each in self.addresses if family in (None, each["family"]) and index in (None, each["index"])]

    def link_lookup(self, ifname: str) -> list[int]:
        return [each["index"] for each in self.links if each.get_attr("IFLA_IFNAME") == ifname]

    def addr(self, command: str, *, index: int, address: str, prefixlen: int, **more: object) -> None:
        if command == "add":
            self._add(index, address, prefixlen, more)
            return
        assert command == "del"
        if self.deletion_error is not None:
            raise OSError(self.deletion_error, os.strerror(self.deletion_error))
        wanted = (index, address, prefixlen)
        kept = [each for each in self.addresses if (each["index"], each.get_attr("IFA_ADDRESS"), each["prefixlen"]) != wanted]
        assert len(kept) < len(self.addresses), f"no address {wanted}"
        self.addresses = kept

    def _add(self, index: int, ip: str, prefixlen: int, more: dict[str, object]) -> None:
        if self.addition_error is not None:
            raise OSError(self.addition_error, os.strerror(self.addition_error))
        self.addresses.append(address(index, f"{ip}/{prefixlen}"))
        self.added_with = more

    def close(self) -> None:
        self.closed = True


class FakeSelector(selectors.BaseSelector):
    """A selector whose file descriptors become readable at times of the frozen clock."""

    def __init__(self, clock: Clock, now: Callable[[], float]) -> None:
        self._clock = clock
        self._now = now
        self._keys: dict[Any, selectors.SelectorKey] = {}
        self._due: list[tuple[float, int]] = []
        self.closed = False

    def readable(self, fd: int, *, after: float = 0.0) -> None:
        """Make ``fd`` readable once, ``after`` seconds from now."""
        self._due = sorted([*self._due, (self._now() + after, fd)])

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        self._keys[fileobj] = selectors.SelectorKey(fileobj, fileobj, events, data)
        return self._keys[fileobj]

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None
        waiting = [(at, fd) for at, fd in self._due if fd in self._keys]
        if not waiting or waiting[0][0] > self._now() + timeout:
            self._clock.sleep(timeout)
            return []
        self._clock.sleep(max(0.0, waiting[0][0] - self._now()))
        ready = [(at, fd) for at, fd in waiting if at <= self._now()]
        self._due = [each for each in self._due if each not in ready]
        return [(self._keys[fd], selectors.EVENT_READ) for _, fd in ready]

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys

    def close(self) -> None:
        self.closed = True


class FakeSocket:
    """A raw socket: how it was set up, what was sent, and an inbox of what recv and recvmsg give; an empty inbox would block."""

    def __init__(self) -> None:
        self.opened: tuple[Any, ...] = ()
        self.options: list[tuple[Any, ...]] = []
        self.bound: Any = None
        self.inbox: list[Any] = []
        self.sent: list[tuple[Any, ...]] = []
        self.send_error: OSError | None = None
        self.timeout: float | None = None
        self.closed = False

    def open(self, *arguments: Any) -> "FakeSocket":
        self.opened = arguments
        return self

    def __enter__(self) -> "FakeSocket":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def settimeout(self, seconds: float) -> None:
        self.timeout = seconds

    def setsockopt(self, *option: Any) -> None:
        self.options.append(option)

    def bind(self, where: Any) -> None:
        self.bound = where

    def fileno(self) -> int:
        return 99

    def send(self, *data: Any) -> None:
        if self.send_error is not None:
            raise self.send_error
        self.sent.append(data)

    sendto = send

    def recv(self, size: int, *ancillary_size: int) -> Any:
        if not self.inbox:
            raise BlockingIOError
        item = self.inbox.pop(0)
        if isinstance(item, Exception):
            raise item
        return item

    recvmsg = recv

    def close(self) -> None:
        self.closed = True


class FakeListener:
    """An AdvertListener, or a PacketCapture, whose packets a test puts in."""

    def __init__(self) -> None:
        self.packets: list[Packet] = []
        self.known: frozenset[IPAddress] = frozenset()
        self.sent: Packet | None = None
        self.closed = False

    def fileno(self) -> int:
        return 101

    wake_at = float("inf")

    def receive(self) -> list[Packet]:
        taken, self.packets = self.packets, []
        return taken

    def know(self, sources: Iterable[IPAddress]) -> None:
        self.known = frozenset(sources)

    def close(self) -> None:
        self.closed = True


class FakeInquiry:
    """An Inquiry that notes when it asked; ``on_ask`` is what the segment does then."""

    def __init__(self, now: Callable[[], float], on_ask: Callable[[], None] = lambda: None) -> None:
        self._now = now
        self.on_ask = on_ask
        self.asked: list[float] = []
        self.macs: list[str] = []
        self.closed = False

    def fileno(self) -> int:
        return 103

    def ask(self) -> None:
        self.on_ask()
        self.asked.append(self._now())

    def answers(self) -> list[str]:
        taken, self.macs = self.macs, []
        return taken

    def close(self) -> None:
        self.closed = True


class FakeVipOnLo(VipOnLo):
    """A VipOnLo that notes what it was told and leaves this machine's settings alone."""

    def __init__(self) -> None:
        self.holds: list[tuple[list[str], str]] = []
        self.released = 0
        self.fault: SystemFault | None = None
        self.release_fault: SystemFault | None = None

    def held(self) -> None:
        return None

    def hold(self, vips: Sequence[IPAddress], interface: str) -> None:
        if self.fault is not None:
            raise self.fault
        self.holds.append(([str(vip) for vip in vips], interface))

    def release(self, vips: Iterable[IPAddress] = ()) -> None:
        self.released += 1
        if self.release_fault is not None:
            raise self.release_fault


class FakeRules(Rules):
    """Rules that note what they were told and leave this machine's nftables alone; ``situation`` is what they tell."""

    def __init__(self) -> None:
        self.held: list[Group] = []
        self.arms: list[tuple[list[str], str]] = []
        self.disarmed: list[str] = []
        self.released = 0
        self.fault: SystemFault | None = None
        self.refused: SystemFault | None = None  # what a trial ends with
        self.strangers: list[BaseChain] = []  # of others, that drop what is handed on
        self.situation = Situation((4,), tables=(4,))
        self.said: dict[IPAddress, tuple[Word, float]] = {}  # what members said of themselves last, and when that began
        self.others: dict[IPAddress, IPAddress] = {}  # the addresses of the other family that they told
        self.marks: list[tuple[int, set[End]]] = []  # which mark, where
        self.known: set[End] = set()  # where listeners are told from their connections
        self.older: list[tuple[End, End]] = []

    def hold(self, group: Group) -> None:
        if self.fault is not None:
            raise self.fault
        self.held.append(group)
        self.known = set()

    def mark(self, mark: int, there: Iterable[End]) -> None:
        if self.fault is not None:
            raise self.fault
        self.marks.append((mark, {*there}))

    def tell_apart(self, there: Iterable[End], older: Iterable[tuple[End, End]]) -> None:
        if self.fault is not None:
            raise self.fault
        self.known |= {*there}
        self.older = [*older]

    def told_apart(self) -> frozenset[End]:
        if self.fault is not None:
            raise self.fault
        return frozenset(self.known)

    def arm(self, vips: Sequence[IPAddress], *peer: IPAddress) -> None:
        if self.fault is not None:
            raise self.fault
        self.arms.append(([*map(str, vips)], " ".join(map(str, peer))))

    def disarm(self, peer: IPAddress, at_most: float = math.inf) -> None:
        self.at_most = at_most
        if self.fault is not None:
            raise self.fault
        self.disarmed.append(str(peer))

    def release(self) -> None:
        self.released += 1

    def in_the_way(self, vip: IPAddress) -> list[BaseChain]:
        if self.fault is not None:
            raise self.fault
        return self.strangers

    def trial(self, group: Group) -> None:
        if self.refused is not None:
            raise self.refused

    def state(self) -> Situation:
        if self.fault is not None:
            raise self.fault
        return self.situation

    def membership(self) -> Members:
        found = self.state()
        return Members(found.members, found.tables)

    def words(self) -> Words:
        if self.fault is not None:
            raise self.fault
        away = tuple((who, time.monotonic() - at) for who, (word, at) in self.said.items() if word is Word.LEAVES)
        return Words(away, tuple(who for who, (word, _) in self.said.items() if word is Word.ENDS))

    def further(self, version: int) -> dict[IPAddress, IPAddress]:
        if self.fault is not None:
            raise self.fault
        return {each: other for each, other in self.others.items() if each.version == version}

    def hears(self, source: IPAddress, word: Word) -> None:
        """Keep what ``source`` says of itself, as the kernel's rules do."""
        self.said[source] = (word, time.monotonic())

    def stopped(self) -> tuple[int, int]:
        return self.situation.circled, self.situation.refused

    def armed(self) -> tuple[Armed, ...]:
        if self.fault is not None:
            raise self.fault
        return self.situation.armed


class FakeHaproxy:
    """haproxy's health as a test wants it: well, or with a problem."""

    problem = ""

    def check(self, health_check: SplitResult, timeout: float = 1.0, header: bytes = b"") -> dict[str, str]:
        if self.problem:
            raise SystemFault(self.problem)
        return {}

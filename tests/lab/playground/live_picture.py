"""A cluster while somebody plays with it: what each instance is, what clients feel, and what has just happened."""

import ipaddress
import select
import sys
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lab.clients.load import Load
from lab.clients.traffic import SLOW_MS
from lab.fabric.cluster import WATCHER, Cluster
from lab.fabric.node import Node
from vrrp_drain.keepalived.track_files import TrackFiles
from vrrp_drain.linux import connections
from vrrp_drain.linux.rtnetlink import AddressWatch, Netlink
from vrrp_drain.runtime.errors import SystemFault

RATE, KEEP_ALIVE = 50.0, 10  # new connections per second, and clients that stay connected
_LOOK = 0.25  # seconds between two looks at a node; a VIP that comes or goes is seen at once
_REDRAW = 0.25  # seconds
_PATIENCE = 1.0  # seconds for an answer of haproxy's
_EVENTS = 10
_CLIENTS_SAY = 5.0  # seconds between two lines of what clients feel, where nothing is wrong
_GOOD = {"MASTER": "bold green", "BACKUP": "cyan", "active": "", "answers": "", "runs": ""}


@dataclass(frozen=True)
class Look:
    """What one look at a node found, in the words of the picture."""

    state: str
    band: str
    health: str
    haproxy: str
    watcher: str
    connections: str

    @property
    def routes(self) -> bool:
        """Tell whether keepalived runs."""
        return self.state in ("MASTER", "BACKUP")

    def words(self) -> tuple[str, str, str, str]:
        """Return what is either as it should be or not."""
        return self.state, f"{self.band}, {self.health}" if self.health else self.band, self.haproxy, self.watcher


@dataclass(frozen=True, order=True)
class Event:
    """At ``at`` (seconds since the epoch) ``what`` became true of ``node``."""

    at: float
    node: str
    what: str

    def line(self) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(self.at))
        return f"{clock}.{int(self.at * 1000) % 1000:03}  {self.node}  {self.what}"


class Events:
    """The last things that happened, whoever tells of them; some are told late, and all are kept in their order."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: deque[Event] = deque(maxlen=50)
        self._fresh: deque[Event] = deque()

    def add(self, event: Event) -> None:
        with self._lock:
            self._last.append(event)
            self._fresh.append(event)

    def last(self) -> list[Event]:
        with self._lock:
            return sorted(self._last)[-_EVENTS:]

    def fresh(self) -> list[Event]:
        """Return those that were not returned before."""
        with self._lock:
            found = sorted(self._fresh)
            self._fresh.clear()
            return found


class Clients(Load):
    """A load that goes on for as long as somebody plays, and what it felt within the last second."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster.client, cluster.vip, rate=RATE, keep_alive=KEEP_ALIVE, keep=False)
        self._heard = deque([(time.monotonic(), 0, 0, 0)], maxlen=3)  # it counts twice a second

    def hear(self, line: str) -> None:
        super().hear(line)
        self._heard.append((time.monotonic(), self.answered, self.failed, self.slow))

    def per_second(self) -> tuple[float, float, float]:
        """Return how many requests per second were answered, failed, and were answered slowly."""
        heard = tuple(self._heard)  # another thread appends to it
        (began, *before), (ended, *after) = heard[0], heard[-1]
        ok, failed, slow = ((now - then) / max(ended - began, 0.001) for now, then in zip(after, before, strict=True))
        return ok, failed, slow


class Eye(threading.Thread):
    """Looks at one node from inside its network, and tells what changed there."""

    def __init__(self, node: Node, vip: str, events: Events) -> None:
        super().__init__(name=f"eye on {node.name}", daemon=True)
        self.node = node
        self.seen: Look | None = None
        self._vip = ipaddress.ip_address(vip)
        self._events = events
        self._files = TrackFiles(node.machine.root / "var/vcap/sys/run/keepalived")
        self._closed = threading.Event()

    def __enter__(self) -> "Eye":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._closed.set()
        self.join()

    def run(self) -> None:
        self.node.machine.enter_network()
        with Netlink() as netlink, closing(AddressWatch()) as watch:
            here = netlink.has_address("eth0", self._vip)
            while not self._closed.is_set():
                watch.drain()
                if (found := netlink.has_address("eth0", self._vip)) is not here:
                    here = found
                    self._tell("has the VIP" if here else "has the VIP no more")
                before, self.seen = self.seen, self._look(here)
                if before:
                    self._tell_what_changed(before, self.seen)
                select.select([watch], [], [], _LOOK)

    def _tell_what_changed(self, before: Look, now: Look) -> None:
        """Tell of what nothing wakes us up for; when the band was written the file itself says."""
        if before.band != now.band:
            self._tell(f"band {now.band}", self._files.changed_at())
        if before.health != now.health:
            self._tell(now.health or "healthy again")
        if before.haproxy != now.haproxy:
            self._tell(f"haproxy {now.haproxy}")
        if before.routes != now.routes:
            self._tell(f"keepalived {'runs' if now.routes else 'does not run'}")

    def _tell(self, what: str, at: float | None = None) -> None:
        self._events.add(Event(at or time.time(), self.node.name, what))

    def _look(self, here: bool) -> Look:
        keepalived, haproxy, watcher = (self.node.monit.pid(name) for name in ("keepalived", "haproxy", WATCHER))
        state = ("MASTER" if here else "BACKUP") if keepalived else "stale VIP" if here else "stopped"
        served = ""
        with suppress(SystemFault):
            served = str(connections.count([self._vip]))
        band, health = self._band()
        return Look(
            state,
            band,
            health,
            "does not run" if haproxy is None else "answers" if _answers() else "does not answer",
            "runs" if watcher else "does not run",
            served,
        )

    def _band(self) -> tuple[str, str]:
        """Return the band, and whether the watcher holds haproxy for dead."""
        try:
            return str(self._files.read() or "none"), "unhealthy" if self._files.unhealthy() else ""
        except SystemFault:
            return "unreadable", ""


def _answers() -> bool:
    with suppress(OSError), urllib.request.urlopen("http://127.0.0.1/", timeout=_PATIENCE) as answer:
        return bool(answer.status == 200)
    return False


class LivePicture:
    """Redraws itself on a terminal; elsewhere it says in lines what changed. ``advice`` is what somebody may do here."""

    def __init__(self, vip: str, eyes: Sequence[Eye], clients: Clients, events: Events, advice: Sequence[tuple[str, str]]) -> None:
        self._vip, self._eyes, self._clients, self._events, self._advice = vip, eyes, clients, events, advice
        self._said: dict[str, str] = {}
        self._felt_said = time.monotonic()

    def show(self) -> None:
        """Show it for good: whoever ends it raises."""
        if sys.stdout.isatty():
            with Live(console=Console(), screen=True, auto_refresh=False) as live:
                while True:
                    live.update(self.draw(), refresh=True)
                    time.sleep(_REDRAW)
        while True:
            for line in self.news():
                print(line, flush=True)
            time.sleep(_REDRAW)

    def draw(self) -> RenderableType:
        """Return one screen."""
        title = Text.assemble((" vrrp-drain lab ", "reverse bold green"), f"  VIP {self._vip}")
        nodes = Table(box=None, padding=(0, 4, 0, 0), header_style="dim")
        for heading in ("instance", "state", "band", "haproxy", "watcher", "connections"):
            nodes.add_column(heading, min_width=11)
        for eye in self._eyes:
            words = eye.seen.words() if eye.seen else ()
            cells = (Text(word, style=_GOOD.get(word, "bold yellow")) for word in words)
            nodes.add_row(Text(eye.node.name, style="bold"), *cells, eye.seen.connections if eye.seen else "")
        client = Table(box=None, padding=(0, 4, 0, 0), header_style="dim")
        for heading in ("clients", "answered", "failed", f"slow (over {SLOW_MS:.0f} ms)"):
            client.add_column(heading, min_width=11)
        rates, totals = self._clients.per_second(), (self._clients.answered, self._clients.failed, self._clients.slow)
        for name, numbers in (("each second", rates), ("in all", totals)):
            bad = ["", *("bold red" if number else "green" for number in numbers[1:])]
            client.add_row(name, *(Text(f"{number:.0f}", style=style) for number, style in zip(numbers, bad, strict=True)))
        happened = Text("\n").join(Text(event.line()) for event in self._events.last())
        advice = Table.grid(padding=(0, 4, 0, 0))
        for what, means in self._advice:
            advice.add_row(Text(what, style="bold", no_wrap=True), Text(means, style="dim"))
        return Group(title, "", nodes, "", client, "", advice, "", happened)

    def news(self) -> Iterator[str]:
        """Yield as lines what is new since the last call; how many connections there are changes all the time, and is not news."""
        for event in self._events.fresh():
            yield event.line()
        for eye in self._eyes:
            if seen := eye.seen:
                state, band, haproxy, watcher = seen.words()
                line = f"{eye.node.name}  {state}  {band}  haproxy {haproxy}  watcher {watcher}"
                if self._said.get(eye.node.name) != line:
                    self._said[eye.node.name] = line
                    yield f"{line}  {seen.connections} connections"
        ok, failed, slow = self._clients.per_second()
        if time.monotonic() - self._felt_said > (1.0 if failed or slow else _CLIENTS_SAY):
            self._felt_said = time.monotonic()
            yield f"clients  {ok:.0f} answered, {failed:.0f} failed, {slow:.0f} slow each second"

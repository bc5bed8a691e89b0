"""What Prometheus can ask of the watcher, as a picture of this instance at the moment of the scrape.

Gauges are one immutable picture that the watcher swaps for the next one at once and a scrape takes as a whole, so that none shows
half a change; counters count from the watcher's start. Labels are bounded: their values are enums or come from the manifest, never from
the network.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from vrrp_drain import __version__
from vrrp_drain.handoff.situation import Situation
from vrrp_drain.notify.notice import Cause, Kind, Notice, Switch
from vrrp_drain.notify.notifier import Counts
from vrrp_drain.runtime.throttled import Throttled
from vrrp_drain.vrrp.bands import Band
from vrrp_drain.vrrp.peer_table import AdvertVerdict
from vrrp_drain.vrrp.state import VrrpState

from .metrics_server import MetricsServer

NAMESPACE = "vrrp_drain"
OUTCOMES = ("sent", "failed", "lost")
OTHER = "other"  # no cause is counted as this; the series is there for whoever names it
HANDOVER_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

CONDITIONS = {
    Kind.TWO_MASTERS: "Whether two instances act as MASTER: clients reach one or the other.",
    Kind.FOREIGN: "Whether somebody who is not of the group adverts its VRID.",
    Kind.STALE_VIP: "Whether the VIP is on this instance's interface although keepalived does not run here, or stands still.",
    Kind.SILENT_MASTER: "Whether a peer adverts as MASTER, but nobody answers for the VIP.",
    Kind.NO_MASTER: "Whether nobody has the VIP: clients are without it.",
    Kind.SATURATED: "Whether haproxy here is full: it serves whom it has, and new clients wait.",
    Kind.CIRCLED: "Whether packets that no instance knows went round within the last minute, and were answered here.",
    Kind.REFUSED: "Whether adverts of somebody who is not of the group were kept from keepalived within the last minute.",
    Kind.LET_GO: "Whether BOSH may stop this instance although nobody can take the VIP over (vrrpctl let-go).",
    Kind.LOST: "Whether rules of ours or a VIP on lo are gone, which somebody took away: a move would cut open connections.",
    Kind.UNSERVED: "Whether a VIP is on no interface when this instance is MASTER, or not used by the kernel (tentative, dadfailed).",
    Kind.TAKEN_OUT: "Whether an operator has taken this instance out until it is promoted (vrrpctl demote --until-promoted).",
}

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which nobody asks for


@dataclass(frozen=True)
class _Picture:
    """What the gauges show; ``heard`` is when a peer's last valid advert came. None and nothing are not known yet."""

    heard: float
    state: VrrpState | None = None
    band: Band | None = None
    priority: int | None = None
    haproxy_up: bool | None = None
    conditions: frozenset[Kind] = frozenset()


class Metrics(Collector):
    """The metrics of one instance. Its methods are called by the watcher's loop and return at once; a scrape is another thread.

    ``base_priority`` is that of a healthy instance; ``situation``, ``connections`` and ``notifications`` are asked during a scrape;
    the first two may fail.
    """

    def __init__(
        self,
        base_priority: int,
        situation: Callable[[], Situation],
        connections: Callable[[], int],
        notifications: Callable[[], Mapping[str, Counts]] = dict,
    ) -> None:
        self.registry = CollectorRegistry()
        self._base_priority = base_priority
        self._situation = Throttled("the handoff of open connections", situation)
        self._connections = Throttled("the number of connections", connections)
        self._server: MetricsServer | None = None
        self._picture = _Picture(time.monotonic())  # written by the watcher's loop alone
        self._moves = self._counter("moves", "Times that the VIP came to this instance or left it, by cause.", "cause")
        self._transitions = self._counter("transitions", "Notices of the watcher, by kind and cause.", "kind", "cause")
        self._adverts = self._counter(
            "adverts",
            "VRRP packets heard: valid (of a peer), damaged, or foreign (of somebody who is not of the group), "
            "of unknown senders 200 a second at most.",
            "verdict",
        )
        self._losses = self._counter(
            "rules_losses", "Times that rules of ours or a VIP on lo were gone, and were put back as far as possible."
        )
        self._notifications = notifications
        self._handover = Histogram(
            "handover_seconds",
            "How long a change of this instance's VRRP state took, where it was a handover.",
            namespace=NAMESPACE,
            registry=self.registry,
            buckets=HANDOVER_SECONDS,
        )
        self._begin_at_zero()
        ProcessCollector(NAMESPACE, registry=self.registry)
        self.registry.register(self)

    def see(self, state: VrrpState, band: Band, priority: int, haproxy_up: bool | None) -> None:
        """Take in how this instance stands: its VRRP state, what it is told to be and adverts, whether haproxy serves (None: not known)."""
        self._picture = replace(self._picture, state=state, band=band, priority=priority, haproxy_up=haproxy_up)

    def notice(self, notice: Notice) -> None:
        """Count what happened."""
        self._transitions.labels(notice.kind.value, notice.cause.value).inc()
        if notice.kind is Kind.STATE:
            if VrrpState.MASTER in (notice.previous, notice.state):
                self._moves.labels(notice.cause.value).inc()
            if notice.seconds is not None:
                self._handover.observe(notice.seconds)
        elif notice.kind in CONDITIONS:
            self._losses.inc(notice.kind is Kind.LOST and notice.state == Switch.ON)
            others = self._picture.conditions - {notice.kind}
            self._picture = replace(self._picture, conditions=others | {notice.kind} if notice.state == Switch.ON else others)

    def advert(self, verdict: AdvertVerdict) -> None:
        """Count a packet that was heard just now."""
        self._adverts.labels(verdict.value).inc()
        if verdict is AdvertVerdict.VALID:
            self._picture = replace(self._picture, heard=time.monotonic())

    def serve(self, port: int) -> None:
        """Answer scrapes at 127.0.0.1:``port``; 0 is off. Raises SystemFault where the port cannot be had."""
        if port:
            self._server = MetricsServer(self.registry, port)

    def close(self) -> None:
        """Answer no scrape any more."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def collect(self) -> Iterator[Metric]:
        """Yield what is read at the moment of the scrape."""
        now = self._picture
        yield _one_of("state", "VRRP state of this instance: master, backup, or stopped (keepalived does not run).", VrrpState, now.state)
        yield _one_of("band", "What this instance asks of VRRP: active, or draining (demoted).", Band, now.band)
        yield from _gauge("base_priority", "VRRP priority of this instance while it is healthy and not demoted.", self._base_priority)
        yield from _gauge("effective_priority", "VRRP priority that this instance adverts, or would advert as MASTER.", now.priority)
        yield from _gauge("haproxy_up", "Whether haproxy serves here, asked as vrrp_drain.health_check says.", now.haproxy_up)
        for kind, meaning in CONDITIONS.items():
            yield from _gauge(kind.value, meaning, kind in now.conditions)
        yield from _gauge(
            "last_advert_seconds",
            "Seconds since the last valid advert of a peer, or since the watcher's start. Peers are silent while this instance is MASTER.",
            time.monotonic() - now.heard,
        )
        if (situation := self._situation.value()) is not None:
            yield from _of_the_rules(situation)
        yield from _gauge("connections", "TCP connections to a VIP that end at this instance.", self._connections.value())
        yield from _told(self._notifications())
        yield _one_of("build_info", "Version of vrrp-drain.", [__version__], __version__, label="version")

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(name, meaning, labels, namespace=NAMESPACE, registry=self.registry)

    def _begin_at_zero(self) -> None:
        """Show the counters that alerts look at before they count: Prometheus sees no increase where a series begins at 1."""
        for cause in (*Cause, OTHER):
            self._moves.labels(str(cause))
        for verdict in AdvertVerdict:
            self._adverts.labels(verdict.value)


def _of_the_rules(situation: Situation) -> Iterator[Metric]:
    """Yield what the kernel's rules counted, of those that are installed."""
    if situation.tables:
        yield CounterMetricFamily(
            f"{NAMESPACE}_refused_adverts",
            "VRRP packets of somebody who is not of the group that were kept from keepalived.",
            situation.refused,
        )
    if situation.families:
        yield CounterMetricFamily(
            f"{NAMESPACE}_handed_off_packets",
            "Packets of open connections that were sent to the peer that serves them.",
            situation.sent,
        )
        yield CounterMetricFamily(
            f"{NAMESPACE}_handoff_circled_packets",
            "Packets that no instance knew and that were handed on to the last of their hops: they were answered here.",
            situation.circled,
        )
        yield from _gauge(
            "handoff_armed",
            "VIPs whose open connections are handed off to peers that served them before.",
            len({each.vip for each in situation.armed}),
        )
        yield from _gauge(
            "handoff_leavers",
            "Peers that left and may still serve open connections: packets that nobody knows here are handed on to them.",
            len({each.peer for each in situation.armed}),
        )


def _told(receivers: Mapping[str, Counts]) -> Iterator[Metric]:
    told = CounterMetricFamily(
        f"{NAMESPACE}_notifications",
        "What became of the notices for a hook or a webhook: sent, failed (a try, of which there may be more), or lost (given up).",
        labels=["receiver", "outcome"],
    )
    queued = GaugeMetricFamily(
        f"{NAMESPACE}_notifications_queued", "Notices that a hook or a webhook has not taken yet.", labels=["receiver"]
    )
    for receiver, counts in receivers.items():
        for outcome in OUTCOMES:
            told.add_metric([receiver, outcome], getattr(counts, outcome))
        queued.add_metric([receiver], counts.queued)
    yield from (told, queued)


def _gauge(name: str, meaning: str, value: float | None) -> Iterator[Metric]:
    """Yield a gauge, unless its value is not known."""
    if value is not None:
        yield GaugeMetricFamily(f"{NAMESPACE}_{name}", meaning, float(value))


def _one_of(name: str, meaning: str, values: Iterable[object], current: object, label: str = "") -> Metric:
    """Return a gauge that is 1 for the value that holds and 0 for the others."""
    family = GaugeMetricFamily(f"{NAMESPACE}_{name}", meaning, labels=[label or name])
    for each in values:
        family.add_metric([str(each)], float(each == current))
    return family

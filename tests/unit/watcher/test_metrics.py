"""Metrics: what a scrape finds after what the watcher told."""

import socket
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from types import FrameType
from typing import TYPE_CHECKING

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from unit.support.fakes import PEER, VIP, Clock
from vrrp_drain import __version__
from vrrp_drain.handoff.situation import Armed, Situation
from vrrp_drain.notify.notice import CAUSES, Cause, Kind, Notice
from vrrp_drain.notify.notifier import Counts
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.vrrp.bands import Band
from vrrp_drain.vrrp.peer_table import AdvertVerdict
from vrrp_drain.vrrp.state import VrrpState
from vrrp_drain.watcher.metrics import CONDITIONS, Metrics

if TYPE_CHECKING:
    from _typeshed import TraceFunction

SITUATION = Situation((4,), (Armed(ip_address(VIP), ip_address(PEER), 12.0),), 345, circled=6, refused=7, tables=(4,))
NOTICE = Notice(1.0, "haproxy/0", VIP, Kind.STATE, "backup", "master", Cause.PEER_RESIGNED, "haproxy/1 resigned", PEER, 254, 0.021)


class Scrape:
    """The samples of one scrape, by name and labels."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self._samples = {(s.name, frozenset(s.labels.items())): s.value for family in self.families.values() for s in family.samples}

    def __call__(self, name: str, **labels: str) -> float | None:
        return self._samples.get((f"vrrp_drain_{name}", frozenset(labels.items())))

    def one_of(self, name: str) -> dict[str, float]:
        """Return the values of a metric that has one label of its own name."""
        return {s.labels[name]: s.value for s in self.families[f"vrrp_drain_{name}"].samples}

    def names(self) -> set[str]:
        return {name for name, _ in self._samples}


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(254, lambda: SITUATION, lambda: 17, lambda: {"webhooks[0]": Counts(sent=3)})


def scraped(metrics: Metrics) -> Scrape:
    return Scrape(generate_latest(metrics.registry).decode())


def test_before_anything_happened(metrics: Metrics) -> None:
    """What is not known is not said; what is counted begins at 0, since Prometheus sees no increase where a series begins at 1."""
    found = scraped(metrics)
    assert set(found.one_of("state").values()) == set(found.one_of("band").values()) == {0.0}
    assert (found("haproxy_up"), found("effective_priority"), found("base_priority")) == (None, None, 254)
    assert {found("moves_total", cause=cause) for cause in (*CAUSES, "other")} == {0}
    assert {found(kind.value) for kind in CONDITIONS} == {0}
    assert found("notifications_total", receiver="webhooks[0]", outcome="sent") == 3
    assert found("notifications_total", receiver="webhooks[0]", outcome="lost") == 0
    assert found("build_info", version=__version__) == 1
    assert {"vrrp_drain_process_cpu_seconds_total", "vrrp_drain_process_resident_memory_bytes"} <= found.names()
    assert not [name for name in found.names() if not name.startswith("vrrp_drain_") or name.endswith("_created")]


@pytest.mark.parametrize("state", VrrpState)
def test_state(metrics: Metrics, state: VrrpState) -> None:
    """Exactly one of the states is 1."""
    metrics.see(state, Band.ACTIVE, 254, None)
    assert scraped(metrics).one_of("state") == {each: float(each == state) for each in VrrpState}


def test_the_vip_comes(metrics: Metrics) -> None:
    """A change to MASTER is a move with its cause, and its duration goes into the histogram."""
    metrics.notice(NOTICE)
    found = scraped(metrics)
    assert (found("moves_total", cause="peer_resigned"), found("moves_total", cause="drain")) == (1, 0)
    assert found("transitions_total", kind="state", cause="peer_resigned") == 1
    assert (found("handover_seconds_count"), found("handover_seconds_sum")) == (1, 0.021)
    assert (found("handover_seconds_bucket", le="0.01"), found("handover_seconds_bucket", le="0.025")) == (0, 1)


@pytest.mark.parametrize(
    ("previous", "state", "moved"),
    [
        ("master", "backup", True),
        ("master", "stopped", True),
        ("stopped", "master", True),
        ("backup", "stopped", False),
    ],
)
def test_what_counts_as_a_move(metrics: Metrics, previous: str, state: str, moved: bool) -> None:
    """The VIP came or left; that an instance which had none stopped is no move."""
    metrics.notice(replace(NOTICE, previous=previous, state=state, cause=Cause.DRAIN, seconds=None))
    found = scraped(metrics)
    assert (found("moves_total", cause="drain"), found("handover_seconds_count")) == (float(moved), 0)


def test_other_peoples_moves_are_not_ours(metrics: Metrics) -> None:
    """A BACKUP that sees another MASTER counts the notice, not a move: otherwise every instance would count every move."""
    metrics.notice(replace(NOTICE, kind=Kind.MASTER_MOVED, previous="", state="", priority=None))
    found = scraped(metrics)
    assert found("transitions_total", kind="master_moved", cause="peer_resigned") == 1
    assert (found("moves_total", cause="peer_resigned"), found("handover_seconds_count"), found("effective_priority")) == (0, 0, None)


@pytest.mark.parametrize("kind", CONDITIONS)
def test_conditions_begin_and_end(metrics: Metrics, kind: Kind) -> None:
    """Each of them is a gauge of its own, and no other one changes with it."""
    began = replace(NOTICE, kind=kind, previous="off", state="on")
    metrics.notice(began)
    assert {each for each in CONDITIONS if scraped(metrics)(each.value)} == {kind}
    metrics.notice(replace(began, previous="on", state="off", seconds=3.0))
    found = scraped(metrics)
    assert (found(kind.value), found("handover_seconds_count")) == (0, 0)


@pytest.mark.parametrize(("alive", "up"), [(None, None), (False, 0), (True, 1)])
def test_haproxy(metrics: Metrics, alive: bool | None, up: int | None) -> None:
    """Whether haproxy serves is what the watcher sees now; before it knows, nothing is said."""
    metrics.see(VrrpState.MASTER, Band.ACTIVE, 254, not alive)
    metrics.see(VrrpState.MASTER, Band.ACTIVE, 254, alive)
    assert scraped(metrics)("haproxy_up") == up


@pytest.mark.parametrize("band", Band)
def test_band_and_priority(metrics: Metrics, band: Band) -> None:
    """Exactly one band is 1, and the priority is the one that goes with it, not the base."""
    metrics.see(VrrpState.BACKUP, band, 254 + band.value, True)
    found = scraped(metrics)
    assert found.one_of("band") == {str(each): float(each is band) for each in Band}
    assert (found("effective_priority"), found("base_priority")) == (254 + band.value, 254)


def test_labels_are_bounded(metrics: Metrics) -> None:
    """Whatever happens, there are no more series than causes, and what an operator may have named from the beginning is there."""
    for cause in Cause:
        metrics.notice(replace(NOTICE, cause=cause))
    for verdict in AdvertVerdict:
        metrics.advert(verdict)
    found = scraped(metrics)
    assert {s.labels["cause"] for s in found.families["vrrp_drain_moves"].samples} == {*CAUSES, "other"}
    assert {s.labels["verdict"] for s in found.families["vrrp_drain_adverts"].samples} == {"valid", "damaged", "foreign"}
    assert {s.labels["outcome"] for s in found.families["vrrp_drain_notifications"].samples} == {"sent", "failed", "lost"}


def gauges(metrics: Metrics) -> dict[tuple[str, str], float]:
    """Return what a scrape shows of this instance, but for the time that passes."""
    samples = (sample for family in metrics.collect() for sample in family.samples if family.type == "gauge")
    return {(each.name, str(each.labels)): each.value for each in samples if each.name != "vrrp_drain_last_advert_seconds"}


def one_change(metrics: Metrics) -> None:
    metrics.see(VrrpState.BACKUP, Band.DRAINING, 99, False)


def two_conditions(metrics: Metrics) -> None:
    for kind in (Kind.NO_MASTER, Kind.FOREIGN):
        metrics.notice(replace(NOTICE, kind=kind, previous="off", state="on"))


@pytest.mark.parametrize(("change", "pictures"), [(one_change, 2), (two_conditions, 3)])
def test_a_scrape_in_between_shows_no_half_of_a_change(metrics: Metrics, change: Callable[[Metrics], None], pictures: int) -> None:
    """Another thread may scrape between any two instructions of the watcher's: it sees how things stood, or how they stand."""
    metrics.see(VrrpState.MASTER, Band.ACTIVE, 254, True)
    before, seen = gauges(metrics), list[dict[tuple[str, str], float]]()

    def scrape(frame: FrameType, event: str, _: object) -> "TraceFunction":
        frame.f_trace_opcodes = True
        if event == "opcode":
            sys.settrace(None)
            seen.append(gauges(metrics))
            sys.settrace(scrape)
        return scrape

    traced = sys.gettrace()
    sys._getframe().f_trace_opcodes = True  # Python 3.12 asks for instructions from here on, if any frame wants them now
    sys.settrace(scrape)
    try:
        change(metrics)
    finally:
        sys.settrace(traced)
    after = gauges(metrics)
    different = [each for n, each in enumerate(seen) if each not in seen[:n]]
    assert (different[0], different[-1], len(different)) == (before, after, pictures)
    assert len(seen) > 50, "the scrapes came between the instructions"


def test_a_change_in_the_middle_of_a_scrape_waits_for_the_next_one(metrics: Metrics) -> None:
    """A scrape may be slow, since it asks the kernel: all of it is of the moment when it began."""
    metrics.see(VrrpState.MASTER, Band.ACTIVE, 254, True)
    before = gauges(metrics)
    families = [family.name for family in metrics.collect()]
    for count in range(1, len(families)):
        metrics.see(VrrpState.MASTER, Band.ACTIVE, 254, True)
        scrape = metrics.collect()
        found = [next(scrape) for _ in range(count)]
        one_change(metrics)
        samples = [sample for family in (*found, *scrape) for sample in family.samples if family.type == "gauge"]
        assert {(each.name, str(each.labels)): each.value for each in samples if each.name != "vrrp_drain_last_advert_seconds"} == before


def test_seconds_since_the_last_advert(clock: Clock) -> None:
    """Counted at the scrape, on the monotonic clock, from the watcher's start; only a peer's valid advert begins anew."""
    metrics = Metrics(254, Situation, int)
    clock.sleep(5)
    metrics.advert(AdvertVerdict.DAMAGED)
    metrics.advert(AdvertVerdict.FOREIGN)
    assert scraped(metrics)("last_advert_seconds") == pytest.approx(5)
    metrics.advert(AdvertVerdict.VALID)
    clock.sleep(0.25)
    found = scraped(metrics)
    assert found("last_advert_seconds") == pytest.approx(0.25)
    assert [found("adverts_total", verdict=each) for each in AdvertVerdict] == [1, 1, 1]


def test_what_is_asked_at_the_scrape(metrics: Metrics) -> None:
    """The kernel's rules and connections."""
    found = scraped(metrics)
    assert (found("handed_off_packets_total"), found("handoff_armed"), found("connections")) == (345, 1, 17)
    assert (found("handoff_circled_packets_total"), found("refused_adverts_total"), found("handoff_leavers")) == (6, 7, 1)


def test_several_leavers_of_several_vips() -> None:
    """VIPs are counted, and peers, whatever each of them has to do with the other."""
    vips, peers = (
        (ip_address("10.0.0.10"), ip_address("10.0.0.11")),
        (ip_address("10.0.0.2"), ip_address("10.0.0.3"), ip_address("10.0.0.4")),
    )
    situation = Situation((4,), tuple(Armed(vip, peer, 9.0) for vip in vips for peer in peers), tables=(4,))
    found = scraped(Metrics(254, lambda: situation, lambda: 17))
    assert (found("handoff_armed"), found("handoff_leavers")) == (2, 3)


def test_rules_that_are_not_installed_have_no_metrics() -> None:
    """A handoff that is off, or that the kernel refused, counts nothing: a 0 would say that it works. The rules for adverts likewise."""
    handoff = ("handed_off_packets_total", "handoff_circled_packets_total", "handoff_armed", "handoff_leavers")
    for situation, refused in ((Situation(refused=7, tables=(4,)), 7), (Situation(), None)):
        found = scraped(Metrics(254, lambda situation=situation: situation, lambda: 17))  # type: ignore[misc]
        assert [found(each) for each in handoff] == [None] * 4
        assert found("refused_adverts_total") == refused


def test_a_fault_does_not_fail_the_scrape(log: pytest.LogCaptureFixture) -> None:
    """What cannot be read is left out, the rest is there."""

    def fault() -> int:
        raise SystemFault("the kernel does not tell")

    found = scraped(Metrics(254, fault, fault))  # type: ignore[arg-type]
    assert (found("handed_off_packets_total"), found("handoff_armed"), found("connections"), found("base_priority")) == (None,) * 3 + (254,)
    assert [line for line in log.messages if "metrics are without" in line and line.endswith(": the kernel does not tell")] == log.messages
    assert len(log.messages) == 2


@pytest.fixture
def port() -> int:
    """Give a port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found: int = listener.getsockname()[1]
    return found


def test_serve_and_close(metrics: Metrics, port: int) -> None:
    """The real thing, over HTTP; after close nobody listens, and closing again is no error."""
    metrics.see(VrrpState.MASTER, Band.ACTIVE, 254, True)
    metrics.serve(port)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        assert Scrape(answer.read().decode()).one_of("state")["master"] == 1
    metrics.close()
    metrics.close()
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=5):
        pass


def test_port_0_is_off(metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    """vrrp_drain.metrics_port 0: no socket at all."""
    monkeypatch.setattr("vrrp_drain.watcher.metrics.MetricsServer", None)
    metrics.serve(0)
    metrics.close()

"""BOSH's five scripts, around a node whose handovers end as told. Waits are on a frozen clock."""

import errno
import logging
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_interface
from pathlib import Path

import pytest

from unit.support.fakes import PEER, VIP, Clock, FakeHaproxy, FakeIPR, FakeNode, address
from vrrp_drain.commands import lifecycle
from vrrp_drain.config.upstream_job import UpstreamJob
from vrrp_drain.handover.demote import Demote
from vrrp_drain.handover.promote import Promote
from vrrp_drain.handover.runner import Ending
from vrrp_drain.haproxy import health_check
from vrrp_drain.keepalived.attachment import Attachment
from vrrp_drain.keepalived.upstream_config import UpstreamConfig
from vrrp_drain.linux import connections, listeners
from vrrp_drain.runtime.boot import Boot, Stage
from vrrp_drain.runtime.errors import Cancelled, NoSuccessor, NotSettled, SystemFault
from vrrp_drain.runtime.ip import IPAddress
from vrrp_drain.runtime.signals import Cancellation
from vrrp_drain.vrrp.bands import Band
from vrrp_drain.vrrp.timing import master_down_interval

LEFT_ALONE = Ending(Demote.NO_SUCCESSOR, "nobody is there", 5.1)
NOT_CANCELLED = Cancellation()


def drain(node: FakeNode, cancellation: Cancellation = NOT_CANCELLED, sleep: Callable[[float], None] = lambda seconds: None) -> None:
    lifecycle.drain(node, cancellation, sleep)


LEAVING = [pytest.param(lambda node: lifecycle.pre_stop(node, {}), id="pre-stop"), pytest.param(drain, id="drain")]
leaving = pytest.mark.parametrize("leave", LEAVING)
DELETE = {"BOSH_VM_NEXT_STATE": "delete", "BOSH_INSTANCE_NEXT_STATE": "delete", "BOSH_DEPLOYMENT_NEXT_STATE": "delete"}
KEEP = DELETE | {"BOSH_DEPLOYMENT_NEXT_STATE": "keep"}

Script = Callable[[FakeNode], None]
pytestmark = pytest.mark.usefixtures("haproxy_health", "clients")


class Clients:
    """The connections that are open here: each look sees the next number, and the last one for ever. And the listeners on a VIP itself."""

    def __init__(self) -> None:
        self.open = [0]
        self.fault: SystemFault | None = None
        self.asked: list[tuple[IPAddress, ...]] = []
        self.listeners: list[str] = []

    def count(self, vips: tuple[IPAddress, ...]) -> int:
        self.asked.append(vips)
        if self.fault is not None:
            raise self.fault
        return self.open.pop(0) if len(self.open) > 1 else self.open[0]

    def bound_to(self, vips: tuple[IPAddress, ...]) -> list[str]:
        if self.fault is not None:
            raise self.fault
        return self.listeners


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> Clients:
    """Clients, and a haproxy that takes signals from nobody."""
    fake = Clients()
    monkeypatch.setattr(connections, "count", fake.count)
    monkeypatch.setattr(listeners, "bound_to", fake.bound_to)
    monkeypatch.setattr(health_check, "soft_stop", lambda pid_file: 4711)
    return fake


def policy(node: FakeNode, on_no_successor: str) -> None:
    node.config = replace(node.config, drain=replace(node.config.drain, on_no_successor=on_no_successor))


@leaving
def test_leaving_is_a_demotion_with_a_bound(node: FakeNode, leave: Script) -> None:
    """pre-stop and drain hand the VIP over within vrrp_drain.handover_timeout."""
    leave(node)
    assert node.timeouts == [node.config.drain.handover_timeout]


@leaving
def test_without_a_successor_proceed_warns(node: FakeNode, leave: Script, log: pytest.LogCaptureFixture) -> None:
    """on_no_successor: proceed lets BOSH go on, and the log says what that means for clients."""
    policy(node, "proceed")
    node.demotion = LEFT_ALONE
    leave(node)
    assert [(record.levelno, VIP in record.getMessage()) for record in log.records] == [(logging.WARNING, True)]
    assert "vrrp_drain.on_no_successor is proceed" in log.text


@leaving
def test_without_a_successor_fail_stops_the_deploy(node: FakeNode, leave: Script) -> None:
    """on_no_successor: fail puts the priority back and says so, with the property and where to look."""
    policy(node, "fail")
    node.priority_control.write(Band.DRAINING)
    node.demotion = LEFT_ALONE
    with pytest.raises(
        NoSuccessor, match=r"vrrp_drain\.on_no_successor is fail: the priority of haproxy/0 is back at 254, .* vrrpctl status"
    ):
        leave(node)
    assert node.priority_control.read() is Band.ACTIVE


@leaving
def test_a_cancelled_script_fails(node: FakeNode, leave: Script) -> None:
    """bosh cancel-task is a failure, whatever the policy."""
    node.demotion = Ending(Demote.CANCELLED, "told to stop", 0.1)
    with pytest.raises(Cancelled, match=r"^haproxy/0 goes on as before$"):
        leave(node)


@pytest.mark.parametrize("environment", [{}, KEEP], ids=["an old director", "keep"])
def test_only_a_deleted_deployment_is_not_waited_for(node: FakeNode, environment: dict[str, str]) -> None:
    """An instance that goes while the deployment stays is demoted like any other."""
    lifecycle.pre_stop(node, environment)
    drain(node)
    assert len(node.timeouts) == 2


def test_a_deleted_deployment_waits_for_nobody(node: FakeNode) -> None:
    """When all instances stop at once, neither pre-stop nor the drain after it waits for a successor."""
    lifecycle.pre_stop(node, DELETE)
    drain(node)
    assert node.timeouts == []


@pytest.mark.parametrize(
    "later",
    [pytest.param(lambda node: lifecycle.pre_stop(node, KEEP), id="pre-stop"), pytest.param(lifecycle.pre_start, id="pre-start")],
)
def test_a_deletion_that_did_not_happen_is_forgotten(node: FakeNode, later: Script) -> None:
    """After a deletion that was called off, the next script clears the word, and drain waits again."""
    lifecycle.pre_stop(node, DELETE)
    later(node)
    node.timeouts.clear()
    drain(node)
    assert len(node.timeouts) == 1


def test_a_word_that_cannot_be_left_is_a_warning(node: FakeNode, log: pytest.LogCaptureFixture) -> None:
    """Where pre-stop cannot write, the deletion goes on: drain only waits in vain."""
    node.paths.drain_run.parent.mkdir(parents=True)
    node.paths.drain_run.write_text("")
    lifecycle.pre_stop(node, DELETE)
    assert log.records[0].levelno == logging.WARNING
    assert "drain may wait for a successor that is being deleted too" in log.text


@pytest.mark.parametrize(("advert_int", "seconds"), [(1.0, 1.1), (5.0, 5.1), (0.1, 1.1)])
def test_pre_start_begins_in_the_draining_band(node: FakeNode, advert_int: float, seconds: float) -> None:
    """Nobody else's adverts heard for one interval, a starting instance waits in the draining band for post-start."""
    node.config = replace(node.config, keepalived=replace(node.config.keepalived, advert_int=advert_int))
    lifecycle.pre_start(node)
    assert node.listened == [pytest.approx(seconds)]
    assert node.priority_control.read() is Band.DRAINING
    assert node.vip_on_lo.holds == [([VIP], "eth0")]


def test_pre_start_prepares_every_vip(node: FakeNode) -> None:
    """The further VIPs move with the first one, so their moves overlap as well."""
    further = (ip_interface("10.0.0.11/24"), ip_interface("2001:db8::10/64"))
    node.config = replace(node.config, keepalived=replace(node.config.keepalived, vips=further))
    lifecycle.pre_start(node)
    assert node.vip_on_lo.holds == [([VIP, "10.0.0.11", "2001:db8::10"], "eth0")]


def test_pre_start_lowers_another_jobs_keepalived_before_its_start(node: FakeNode, tmp_path: Path) -> None:
    """What that job is about to start from is lowered already, and leaving or failing goes through the same file."""
    template = tmp_path / "keepalived.config.template"
    template.write_text("priority 101\n")
    node.priority_control = UpstreamConfig(UpstreamJob(tmp_path / "keepalived.config", tmp_path / "keepalived.pid"))
    lifecycle.pre_start(node)
    assert template.read_text().startswith("priority 81 ")
    policy(node, "fail")
    node.demotion = LEFT_ALONE
    with pytest.raises(NoSuccessor):
        drain(node)
    assert template.read_text() == "priority 101\n"


def test_pre_start_does_without_an_overlap(node: FakeNode, log: pytest.LogCaptureFixture) -> None:
    """Where the VIP cannot be put on lo, a warning says what is lost, and the deploy goes on."""
    node.vip_on_lo.fault = SystemFault("the VIP could not be put on lo")
    lifecycle.pre_start(node)
    assert [record.getMessage() for record in log.records if record.levelno == logging.WARNING] == ["the VIP could not be put on lo"]
    assert node.priority_control.read() is Band.DRAINING


def test_pre_start_does_not_join_strangers(node: FakeNode) -> None:
    """Where somebody else uses our VRID, the deploy fails with the reason, and nothing of ours is left."""
    node.foreigner = "10.0.0.77 uses VRID 1 on this segment"
    with pytest.raises(NotSettled, match=r"^10\.0\.0\.77 uses VRID 1"):
        lifecycle.pre_start(node)
    assert node.priority_control.read() is None
    assert (node.vip_on_lo.released, node.rules.released) == (1, 1)


def test_pre_start_introduces_itself_before_it_listens(node: FakeNode, hellos: list[Attachment], monkeypatch: pytest.MonkeyPatch) -> None:
    """With the rules in place: a peer's watcher answers, and the kernel learns its address before keepalived starts."""

    def stranger(seconds: float) -> str:
        assert hellos == [node.attachment]
        assert len(node.rules.held) == 1
        return ""

    monkeypatch.setattr(node, "stranger", stranger)
    lifecycle.pre_start(node)
    assert len(node.rules.held) == 1


def test_post_start_waits_for_keepalived_and_haproxy(
    node: FakeNode, clock: Clock, cancellation: Cancellation, haproxy_health: FakeHaproxy
) -> None:
    """It promotes as soon as both are there, with the time that is left."""
    node.pid = None
    haproxy_health.problem = "haproxy does not answer"

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        if len(clock.slept) == 10:
            node.pid = 4711
        if len(clock.slept) == 25:
            haproxy_health.problem = ""

    lifecycle.post_start(node, cancellation, sleep)
    assert len(clock.slept) == 25
    assert node.timeouts == [pytest.approx(120 - sum(clock.slept))]


@pytest.mark.parametrize(
    ("pid", "problem", "said"),
    [
        (None, "", r"^keepalived does not run \(no process for .*/keepalived\.pid\): see .*/keepalived\.log"),
        (
            4711,
            "haproxy does not answer",
            r"^haproxy does not answer; this is what vrrp_drain\.health_check asks",
        ),
    ],
    ids=["keepalived", "haproxy"],
)
def test_post_start_gives_up_in_time(
    node: FakeNode, clock: Clock, cancellation: Cancellation, haproxy_health: FakeHaproxy, pid: int | None, problem: str, said: str
) -> None:
    """After vrrp_drain.post_start_timeout it fails with what was missing, in the draining band, so that the rollout halts."""
    node.priority_control.write(Band.DRAINING)
    node.pid, haproxy_health.problem = pid, problem
    with pytest.raises(NotSettled, match=said + r"; waited 120 s \(vrrp_drain\.post_start_timeout\)"):
        lifecycle.post_start(node, cancellation, clock.sleep)
    assert sum(clock.slept) == pytest.approx(120, abs=0.201)
    assert node.timeouts == []
    assert node.priority_control.read() is Band.DRAINING


def test_a_promotion_in_the_last_moment_has_time_to_settle(node: FakeNode, clock: Clock, cancellation: Cancellation) -> None:
    """Even when haproxy answers only at the end, the promotion gets what an election takes: with less it could only fail."""
    node.pid = None

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        if sum(clock.slept) > 119.7:
            node.pid = 4711

    lifecycle.post_start(node, cancellation, sleep)
    assert node.timeouts[0] > master_down_interval(254, advert_int=1, version=2)


def test_post_start_warns_of_what_a_move_would_cut(
    node: FakeNode, clients: Clients, cancellation: Cancellation, log: pytest.LogCaptureFixture
) -> None:
    """A listener on the VIP itself is named with the mend, and post-start succeeds; where nothing is handed off, nobody asks."""
    clients.listeners = [f"{VIP}:80"]
    lifecycle.post_start(node, cancellation)
    (warning,) = log.records
    assert warning.levelno == logging.WARNING
    assert warning.getMessage() == listeners.advice(clients.listeners)
    log.clear()
    drain_properties(node, connection_handoff=False)
    lifecycle.post_start(node, cancellation)
    assert log.messages == []


def test_post_start_succeeds_where_listeners_are_not_told(
    node: FakeNode, clients: Clients, cancellation: Cancellation, log: pytest.LogCaptureFixture
) -> None:
    """The promotion is proven: a kernel that does not tell who listens is a warning."""
    clients.fault = SystemFault("the kernel does not tell its connections")
    lifecycle.post_start(node, cancellation)
    assert [(each.levelno, each.getMessage()) for each in log.records] == [
        (logging.WARNING, "the kernel does not tell its connections: whether a listener is bound to the VIP itself is not known")
    ]


def test_post_start_can_be_cancelled(node: FakeNode, clock: Clock, cancellation: Cancellation) -> None:
    """A signal ends the wait at the next look."""
    node.pid = None
    cancellation.requested = True
    with pytest.raises(Cancelled, match="this instance stays in the draining band"):
        lifecycle.post_start(node, cancellation, clock.sleep)
    assert clock.slept == []


@pytest.mark.parametrize(
    ("state", "error", "said"),
    [(Promote.FAILED, NotSettled, "haproxy/0 could not be promoted"), (Promote.CANCELLED, Cancelled, "haproxy/0 stays as it was")],
)
def test_a_promotion_that_does_not_end_well_fails_the_canary(
    node: FakeNode, cancellation: Cancellation, state: Promote, error: type[Exception], said: str
) -> None:
    """What the log has given a reason for becomes the script's failure."""
    node.promotion = Ending(state, "the last line of the log", 0.3)
    with pytest.raises(error, match=said):
        lifecycle.post_start(node, cancellation)


@pytest.mark.parametrize("state", [Promote.MASTER, Promote.BACKUP])
def test_both_good_ends_of_a_promotion_are_success(node: FakeNode, cancellation: Cancellation, state: Promote) -> None:
    """An instance that is MASTER and one that is its backup have both started well."""
    node.promotion = Ending(state, "settled", 0.3)
    lifecycle.post_start(node, cancellation)
    assert len(node.timeouts) == 1


@pytest.mark.parametrize(("pid", "removed"), [(None, True), (4711, False)], ids=["keepalived is dead", "keepalived runs"])
def test_post_stop_leaves_no_stale_vip(node: FakeNode, ipr: FakeIPR, log: pytest.LogCaptureFixture, pid: int | None, removed: bool) -> None:
    """A VIP that the ended keepalived left on the interface goes, with a warning."""
    node.pid = pid
    ipr.addresses.append(address(2, f"{VIP}/32"))
    lifecycle.post_stop(node)
    assert node.vip_here() is not removed
    assert bool(log.records) is removed
    assert node.vip_on_lo.released == 1


def test_post_stop_leaves_no_stale_vip_of_several(node: FakeNode, ipr: FakeIPR) -> None:
    """What goes with the first VIP are all of them."""
    node.pid = None
    node.config = replace(node.config, keepalived=replace(node.config.keepalived, vips=(ip_interface("10.0.0.11/24"),)))
    before = list(ipr.addresses)
    ipr.addresses = [*before, address(2, f"{VIP}/32"), address(2, "10.0.0.11/24")]
    lifecycle.post_stop(node)
    assert ipr.addresses == before


def test_post_stop_leaves_nothing_on_lo_whatever_else_fails(node: FakeNode, ipr: FakeIPR) -> None:
    """A stale VIP that cannot be removed is told, and what pre-start added goes all the same."""
    node.pid = None
    ipr.addresses.append(address(2, f"{VIP}/32"))
    ipr.deletion_error = errno.EPERM
    with pytest.raises(SystemFault, match="could not be taken off eth0"):
        lifecycle.post_stop(node)
    assert node.vip_on_lo.released == 1


def test_post_stop_tells_everything_that_stays(node: FakeNode, ipr: FakeIPR) -> None:
    """One thing that cannot be undone hides none of the others."""
    node.pid = None
    ipr.addresses.append(address(2, f"{VIP}/32"))
    ipr.deletion_error = errno.EPERM
    node.vip_on_lo.release_fault = SystemFault("the record cannot be read")
    with pytest.raises(SystemFault, match=r"could not be taken off eth0.*; the record cannot be read$"):
        lifecycle.post_stop(node)
    assert node.rules.released == 1


@leaving
def test_an_instance_that_cannot_lower_its_priority_can_be_stopped(node: FakeNode, leave: Script, log: pytest.LogCaptureFixture) -> None:
    """With a run directory that is read-only nothing is handed over; proceed lets BOSH go on, and the log says what that costs."""
    policy(node, "proceed")
    node.fault = SystemFault("the priority is unchanged")
    leave(node)
    assert [(record.levelno, VIP in record.getMessage()) for record in log.records] == [(logging.WARNING, True)]
    assert "the priority is unchanged: nothing was handed over" in log.text


@leaving
def test_an_instance_that_cannot_lower_its_priority_fails_where_it_should(node: FakeNode, leave: Script) -> None:
    """on_no_successor: fail stops BOSH there."""
    policy(node, "fail")
    node.fault = SystemFault("the priority is unchanged")
    with pytest.raises(SystemFault, match=r"^the priority is unchanged$"):
        leave(node)


def drain_properties(node: FakeNode, **properties: object) -> None:
    node.config = replace(node.config, drain=replace(node.config.drain, **properties))  # type: ignore[arg-type]


def test_drain_waits_for_the_connections(node: FakeNode, clients: Clients, clock: Clock, log: pytest.LogCaptureFixture) -> None:
    """Once a peer has the VIP, drain goes on until the last connection to any VIP has ended, and says how many are left now and then."""
    clients.open = [3] * 30 + [1, 0]
    drain(node, sleep=clock.sleep)
    assert sum(clock.slept) == pytest.approx(6.2)
    assert clients.asked[0] == (node.config.vip,)
    assert log.messages[1:] == [
        "3 connections are still served from here, after 5 s of at most 60",
        "no connection of a client is left here",
    ]


@pytest.mark.parametrize(("cost", "pause"), [(0.0, 0.2), (0.01, 0.2), (0.05, 0.45), (0.1, 0.9), (30.0, 2.0)])
def test_counting_takes_a_tenth_of_a_core(
    node: FakeNode, clients: Clients, clock: Clock, monkeypatch: pytest.MonkeyPatch, cost: float, pause: float
) -> None:
    """The more a look at the connections costs, the longer the pause after it; but a signal is seen within seconds."""
    clients.open = [9, 9, 9, 0]
    pauses: list[float] = []

    def count(vips: tuple[IPAddress, ...]) -> int:
        clock.sleep(cost)
        return clients.count(vips)

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        clock.sleep(seconds)

    monkeypatch.setattr(connections, "count", count)
    drain_properties(node, drain_timeout=1000.0)
    drain(node, sleep=sleep)
    assert pauses == [pytest.approx(pause, abs=0.001)] * 3


def test_the_last_pause_ends_with_drain_timeout(node: FakeNode, clients: Clients, clock: Clock) -> None:
    """However long a pause is due, drain takes no longer than it may."""
    clients.open = [7]
    drain_properties(node, drain_timeout=0.5)
    drain(node, sleep=clock.sleep)
    assert clock.slept == [pytest.approx(each) for each in (0.2, 0.2, 0.1)]


def test_drain_does_not_wait_for_ever(node: FakeNode, clients: Clients, clock: Clock, log: pytest.LogCaptureFixture) -> None:
    """vrrp_drain.drain_timeout ends the wait, which is a warning: what is open is cut."""
    clients.open = [7]
    drain_properties(node, drain_timeout=2.0)
    drain(node, sleep=clock.sleep)
    assert sum(clock.slept) == pytest.approx(2, abs=0.2)
    assert log.records[-1].levelno == logging.WARNING
    assert "7 connections are still open after 2 s (vrrp_drain.drain_timeout)" in log.text


@pytest.mark.parametrize("kind", ["nobody took over", "not wanted", "virtual MAC"])
def test_where_connections_cannot_survive_nobody_waits(node: FakeNode, clients: Clients, kind: str) -> None:
    """Without a successor, and without handoff, waiting would help no connection."""
    if kind == "nobody took over":
        node.demotion = LEFT_ALONE
    elif kind == "not wanted":
        drain_properties(node, connection_handoff=False)
    else:
        node.config = replace(node.config, keepalived=replace(node.config.keepalived, use_vmac=True))
    drain(node)
    assert clients.asked == []


def test_connections_that_cannot_be_counted_are_not_waited_for(node: FakeNode, clients: Clients, log: pytest.LogCaptureFixture) -> None:
    """A kernel that does not tell is a warning, and the drain succeeds."""
    clients.fault = SystemFault("the kernel does not tell its connections")
    drain(node)
    assert "the kernel does not tell its connections: not waiting for connections" in log.text


@pytest.mark.parametrize("finishing", [True, False], ids=["haproxy is finishing", "haproxy goes on"])
def test_a_cancelled_wait(node: FakeNode, clients: Clients, monkeypatch: pytest.MonkeyPatch, finishing: bool) -> None:
    """The priority goes back, unless haproxy is on its way out: then the node would attract clients that it refuses."""
    clients.open = [1]
    node.priority_control.write(Band.DRAINING)
    drain_properties(node, haproxy_soft_stop=finishing)
    monkeypatch.setattr(health_check, "soft_stop", lambda pid_file: 4711)
    cancellation = Cancellation()
    cancellation.requested = True
    with pytest.raises(Cancelled, match=r"restart haproxy, then promote$" if finishing else r"haproxy/0 goes on as before$"):
        drain(node, cancellation)
    assert node.priority_control.read() is (Band.DRAINING if finishing else Band.ACTIVE)


def test_haproxy_is_told_to_finish_if_wanted(node: FakeNode, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture) -> None:
    """With haproxy_soft_stop it is told once, after the takeover; a haproxy that is not found is a warning."""
    told: list[Path] = []
    monkeypatch.setattr(health_check, "soft_stop", lambda pid_file: told.append(pid_file) or 4711)  # type: ignore[func-returns-value]
    drain_properties(node, haproxy_soft_stop=False)
    drain(node)
    assert told == []
    drain_properties(node, haproxy_soft_stop=True)
    drain(node)
    assert told == [node.config.drain.haproxy_pid_file]
    assert "haproxy (pid 4711) was told to finish its connections" in log.text

    def nobody(pid_file: Path) -> int:
        raise SystemFault("haproxy could not be told to finish")

    monkeypatch.setattr(health_check, "soft_stop", nobody)
    drain(node)
    assert "haproxy could not be told to finish: clients are not asked to close" in log.text


def other_drain(node: FakeNode, text: str = "kill -USR1 $(pgrep -x haproxy)") -> None:
    script = node.paths.jobs / "haproxy/bin/drain"
    script.parent.mkdir(parents=True)
    script.write_text(f"#!/bin/bash\n{text}\necho 0\n")


def test_a_haproxy_that_another_jobs_drain_ends_is_left_to_it(
    node: FakeNode, clients: Clients, clock: Clock, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    """That drain would fail, and the deploy, if haproxy ended under its hands: it is told nothing, and connections are waited for."""
    told: list[Path] = []
    monkeypatch.setattr(health_check, "soft_stop", lambda pid_file: told.append(pid_file) or 4711)  # type: ignore[func-returns-value]
    other_drain(node)
    clients.open = [3] * 10 + [0]
    drain(node, sleep=clock.sleep)
    assert told == []
    assert sum(clock.slept) == pytest.approx(2.0)
    assert "haproxy is left to the drain of the job haproxy, which ends it: here its connections are waited for" in log.messages


def test_a_drain_that_is_switched_off_ends_no_haproxy(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """haproxy-boshrelease's default: then haproxy is told by us."""
    told: list[Path] = []
    monkeypatch.setattr(health_check, "soft_stop", lambda pid_file: told.append(pid_file) or 4711)  # type: ignore[func-returns-value]
    other_drain(node, "echo drain is disabled >> drain.log")
    drain(node)
    assert len(told) == 1


@pytest.mark.parametrize(
    ("problem", "band"), [("", Band.ACTIVE), ("haproxy does not answer", Band.DRAINING)], ids=["answers", "has closed"]
)
def test_a_cancelled_wait_beside_another_drain(
    node: FakeNode, clients: Clients, haproxy_health: FakeHaproxy, problem: str, band: Band
) -> None:
    """Whether that drain has closed haproxy's port decides whether the priority goes back."""
    other_drain(node)
    clients.open = [1]
    haproxy_health.problem = problem
    node.priority_control.write(Band.DRAINING)
    cancellation = Cancellation()
    cancellation.requested = True
    with pytest.raises(Cancelled):
        drain(node, cancellation)
    assert node.priority_control.read() is band


def test_pre_start_installs_the_handoff_and_post_stop_takes_it_away(node: FakeNode, log: pytest.LogCaptureFixture) -> None:
    """The rules are there from pre-start to post-stop; a kernel that refuses them is a warning, and the deploy goes on."""
    lifecycle.pre_start(node)
    (held,) = node.rules.held
    assert ([*map(str, held.vips)], held.interface, held.vrid, held.window) == ([VIP], "eth0", 1, 300.0)
    assert (held.members, held.closed) == (frozenset({ip_address(PEER)}), True)
    lifecycle.post_stop(node)
    assert node.rules.released == 1
    node.rules.fault = SystemFault("the kernel refuses the rules")
    lifecycle.pre_start(node)
    assert "the kernel refuses the rules" in log.text
    assert node.priority_control.read() is Band.DRAINING


def test_a_handoff_that_is_not_wanted_is_not_there(node: FakeNode) -> None:
    """connection_handoff: false after a deploy that had it leaves the rules for adverts alone."""
    drain_properties(node, connection_handoff=False)
    lifecycle.pre_start(node)
    assert [held.window for held in node.rules.held] == [0.0]


def test_pre_start_begins_anew(node: FakeNode) -> None:
    """A mark that a watcher left behind is gone, and the watcher knows that no reboot brought this instance up."""
    node.priority_control.mark(unhealthy=True)
    lifecycle.pre_start(node)
    assert not node.priority_control.unhealthy()
    assert Boot(node.paths.drain_run).stage() is Stage.STARTED


def test_post_start_says_that_it_has_promoted(node: FakeNode, cancellation: Cancellation) -> None:
    """The watcher, which would promote an instance whose post-start never comes, has nothing left to do; after a failure it has."""
    lifecycle.pre_start(node)
    node.promotion = Ending(Promote.FAILED, "two masters", 5.0)
    with pytest.raises(NotSettled):
        lifecycle.post_start(node, cancellation)
    assert Boot(node.paths.drain_run).stage() is Stage.STARTED
    node.promotion = Ending(Promote.BACKUP, "settled", 0.3)
    lifecycle.post_start(node, cancellation)
    assert Boot(node.paths.drain_run).stage() is Stage.PROMOTED


def test_post_start_waits_for_the_watchers_verdict(node: FakeNode, clock: Clock, cancellation: Cancellation) -> None:
    """A marked instance would be promoted into the unhealthy band: it waits until the mark is gone, within its bound."""
    node.priority_control.mark(unhealthy=True)

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        if len(clock.slept) == 10:
            node.priority_control.mark(unhealthy=False)

    lifecycle.post_start(node, cancellation, sleep)
    assert len(clock.slept) == 10
    assert len(node.timeouts) == 1


@leaving
def test_an_instance_that_leaves_is_not_promoted_because_of_a_reboot(node: FakeNode, leave: Script) -> None:
    """The watcher, which is still there, must not undo what the script does."""
    Boot(node.paths.drain_run).enter(Stage.REBOOTED)
    leave(node)
    assert Boot(node.paths.drain_run).stage() is Stage.LEAVING


@leaving
@pytest.mark.parametrize(("band", "stage"), [(Band.DRAINING, Stage.DEMOTED), (Band.ACTIVE, Stage.LEAVING)], ids=["stays", "is over"])
def test_an_operators_word_outlives_a_stop(node: FakeNode, leave: Script, band: Band, stage: Stage) -> None:
    """An instance that was demoted by hand is not promoted because a deploy failed on it; a demotion that was put back is none."""
    Boot(node.paths.drain_run).enter(Stage.DEMOTED)
    node.priority_control.write(band)
    leave(node)
    assert Boot(node.paths.drain_run).stage() is stage

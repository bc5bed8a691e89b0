"""BOSH's five scripts, around a node whose handovers end as told. Waits are on a frozen clock."""

import errno
import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_interface
from pathlib import Path
from types import MappingProxyType

import pytest

from unit.support.fakes import MAC, OWN, PEER, STRANGER, VIP, Clock, FakeIPR, address, carries
from unit.support.services import FakeServices
from vrrp_drain.commands import finishing, lifecycle
from vrrp_drain.config.upstream_job import UpstreamJob
from vrrp_drain.handover.demote import Demote
from vrrp_drain.handover.promote import Promote
from vrrp_drain.handover.runner import Ending
from vrrp_drain.haproxy.health import Health
from vrrp_drain.keepalived.checks import DisabledCheck
from vrrp_drain.keepalived.upstream_config import UpstreamConfig
from vrrp_drain.linux import listeners
from vrrp_drain.runtime.boot import Boot, Stage
from vrrp_drain.runtime.errors import Cancelled, NoSuccessor, NotSettled, SystemFault
from vrrp_drain.runtime.ip import ALL_HOSTS_V4
from vrrp_drain.runtime.signals import Cancellation
from vrrp_drain.vrrp import hello
from vrrp_drain.vrrp.advert import Advert
from vrrp_drain.vrrp.bands import Band
from vrrp_drain.vrrp.timing import master_down_interval

LEFT_ALONE = Ending(Demote.NO_SUCCESSOR, "nobody is there", 5.1)
NOT_CANCELLED = Cancellation()


def pre_stop(services: FakeServices, environment: Mapping[str, str] = MappingProxyType({})) -> None:
    lifecycle.pre_stop(services, environment, lifecycle.Bounds.of(services))


def drain(services: FakeServices, cancellation: Cancellation = NOT_CANCELLED, arguments: Sequence[str] = ()) -> None:
    if lifecycle.drain(services, arguments, lifecycle.Bounds.of(services)):
        finishing.finish_connections(services, cancellation)


LEAVING = [pytest.param(pre_stop, id="pre-stop"), pytest.param(drain, id="drain")]
leaving = pytest.mark.parametrize("leave", LEAVING)
DELETE = {"BOSH_VM_NEXT_STATE": "delete", "BOSH_INSTANCE_NEXT_STATE": "delete", "BOSH_DEPLOYMENT_NEXT_STATE": "delete"}
KEEP = DELETE | {"BOSH_DEPLOYMENT_NEXT_STATE": "keep"}

Script = Callable[[FakeServices], None]
pytestmark = pytest.mark.usefixtures("clock")


def policy(services: FakeServices, on_no_successor: str) -> None:
    services.configure(replace(services.instance.config, drain=replace(services.instance.config.drain, on_no_successor=on_no_successor)))


@leaving
def test_leaving_is_a_demotion_with_a_bound(services: FakeServices, leave: Script) -> None:
    """pre-stop and drain hand the VIP over within vrrp_drain.handover_timeout."""
    leave(services)
    assert services.handover.timeouts == [pytest.approx(services.instance.config.drain.handover_timeout)]


@leaving
def test_without_a_successor_proceed_warns(services: FakeServices, leave: Script, log: pytest.LogCaptureFixture) -> None:
    """on_no_successor: proceed lets BOSH go on, and the log says what that means for clients."""
    policy(services, "proceed")
    services.handover.demotion = LEFT_ALONE
    leave(services)
    assert [(record.levelno, VIP in record.getMessage()) for record in log.records] == [(logging.WARNING, True)]
    assert "vrrp_drain.on_no_successor is proceed" in log.text


@leaving
def test_without_a_successor_fail_stops_the_deploy(services: FakeServices, leave: Script) -> None:
    """on_no_successor: fail puts the priority back and says so, with the property and where to look."""
    policy(services, "fail")
    services.control.write(Band.DRAINING)
    services.handover.demotion = LEFT_ALONE
    with pytest.raises(
        NoSuccessor, match=r"vrrp_drain\.on_no_successor is fail: the priority of haproxy/0 is back at 254, .* vrrpctl status"
    ):
        leave(services)
    assert services.control.read() is Band.ACTIVE


@leaving
def test_a_cancelled_script_fails(services: FakeServices, leave: Script) -> None:
    """bosh cancel-task is a failure, whatever the policy."""
    services.handover.demotion = Ending(Demote.CANCELLED, "told to stop", 0.1)
    with pytest.raises(Cancelled, match=r"^haproxy/0 goes on as before$"):
        leave(services)


@pytest.mark.parametrize("environment", [{}, KEEP], ids=["an old director", "keep"])
def test_only_a_deleted_deployment_is_not_waited_for(services: FakeServices, environment: dict[str, str]) -> None:
    """An instance that goes while the deployment stays is demoted like any other."""
    pre_stop(services, environment)
    drain(services)
    assert len(services.handover.timeouts) == 2


def test_a_deleted_deployment_waits_for_nobody(services: FakeServices) -> None:
    """When all instances stop at once, neither pre-stop nor the drain after it waits for a successor."""
    pre_stop(services, DELETE)
    drain(services)
    assert services.handover.timeouts == []


@pytest.mark.parametrize(
    "later",
    [pytest.param(lambda services: pre_stop(services, KEEP), id="pre-stop"), pytest.param(lifecycle.pre_start, id="pre-start")],
)
def test_a_deletion_that_did_not_happen_is_forgotten(services: FakeServices, later: Script) -> None:
    """After a deletion that was called off, the next script clears the word, and drain waits again."""
    pre_stop(services, DELETE)
    later(services)
    services.handover.timeouts.clear()
    drain(services)
    assert len(services.handover.timeouts) == 1


def test_a_word_that_cannot_be_left_is_a_warning(services: FakeServices, log: pytest.LogCaptureFixture) -> None:
    """Where pre-stop cannot write, the deletion goes on: drain only waits in vain."""
    services.instance.paths.drain_run.parent.mkdir(parents=True)
    services.instance.paths.drain_run.write_text("")
    pre_stop(services, DELETE)
    assert log.records[0].levelno == logging.WARNING
    assert "drain may wait for a successor where nobody comes" in log.text


@pytest.mark.parametrize(("advert_int", "seconds"), [(1.0, 1.1), (5.0, 5.1), (0.1, 1.1)])
def test_pre_start_begins_in_the_draining_band(services: FakeServices, clock: Clock, advert_int: float, seconds: float) -> None:
    """Nobody else's adverts heard for one interval, a starting instance waits in the draining band for post-start."""
    services.configure(replace(services.instance.config, keepalived=replace(services.instance.config.keepalived, advert_int=advert_int)))
    lifecycle.pre_start(services)
    assert sum(clock.slept) == pytest.approx(seconds)
    assert services.control.read() is Band.DRAINING
    assert services.installation.vip_on_lo.holds == [([VIP], "eth0")]


def test_pre_start_prepares_every_vip(services: FakeServices) -> None:
    """The further VIPs move with the first one, so their moves overlap as well."""
    further = (ip_interface("10.0.0.11/24"), ip_interface("2001:db8::10/64"))
    services.configure(replace(services.instance.config, keepalived=replace(services.instance.config.keepalived, vips=further)))
    lifecycle.pre_start(services)
    assert services.installation.vip_on_lo.holds == [([VIP, "10.0.0.11", "2001:db8::10"], "eth0")]


def test_pre_start_lowers_another_jobs_keepalived_before_its_start(services: FakeServices, tmp_path: Path) -> None:
    """What that job is about to start from is lowered already, and leaving or failing goes through the same file."""
    template = tmp_path / "keepalived.config.template"
    template.write_text("priority 101\n")
    control = UpstreamConfig(UpstreamJob(tmp_path / "keepalived.config", tmp_path / "keepalived.pid"))
    services = replace(services, control=control)
    lifecycle.pre_start(services)
    assert template.read_text().startswith("priority 81 ")
    policy(services, "fail")
    services.handover.demotion = LEFT_ALONE
    with pytest.raises(NoSuccessor):
        drain(services)
    assert template.read_text() == "priority 101\n"


def test_pre_start_does_without_an_overlap(services: FakeServices, log: pytest.LogCaptureFixture) -> None:
    """Where the VIP cannot be put on lo, a warning says what is lost, and the deploy goes on."""
    services.installation.vip_on_lo.fault = SystemFault("the VIP could not be put on lo")
    lifecycle.pre_start(services)
    assert [record.getMessage() for record in log.records if record.levelno == logging.WARNING] == ["the VIP could not be put on lo"]
    assert services.control.read() is Band.DRAINING


def test_pre_start_does_not_join_strangers(services: FakeServices) -> None:
    """Where somebody else uses our VRID, the deploy fails with the reason, and nothing of ours is left."""
    stranger = carries(Advert(2, 1, 253, 1.0, (ip_address("10.0.0.20"),)), STRANGER)
    for second in (0.1, 1.1):
        services.machine.hears(stranger, after=second)
    with pytest.raises(NotSettled, match=r"^10\.0\.0\.77 uses VRID 1"):
        lifecycle.pre_start(services)
    assert services.control.read() is None
    assert (services.installation.vip_on_lo.released, services.machine.rules.released) == (1, 1)


def test_pre_start_names_a_machine_with_an_address_of_ours(services: FakeServices, clock: Clock, log: pytest.LogCaptureFixture) -> None:
    """Before keepalived starts, with its MAC and what to do; our own other interfaces are none. It is asked twice, and then no more."""
    services.machine.answers[OWN] = ["02:00:00:00:00:66", MAC]
    lifecycle.pre_start(services)
    (said,) = (each.getMessage() for each in log.records if each.levelno == logging.WARNING)
    assert said.startswith(f"answers: 02:00:00:00:00:66 answers for {OWN}, the address of this instance. ")
    assert "a VM that BOSH has replaced" in said
    ((target, inquiry),) = services.machine.inquiries
    assert (str(target), len(inquiry.asked), inquiry.closed) == (OWN, 2, True)


def test_pre_start_introduces_itself_before_it_listens(services: FakeServices) -> None:
    """With the rules in place: a peer's watcher answers, and the kernel learns its address before keepalived starts."""
    machine, before = services.machine, list[tuple[int, int]]()
    machine.world.after(0.01, lambda: before.append((len(machine.rules.held), len(machine.said))))
    lifecycle.pre_start(services)
    assert before == [(1, 4)], "the rules, and a hello that may be lost once"
    assert {each.packet.destination for each in machine.said} == {ALL_HOSTS_V4}


def test_post_start_waits_for_keepalived_and_haproxy(services: FakeServices, clock: Clock, cancellation: Cancellation) -> None:
    """It promotes as soon as both are there, with the time that is left."""
    services.machine.pid = None
    services.machine.health = Health("haproxy does not answer")
    services.machine.world.after(2.0, lambda: setattr(services.machine, "pid", 4711))
    services.machine.world.after(5.0, lambda: setattr(services.machine, "health", Health()))
    lifecycle.post_start(services, cancellation)
    assert sum(clock.slept) == pytest.approx(5.0, abs=0.21)
    assert services.handover.timeouts == [pytest.approx(120 - sum(clock.slept))]


def test_post_start_waits_for_no_check_that_is_disabled(services: FakeServices, clock: Clock, cancellation: Cancellation) -> None:
    """It never runs: the deploy stops at once, with what is wrong and the mend. Where keepalived does not say, that is no verdict."""
    services.machine.processes.disabled = [DisabledCheck("chk", "killall -0 haproxy", "it cannot", "give it /usr/bin/killall")]
    said = r"^keepalived has disabled its check chk \(killall -0 haproxy\): it cannot\. .* chk: give it /usr/bin/killall\. This instance"
    with pytest.raises(NotSettled, match=said):
        lifecycle.post_start(services, cancellation)
    assert (clock.slept, services.handover.timeouts) == ([], [])
    services.machine.processes.disabled_fault = SystemFault("whether keepalived has disabled a check is not known")
    lifecycle.post_start(services, cancellation)
    assert len(services.handover.timeouts) == 1


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
    services: FakeServices, clock: Clock, cancellation: Cancellation, pid: int | None, problem: str, said: str
) -> None:
    """After vrrp_drain.post_start_timeout it fails with what was missing, in the draining band, so that the rollout halts."""
    services.control.write(Band.DRAINING)
    services.machine.pid, services.machine.health = pid, Health(problem)
    with pytest.raises(NotSettled, match=said + r"; waited 120 s \(vrrp_drain\.post_start_timeout\)"):
        lifecycle.post_start(services, cancellation)
    assert sum(clock.slept) == pytest.approx(120, abs=0.201)
    assert services.handover.timeouts == []
    assert services.control.read() is Band.DRAINING


def test_a_promotion_in_the_last_moment_has_time_to_settle(services: FakeServices, clock: Clock, cancellation: Cancellation) -> None:
    """Even when haproxy answers only at the end, the promotion gets what an election takes: with less it could only fail."""
    services.machine.pid = None
    services.machine.world.after(119.7, lambda: setattr(services.machine, "pid", 4711))
    lifecycle.post_start(services, cancellation)
    assert services.handover.timeouts[0] > master_down_interval(254, advert_int=1, version=2)


def test_post_start_warns_of_what_a_move_would_cut(
    services: FakeServices, cancellation: Cancellation, log: pytest.LogCaptureFixture
) -> None:
    """A listener on the VIP of which no mark tells is named with the mend, and post-start succeeds; where nothing is handed off, nobody
    asks."""
    services.machine.binds((VIP, 80))
    services.machine.rules.fault = SystemFault("the kernel refuses")
    lifecycle.post_start(services, cancellation)
    (warning,) = log.records
    assert warning.levelno == logging.WARNING
    assert warning.getMessage() == listeners.advice([f"{VIP}:80"])
    log.clear()
    services.set_drain(connection_handoff=False)
    lifecycle.post_start(services, cancellation)
    assert log.messages == []


def test_post_start_succeeds_where_listeners_are_not_told(
    services: FakeServices, cancellation: Cancellation, log: pytest.LogCaptureFixture
) -> None:
    """The promotion is proven: a kernel that does not tell who listens is a warning."""
    services.machine.counting_fault = SystemFault("the kernel does not tell its connections")
    lifecycle.post_start(services, cancellation)
    assert [(each.levelno, each.getMessage()) for each in log.records] == [
        (logging.WARNING, "the kernel does not tell its connections: whether a listener is bound to the VIP itself is not known")
    ]


def test_post_start_can_be_cancelled(services: FakeServices, clock: Clock, cancellation: Cancellation) -> None:
    """A signal ends the wait at the next look."""
    services.machine.pid = None
    cancellation.requested = True
    with pytest.raises(Cancelled, match="this instance stays in the draining band"):
        lifecycle.post_start(services, cancellation)
    assert clock.slept == []


@pytest.mark.parametrize(
    ("state", "error", "said"),
    [(Promote.FAILED, NotSettled, "haproxy/0 could not be promoted"), (Promote.CANCELLED, Cancelled, "haproxy/0 stays as it was")],
)
def test_a_promotion_that_does_not_end_well_fails_the_canary(
    services: FakeServices, cancellation: Cancellation, state: Promote, error: type[Exception], said: str
) -> None:
    """What the log has given a reason for becomes the script's failure."""
    services.handover.promotion = Ending(state, "the last line of the log", 0.3)
    with pytest.raises(error, match=said):
        lifecycle.post_start(services, cancellation)


@pytest.mark.parametrize("state", [Promote.MASTER, Promote.BACKUP])
def test_both_good_ends_of_a_promotion_are_success(services: FakeServices, cancellation: Cancellation, state: Promote) -> None:
    """An instance that is MASTER and one that is its backup have both started well."""
    services.handover.promotion = Ending(state, "settled", 0.3)
    lifecycle.post_start(services, cancellation)
    assert len(services.handover.timeouts) == 1


@pytest.mark.parametrize(("pid", "removed"), [(None, True), (4711, False)], ids=["keepalived is dead", "keepalived runs"])
def test_post_stop_leaves_no_stale_vip(
    services: FakeServices, ipr: FakeIPR, log: pytest.LogCaptureFixture, pid: int | None, removed: bool
) -> None:
    """A VIP that the ended keepalived left on the interface goes, with a warning."""
    services.machine.pid = pid
    ipr.addresses.append(address(2, f"{VIP}/32"))
    lifecycle.post_stop(services)
    assert services.vip.is_here() is not removed
    assert bool(log.records) is removed
    assert services.installation.vip_on_lo.released == 1


def said_of_connections(services: FakeServices) -> list[hello.Open]:
    """Return what hellos said of open connections, each word once as long as it stays the same."""
    found = [hello.found(each.packet) for each in services.machine.said if each.advert is None]
    return [each for each, _ in itertools.groupby(found)]


def test_who_ends_says_so_before_its_rules_go(services: FakeServices, log: pytest.LogCaptureFixture) -> None:
    """A packet that a peer hands on to a machine without rules is lost. What cannot be said hides nothing of the rest."""
    order: list[str] = []
    services.machine.on_say = lambda said: order.append("said")
    services.machine.rules.release = lambda: order.append("released")  # type: ignore[method-assign]
    lifecycle.post_stop(services)
    assert said_of_connections(services) == [hello.Open.NONE]
    assert {*order[:-1]} == {"said"}
    assert order[-1] == "released"
    services.machine.sending_fault = SystemFault("cannot send an advert on eth0: Network is down")
    lifecycle.post_stop(services)
    assert order[-2:] == ["released", "released"]
    assert "Network is down: peers go on handing packets to haproxy/0, which has ended" in log.text


@pytest.mark.parametrize(("connected", "said"), [(0, [hello.Open.NONE, hello.Open.UNTOLD]), (3, [hello.Open.UNTOLD])])
def test_who_starts_says_that_nothing_is_open_yet(services: FakeServices, connected: int, said: list[hello.Open]) -> None:
    """Whoever crashed never said that it ended; but a haproxy that was never stopped keeps what it has."""
    services.machine.connected = [connected]
    lifecycle.pre_start(services)
    assert said_of_connections(services) == said


def test_post_stop_leaves_no_stale_vip_of_several(services: FakeServices, ipr: FakeIPR) -> None:
    """What goes with the first VIP are all of them."""
    services.machine.pid = None
    services.configure(
        replace(services.instance.config, keepalived=replace(services.instance.config.keepalived, vips=(ip_interface("10.0.0.11/24"),)))
    )
    before = list(ipr.addresses)
    ipr.addresses = [*before, address(2, f"{VIP}/32"), address(2, "10.0.0.11/24")]
    lifecycle.post_stop(services)
    assert ipr.addresses == before


def test_post_stop_leaves_nothing_on_lo_whatever_else_fails(services: FakeServices, ipr: FakeIPR) -> None:
    """A stale VIP that cannot be removed is told, and what pre-start added goes all the same."""
    services.machine.pid = None
    ipr.addresses.append(address(2, f"{VIP}/32"))
    ipr.deletion_error = errno.EPERM
    with pytest.raises(SystemFault, match="could not be taken off eth0"):
        lifecycle.post_stop(services)
    assert services.installation.vip_on_lo.released == 1


def test_post_stop_tells_everything_that_stays(services: FakeServices, ipr: FakeIPR) -> None:
    """One thing that cannot be undone hides none of the others."""
    services.machine.pid = None
    ipr.addresses.append(address(2, f"{VIP}/32"))
    ipr.deletion_error = errno.EPERM
    services.installation.vip_on_lo.release_fault = SystemFault("the record cannot be read")
    with pytest.raises(SystemFault, match=r"could not be taken off eth0.*; the record cannot be read$"):
        lifecycle.post_stop(services)
    assert services.machine.rules.released == 1


def test_pre_start_installs_the_handoff_and_post_stop_takes_it_away(services: FakeServices, log: pytest.LogCaptureFixture) -> None:
    """The rules are there from pre-start to post-stop; a kernel that refuses them is a warning, and the deploy goes on."""
    lifecycle.pre_start(services)
    (held,) = services.machine.rules.held
    assert ([*map(str, held.vips)], held.interface, held.vrid, held.window) == ([VIP], "eth0", 1, 300.0)
    assert (held.members, held.closed) == (frozenset({ip_address(PEER)}), True)
    lifecycle.post_stop(services)
    assert services.machine.rules.released == 1
    services.machine.rules.fault = SystemFault("the kernel refuses the rules")
    lifecycle.pre_start(services)
    assert "the kernel refuses the rules" in log.text
    assert services.control.read() is Band.DRAINING


def test_a_handoff_that_is_not_wanted_is_not_there(services: FakeServices) -> None:
    """connection_handoff: false after a deploy that had it leaves the rules for adverts alone."""
    services.set_drain(connection_handoff=False)
    lifecycle.pre_start(services)
    assert [held.window for held in services.machine.rules.held] == [0.0]


def test_pre_start_begins_anew(services: FakeServices) -> None:
    """A mark that a watcher left behind is gone, and the watcher knows that no reboot brought this instance up."""
    services.control.mark(unhealthy=True)
    lifecycle.pre_start(services)
    assert not services.control.unhealthy()
    assert Boot(services.instance.paths.drain_run).stage() is Stage.STARTED


def test_post_start_says_that_it_has_promoted(services: FakeServices, cancellation: Cancellation) -> None:
    """The watcher, which would promote an instance whose post-start never comes, has nothing left to do; after a failure it has."""
    lifecycle.pre_start(services)
    services.handover.promotion = Ending(Promote.FAILED, "two masters", 5.0)
    with pytest.raises(NotSettled):
        lifecycle.post_start(services, cancellation)
    assert Boot(services.instance.paths.drain_run).stage() is Stage.STARTED
    services.handover.promotion = Ending(Promote.BACKUP, "settled", 0.3)
    lifecycle.post_start(services, cancellation)
    assert Boot(services.instance.paths.drain_run).stage() is Stage.PROMOTED


def test_post_start_waits_for_the_watchers_verdict(services: FakeServices, clock: Clock, cancellation: Cancellation) -> None:
    """A marked instance would be promoted into the unhealthy band: it waits until the mark is gone, within its bound."""
    services.control.mark(unhealthy=True)
    services.machine.world.after(2.0, lambda: services.control.mark(unhealthy=False))
    lifecycle.post_start(services, cancellation)
    assert sum(clock.slept) == pytest.approx(2.0, abs=0.21)
    assert len(services.handover.timeouts) == 1


@leaving
def test_an_instance_that_leaves_is_not_promoted_because_of_a_reboot(services: FakeServices, leave: Script) -> None:
    """The watcher, which is still there, must not undo what the script does."""
    Boot(services.instance.paths.drain_run).enter(Stage.REBOOTED)
    leave(services)
    assert Boot(services.instance.paths.drain_run).stage() is Stage.LEAVING


@leaving
@pytest.mark.parametrize(("band", "stage"), [(Band.DRAINING, Stage.DEMOTED), (Band.ACTIVE, Stage.LEAVING)], ids=["stays", "is over"])
def test_an_operators_word_outlives_a_stop(services: FakeServices, leave: Script, band: Band, stage: Stage) -> None:
    """An instance that was demoted by hand is not promoted because a deploy failed on it; a demotion that was put back is none."""
    Boot(services.instance.paths.drain_run).enter(Stage.DEMOTED)
    services.control.write(band)
    leave(services)
    assert Boot(services.instance.paths.drain_run).stage() is stage

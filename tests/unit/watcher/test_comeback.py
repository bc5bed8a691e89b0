"""When an instance takes part again by itself. Time is frozen, nobody else is on this machine but whom the test puts there."""

import errno
import itertools
import os
import subprocess
import time
from dataclasses import replace
from typing import Any

import pytest

from unit.support.fakes import VIP, Clock
from unit.support.services import FakeServices
from vrrp_drain.haproxy import health_check, other_drain
from vrrp_drain.runtime import files
from vrrp_drain.runtime.boot import Boot, Stage
from vrrp_drain.runtime.lock import Lock
from vrrp_drain.runtime.signals import Cancellation
from vrrp_drain.runtime.standing_order import StandingOrder
from vrrp_drain.vrrp.bands import Band
from vrrp_drain.watcher import comeback
from vrrp_drain.watcher.comeback import Comeback


class Promotions:
    """Stands in for `vrrpctl promote` as a process: runs until the test says how it ends."""

    def __init__(self) -> None:
        self.started: list[tuple[list[str], float]] = []
        self.code: int | None = None
        self.error: OSError | None = None

    def open(self, command: list[str], **options: Any) -> "Promotions":
        if self.error is not None:
            raise self.error
        self.started.append((command, time.monotonic()))
        self.code = None
        return self

    def poll(self) -> int | None:
        return self.code


@pytest.fixture
def promotions(monkeypatch: pytest.MonkeyPatch) -> Promotions:
    fake = Promotions()
    monkeypatch.setattr(subprocess, "Popen", fake.open)
    return fake


@pytest.fixture(autouse=True)
def busy(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lifecycle scripts that run on this machine, as the test says."""
    scripts: list[str] = []
    monkeypatch.setattr(other_drain, "running", lambda jobs: list(scripts))
    return scripts


def tick(
    found: Comeback,
    clock: Clock,
    seconds: float,
    *,
    alive: bool | None = True,
    keepalived_runs: bool = True,
    band: Band = Band.DRAINING,
) -> None:
    for _ in range(round(seconds / 0.25)):
        found.tick(band, alive=alive, keepalived_runs=keepalived_runs)
        clock.sleep(0.25)


def test_after_a_reboot_the_handover_is_prepared(services: FakeServices, paths: Any) -> None:
    """What pre-start would have put in place is there, and the stage says that a promotion is due."""
    found = Comeback(services.instance, services.control, services.installation)
    assert found.rebooted
    found.prepare()
    assert (services.installation.vip_on_lo.holds, len(services.machine.rules.held)) == ([([VIP], "eth0")], 1)
    assert Boot(paths.drain_run).stage() is Stage.REBOOTED


def test_who_is_out_until_promoted_stays_out_after_a_reboot(
    services: FakeServices, paths: Any, clock: Clock, promotions: Promotions
) -> None:
    """What a handover needs is prepared all the same: it is a backup of last resort."""
    StandingOrder.stay_out(paths).give("alice")
    found = Comeback(services.instance, services.control, services.installation)
    found.prepare()
    tick(found, clock, 7200)
    assert (Boot(paths.drain_run).stage(), promotions.started) == (Stage.DEMOTED, [])
    assert (len(services.machine.rules.held), services.control.read()) == (1, Band.DRAINING)


@pytest.mark.parametrize("stage", Stage)
def test_who_is_out_until_promoted_is_promoted_after_nothing_else(
    services: FakeServices, paths: Any, clock: Clock, promotions: Promotions, stage: Stage
) -> None:
    """Whatever word came after, also of a version that knows no such order; once it is taken back, things are as ever."""
    Boot(paths.drain_run).enter(stage)
    StandingOrder.stay_out(paths).give("alice")
    found = Comeback(services.instance, services.control, services.installation)
    tick(found, clock, 600)
    assert promotions.started == []
    assert comeback.waits_for(services.instance, stage, problem="", running=True, watched=True) == (
        "vrrpctl promote, and for nothing else: said by alice at 1970-01-02 00:00:00 UTC"
    )
    StandingOrder.stay_out(paths).take_back()
    tick(found, clock, 1.0)
    assert len(promotions.started) == comeback.due(services.instance, stage)


@pytest.mark.parametrize("stage", Stage)
def test_without_a_reboot_nothing_is_prepared(
    services: FakeServices, paths: Any, clock: Clock, promotions: Promotions, stage: Stage
) -> None:
    """A watcher that monit starts again puts nothing in place; it promotes only if the reboot's promotion is still due."""
    Boot(paths.drain_run).enter(stage)
    found = Comeback(services.instance, services.control, services.installation)
    found.prepare()
    tick(found, clock, 1.0)
    assert (found.rebooted, services.installation.vip_on_lo.holds) == (False, [])
    assert len(promotions.started) == (stage is Stage.REBOOTED)


def test_the_promotion_starts_once_haproxy_answers(services: FakeServices, paths: Any, clock: Clock, promotions: Promotions) -> None:
    """Not before, not without keepalived, and not a second time beside the first."""
    found = Comeback(services.instance, services.control, services.installation)
    found.prepare()
    tick(found, clock, 5.0, alive=None)
    tick(found, clock, 5.0, alive=False)
    tick(found, clock, 5.0, keepalived_runs=False)
    assert promotions.started == []
    tick(found, clock, 60.0)
    word = Boot(paths.drain_run).word()
    assert [command for command, _ in promotions.started] == [[str(paths.vrrpctl), "promote", "--if-nothing-since", word]]


def test_a_promotion_that_succeeded_is_the_last(services: FakeServices, paths: Any, clock: Clock, promotions: Promotions) -> None:
    """`vrrpctl promote` itself says that somebody has asked."""
    found = Comeback(services.instance, services.control, services.installation)
    found.prepare()
    tick(found, clock, 0.25)
    Boot(paths.drain_run).enter(Stage.PROMOTED)
    promotions.code = 0
    tick(found, clock, 60.0)
    assert len(promotions.started) == 1


def test_a_promotion_that_failed_is_tried_again(
    services: FakeServices, clock: Clock, promotions: Promotions, log: pytest.LogCaptureFixture
) -> None:
    """Ten seconds later, and it is said; then after twice that, and so on, at most five minutes: each try disturbs the segment."""
    found = Comeback(services.instance, services.control, services.installation)
    found.prepare()
    for _ in range(4 * 1800):
        tick(found, clock, 0.25)
        promotions.code = 5
    tries = [at for _, at in promotions.started]
    pauses = [second - first for first, second in itertools.pairwise(tries)]
    assert pauses[:6] == [pytest.approx(each, abs=0.6) for each in (10, 20, 40, 80, 160, 300)]
    assert "vrrpctl promote ended with 5: this instance stays draining, the next try follows" in log.messages


def test_whoever_asks_for_something_ends_it(services: FakeServices, paths: Any, clock: Clock, promotions: Promotions) -> None:
    """An operator who demotes an instance that has just booted is not overruled."""
    found = Comeback(services.instance, services.control, services.installation)
    found.prepare()
    Boot(paths.drain_run).enter(Stage.PROMOTED)
    tick(found, clock, 60.0)
    assert promotions.started == []


def test_a_promotion_that_cannot_be_run(
    services: FakeServices, clock: Clock, promotions: Promotions, log: pytest.LogCaptureFixture
) -> None:
    """The watcher goes on, says it, and tries again."""
    found = Comeback(services.instance, services.control, services.installation)
    found.prepare()
    promotions.error = OSError(errno.ENOMEM, "Cannot allocate memory")
    tick(found, clock, 12.0)
    warnings = [message for message in log.messages if message.startswith("cannot run ")]
    assert len(warnings) == 2
    assert "/bin/vrrpctl promote" in warnings[0]
    assert warnings[0].endswith("(Cannot allocate memory): this instance stays draining, the next try follows")


# After a start or a stop that ended half way.

BOUNDS = pytest.mark.parametrize(("stage", "seconds"), [(Stage.STARTED, 10.0), (Stage.LEAVING, 120.0)], ids=["started", "leaving"])


@BOUNDS
def test_who_is_left_draining_is_promoted(
    services: FakeServices, paths: Any, clock: Clock, promotions: Promotions, log: pytest.LogCaptureFixture, stage: Stage, seconds: float
) -> None:
    """A deploy that failed, or an instance whose post-start never came, serves again: once nobody has been at work for long enough."""
    Boot(paths.drain_run).enter(stage)
    found, began = Comeback(services.instance, services.control, services.installation), time.monotonic()
    tick(found, clock, seconds + 30)
    ((_, at),) = promotions.started
    assert at - began == pytest.approx(seconds, abs=0.3)
    assert any(message.endswith("and haproxy answers: it is promoted") for message in log.messages)


@BOUNDS
@pytest.mark.parametrize("who", ["another job's drain", "a command of ours"])
def test_nobody_is_promoted_while_somebody_is_at_work(
    services: FakeServices,
    paths: Any,
    clock: Clock,
    cancellation: Cancellation,
    promotions: Promotions,
    busy: list[str],
    stage: Stage,
    seconds: float,
    who: str,
) -> None:
    """A drain that runs for minutes, of whatever job, and whoever holds the lock: an instance that is about to be stopped takes no VIP."""
    Boot(paths.drain_run).enter(stage)
    found = Comeback(services.instance, services.control, services.installation)
    if who == "a command of ours":
        with Lock(paths.lock, "vrrpctl drain", 1.0, cancellation, lambda text: None):
            tick(found, clock, 900)
    else:
        busy.append("the drain of the job gorouter (pid 7)")
        tick(found, clock, 900)
        busy.clear()
    assert promotions.started == []
    ended = time.monotonic()
    tick(found, clock, seconds + 30)
    assert promotions.started[0][1] - ended == pytest.approx(seconds, abs=2.3)


@BOUNDS
def test_each_word_begins_anew(
    services: FakeServices, paths: Any, clock: Clock, promotions: Promotions, stage: Stage, seconds: float
) -> None:
    """A stop that is tried again has all its time, also where it was too short to be seen."""
    boot = Boot(paths.drain_run)
    boot.enter(stage)
    found = Comeback(services.instance, services.control, services.installation)
    tick(found, clock, seconds - 1)
    boot.enter(stage)
    os.utime(paths.drain_run / "boot", (5, 5))
    tick(found, clock, seconds - 1)
    assert promotions.started == []


@BOUNDS
def test_a_haproxy_that_comes_back_late(
    services: FakeServices, paths: Any, clock: Clock, promotions: Promotions, stage: Stage, seconds: float
) -> None:
    """Ended by the drain that failed, it may be started an hour later: the instance is promoted then, at once."""
    Boot(paths.drain_run).enter(stage)
    found = Comeback(services.instance, services.control, services.installation)
    tick(found, clock, 3600, alive=False)
    tick(found, clock, 60, keepalived_runs=False)
    assert promotions.started == []
    tick(found, clock, 0.5)
    assert len(promotions.started) == 1


@pytest.mark.parametrize("stage", [Stage.DEMOTED, Stage.PROMOTED, Stage.UNKNOWN])
def test_who_is_left_alone(services: FakeServices, paths: Any, clock: Clock, promotions: Promotions, stage: Stage) -> None:
    """An operator's demotion is not undone, nor what cannot be read."""
    Boot(paths.drain_run).enter(stage)
    tick(Comeback(services.instance, services.control, services.installation), clock, 7200)
    assert promotions.started == []


@BOUNDS
def test_who_is_active_needs_no_promotion(
    services: FakeServices, paths: Any, clock: Clock, promotions: Promotions, stage: Stage, seconds: float
) -> None:
    """A drain that put the priority back, as with on_no_successor: fail, leaves nothing to do."""
    Boot(paths.drain_run).enter(stage)
    tick(Comeback(services.instance, services.control, services.installation), clock, 600, band=Band.ACTIVE)
    assert promotions.started == []


def test_promote_after_is_the_operators(services: FakeServices, paths: Any, clock: Clock, promotions: Promotions) -> None:
    """vrrp_drain.promote_after says how long nobody must have been at work."""
    services.configure(replace(services.instance.config, drain=replace(services.instance.config.drain, promote_after=600.0)))
    Boot(paths.drain_run).enter(Stage.LEAVING)
    found, began = Comeback(services.instance, services.control, services.installation), time.monotonic()
    tick(found, clock, 700)
    assert promotions.started[0][1] - began == pytest.approx(600, abs=0.3)


def test_after_a_leave_keepalived_must_have_been_started_anew(
    services: FakeServices, paths: Any, clock: Clock, promotions: Promotions
) -> None:
    """Whoever is about to reboot may take an hour: the VIP must not come back meanwhile. Once all was stopped and started it does."""
    boot, pid_file = Boot(paths.drain_run), services.instance.pid_file
    files.replace(pid_file, "4711\n")
    boot.enter(Stage.LEFT)
    os.utime(pid_file, (86400, 86400))
    os.utime(paths.drain_run / "boot", (86500, 86500))
    found = Comeback(services.instance, services.control, services.installation)
    said = comeback.waits_for(services.instance, Stage.LEFT, problem="", running=True, watched=True)
    assert said == "a reboot, a start of keepalived (monit stop all, monit start all), or vrrpctl promote"
    tick(found, clock, 3600)
    pid_file.unlink()
    tick(found, clock, 60, keepalived_runs=False)
    assert promotions.started == []
    files.replace(pid_file, "4811\n")
    os.utime(pid_file, (90200, 90200))
    started = time.monotonic()
    said = comeback.waits_for(services.instance, Stage.LEFT, problem="", running=True, watched=True)
    assert said == "the watcher, which promotes it when no lifecycle script has run for 10 s"
    tick(found, clock, 30)
    assert [round(at - started) for _, at in promotions.started] == [10]


# What it waits for, for people.


@pytest.mark.parametrize(
    ("stage", "known", "said"),
    [
        (Stage.LEAVING, {}, "the watcher, which promotes it when no lifecycle script has run for 120 s"),
        (Stage.STARTED, {}, "the watcher, which promotes it when no lifecycle script has run for 10 s"),
        (Stage.REBOOTED, {}, "the watcher, which promotes it"),
        (Stage.DEMOTED, {}, "vrrpctl promote: it is left to whoever took it out"),
        (None, {}, "vrrpctl promote: it is left to whoever took it out"),
        (Stage.LEAVING, {"problem": "refused"}, "haproxy, which does not run: monit restart haproxy, or deploy again"),
        (Stage.LEAVING, {"running": False}, "keepalived, which does not run: monit start keepalived, or deploy again"),
        (Stage.LEAVING, {"watched": False}, "the watcher, which does not run: monit start vrrp-drain-watch, or vrrpctl promote"),
    ],
)
def test_what_it_waits_for(services: FakeServices, stage: Stage | None, known: dict[str, Any], said: str) -> None:
    """The first thing that is missing is named, with the command that mends it."""
    assert comeback.waits_for(services.instance, stage, **{"problem": "", "running": True, "watched": True, **known}) == said


def test_it_waits_for_whoever_is_at_work(services: FakeServices, paths: Any, busy: list[str], cancellation: Cancellation) -> None:
    """Before anything else: what they are about to do decides."""
    busy.append("the drain of the job haproxy (pid 7)")
    with Lock(paths.lock, "vrrpctl drain", 1.0, cancellation, lambda text: None):
        said = comeback.waits_for(services.instance, Stage.DEMOTED, problem="refused", running=False, watched=False)
    assert said == f"the drain of the job haproxy (pid 7), vrrpctl drain (pid {os.getpid()}) to end"


def test_a_haproxy_that_runs_but_does_not_answer(services: FakeServices, monkeypatch: pytest.MonkeyPatch) -> None:
    """To start it again would be no mend by itself: its log comes first."""
    monkeypatch.setattr(health_check, "processes", lambda pid_file: [7])
    said = comeback.waits_for(services.instance, Stage.LEAVING, problem="refused", running=True, watched=True)
    assert said == "haproxy to answer: its log, then monit restart haproxy, or deploy again"

"""What an operator says, in whole stories: the commands and BOSH's scripts over simulated machines in frozen time."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from unit.support.fakes import VIP, Clock
from unit.support.simulation import Segment, SimulatedMachine, settled
from vrrp_drain.commands import lifecycle, main, moves
from vrrp_drain.commands.session import Opened, Session
from vrrp_drain.haproxy import other_drain
from vrrp_drain.runtime.boot import Boot, Stage
from vrrp_drain.runtime.errors import ExitCode, NoSuccessor, SystemFault
from vrrp_drain.runtime.signals import Cancellation
from vrrp_drain.runtime.standing_order import StandingOrder
from vrrp_drain.vrrp.bands import Band
from vrrp_drain.watcher.comeback import Comeback

pytestmark = pytest.mark.usefixtures("restored_logging")
KEEP = {"BOSH_VM_NEXT_STATE": "keep", "BOSH_INSTANCE_NEXT_STATE": "keep", "BOSH_DEPLOYMENT_NEXT_STATE": "keep"}
DELETE = {"BOSH_VM_NEXT_STATE": "delete", "BOSH_INSTANCE_NEXT_STATE": "delete", "BOSH_DEPLOYMENT_NEXT_STATE": "keep"}
RECREATE = KEEP | {"BOSH_VM_NEXT_STATE": "delete"}
Vrrpctl = Callable[..., int]


@pytest.fixture
def segment(clock: Clock, tmp_path: Path, cancellation: Cancellation) -> Segment:
    """Two instances with ``on_no_successor: fail``; the first is MASTER."""
    found = Segment(clock, tmp_path, cancellation)
    for each in found.machines:
        config = each.services.instance.config
        object.__setattr__(each.services.instance, "config", replace(config, drain=replace(config.drain, on_no_successor="fail")))
    settled(found)
    return found


@pytest.fixture
def vrrpctl(segment: Segment, cancellation: Cancellation, monkeypatch: pytest.MonkeyPatch) -> Vrrpctl:
    """Run an operator's command on one of the machines."""

    def run(machine: SimulatedMachine, *words: str) -> int:
        @contextmanager
        def give(session: Session) -> Iterator[Opened]:
            yield Opened(machine.services, cancellation)

        monkeypatch.setattr(Session, "opened", give)
        return main.main(["--root", str(machine.services.instance.paths.root), *words])

    return run


def pre_stop(machine: SimulatedMachine, environment: dict[str, str]) -> None:
    lifecycle.pre_stop(machine.services, environment, lifecycle.Bounds.of(machine.services))


def stop(machine: SimulatedMachine, environment: dict[str, str] = KEEP) -> None:
    """`bosh stop`: pre-stop, drain, monit stop, post-stop."""
    pre_stop(machine, environment)
    lifecycle.drain(machine.services, ["job_shutdown"], lifecycle.Bounds.of(machine.services))
    machine.daemon.stop()
    lifecycle.post_stop(machine.services)


def start(machine: SimulatedMachine, cancellation: Cancellation) -> None:
    lifecycle.pre_start(machine.services)
    machine.daemon.start()
    lifecycle.post_start(machine.services, cancellation)


def test_a_group_is_stopped_to_the_last_by_the_words_of_the_error(
    segment: Segment, vrrpctl: Vrrpctl, log: pytest.LogCaptureFixture
) -> None:
    """One after the other: the last one is kept, its error names the command, and after that the same stop succeeds with a warning."""
    first, second = segment.machines
    stop(first)
    with pytest.raises(NoSuccessor, match=r"vrrpctl let-go on this instance, then the same bosh command again; bosh stop --skip-drain"):
        stop(second)
    assert (segment.holders, second.services.control.read()) == ((1,), Band.ACTIVE)
    assert vrrpctl(second, "let-go", "--by", "alice") == ExitCode.OK
    stop(second)
    (warning,) = {each.getMessage() for each in log.records if each.levelname == "WARNING"}
    assert warning.startswith(f"no successor on haproxy/1 for {VIP}: stopping this instance takes the VIP away from clients")
    assert "(vrrpctl let-go, said by alice at " in warning


def test_who_is_let_go_is_kept_again_after_its_start(segment: Segment, vrrpctl: Vrrpctl, cancellation: Cancellation) -> None:
    """It was for that stop: the next deploy finds the policy as it was."""
    first, second = segment.machines
    stop(first)
    assert vrrpctl(second, "let-go") == ExitCode.OK
    stop(second)
    start(second, cancellation)
    segment.world.sleep(10)
    with pytest.raises(NoSuccessor):
        stop(second)


def test_letting_go_can_be_revoked_and_ends_in_time(segment: Segment, vrrpctl: Vrrpctl) -> None:
    """Neither a change of mind nor an order that was forgotten takes the VIP away."""
    first, second = segment.machines
    stop(first)
    assert vrrpctl(second, "let-go") == vrrpctl(second, "let-go", "--revoke") == ExitCode.OK
    with pytest.raises(NoSuccessor):
        stop(second)
    assert vrrpctl(second, "let-go", "--within", "60") == ExitCode.OK
    segment.world.sleep(61)
    with pytest.raises(NoSuccessor):
        stop(second)


def test_letting_go_does_not_hurry_a_handover(segment: Segment, vrrpctl: Vrrpctl) -> None:
    """Where somebody can take the VIP over, it goes there as ever."""
    first, _ = segment.machines
    assert vrrpctl(first, "let-go") == ExitCode.OK
    pre_stop(first, KEEP)
    assert segment.holders == (1,)


def test_an_instance_that_is_deleted_is_not_kept(segment: Segment, log: pytest.LogCaptureFixture) -> None:
    """Scaled in, or its group removed from the manifest: it is let go, and a warning says what that means. The drain after it too."""
    first, second = segment.machines
    stop(first, DELETE)
    stop(second, DELETE)
    warnings = [each.getMessage() for each in log.records if each.levelname == "WARNING"]
    assert any("back (the instance is deleted)" in each for each in warnings)


@pytest.mark.parametrize("environment", [KEEP, RECREATE, {}], ids=["stop", "recreate", "an old director"])
def test_who_is_not_deleted_is_kept(segment: Segment, environment: dict[str, str]) -> None:
    """Of anything else ``fail`` keeps the last one: it cannot be told from an update."""
    first, second = segment.machines
    stop(first)
    with pytest.raises(NoSuccessor):
        stop(second, environment)


@pytest.mark.parametrize("script", ["pre-stop", "drain"])
def test_a_broken_one_is_let_go_by_the_same_word(
    segment: Segment, vrrpctl: Vrrpctl, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], script: str
) -> None:
    """Its priority cannot be lowered: it is kept under ``fail``, the way out is named, and an operator can go it."""
    machine = segment.machines[0]
    rendered = machine.services.instance.paths.drain_config
    rendered.parent.mkdir(parents=True)
    rendered.write_text(json.dumps({"vrrp_drain": {"on_no_successor": "fail"}}))

    def full(timeout: float, patience: float = 0.0) -> None:
        raise SystemFault("cannot write the band: the disk is full")

    monkeypatch.setattr(machine.services.handover, "demote", full)
    monkeypatch.setattr(main, "_keep_stdout_clean", lambda: os.open(os.devnull, os.O_WRONLY))
    assert vrrpctl(machine, script) == ExitCode.FAILED
    assert "vrrpctl let-go on this instance" in capsys.readouterr().err
    assert vrrpctl(machine, "let-go", "--by", "alice") == ExitCode.OK
    assert vrrpctl(machine, script) == ExitCode.OK
    assert "and cuts its connections (vrrpctl let-go, said by alice at" in capsys.readouterr().err


def test_an_instance_that_stays_out(segment: Segment, vrrpctl: Vrrpctl, cancellation: Cancellation, log: pytest.LogCaptureFixture) -> None:
    """Neither a deploy nor a reboot has it take part again, nor does any of them fail for it; vrrpctl promote does."""
    first, _ = segment.machines
    assert vrrpctl(first, "demote", "--until-promoted", "--by", "alice") == ExitCode.OK
    assert segment.holders == (1,)
    stop(first)
    start(first, cancellation)
    assert "haproxy/0 is well, and stays out of the election until vrrpctl promote: said by alice at " in log.text
    segment.world.sleep(60)
    assert (segment.holders, first.services.control.read()) == ((1,), Band.DRAINING)
    paths = first.services.instance.paths
    (paths.drain_run / "boot").unlink()
    comeback = Comeback(first.services.instance, first.services.control, first.services.installation)
    comeback.prepare()
    assert Boot(paths.drain_run).stage() is Stage.DEMOTED
    assert vrrpctl(first, "promote") == ExitCode.OK
    segment.world.sleep(10)
    assert segment.holders == (0,)
    assert StandingOrder.stay_out(paths).read() is None


def test_a_plain_demotion_ends_with_a_deploy(segment: Segment, vrrpctl: Vrrpctl, cancellation: Cancellation) -> None:
    """As it always did: post-start promotes."""
    first, _ = segment.machines
    assert vrrpctl(first, "demote") == ExitCode.OK
    stop(first)
    start(first, cancellation)
    assert first.services.control.read() is Band.ACTIVE


def test_a_stop_that_fails_leaves_out_who_is_out(segment: Segment, vrrpctl: Vrrpctl, log: pytest.LogCaptureFixture) -> None:
    """It has the VIP because nobody else is there: BOSH must not stop it, and it is not promoted by that."""
    first, second = segment.machines
    assert vrrpctl(first, "demote", "--until-promoted") == ExitCode.OK
    second.daemon.stop()
    segment.world.sleep(30)
    assert segment.holders == (0,)
    with pytest.raises(NoSuccessor, match="the priority of haproxy/0 is back at 99"):
        pre_stop(first, KEEP)
    assert first.services.control.read() is Band.DRAINING


def test_without_a_successor_nobody_is_taken_out(segment: Segment, vrrpctl: Vrrpctl) -> None:
    """The demotion fails as ever, and leaves no order behind; with --keep it is content, and the order stands."""
    first, second = segment.machines
    second.daemon.stop()
    second.health = replace(second.health, problem="haproxy does not answer")
    stay_out = StandingOrder.stay_out(first.services.instance.paths)
    assert vrrpctl(first, "demote", "--until-promoted") == ExitCode.NO_SUCCESSOR
    assert (first.services.control.read(), stay_out.read()) == (Band.ACTIVE, None)
    assert vrrpctl(first, "demote", "--until-promoted", "--keep") == ExitCode.OK
    assert stay_out.read() is not None
    assert vrrpctl(first, "demote") == ExitCode.NO_SUCCESSOR
    assert (first.services.control.read(), stay_out.read() is not None) == (Band.DRAINING, True), "only a promotion ends it"


def test_whoever_said_it_first_is_named(segment: Segment, vrrpctl: Vrrpctl) -> None:
    """A second demotion does not change who wanted it and since when."""
    first, _ = segment.machines
    assert vrrpctl(first, "demote", "--until-promoted", "--by", "alice") == ExitCode.OK
    order = StandingOrder.stay_out(first.services.instance.paths).read()
    segment.world.sleep(60)
    assert vrrpctl(first, "demote", "--until-promoted", "--by", "bob") == ExitCode.OK
    assert StandingOrder.stay_out(first.services.instance.paths).read() == order


def test_a_promotion_that_fails_leaves_it_out(segment: Segment, vrrpctl: Vrrpctl) -> None:
    """Until one succeeds."""
    first, _ = segment.machines
    assert vrrpctl(first, "demote", "--until-promoted") == ExitCode.OK
    first.daemon.stop()
    assert vrrpctl(first, "promote") == ExitCode.NOT_SETTLED
    assert StandingOrder.stay_out(first.services.instance.paths).read() is not None


def test_the_watcher_promotes_nobody_who_is_out(segment: Segment, vrrpctl: Vrrpctl) -> None:
    """Even if the last word were another's: it looks again when it has the lock."""
    first, _ = segment.machines
    assert vrrpctl(first, "demote", "--until-promoted", "--no-wait") == ExitCode.OK
    boot = Boot(first.services.instance.paths.drain_run)
    boot.enter(Stage.LEAVING)
    assert vrrpctl(first, "promote", "--if-nothing-since", boot.word()) == ExitCode.OK
    assert (first.services.control.read(), boot.stage()) == (Band.DRAINING, Stage.LEAVING)


def test_what_cannot_be_kept_demotes_nobody(segment: Segment, vrrpctl: Vrrpctl, capsys: pytest.CaptureFixture[str]) -> None:
    """An order that a reboot would forget is refused before anything is moved."""
    first, _ = segment.machines
    disk = first.services.instance.paths.disk
    disk.parent.mkdir(parents=True)
    disk.write_text("a file where the directory should be")
    assert vrrpctl(first, "demote", "--until-promoted") == ExitCode.FAILED
    assert "nothing was changed" in capsys.readouterr().err
    assert (segment.holders, first.services.control.read()) == ((0,), Band.ACTIVE)


def test_by_alone_means_nothing(segment: Segment, vrrpctl: Vrrpctl, capsys: pytest.CaptureFixture[str]) -> None:
    """It is refused rather than ignored."""
    assert vrrpctl(segment.machines[0], "demote", "--by", "alice") == ExitCode.USAGE
    assert "--by goes with --until-promoted" in capsys.readouterr().err


# vrrpctl leave: a reboot or a stop without BOSH.


def test_leaving_waits_for_connections(segment: Segment, vrrpctl: Vrrpctl, log: pytest.LogCaptureFixture) -> None:
    """The VIP is handed over first, haproxy is told to finish, and the command ends when the last connection has."""
    first, _ = segment.machines
    first.open_connections = 3
    seen: list[tuple[int, ...]] = []
    segment.world.after(7.0, lambda: (seen.append(segment.holders), setattr(first, "open_connections", 0)))  # type: ignore[func-returns-value]
    began = time.monotonic()
    assert vrrpctl(first, "leave") == ExitCode.OK
    assert seen == [(1,)]
    assert 7.0 <= time.monotonic() - began < 7.5
    assert "haproxy (pid 4712) was told to finish its connections" in log.messages
    assert log.messages[-1] == "haproxy/0 may be rebooted or stopped now, by shutdown -r now or monit stop all"
    assert (first.services.control.read(), Boot(first.services.instance.paths.drain_run).stage()) == (Band.DRAINING, Stage.LEFT)


def test_leaving_waits_no_longer_than_a_drain(segment: Segment, vrrpctl: Vrrpctl, log: pytest.LogCaptureFixture) -> None:
    """What is open after drain_timeout is cut by the reboot: a warning says how many."""
    first, _ = segment.machines
    first.open_connections = 3
    began = time.monotonic()
    assert vrrpctl(first, "leave") == ExitCode.OK
    assert time.monotonic() - began == pytest.approx(60, abs=1)
    assert "3 connections are still open after 60 s (vrrp_drain.drain_timeout)" in log.text


def test_leaving_asks_clients_to_close_whatever_other_drains_there_are(
    segment: Segment, vrrpctl: Vrrpctl, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    """No drain of another job runs in a reboot: haproxy is not left to it."""
    monkeypatch.setattr(other_drain, "ending_haproxy", lambda jobs, pid_file: ["haproxy"])
    assert vrrpctl(segment.machines[0], "leave") == ExitCode.OK
    assert "haproxy (pid 4712) was told to finish its connections" in log.messages


def test_nobody_leaves_whom_nobody_follows(segment: Segment, vrrpctl: Vrrpctl, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the policy is in a deploy: nothing has changed, and the operator is told what a reboot would mean."""
    first, second = segment.machines
    second.daemon.stop()
    second.health = replace(second.health, problem="haproxy does not answer")
    assert vrrpctl(first, "leave", "--timeout", "5") == ExitCode.NO_SUCCESSOR
    assert (
        "the priority of haproxy/0 is back at 254, and it serves. To reboot or stop it now takes 10.0.0.10 away" in capsys.readouterr().err
    )
    assert (segment.holders, first.services.control.read()) == ((0,), Band.ACTIVE)


def test_leaving_waits_for_who_is_coming_back(segment: Segment, vrrpctl: Vrrpctl, cancellation: Cancellation) -> None:
    """Two reboots one after the other: the second instance goes when the first is back."""
    first, second = segment.machines
    assert vrrpctl(first, "leave") == ExitCode.OK
    first.daemon.stop()
    segment.world.after(40.0, first.daemon.start)
    segment.world.after(50.0, lambda: moves.stay(first.services))  # as the watcher's promotion does
    began = time.monotonic()
    assert vrrpctl(second, "leave") == ExitCode.OK
    assert segment.holders == (0,)
    assert 50.0 <= time.monotonic() - began < 60.0


def test_a_backup_leaves_at_once(segment: Segment, vrrpctl: Vrrpctl) -> None:
    """There is nothing to hand over."""
    _, second = segment.machines
    began = time.monotonic()
    assert vrrpctl(second, "leave") == ExitCode.OK
    assert (segment.holders, second.services.control.read()) == ((0,), Band.DRAINING)
    assert time.monotonic() - began < 2.5


def test_a_reboot_does_not_end_that_an_instance_is_out(segment: Segment, vrrpctl: Vrrpctl) -> None:
    """`leave` of one that was taken out until promoted does not bring it back either."""
    first, _ = segment.machines
    assert vrrpctl(first, "demote", "--until-promoted") == ExitCode.OK
    assert vrrpctl(first, "leave") == ExitCode.OK
    assert Boot(first.services.instance.paths.drain_run).stage() is Stage.DEMOTED


def test_nobody_is_promoted_in_the_middle_of_a_leave(segment: Segment, vrrpctl: Vrrpctl, capsys: pytest.CaptureFixture[str]) -> None:
    """haproxy is finishing then: promote says so, and changes nothing."""
    first, _ = segment.machines
    first.open_connections = 3
    codes: list[int] = []
    segment.world.after(5.0, lambda: codes.append(vrrpctl(first, "promote")))
    assert vrrpctl(first, "leave") == ExitCode.OK
    assert (codes, first.services.control.read()) == ([ExitCode.BUSY], Band.DRAINING)
    assert "vrrpctl leave (pid" in capsys.readouterr().err

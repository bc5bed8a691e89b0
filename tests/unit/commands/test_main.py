"""The command line: exit codes, what goes where, and drain's stdout, of which BOSH believes every integer."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any, ClassVar, NoReturn, Protocol

import pytest

import vrrp_drain
from unit.support.fakes import MAC, OWN, PEER_MAC, VIP, FakeIPR, rendered
from unit.support.samples import BACKUP
from unit.support.services import FakeServices
from vrrp_drain import doctor, rehearsal
from vrrp_drain.commands import keepalived, lifecycle, main, status, watch
from vrrp_drain.commands import session as session_module
from vrrp_drain.commands.session import Opened, Session
from vrrp_drain.config.model import Config
from vrrp_drain.handover.demote import Demote
from vrrp_drain.handover.promote import Promote
from vrrp_drain.handover.runner import Ending
from vrrp_drain.handover.services import Services
from vrrp_drain.keepalived.daemon import Daemon
from vrrp_drain.linux.rtnetlink import Netlink
from vrrp_drain.notify.history import History
from vrrp_drain.notify.notice import Cause, Kind, Notice
from vrrp_drain.rehearsal.tally import Outcome, Probe
from vrrp_drain.runtime import logs
from vrrp_drain.runtime.boot import Boot, Stage
from vrrp_drain.runtime.errors import (
    MEANINGS,
    Busy,
    Cancelled,
    ConfigError,
    ExitCode,
    NoSuccessor,
    NotSettled,
    SystemFault,
    Unwell,
    VrrpDrainError,
)
from vrrp_drain.runtime.lock import Lock
from vrrp_drain.runtime.paths import Paths
from vrrp_drain.runtime.pid_file import PidFile
from vrrp_drain.runtime.signals import Cancellation
from vrrp_drain.vrrp.bands import Band

pytestmark = pytest.mark.usefixtures("restored_logging")
NOTICE = Notice(1.0, "haproxy/0", VIP, Kind.STATE, "backup", "master", Cause.DRAIN, "10.0.0.2 is leaving", "10.0.0.1", 254, 0.021)
SCRIPTS = ["pre-start", "post-start", "pre-stop", "drain", "post-stop"]
ERRORS: list[tuple[BaseException, ExitCode]] = [
    (SystemFault("the disk is full"), ExitCode.FAILED),
    (NoSuccessor("nobody is there"), ExitCode.NO_SUCCESSOR),
    (ConfigError("keepalived.vip", None, "must be given"), ExitCode.BAD_CONFIG),
    (NotSettled("two masters"), ExitCode.NOT_SETTLED),
    (Busy("another vrrpctl"), ExitCode.BUSY),
    (Cancelled("told to stop"), ExitCode.CANCELLED),
    (KeyboardInterrupt(), ExitCode.CANCELLED),
    (RuntimeError("a bug"), ExitCode.FAILED),
]
every_error = pytest.mark.parametrize(("error", "code"), ERRORS, ids=[type(error).__name__ for error, _ in ERRORS])


class Vrrpctl(Protocol):
    def __call__(self, *words: str) -> int: ...


@pytest.fixture
def vrrpctl(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> Vrrpctl:
    """Run a command under the temporary root; the terminal of the tests stays where it is, also for drain."""
    monkeypatch.setattr(main, "_keep_stdout_clean", lambda: os.open(os.devnull, os.O_WRONLY))
    return lambda *words: int(main.main(["--root", str(paths.root), *words]))


@pytest.fixture
def services(services: FakeServices, cancellation: Cancellation, monkeypatch: pytest.MonkeyPatch) -> FakeServices:
    """The services that every command gets."""

    @contextmanager
    def give(session: Session) -> Iterator[Opened]:
        yield Opened(services, cancellation)

    monkeypatch.setattr(Session, "opened", give)
    return services


def test_every_exit_code_has_a_meaning() -> None:
    """The table for the documentation is complete and has nothing twice."""
    assert list(MEANINGS) == list(ExitCode)
    assert len(set(MEANINGS.values())) == len(ExitCode)


@every_error
@pytest.mark.parametrize("command", ["demote", "leave", "promote"])
def test_an_error_becomes_its_exit_code(
    vrrpctl: Vrrpctl, services: FakeServices, capsys: pytest.CaptureFixture[str], command: str, error: BaseException, code: ExitCode
) -> None:
    """Each error has its exit code, its text is on stderr, and stdout is empty."""
    services.handover.fault = error
    assert vrrpctl(command) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert str(error) in said.err


@every_error
@pytest.mark.parametrize("script", SCRIPTS)
def test_for_bosh_every_error_is_1(
    vrrpctl: Vrrpctl,
    services: FakeServices,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    script: str,
    error: BaseException,
    code: ExitCode,
) -> None:
    """A lifecycle script knows success and failure only; post-stop, after which nothing can be saved, logs and succeeds.

    So do those before a stop where this instance is broken.
    """
    is_broken = script in ("pre-stop", "drain") and isinstance(error, ConfigError | SystemFault)

    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(lifecycle, script.replace("-", "_"), fail)
    assert vrrpctl(script) == (0 if script == "post-stop" or is_broken else 1)
    said = capsys.readouterr()
    assert said.out == ""
    assert str(error) in said.err


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_takes_what_bosh_gives_it(
    vrrpctl: Vrrpctl, services: FakeServices, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], script: str
) -> None:
    """Arguments, also those that look like options, are logged and change nothing."""
    called = []
    monkeypatch.setattr(lifecycle, script.replace("-", "_"), lambda *arguments: called.append(arguments[0]))
    assert vrrpctl(script, "job_changed", "hash_unchanged", "--new", "haproxy") == 0
    assert called == [services]
    assert capsys.readouterr() == ("", "called with job_changed hash_unchanged --new haproxy\n")


def test_pre_stop_knows_its_environment(vrrpctl: Vrrpctl, services: FakeServices, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the director tells pre-stop by environment variables arrives."""
    monkeypatch.setenv("BOSH_DEPLOYMENT_NEXT_STATE", "delete")
    assert vrrpctl("pre-stop") == 0
    assert services.handover.timeouts == []


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["fly"],
        ["demote", "--fast"],
        ["demote", "--timeout", "0"],
        ["rehearse", "--rate", "9"],
        ["rehearse", "--max-in-flight", "half"],
        ["demote", "--by", "alice"],
        ["let-go", "--within", "0"],
        ["leave", "--timeout", "0"],
        ["promote", "--timeout", "soon"],
        ["status", "eth0"],
        ["keepalived"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line(vrrpctl: Vrrpctl, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A command line that makes no sense is refused with help on stderr."""
    assert vrrpctl(*words) == ExitCode.USAGE
    said = capsys.readouterr()
    assert said.out == ""
    assert "Usage: vrrpctl" in said.err


def test_the_version_is_told(vrrpctl: Vrrpctl, capsys: pytest.CaptureFixture[str]) -> None:
    """--version is for bug reports."""
    assert vrrpctl("--version") == 0
    assert capsys.readouterr().out == f"vrrpctl, version {vrrp_drain.__version__}\n"


@pytest.mark.parametrize("command", ["demote", "leave", "promote"])
@pytest.mark.parametrize(("words", "timeout"), [([], 5.133), (["--timeout", "2.5"], 2.5)])
def test_the_timeout_is_the_manifests_or_the_operators(
    vrrpctl: Vrrpctl, services: FakeServices, command: str, words: list[str], timeout: float
) -> None:
    """Without --timeout, vrrp_drain.handover_timeout bounds the handover."""
    assert vrrpctl(command, *words) == 0
    assert services.handover.timeouts == [pytest.approx(timeout, abs=0.001)]


@pytest.mark.parametrize(
    ("words", "ending", "code", "band"),
    [
        ([], Demote.DONE, ExitCode.OK, Band.DRAINING),
        (["--keep"], Demote.DONE, ExitCode.OK, Band.DRAINING),
        ([], Demote.NO_SUCCESSOR, ExitCode.NO_SUCCESSOR, Band.ACTIVE),
        (["--keep"], Demote.NO_SUCCESSOR, ExitCode.OK, Band.DRAINING),
        (["--keep"], Demote.CANCELLED, ExitCode.CANCELLED, Band.DRAINING),
    ],
)
def test_how_a_demotion_ends(
    vrrpctl: Vrrpctl, services: FakeServices, words: list[str], ending: Demote, code: ExitCode, band: Band
) -> None:
    """Without a successor the priority goes back, unless --keep says that it shall not."""
    services.control.write(Band.DRAINING)  # as the table's action does
    services.handover.demotion = Ending(ending, "a reason", 5.1)
    assert vrrpctl("demote", *words) == code
    assert services.control.read() is band


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        (Promote.MASTER, ExitCode.OK),
        (Promote.BACKUP, ExitCode.OK),
        (Promote.FAILED, ExitCode.NOT_SETTLED),
        (Promote.CANCELLED, ExitCode.CANCELLED),
    ],
)
def test_how_a_promotion_ends(vrrpctl: Vrrpctl, services: FakeServices, ending: Promote, code: ExitCode) -> None:
    """MASTER and backup are both good ends."""
    services.handover.promotion = Ending(ending, "a reason", 1.1)
    assert vrrpctl("promote") == code


@pytest.mark.parametrize(("command", "band", "priority"), [("demote", Band.DRAINING, 99), ("promote", Band.ACTIVE, 254)])
def test_no_wait_only_changes_the_band(
    vrrpctl: Vrrpctl, services: FakeServices, capsys: pytest.CaptureFixture[str], command: str, band: Band, priority: int
) -> None:
    """--no-wait writes the band and returns, saying that nothing is proven."""
    assert vrrpctl(command, "--no-wait", "--json") == 0
    said = capsys.readouterr()
    assert services.control.read() is band
    assert services.handover.timeouts == []
    assert json.loads(said.out) == {"instance": "haproxy/0", "vip": VIP, "state": str(band), "priority": priority}
    assert said.err == f"priority is {priority} ({band}); not waiting for what follows\n"


@pytest.mark.parametrize(
    ("command", "state", "code"),
    [("demote", "done", 0), ("demote", "no_successor", 3), ("demote", "cancelled", 7), ("promote", "master", 0), ("promote", "failed", 5)],
)
def test_json_tells_every_end(
    vrrpctl: Vrrpctl, services: FakeServices, capsys: pytest.CaptureFixture[str], command: str, state: str, code: int
) -> None:
    """With --json stdout is one object, also when the handover failed."""
    if command == "demote":
        services.handover.demotion = Ending(Demote[state.upper()], "a reason", 1.23456)
    else:
        services.handover.promotion = Ending(Promote[state.upper()], "a reason", 1.23456)
    assert vrrpctl(command, "--json") == code
    told = json.loads(capsys.readouterr().out)
    assert told == {"instance": "haproxy/0", "vip": VIP, "state": state, "reason": "a reason", "seconds": 1.235}


def test_status(vrrpctl: Vrrpctl, services: FakeServices, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines for people, an object for programs."""
    found = BACKUP
    monkeypatch.setattr(status, "look", lambda services: found)
    assert vrrpctl("status") == 0
    assert capsys.readouterr().out.splitlines() == found.lines()
    assert vrrpctl("status", "--json") == 0
    assert json.loads(capsys.readouterr().out) == found.as_json()


@pytest.mark.parametrize(("severity", "code"), [(doctor.Severity.WARNING, 0), (doctor.Severity.PROBLEM, 8)])
def test_doctor(
    vrrpctl: Vrrpctl, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], severity: doctor.Severity, code: int
) -> None:
    """The report is on stdout, also as JSON; only a problem changes the exit code, and then stderr counts what was found."""
    asked = []
    found = doctor.Report("haproxy/0", (doctor.Finding(severity, "it is so", "it hurts", "mend it", "haproxy"),), (), 1.5)

    def examine(paths: Paths, timeout: float) -> doctor.Report:
        asked.append(timeout)
        return found

    monkeypatch.setattr(doctor, "examine", examine)
    assert vrrpctl("doctor", "--timeout", "3") == code
    said = capsys.readouterr()
    assert said.out.splitlines() == list(found.lines())
    assert said.err == (f"haproxy/0: 1 {severity.value}\n" if code else "")
    assert vrrpctl("doctor", "--json") == code
    assert json.loads(capsys.readouterr().out) == found.as_json()
    assert asked == [3.0, 10.0]


@pytest.mark.parametrize(
    ("outcome", "error", "code"),
    [
        (Outcome.ANSWERED, None, 0),
        (Outcome.LOST, None, 9),
        (Outcome.LOST, NoSuccessor("nobody is there"), 3),
        (Outcome.ANSWERED, Cancelled("told to stop"), 7),
    ],
)
def test_rehearse(
    vrrpctl: Vrrpctl,
    services: FakeServices,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    outcome: Outcome,
    error: VrrpDrainError | None,
    code: int,
) -> None:
    """The report is on stdout however the drill ended, also as JSON; what ended it early decides the exit code before what was felt."""
    target = rehearsal.Target(ip_address(VIP), 80, "eth0", ip_address(OWN), MAC, frozenset({MAC}))
    found = rehearsal.Report("haproxy/0", VIP, 80, 20, 0.0, 1.0, (), [Probe(0.5, MAC, outcome, 0.001)], [], {}, error)
    asked: list[tuple[object, ...]] = []

    class Prober:
        def __init__(self, client: rehearsal.Client, rate: int) -> None:
            asked.append((client.peers, rate))

        def __enter__(self) -> "Prober":
            return self

        def __exit__(self, *error: object) -> None:
            pass

    def aim(services: Services, port: int | None) -> rehearsal.Target:
        asked.append((port,))
        return target

    def rehearse(services: Services, cancellation: object, prober: Prober, known: dict[str, str], timeout: float) -> rehearsal.Report:
        asked.append((known, timeout))
        return found

    monkeypatch.setattr(rehearsal, "check", lambda services: None)
    monkeypatch.setattr(rehearsal, "target", aim)
    monkeypatch.setattr(rehearsal, "names", lambda services: {MAC: "haproxy/0", PEER_MAC: "haproxy/1"})
    monkeypatch.setattr(rehearsal, "Prober", Prober)
    monkeypatch.setattr(rehearsal, "rehearse", rehearse)
    found = replace(found, deploy=rehearsal.forecast(services, None))
    assert vrrpctl("rehearse", "--rate", "20", "--port", "443", "--timeout", "3") == code
    said = capsys.readouterr()
    assert said.out.splitlines() == [*found.lines()]
    assert (str(error) if error else found.summary) in said.err
    assert asked == [(443,), (frozenset({PEER_MAC}), 20), ({MAC: "haproxy/0", PEER_MAC: "haproxy/1"}, 3.0)]
    assert vrrpctl("rehearse", "--json") == code
    assert json.loads(capsys.readouterr().out) == found.as_json()
    assert asked[3:] == [
        (None,),
        (frozenset({PEER_MAC}), 100),
        ({MAC: "haproxy/0", PEER_MAC: "haproxy/1"}, pytest.approx(5.133, abs=0.001)),
    ]


@pytest.mark.parametrize(
    ("timeout", "code", "prospect"), [(0.0, ExitCode.FELT, "lost"), (600.0, ExitCode.OK, "waits")], ids=["in vain", "in time"]
)
def test_rehearse_tells_of_a_deploy(
    vrrpctl: Vrrpctl,
    services: FakeServices,
    paths: Paths,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    timeout: float,
    code: int,
    prospect: str,
) -> None:
    """Where the last one would wait in vain the exit code says that clients would feel it, though the drill itself was smooth."""
    config = services.instance.config
    services.configure(replace(config, drain=replace(config.drain, successor_timeout=timeout)))
    history, left = History(paths.history), replace(NOTICE, kind=Kind.BAND, previous="active", state="draining", at=10.0)
    history.append(left)
    history.append(replace(NOTICE, kind=Kind.STATE, previous="backup", state="stopped", at=20.0))
    history.append(replace(left, previous="draining", state="active", cause=Cause.PROMOTE, at=51.0))
    target = rehearsal.Target(ip_address(VIP), 80, "eth0", ip_address(OWN), MAC, frozenset({MAC}))
    smooth = rehearsal.Report("haproxy/0", VIP, 80, 20, 0.0, 1.0, (), [Probe(0.5, MAC, Outcome.ANSWERED, 0.001)], [], {})
    monkeypatch.setattr(rehearsal, "check", lambda services: None)
    monkeypatch.setattr(rehearsal, "target", lambda services, port: target)
    monkeypatch.setattr(rehearsal, "names", lambda services: {MAC: "haproxy/0"})
    monkeypatch.setattr(rehearsal, "Prober", lambda client, rate: nullcontext(client))
    monkeypatch.setattr(rehearsal, "rehearse", lambda *_: smooth)
    assert vrrpctl("rehearse", "--max-in-flight", "100%", "--json") == code
    said = capsys.readouterr()
    found = json.loads(said.out)["deploy"]
    assert (found["at_a_time"], found["prospect"], found["last_update_seconds"]) == (2, prospect, 41.0)
    assert ("a deploy with max_in_flight 100% would take 10.0.0.10 away from clients" in said.err) == bool(code)


def test_a_drill_that_is_refused(
    vrrpctl: Vrrpctl, services: FakeServices, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Why is on stderr, stdout is empty."""

    def refuse(services: Services) -> None:
        raise Unwell("run it there")

    monkeypatch.setattr(rehearsal, "check", refuse)
    assert vrrpctl("rehearse", "--json") == 8
    assert capsys.readouterr() == ("", "run it there\n")


@pytest.mark.parametrize("action", ["start", "stop"])
def test_keepalived_is_for_monit(
    vrrpctl: Vrrpctl, paths: Paths, ipr: FakeIPR, config: Config, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    """The keepalived job's own configuration and log are used, so that it also runs without the vrrp-drain job."""
    paths.keepalived_config.parent.mkdir(parents=True)
    paths.keepalived_config.write_text(json.dumps(rendered()))
    called = []
    monkeypatch.setattr(keepalived, "Netlink", lambda: Netlink(ipr))
    monkeypatch.setattr(Daemon, action, lambda keepalived, config, netlink: called.append(config))
    assert vrrpctl("keepalived", action) == 0
    assert called == [config]
    assert ipr.closed
    assert (paths.keepalived_log.parent / "vrrpctl.log").exists()


@pytest.fixture
def manifest(paths: Paths, ipr: FakeIPR, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the job has rendered, over a kernel of our own."""
    paths.drain_config.parent.mkdir(parents=True)
    paths.drain_config.write_text(json.dumps(rendered(keepalived={"vrrp_version": 3, "advert_int": 0.05})))
    monkeypatch.setattr(session_module, "Netlink", lambda: Netlink(ipr))


def test_a_session(manifest: None, paths: Paths, ipr: FakeIPR, log: pytest.LogCaptureFixture) -> None:
    """A look takes no lock; log lines name the instance, and the kernel's socket is closed in the end."""
    logs.set_up("status", paths.drain_log, chatty=False)
    session = Session()
    session.command, session.paths = "status", paths
    with session.opened() as opened:
        assert opened.services.instance.interface == "eth0"
        assert Lock.held_by(paths.lock) == ""
        main.log.info("at work")
    assert " haproxy/0 status[" in paths.drain_log.read_text()
    assert ipr.closed
    with session.alone(None):
        assert Lock.held_by(paths.lock) == f"vrrpctl status (pid {os.getpid()})"


@pytest.mark.parametrize("command", ["demote", "leave", "promote", "rehearse", *SCRIPTS])
def test_a_lock_that_is_held(
    manifest: None,
    vrrpctl: Vrrpctl,
    paths: Paths,
    cancellation: Cancellation,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
) -> None:
    """Whoever moves this instance waits as long as a handover may take, says for whom, and gives up; post-stop alone goes on all the same.

    keepalived has been stopped by then, and what is left behind would stay.
    """
    called: list[str] = []
    if command in SCRIPTS:
        monkeypatch.setattr(lifecycle, command.replace("-", "_"), lambda *_: called.append(command))
    with Lock(paths.lock, "vrrpctl somewhere", 1.0, cancellation, called.append):
        started = time.monotonic()
        code = vrrpctl(command)
    bound = Config.load(paths.drain_config).drain.handover_timeout
    assert code == (0 if command == "post-stop" else 1 if command in SCRIPTS else ExitCode.BUSY)
    assert called == (["post-stop"] if command == "post-stop" else [])
    assert time.monotonic() - started > 0.9 * bound
    assert f"vrrpctl somewhere (pid {os.getpid()}) did not finish within {bound:.1f} s" in capsys.readouterr().err


def test_pre_stop_ends_in_time_though_it_had_to_wait(services: FakeServices) -> None:
    """What the lock took is not there for the handover, which never gets less than a takeover may take."""
    drain, slowest = services.instance.config.drain, services.instance.config.keepalived.slowest_takeover
    for waited, left in ((0.5, drain.handover_timeout - 0.5), (drain.handover_timeout - 0.5, slowest)):
        began = time.monotonic() - waited
        lifecycle.pre_stop(services, {}, lifecycle.Bounds(began + drain.handover_timeout, began + drain.successor_timeout))
        assert services.handover.timeouts.pop() == pytest.approx(left, abs=0.1)


@pytest.fixture
def finishing(services: FakeServices, cancellation: Cancellation) -> Iterator[None]:
    """A drain that waits for connections to end, and holds no other lock than that."""
    with Lock(services.instance.paths.finishing, "vrrpctl drain", 0.0, cancellation, print):
        yield


def test_a_drain_that_waits_holds_nobody_up(
    finishing: None, vrrpctl: Vrrpctl, services: FakeServices, capsys: pytest.CaptureFixture[str]
) -> None:
    """Demoting it goes on at once, and says who is at work; so do the next scripts."""
    assert vrrpctl("demote") == 0
    holder = f"vrrpctl drain (pid {os.getpid()})"
    assert f"{holder} serves the connections that are open here until they have ended" in capsys.readouterr().err
    for script in ("pre-stop", "drain", "post-stop"):
        assert vrrpctl(script) == 0
    assert len(services.handover.timeouts) == 3


@pytest.mark.parametrize("words", [["promote"], ["promote", "--no-wait"]], ids=" ".join)
def test_an_instance_that_finishes_is_not_promoted(
    finishing: None, vrrpctl: Vrrpctl, services: FakeServices, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """It is stopped when its connections have ended: the VIP would come back to be lost. The operator is told at once, and what to do."""
    services.control.write(Band.DRAINING)
    assert vrrpctl(*words) == ExitCode.BUSY
    assert "end it first: a deploy by bosh cancel-task, vrrpctl leave by Ctrl-C" in capsys.readouterr().err
    assert (services.control.read(), services.handover.timeouts) == (Band.DRAINING, [])


def test_drain_holds_the_lock_while_the_vip_moves_and_no_longer(
    vrrpctl: Vrrpctl, services: FakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the two it is never held by nobody: whoever comes meets the one or the other."""
    paths, held = services.instance.paths, list[tuple[bool, bool]]()

    def note(*_: object) -> bool:
        held.append((bool(Lock.held_by(paths.lock)), bool(Lock.held_by(paths.finishing))))
        return True

    monkeypatch.setattr(lifecycle, "drain", note)
    monkeypatch.setattr("vrrp_drain.commands.finishing.finish_connections", note)
    assert vrrpctl("drain") == 0
    assert held == [(True, False), (False, True)]
    assert not Lock.held_by(paths.finishing)


# drain in a process of its own: only there stdout is what the agent reads.

DRAIN = """
import contextlib, os, sys
from types import SimpleNamespace
from vrrp_drain.commands import lifecycle, main, scripts, session
from vrrp_drain.runtime.errors import NoSuccessor

@contextlib.contextmanager
def opened(session):
    yield SimpleNamespace(services=None)

def drain(services, arguments, bounds):
    print("1")
    os.write(1, b"2")
    os.system("echo 3")
    {ending}

session.Session.opened = opened
lifecycle.Bounds.of = scripts._lock = lambda *_: contextlib.nullcontext()
lifecycle.drain = drain
sys.exit(main.main(sys.argv[1:]))
"""


def python(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run this Python with the library and nothing else of ours."""
    environment = {"PYTHONPATH": str(Path(vrrp_drain.__file__).parents[1]), "PATH": os.defpath}
    return subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, timeout=30, check=False)


def test_drain_succeeds_with_exactly_one_integer(tmp_path: Path) -> None:
    """Success is 0 and a newline on stdout; whatever else is printed on the way, by whomever, goes elsewhere."""
    done = python("-c", DRAIN.format(ending="pass"), "--root", tmp_path, "drain", "job_changed", "hash_changed")
    assert (done.returncode, done.stdout) == (0, "0\n")
    assert {"1", "2"} <= set(done.stderr)


@pytest.mark.parametrize(
    "ending",
    [
        "raise NoSuccessor('nobody is there')",
        "raise RuntimeError('a bug')",
        "raise KeyboardInterrupt",
        "sys.exit(5)",
        "os.kill(os.getpid(), 9)",
    ],
)
def test_drain_fails_without_a_word_on_stdout(tmp_path: Path, ending: str) -> None:
    """However it fails, nothing is on stdout: the agent would believe an integer and ignore the exit code."""
    done = python("-c", DRAIN.format(ending=ending), "--root", tmp_path, "drain", "job_changed", "hash_changed")
    assert done.returncode != 0
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "configuration file is '{file}': must be readable (No such file or directory)"),
        ("0", "configuration is 0: must be a JSON object"),
        ("{}", "instances is None: must be given"),
        (json.dumps(rendered(keepalived={"vip": None})), "keepalived.vip is None: must be given"),
    ],
    ids=["no file", "an integer", "an empty object", "no VIP"],
)
def test_drain_with_a_bad_configuration(paths: Paths, content: str | None, said: str) -> None:
    """The file or the property is named on stderr, and BOSH may stop the instance, which has to be mended."""
    if content is not None:
        paths.drain_config.parent.mkdir(parents=True)
        paths.drain_config.write_text(content)
    done = python("-m", "vrrp_drain", "--root", paths.root, "drain", "job_changed", "hash_changed")
    assert (done.returncode, done.stdout) == (0, "0\n")
    assert said.format(file=paths.drain_config) in done.stderr
    assert "nothing was handed over; stopping this instance moves the VIP, if it is here, the hard way" in done.stderr


DELETED = {"BOSH_INSTANCE_NEXT_STATE": "delete"}, {"BOSH_DEPLOYMENT_NEXT_STATE": "delete"}
KEPT = {"BOSH_VM_NEXT_STATE": "keep"}, {"BOSH_VM_NEXT_STATE": "delete"}


@pytest.mark.parametrize("fault", [ConfigError("keepalived.interface", "eth7", "must be there"), SystemFault("the lock: No space left")])
@pytest.mark.parametrize(
    ("policy", "environment", "passes"),
    [
        *(("proceed", environment, True) for environment in (*DELETED, *KEPT)),
        *(("fail", environment, True) for environment in DELETED),
        *(("fail", environment, False) for environment in KEPT),
    ],
)
def test_a_broken_instance_can_be_stopped(
    vrrpctl: Vrrpctl,
    paths: Paths,
    monkeypatch: pytest.MonkeyPatch,
    fault: Exception,
    policy: str,
    environment: dict[str, str],
    *,
    passes: bool,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """pre-stop and the drain after it fail where the operator wants it, and the instance is not deleted; otherwise they warn."""
    paths.drain_config.parent.mkdir(parents=True)
    paths.drain_config.write_text(json.dumps(rendered(vrrp_drain={"on_no_successor": policy})))

    def opened(session: Session) -> NoReturn:
        raise fault

    monkeypatch.setattr(Session, "opened", opened)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert vrrpctl("pre-stop") == (0 if passes else 1)
    for name in environment:
        monkeypatch.delenv(name)
    assert vrrpctl("drain", "job_shutdown", "hash_unchanged") == (0 if passes else 1)
    text = capfd.readouterr().err
    assert text.count(str(fault)) == 2
    assert text.count("nothing was handed over") == (2 if passes else 0)
    assert vrrpctl("pre-start") == vrrpctl("post-start") == 1, "nothing that is broken is started"


@pytest.mark.parametrize("words", [["--unknown", "drain"], ["--root"]])
def test_drain_with_a_wrong_command_line(words: list[str], tmp_path: Path) -> None:
    """A launcher that calls us wrongly gets no integer either."""
    done = python("-m", "vrrp_drain", "--root", tmp_path, *words)
    assert done.returncode != 0
    assert done.stdout == ""


def test_the_launcher_finds_the_library() -> None:
    """bin/vrrpctl runs from anywhere, isolated from the caller's Python settings."""
    launcher = Path(vrrp_drain.__file__).parents[2] / "bin" / "vrrpctl"
    done = subprocess.run([sys.executable, "-I", launcher, "--version"], cwd="/", env={}, capture_output=True, text=True, check=True)
    assert done.stdout == f"vrrpctl, version {vrrp_drain.__version__}\n"


# The watcher and its history.


class FakeWatcher:
    """A watcher that tells one notice and ends, or fails."""

    made: ClassVar[list[tuple[Any, ...]]] = []
    fault: ClassVar[VrrpDrainError | None] = None

    def __init__(self, *parts: Any) -> None:
        self.made.append(parts)

    def run(self) -> None:
        if self.fault is not None:
            raise self.fault
        *_, tell = self.made[-1]
        for each in tell:
            each(NOTICE)


@pytest.fixture
def watcher(monkeypatch: pytest.MonkeyPatch) -> type[FakeWatcher]:
    monkeypatch.setattr(watch, "Watcher", FakeWatcher)
    monkeypatch.setattr(FakeWatcher, "made", [])
    return FakeWatcher


def test_watch(vrrpctl: Vrrpctl, services: FakeServices, paths: Paths, watcher: type[FakeWatcher], monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds the pid file while it runs, serves metrics at the port of the manifest, and its notices go into the history."""
    served: list[int] = []
    monkeypatch.setattr("vrrp_drain.watcher.metrics.Metrics.serve", lambda self, port: served.append(port))
    assert vrrpctl("watch") == ExitCode.OK
    ((its_services, *_),) = watcher.made
    assert its_services is services
    assert served == [9922]
    assert paths.watcher_pid_file.read_text() == str(os.getpid())
    assert History(paths.history).last(2) == [NOTICE]


def test_a_second_watch_refuses(vrrpctl: Vrrpctl, paths: Paths, services: FakeServices, watcher: type[FakeWatcher]) -> None:
    """With its own exit code, before it has touched anything."""
    with PidFile(paths.watcher_pid_file) as first:
        first.claim()
        assert vrrpctl("watch") == ExitCode.BUSY
    assert watcher.made == []


def test_watch_stop(vrrpctl: Vrrpctl, paths: Paths, watcher: type[FakeWatcher]) -> None:
    """Without a watcher there is nothing to stop, nor is a configuration needed for it."""
    assert vrrpctl("watch", "--stop") == ExitCode.OK
    assert (watcher.made, paths.watcher_pid_file.read_text()) == ([], "")


def test_a_metrics_port_that_is_taken_does_not_stop_the_watcher(
    vrrpctl: Vrrpctl,
    services: FakeServices,
    watcher: type[FakeWatcher],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is said, and the watcher watches."""

    def taken(metrics: object, port: int) -> None:
        raise SystemFault(f"no metrics: 127.0.0.1:{port} is taken")

    monkeypatch.setattr("vrrp_drain.watcher.metrics.Metrics.serve", taken)
    assert vrrpctl("watch") == ExitCode.OK
    assert len(watcher.made) == 1
    assert "no metrics: 127.0.0.1:9922 is taken" in capsys.readouterr().err


def test_a_watcher_that_fails_is_closed(
    vrrpctl: Vrrpctl, services: FakeServices, watcher: type[FakeWatcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Queued notices get their last seconds and the port is given back, however it ends."""
    closed: list[str] = []
    monkeypatch.setattr("vrrp_drain.watcher.metrics.Metrics.serve", lambda self, port: None)
    monkeypatch.setattr("vrrp_drain.watcher.metrics.Metrics.close", lambda self: closed.append("metrics"))
    monkeypatch.setattr("vrrp_drain.notify.notifier.Notifier.close", lambda self, seconds: closed.append(f"notifier {seconds:g}"))
    monkeypatch.setattr(watcher, "fault", SystemFault("cannot hear VRRP adverts on eth0"))
    assert vrrpctl("watch") == ExitCode.FAILED
    assert closed == ["notifier 2", "metrics"]


def test_history(vrrpctl: Vrrpctl, paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    """One line a notice, the oldest first, with its time; nobody needs root or a configuration for it."""
    paths.history.parent.mkdir(parents=True)
    for n in range(3):
        History(paths.history).append(replace(NOTICE, at=float(n)))
    assert vrrpctl("history", "-n", "2") == ExitCode.OK
    assert capsys.readouterr().out.splitlines() == [
        f"1970-01-01T00:00:0{n}.000Z  state backup -> master, drain: 10.0.0.2 is leaving (0.02 s)" for n in (1, 2)
    ]


def test_history_as_json(vrrpctl: Vrrpctl, paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    """The same objects as in the file."""
    paths.history.parent.mkdir(parents=True)
    History(paths.history).append(NOTICE)
    assert vrrpctl("history", "--json") == ExitCode.OK
    assert json.loads(capsys.readouterr().out) == NOTICE.as_json()


def test_history_of_nothing(vrrpctl: Vrrpctl, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing has happened yet: no error, no line."""
    assert vrrpctl("history") == ExitCode.OK
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("command", "stage"), [("demote", Stage.DEMOTED), ("promote", Stage.PROMOTED)])
@pytest.mark.parametrize("words", [[], ["--no-wait"]], ids=["proven", "--no-wait"])
def test_whoever_asks_ends_the_promotion_after_a_reboot(
    vrrpctl: Vrrpctl, services: FakeServices, paths: Paths, command: str, stage: Stage, words: list[str]
) -> None:
    """The watcher does not overrule what an operator wants of an instance that has just booted."""
    Boot(paths.drain_run).enter(Stage.REBOOTED)
    assert vrrpctl(command, *words) == ExitCode.OK
    assert Boot(paths.drain_run).stage() is stage


def test_the_watchers_promotion_comes_too_late(
    vrrpctl: Vrrpctl, services: FakeServices, paths: Paths, log: pytest.LogCaptureFixture
) -> None:
    """It waited for the lock of somebody who wants something else: it changes nothing. Where nobody has asked, it promotes."""
    boot = Boot(paths.drain_run)
    boot.enter(Stage.LEAVING)
    word = boot.word()
    boot.enter(Stage.DEMOTED)
    assert vrrpctl("promote", "--if-nothing-since", word) == ExitCode.OK
    assert (services.handover.timeouts, boot.stage()) == ([], Stage.DEMOTED)
    assert "somebody has asked for something else meanwhile: this instance is not promoted" in log.messages
    assert vrrpctl("promote", "--if-nothing-since", boot.word()) == ExitCode.OK
    assert (len(services.handover.timeouts), boot.stage()) == (1, Stage.PROMOTED)


def test_a_promotion_that_fails_stays_due(vrrpctl: Vrrpctl, services: FakeServices, paths: Paths) -> None:
    """The watcher's next try follows."""
    Boot(paths.drain_run).enter(Stage.REBOOTED)
    services.handover.promotion = Ending(Promote.FAILED, "two masters", 5.0)
    assert vrrpctl("promote") == ExitCode.NOT_SETTLED
    assert Boot(paths.drain_run).stage() is Stage.REBOOTED


def test_no_other_command_imports_what_only_the_watcher_needs() -> None:
    """prometheus_client takes a tenth of a second, which a drain shall not wait for."""
    done = python("-c", "import sys, vrrp_drain.commands.main; print('prometheus_client' in sys.modules)")
    assert done.stdout == "False\n"


def test_notify_asks_the_watcher(vrrpctl: Vrrpctl, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that has the pid file gets SIGUSR1; where none has, nothing is told and the exit code says so."""
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    assert vrrpctl("notify") == ExitCode.FAILED
    with PidFile(paths.watcher_pid_file) as watcher:
        watcher.claim()
        assert vrrpctl("notify") == ExitCode.OK
    assert sent == [(os.getpid(), signal.SIGUSR1)]


def test_the_watcher_tells_again_when_it_is_asked(
    vrrpctl: Vrrpctl, services: FakeServices, watcher: type[FakeWatcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGUSR1 has the notifier repeat itself."""
    asked: list[bool] = []
    monkeypatch.setattr("vrrp_drain.watcher.metrics.Metrics.serve", lambda self, port: None)
    monkeypatch.setattr("vrrp_drain.notify.notifier.Notifier.again", lambda self: asked.append(True))
    before = signal.getsignal(signal.SIGUSR1)
    try:
        assert vrrpctl("watch") == ExitCode.OK
        signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert asked == [True]

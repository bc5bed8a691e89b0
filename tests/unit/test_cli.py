"""The command line: exit codes, what goes where, and drain's stdout, of which BOSH believes every integer."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest

import vrrp_drain
from unit.fakes import VIP, FakeIPR, FakeNode, rendered
from vrrp_drain import cli, lifecycle, logs, status
from vrrp_drain.bands import Band
from vrrp_drain.config import Config
from vrrp_drain.demote import Demote
from vrrp_drain.errors import MEANINGS, Busy, Cancelled, ConfigError, ExitCode, NoSuccessor, NotSettled, SystemFault
from vrrp_drain.handover import Ending
from vrrp_drain.keepalived import Keepalived
from vrrp_drain.netlink import Netlink
from vrrp_drain.node import Node
from vrrp_drain.paths import Paths
from vrrp_drain.promote import Promote
from vrrp_drain.signals import Cancellation

pytestmark = pytest.mark.usefixtures("restored_logging")
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
    monkeypatch.setattr(cli, "_keep_stdout_clean", lambda: os.open(os.devnull, os.O_WRONLY))
    return lambda *words: int(cli.main(["--root", str(paths.root), *words]))


@pytest.fixture
def node(node: FakeNode, netlink: Netlink, cancellation: Cancellation, monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    """The node that every command gets."""

    @contextmanager
    def give(session: cli.Session, *, lock_timeout: float | None = None) -> Iterator[tuple[Node, Netlink, Cancellation]]:
        yield node, netlink, cancellation

    monkeypatch.setattr(cli.Session, "node", give)
    return node


def test_every_exit_code_has_a_meaning() -> None:
    """The table for the documentation is complete and has nothing twice."""
    assert list(MEANINGS) == list(ExitCode)
    assert len(set(MEANINGS.values())) == len(ExitCode)


@every_error
@pytest.mark.parametrize("command", ["demote", "promote"])
def test_an_error_becomes_its_exit_code(
    vrrpctl: Vrrpctl, node: FakeNode, capsys: pytest.CaptureFixture[str], command: str, error: BaseException, code: ExitCode
) -> None:
    """Each error has its exit code, its text is on stderr, and stdout is empty."""
    node.fault = error
    assert vrrpctl(command) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert str(error) in said.err


@every_error
@pytest.mark.parametrize(("script", "told"), [*((script, 1) for script in SCRIPTS if script != "post-stop"), ("post-stop", 0)])
def test_for_bosh_every_error_is_1(
    vrrpctl: Vrrpctl,
    node: FakeNode,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    script: str,
    told: int,
    error: BaseException,
    code: ExitCode,
) -> None:
    """A lifecycle script knows success and failure only; post-stop, after which nothing can be saved, logs and succeeds."""

    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(lifecycle, script.replace("-", "_"), fail)
    assert vrrpctl(script) == told
    said = capsys.readouterr()
    assert said.out == ""
    assert str(error) in said.err


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_takes_what_bosh_gives_it(
    vrrpctl: Vrrpctl, node: FakeNode, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], script: str
) -> None:
    """Arguments, also those that look like options, are logged and change nothing."""
    called = []
    monkeypatch.setattr(lifecycle, script.replace("-", "_"), lambda *arguments: called.append(arguments[0]))
    assert vrrpctl(script, "job_changed", "hash_unchanged", "--new", "haproxy") == 0
    assert called == [node]
    assert capsys.readouterr() == ("", "called with job_changed hash_unchanged --new haproxy\n")


def test_pre_stop_knows_its_environment(vrrpctl: Vrrpctl, node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the director tells pre-stop by environment variables arrives."""
    monkeypatch.setenv("BOSH_DEPLOYMENT_NEXT_STATE", "delete")
    assert vrrpctl("pre-stop") == 0
    assert node.timeouts == []


@pytest.mark.parametrize(
    "words",
    [[], ["fly"], ["demote", "--fast"], ["demote", "--timeout", "0"], ["promote", "--timeout", "soon"], ["status", "eth0"], ["keepalived"]],
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


@pytest.mark.parametrize("command", ["demote", "promote"])
@pytest.mark.parametrize(("words", "timeout"), [([], 5.133), (["--timeout", "2.5"], 2.5)])
def test_the_timeout_is_the_manifests_or_the_operators(
    vrrpctl: Vrrpctl, node: FakeNode, command: str, words: list[str], timeout: float
) -> None:
    """Without --timeout, vrrp_drain.handover_timeout bounds the handover."""
    assert vrrpctl(command, *words) == 0
    assert node.timeouts == [pytest.approx(timeout, abs=0.001)]


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
def test_how_a_demotion_ends(vrrpctl: Vrrpctl, node: FakeNode, words: list[str], ending: Demote, code: ExitCode, band: Band) -> None:
    """Without a successor the priority goes back, unless --keep says that it shall not."""
    node.lever.write(Band.DRAINING)  # as the table's action does
    node.demotion = Ending(ending, "a reason", 5.1)
    assert vrrpctl("demote", *words) == code
    assert node.lever.read() is band


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        (Promote.MASTER, ExitCode.OK),
        (Promote.BACKUP, ExitCode.OK),
        (Promote.FAILED, ExitCode.NOT_SETTLED),
        (Promote.CANCELLED, ExitCode.CANCELLED),
    ],
)
def test_how_a_promotion_ends(vrrpctl: Vrrpctl, node: FakeNode, ending: Promote, code: ExitCode) -> None:
    """MASTER and backup are both good ends."""
    node.promotion = Ending(ending, "a reason", 1.1)
    assert vrrpctl("promote") == code


@pytest.mark.parametrize(("command", "band", "priority"), [("demote", Band.DRAINING, 99), ("promote", Band.ACTIVE, 254)])
def test_no_wait_only_changes_the_band(
    vrrpctl: Vrrpctl, node: FakeNode, capsys: pytest.CaptureFixture[str], command: str, band: Band, priority: int
) -> None:
    """--no-wait writes the band and returns, saying that nothing is proven."""
    assert vrrpctl(command, "--no-wait", "--json") == 0
    said = capsys.readouterr()
    assert node.lever.read() is band
    assert node.timeouts == []
    assert json.loads(said.out) == {"instance": "haproxy/0", "vip": VIP, "state": str(band), "priority": priority}
    assert said.err == f"priority is {priority} ({band}); not waiting for what follows\n"


@pytest.mark.parametrize(
    ("command", "state", "code"),
    [("demote", "done", 0), ("demote", "no_successor", 3), ("demote", "cancelled", 7), ("promote", "master", 0), ("promote", "failed", 5)],
)
def test_json_tells_every_end(
    vrrpctl: Vrrpctl, node: FakeNode, capsys: pytest.CaptureFixture[str], command: str, state: str, code: int
) -> None:
    """With --json stdout is one object, also when the handover failed."""
    if command == "demote":
        node.demotion = Ending(Demote[state.upper()], "a reason", 1.23456)
    else:
        node.promotion = Ending(Promote[state.upper()], "a reason", 1.23456)
    assert vrrpctl(command, "--json") == code
    told = json.loads(capsys.readouterr().out)
    assert told == {"instance": "haproxy/0", "vip": VIP, "state": state, "reason": "a reason", "seconds": 1.235}


def test_status(vrrpctl: Vrrpctl, node: FakeNode, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines for people, an object for programs."""
    found = status.Status("haproxy/0", VIP, "eth0", 1, True, 4711, "active", None, 254, True, "", None, None, [], True, [], [])
    monkeypatch.setattr(status, "look", lambda node, netlink: found)
    assert vrrpctl("status") == 0
    assert capsys.readouterr().out.splitlines() == found.lines()
    assert vrrpctl("status", "--json") == 0
    assert json.loads(capsys.readouterr().out) == found.as_json()


@pytest.mark.parametrize("action", ["start", "stop"])
def test_keepalived_is_for_monit(
    vrrpctl: Vrrpctl, paths: Paths, ipr: FakeIPR, config: Config, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    """The keepalived job's own configuration and log are used, so that it also runs without the vrrp-drain job."""
    paths.keepalived_config.parent.mkdir(parents=True)
    paths.keepalived_config.write_text(json.dumps(rendered()))
    called = []
    monkeypatch.setattr(cli, "Netlink", lambda: Netlink(ipr))
    monkeypatch.setattr(Keepalived, action, lambda keepalived, config, netlink: called.append(config))
    assert vrrpctl("keepalived", action) == 0
    assert called == [config]
    assert ipr.closed
    assert (paths.keepalived_log.parent / "vrrpctl.log").exists()


class FakeLock:
    """A lock that notes how it was asked for."""

    wanted: list[tuple[object, ...]]

    def __init__(self, *arguments: object) -> None:
        self.wanted.append(arguments[:3])

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass


@pytest.mark.parametrize(("lock_timeout", "bound"), [(None, None), (0, 5.133), (2.5, 2.5)])
def test_a_session(paths: Paths, ipr: FakeIPR, monkeypatch: pytest.MonkeyPatch, lock_timeout: float | None, bound: float | None) -> None:
    """A command that changes something takes the lock, at most for the time of a handover; a look takes none."""
    paths.drain_config.parent.mkdir(parents=True)
    paths.drain_config.write_text(json.dumps(rendered()))
    monkeypatch.setattr(cli, "Netlink", lambda: Netlink(ipr))
    monkeypatch.setattr(cli, "Lock", FakeLock)
    monkeypatch.setattr(FakeLock, "wanted", [], raising=False)
    logs.set_up("demote", paths.drain_log, chatty=False)
    session = cli.Session()
    session.command, session.paths = "demote", paths
    with session.node(lock_timeout=lock_timeout) as (node, _, _):
        assert node.interface == "eth0"
        cli.log.info("at work")
    assert " haproxy/0 demote[" in paths.drain_log.read_text()
    assert FakeLock.wanted == ([] if bound is None else [(paths.drain_run / "lock", "vrrpctl demote", pytest.approx(bound, abs=0.001))])
    assert ipr.closed


# drain in a process of its own: only there stdout is what the agent reads.

DRAIN = """
import contextlib, os, sys
from vrrp_drain import cli, lifecycle
from vrrp_drain.errors import NoSuccessor

@contextlib.contextmanager
def node(session, *, lock_timeout=None):
    yield None, None, None

def drain(node, cancellation):
    print("1")
    os.write(1, b"2")
    os.system("echo 3")
    {ending}

cli.Session.node = node
lifecycle.drain = drain
sys.exit(cli.main(sys.argv[1:]))
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
    """The file or the property is named on stderr, the exit code is 1, and stdout is empty."""
    if content is not None:
        paths.drain_config.parent.mkdir(parents=True)
        paths.drain_config.write_text(content)
    done = python("-m", "vrrp_drain", "--root", paths.root, "drain", "job_changed", "hash_changed")
    assert (done.returncode, done.stdout) == (1, "")
    assert said.format(file=paths.drain_config) in done.stderr


@pytest.mark.parametrize("words", [["--unknown", "drain"], ["--root"], ["drain", "--root"]])
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

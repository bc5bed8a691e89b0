"""The command line. Commands raise; ``main`` prints one line and sets the exit code.

What one command alone needs is imported there: a drain waits for every import at the top.
"""

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from vrrp_drain import __version__
from vrrp_drain.config.model import Config
from vrrp_drain.handoff.rules import Rules
from vrrp_drain.handover.demote import Demote
from vrrp_drain.handover.node import Node
from vrrp_drain.handover.runner import Ending
from vrrp_drain.handover.transitions import State
from vrrp_drain.keepalived.daemon import Daemon
from vrrp_drain.linux.rtnetlink import Netlink
from vrrp_drain.notify.history import History
from vrrp_drain.runtime import files, logs
from vrrp_drain.runtime.boot import Boot, Stage
from vrrp_drain.runtime.errors import LOOK_AT_PEERS, Busy, Cancelled, ExitCode, Felt, NoSuccessor, SystemFault, Unwell, VrrpDrainError
from vrrp_drain.runtime.lock import Lock
from vrrp_drain.runtime.paths import ROOT, Paths
from vrrp_drain.runtime.pid_file import PidFile
from vrrp_drain.runtime.signals import Cancellation
from vrrp_drain.vrrp.bands import Band

from . import lifecycle

log = logging.getLogger(__name__)
_LAST_WORDS = 2.0  # seconds for notices that are still queued when the watcher ends
_MOVES_SHOWN = 12
_RATES = 10, 200  # connections a second
_UMASK = 0o022  # whatever monit or the agent hands down: logs can be forwarded by others, and written by root alone
_LAST = "post-stop"  # the script after which nothing is left to be protected
_SECONDS = click.FloatRange(min=0, min_open=True, max=3600)


class Session:
    """What a command works with: paths, the configuration, the kernel, signals, and the lock if it changes anything."""

    def __init__(self) -> None:
        self.command = ""
        self.paths = Paths()
        self.is_script = False
        self.agents_stdout: int | None = None

    @contextmanager
    def node(self, *, lock_timeout: float | None = None) -> Iterator[tuple[Node, Netlink, Cancellation]]:
        """Give the node; with the lock, which is waited for ``lock_timeout`` seconds (0: as long as a handover may take)."""
        config = Config.load(self.paths.drain_config)
        logs.say_where(config.me)
        with ExitStack() as stack:
            cancellation = stack.enter_context(Cancellation())
            netlink = stack.enter_context(Netlink())
            node = Node(config, self.paths, netlink, cancellation)
            if lock_timeout is not None:
                # a promotion by the watcher, which a script may meet, listens to the MASTER first
                bound = lock_timeout or config.drain.handover_timeout * (2 if self.is_script else 1)
                lock = Lock(self.paths.lock, f"vrrpctl {self.command}", bound, cancellation, log.info)
                try:
                    stack.enter_context(lock)
                except Busy as error:
                    if self.command != _LAST:
                        raise
                    log.warning("%s yet; keepalived has been stopped here, so %s goes on all the same", error, _LAST)
            yield node, netlink, cancellation


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="vrrpctl")
@click.option("--root", type=click.Path(path_type=Path), default=ROOT, show_default=True, help="Where BOSH keeps its jobs.")
@click.pass_context
def vrrpctl(context: click.Context, root: Path) -> None:
    """Move this instance's virtual IP without clients noticing, and see where it is.

    Run it as root on an instance that has the vrrp-drain job. What it did is in
    /var/vcap/sys/log/vrrp-drain/vrrp-drain.log.
    """
    session: Session = context.obj
    session.command = context.invoked_subcommand or ""
    session.paths = Paths(root)
    session.is_script = session.command in _SCRIPTS
    if session.command == "drain":
        session.agents_stdout = _keep_stdout_clean()


@vrrpctl.command()
@click.option("--timeout", type=_SECONDS, help="Seconds to wait for a successor.  [default: vrrp_drain.handover_timeout]")
@click.option("--no-wait", is_flag=True, help="Lower the priority and return; prove nothing.")
@click.option("--keep", is_flag=True, help="Stay demoted even if nobody takes over.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_obj
def demote(session: Session, timeout: float | None, no_wait: bool, keep: bool, as_json: bool) -> None:
    """Hand the VIP to a peer, and stay out of the election until promoted."""
    logs.set_up("demote", session.paths.drain_log, chatty=True)
    with session.node(lock_timeout=timeout or 0) as (node, _, _):
        Boot(session.paths.drain_run).enter(Stage.DEMOTED)
        if no_wait:
            _change_band(node, Band.DRAINING, as_json)
            return
        ending = node.demote(timeout or node.config.drain.handover_timeout)
        if as_json:
            _print_ending(node, ending)
        if ending.state is Demote.CANCELLED:
            raise Cancelled(f"{node.config.me} goes on as before")
        if ending.state is Demote.NO_SUCCESSOR and not keep:
            node.priority_control.write(Band.ACTIVE)
            priority = node.config.keepalived.priority
            raise NoSuccessor(f"no successor: the priority of {node.config.me} is back at {priority}. {LOOK_AT_PEERS}")


@vrrpctl.command()
@click.option("--timeout", type=_SECONDS, help="Seconds to wait for a settled state.  [default: vrrp_drain.handover_timeout]")
@click.option("--no-wait", is_flag=True, help="Raise the priority and return; prove nothing.")
@click.option("--if-nothing-since", "word", hidden=True, help="For the watcher: change nothing if anybody has asked for anything since.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_obj
def promote(session: Session, timeout: float | None, no_wait: bool, word: str | None, as_json: bool) -> None:
    """Take part in the election again; ends when this instance is MASTER or a peer outranks it."""
    logs.set_up("promote", session.paths.drain_log, chatty=True)
    with session.node(lock_timeout=timeout or 0) as (node, _, _):
        if word is not None and word != Boot(session.paths.drain_run).word():
            log.info("somebody has asked for something else meanwhile: this instance is not promoted")
            return
        if no_wait:
            _change_band(node, Band.ACTIVE, as_json)
            Boot(session.paths.drain_run).enter(Stage.PROMOTED)
            return
        ending = node.promote(timeout or node.config.drain.handover_timeout)
        if as_json:
            _print_ending(node, ending)
        lifecycle.settled(node, ending)
        Boot(session.paths.drain_run).enter(Stage.PROMOTED)


@vrrpctl.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@click.pass_obj
def show_status(session: Session, as_json: bool) -> None:
    """Say where the VIP is and how this instance stands."""
    from . import status

    logs.set_up("status", session.paths.drain_log, chatty=False)
    with session.node() as (node, _, _):
        found = status.look(node)
    click.echo(json.dumps(found.as_json()) if as_json else "\n".join(found.lines()))


@vrrpctl.command()
@click.option("--stop", is_flag=True, help="End the watcher that runs, and wait for it.")
@click.option("--detached", is_flag=True, help="Write what goes to stdout and stderr to watch.log.")
@click.pass_obj
def watch(session: Session, stop: bool, detached: bool) -> None:
    """Watch the VIP, keepalived and haproxy, and tell what happens; monit starts and stops it."""
    if detached:
        _detach(session.paths.watch_log)
    logs.set_up("watch", session.paths.drain_log, chatty=False)
    with PidFile(session.paths.watcher_pid_file) as pid_file:
        if stop:
            pid_file.stop()
            return
        pid_file.claim()
        with session.node() as (node, netlink, cancellation):
            _watch(node, netlink, cancellation)


@vrrpctl.command("notify")
@click.pass_obj
def tell_again(session: Session) -> None:
    """Have the watcher tell hooks and webhooks once more how this instance stands."""
    logs.set_up("notify", session.paths.drain_log, chatty=True)
    pid = PidFile.holder(session.paths.watcher_pid_file)
    if pid is None:
        raise SystemFault("the watcher does not run here, and nobody else tells hooks and webhooks: monit start vrrp-drain-watch")
    os.kill(pid, signal.SIGUSR1)
    log.info("the watcher (pid %d) tells hooks and webhooks again", pid)


@vrrpctl.command("top")
@click.option("--every", type=_SECONDS, default=2.0, show_default=True, help="Seconds between two looks.")
@click.pass_obj
def show_top(session: Session, every: float) -> None:
    """Show status and the last moves, live, until Ctrl-C."""
    from . import status, top

    logs.set_up("top", session.paths.drain_log, chatty=False)
    with session.node() as (node, _, cancellation):
        story = History(session.paths.history)
        top.show(lambda: status.look(node), lambda: story.last(_MOVES_SHOWN), cancellation.wait, every)


@vrrpctl.command("history")
@click.option("-n", "--count", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many of the last notices.")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON, one a line.")
@click.pass_obj
def show_history(session: Session, count: int, as_json: bool) -> None:
    """Say what happened here: moves with their durations and causes, and conditions."""
    for each in History(session.paths.history).last(count):
        found = each.as_json()
        click.echo(json.dumps(found) if as_json else f"{found['time']}  {each.line()}")


@vrrpctl.command("doctor")
@click.option("--timeout", type=_SECONDS, default=10.0, show_default=True, help="Seconds that all checks together may take.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@click.pass_obj
def run_doctor(session: Session, timeout: float, as_json: bool) -> None:
    """Look for everything that makes a handover fail, and say how to mend it. Changes nothing."""
    from vrrp_drain import doctor

    logs.set_up("doctor", session.paths.drain_log, chatty=False)
    report = doctor.examine(session.paths, timeout)
    logs.say_where(report.instance or "unknown instance")
    click.echo(json.dumps(report.as_json()) if as_json else "\n".join(report.lines()))
    if not report.healthy:
        raise Unwell(report.summary)


@vrrpctl.command()
@click.option("--rate", type=click.IntRange(*_RATES), default=100, show_default=True, help="Connections to try each second.")
@click.option("--port", type=click.IntRange(1, 65535), help="Where clients connect.  [default: that of vrrp_drain.health_check]")
@click.option("--timeout", type=_SECONDS, help="Seconds that each move may take.  [default: vrrp_drain.handover_timeout]")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_obj
def rehearse(session: Session, rate: int, port: int | None, timeout: float | None, as_json: bool) -> None:
    """On the MASTER: hand the VIP to a peer and take it back, and say what clients would have felt.

    Nothing is moved while doctor finds a problem. However it ends, this instance is in the active band again.
    """
    from vrrp_drain import rehearsal

    logs.set_up("rehearse", session.paths.drain_log, chatty=True)
    with session.node(lock_timeout=timeout or 0) as (node, _, cancellation):
        rehearsal.check(node, session.paths)
        target, known = rehearsal.target(node, port), rehearsal.names(node)
        client = rehearsal.Client(target, time.monotonic(), known.keys() - target.macs)
        with rehearsal.Prober(client, rate) as prober:
            report = rehearsal.rehearse(node, cancellation, prober, known, timeout or node.config.drain.handover_timeout)
    click.echo(json.dumps(report.as_json()) if as_json else "\n".join(report.lines()))
    if report.total.felt and report.error is None:
        raise Felt(report.summary)
    log.info("%s", report.summary)
    if report.error is not None:
        raise report.error


def _script(name: str, run: Callable[[Node, Cancellation], None]) -> None:
    """Add one of BOSH's lifecycle scripts. BOSH knows success (0) and failure (1)."""

    @vrrpctl.command(name, help=f"BOSH's {name} script.", context_settings={"ignore_unknown_options": True})
    @click.argument("arguments", nargs=-1)
    @click.pass_obj
    def command(session: Session, arguments: tuple[str, ...]) -> None:
        logs.set_up(name, session.paths.drain_log, chatty=True)
        if arguments:
            log.info("called with %s", " ".join(arguments))
        with session.node(lock_timeout=0) as (node, _, cancellation):
            run(node, cancellation)


_script("pre-start", lambda node, _: lifecycle.pre_start(node))
_script("post-start", lambda node, cancellation: lifecycle.post_start(node, cancellation))
_script("pre-stop", lambda node, _: lifecycle.pre_stop(node, os.environ))
_script("drain", lambda node, cancellation: lifecycle.drain(node, cancellation))
_script("post-stop", lambda node, _: lifecycle.post_stop(node))
_SCRIPTS = frozenset({"pre-start", "post-start", "pre-stop", "drain", "post-stop"})


@vrrpctl.group()
def keepalived() -> None:
    """Start and stop the keepalived job's process, for monit."""


@keepalived.command("start")
@click.pass_obj
def keepalived_start(session: Session) -> None:
    """Write keepalived.conf, check it, start keepalived."""
    _keepalived(session, Daemon.start)


@keepalived.command("stop")
@click.pass_obj
def keepalived_stop(session: Session) -> None:
    """Stop keepalived and leave no VIP behind."""
    _keepalived(session, Daemon.stop)


def _keepalived(session: Session, act: Callable[[Daemon, Config, Netlink], None]) -> None:
    logs.set_up("keepalived", session.paths.keepalived_log.with_name("vrrpctl.log"), chatty=True)
    config = Config.load(session.paths.keepalived_config)
    logs.say_where(config.me)
    with Netlink() as netlink:
        act(Daemon(session.paths, log.info, lambda: Rules().state().tables), config, netlink)


def _detach(path: Path) -> None:
    """Send stdout and stderr to a log of ours, which a shell could not open safely; where there is none to be had they stay as they are."""
    try:
        fd, _ = files.open_to_append(path)
    except OSError:
        return
    for each in (1, 2):
        os.dup2(fd, each)
    os.close(fd)


def _watch(node: Node, netlink: Netlink, cancellation: Cancellation) -> None:
    from vrrp_drain.linux import connections
    from vrrp_drain.notify.notifier import Notifier
    from vrrp_drain.watcher.loop import Watcher
    from vrrp_drain.watcher.metrics import Metrics

    drain = node.config.drain
    notifier = Notifier(drain.hooks, drain.webhooks)
    metrics = Metrics(
        node.config.keepalived.priority, node.rules.state, lambda: connections.count(node.config.keepalived.addresses), notifier.counts
    )
    try:
        metrics.serve(drain.metrics_port or 0)
    except SystemFault as error:
        log.warning("%s", error)
    signal.signal(signal.SIGUSR1, lambda *_: notifier.again())
    try:
        Watcher(node, netlink, cancellation, metrics, [History(node.paths.history).append, notifier.tell]).run()
    finally:
        notifier.close(_LAST_WORDS)
        metrics.close()


def _change_band(node: Node, band: Band, as_json: bool) -> None:
    node.priority_control.write(band)
    ours = node.config.keepalived
    priority = ours.lowered if band is Band.DRAINING else ours.priority
    log.info("priority is %s (%s); not waiting for what follows", priority, band)
    if as_json:
        click.echo(json.dumps({"instance": str(node.config.me), "vip": str(node.config.vip), "state": str(band), "priority": priority}))


def _print_ending(node: Node, ending: Ending[State]) -> None:
    click.echo(
        json.dumps(
            {
                "instance": str(node.config.me),
                "vip": str(node.config.vip),
                "state": ending.state.name.lower(),
                "reason": ending.reason,
                "seconds": round(ending.seconds, 3),
            }
        )
    )


def main(arguments: list[str] | None = None) -> int:
    """Run vrrpctl and return its exit code. Nothing but drain's one integer ever reaches drain's stdout."""
    session = Session()
    os.umask(_UMASK)
    try:
        vrrpctl.main(arguments, prog_name="vrrpctl", standalone_mode=False, obj=session)
        code = ExitCode.OK
        if session.agents_stdout is not None:
            os.write(session.agents_stdout, b"0\n")
    except click.ClickException as error:
        error.show()
        code = ExitCode.USAGE
    except click.Abort:
        code = ExitCode.CANCELLED
    except VrrpDrainError as error:
        log.error("%s", error)
        code = error.exit_code
    except Exception as error:
        log.exception("a fault of vrrp-drain itself, please report it: %r", error)
        code = ExitCode.FAILED
    if session.command == _LAST:
        return ExitCode.OK  # this instance has stopped: there is nothing that BOSH could still save by halting
    return ExitCode.FAILED if session.is_script and code != ExitCode.OK else code


def _keep_stdout_clean() -> int:
    """Keep the agent's pipe for the one integer; whatever else is printed, by whomever, goes to stderr.

    If stdout held an integer the agent would ignore our exit code (bosh-agent, agent/script/drain/concrete_script.go).
    """
    sys.stdout.flush()
    pipe = os.dup(1)
    os.dup2(2, 1, inheritable=False)
    return pipe

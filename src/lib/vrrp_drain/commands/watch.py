"""`vrrpctl watch`, which monit starts and stops."""

import logging
import os
import signal
from pathlib import Path

import click

from vrrp_drain.handover.services import Services
from vrrp_drain.notify.history import History
from vrrp_drain.notify.notifier import Notifier
from vrrp_drain.runtime import files, former_boot, logs
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.pid_file import PidFile
from vrrp_drain.runtime.signals import Cancellation
from vrrp_drain.watcher.loop import Watcher
from vrrp_drain.watcher.metrics import Metrics

from .session import Session

log = logging.getLogger(__name__)

_LAST_WORDS = 2.0  # seconds for notices that are still queued when the watcher ends


@click.command("watch")
@click.option("--stop", is_flag=True, help="End the watcher that runs, and wait for it.")
@click.option("--detached", is_flag=True, help="Write what goes to stdout and stderr to watch.log.")
@click.pass_obj
def command(session: Session, stop: bool, detached: bool) -> None:
    """Watch the VIP, keepalived and haproxy, and tell what happens; monit starts and stops it."""
    if detached:
        _detach(session.paths.drain_log.with_name("watch.log"))
    logs.set_up("watch", session.paths.drain_log, chatty=False)
    with PidFile(session.paths.watcher_pid_file) as pid_file:
        if stop:
            pid_file.stop()
            return
        pid_file.claim()
        former_boot.forget(session.paths.drain_run)
        with session.opened() as opened:
            _watch(opened.services, opened.cancellation)


def _detach(path: Path) -> None:
    """Send stdout and stderr to a log of ours, which a shell could not open safely; where there is none to be had they stay as they are."""
    try:
        fd, _ = files.open_to_append(path)
    except OSError:
        return
    for each in (1, 2):
        os.dup2(fd, each)
    os.close(fd)


def _watch(services: Services, cancellation: Cancellation) -> None:
    machine, config = services.machine, services.instance.config
    notifier = Notifier(config.drain.hooks, config.drain.webhooks)
    whose = config.keepalived.addresses, config.drain.quic_ports
    metrics = Metrics(services.instance.active, machine.rules.state, lambda: machine.haproxy.connections(*whose), notifier.counts)
    try:
        metrics.serve(config.drain.metrics_port or 0)
    except SystemFault as error:
        log.warning("%s", error)
    signal.signal(signal.SIGUSR1, lambda *_: notifier.again())
    try:
        Watcher(services, cancellation, metrics, [History(services.instance.paths.history).append, notifier.tell]).run()
    finally:
        notifier.close(_LAST_WORDS)
        metrics.close()

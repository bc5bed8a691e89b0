"""`vrrpctl notify`."""

import logging
import os
import signal

import click

from vrrp_drain.runtime import logs
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.pid_file import PidFile

from .session import Session

log = logging.getLogger(__name__)


@click.command("notify")
@click.pass_obj
def command(session: Session) -> None:
    """Have the watcher tell hooks and webhooks once more how this instance stands."""
    logs.set_up("notify", session.paths.drain_log, chatty=True)
    pid = PidFile.holder(session.paths.watcher_pid_file)
    if pid is None:
        raise SystemFault("the watcher does not run here, and nobody else tells hooks and webhooks: monit start vrrp-drain-watch")
    os.kill(pid, signal.SIGUSR1)
    log.info("the watcher (pid %d) tells hooks and webhooks again", pid)

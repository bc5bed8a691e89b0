"""`vrrpctl keepalived`, for monit."""

import logging
from collections.abc import Callable

import click

from vrrp_drain.config.model import Config
from vrrp_drain.handoff.rules import Rules
from vrrp_drain.keepalived.daemon import Daemon
from vrrp_drain.linux.rtnetlink import Netlink
from vrrp_drain.runtime import former_boot, logs

from .session import Session

log = logging.getLogger(__name__)


@click.group("keepalived")
def command() -> None:
    """Start and stop the keepalived job's process, for monit."""


@command.command("start")
@click.pass_obj
def start(session: Session) -> None:
    """Write keepalived.conf, check it, start keepalived."""
    _do(session, _start)


@command.command("stop")
@click.pass_obj
def stop(session: Session) -> None:
    """Stop keepalived and leave no VIP behind."""
    _do(session, Daemon.stop)


@command.command("reload")
@click.pass_obj
def reload(session: Session) -> None:
    """Have keepalived advert to the peers that are known now."""
    _do(session, Daemon.reload)


def _start(daemon: Daemon, config: Config, netlink: Netlink) -> None:
    former_boot.forget(daemon.pid_file.parent)
    daemon.start(config, netlink)


def _do(session: Session, act: Callable[[Daemon, Config, Netlink], None]) -> None:
    logs.set_up("keepalived", session.paths.keepalived_log.with_name("vrrpctl.log"), chatty=True)
    config = Config.load(session.paths.keepalived_config)
    logs.say_where(config.me)
    with Netlink() as netlink:
        daemon = Daemon(session.paths, log.info, lambda: Rules().membership().tables, lambda: Rules().membership().members)
        act(daemon, config, netlink)

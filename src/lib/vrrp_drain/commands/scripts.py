"""BOSH's lifecycle scripts as commands: which of them holds the lock, and for how long. BOSH knows success (0) and failure (1)."""

import logging
import os
from collections.abc import Sequence
from contextlib import ExitStack

import click

from vrrp_drain.runtime import former_boot, logs
from vrrp_drain.runtime.errors import Busy, ConfigError, SystemFault
from vrrp_drain.runtime.lock import Lock

from . import broken, finishing, lifecycle
from .session import Opened, Session

log = logging.getLogger(__name__)

_LEAVING = ("pre-stop", "drain")


def command(name: str) -> click.Command:
    """Return the script of this name as a command."""

    @click.command(name, help=f"BOSH's {name} script.", context_settings={"ignore_unknown_options": True})
    @click.argument("arguments", nargs=-1)
    @click.pass_obj
    def script(session: Session, arguments: tuple[str, ...]) -> None:
        logs.set_up(name, session.paths.drain_log, chatty=True)
        if arguments:
            log.info("called with %s", " ".join(arguments))
        try:
            with session.opened() as opened:
                _RUN[name](session, opened, arguments)
        except (ConfigError, SystemFault) as error:
            if name not in _LEAVING:
                raise
            broken.let_go(session.paths, os.environ, error)

    return script


def _pre_start(session: Session, opened: Opened, arguments: Sequence[str]) -> None:
    with _lock(session, opened):
        former_boot.forget(session.paths.drain_run)
        lifecycle.pre_start(opened.services)


def _post_start(session: Session, opened: Opened, arguments: Sequence[str]) -> None:
    with _lock(session, opened):
        lifecycle.post_start(opened.services, opened.cancellation)


def _pre_stop(session: Session, opened: Opened, arguments: Sequence[str]) -> None:
    bounds = lifecycle.Bounds.of(opened.services)
    with _lock(session, opened):
        lifecycle.pre_stop(opened.services, os.environ, bounds)


def _drain(session: Session, opened: Opened, arguments: Sequence[str]) -> None:
    """The lock is held while the VIP moves, and not while clients finish: nobody needs to wait for that."""
    bounds = lifecycle.Bounds.of(opened.services)
    with ExitStack() as held:
        with _lock(session, opened):
            if not lifecycle.drain(opened.services, arguments, bounds):
                return
            session.finishing(opened, held)
        finishing.finish_connections(opened.services, opened.cancellation)


def _post_stop(session: Session, opened: Opened, arguments: Sequence[str]) -> None:
    with ExitStack() as stack:
        try:
            stack.enter_context(_lock(session, opened))
        except Busy as error:
            log.warning("%s yet; keepalived has been stopped here, so post-stop goes on all the same", error)
        lifecycle.post_stop(opened.services)


_RUN = {"pre-start": _pre_start, "post-start": _post_start, "pre-stop": _pre_stop, "drain": _drain, "post-stop": _post_stop}


def _lock(session: Session, opened: Opened) -> Lock:
    """Return the lock, for which as long is waited as a handover may take. A promotion by the watcher makes way for what BOSH wants."""
    return session.lock(opened, outranks=True)

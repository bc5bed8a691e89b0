"""What a command works with: paths, the configuration, the kernel, signals, and the lock if it changes anything."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import click

from vrrp_drain.config.model import Config
from vrrp_drain.handover.services import Services, assemble
from vrrp_drain.handover.this_machine import ThisMachine
from vrrp_drain.linux.rtnetlink import Netlink
from vrrp_drain.runtime import logs
from vrrp_drain.runtime.errors import Busy, SystemFault
from vrrp_drain.runtime.lock import Lock
from vrrp_drain.runtime.paths import Paths
from vrrp_drain.runtime.signals import Cancellation

log = logging.getLogger(__name__)

SECONDS = click.FloatRange(min=0, min_open=True, max=3600)


@dataclass(frozen=True)
class Opened:
    """The services of this instance, and the signals that end the command."""

    services: Services
    cancellation: Cancellation


class Session:
    """Made once by main; the group fills in what the command line says."""

    def __init__(self) -> None:
        self.command = ""
        self.paths = Paths()
        self.agents_stdout: int | None = None

    @contextmanager
    def opened(self) -> Iterator[Opened]:
        """Give the services, without a lock. Raises ConfigError and SystemFault."""
        config = Config.load(self.paths.drain_config)
        logs.say_where(config.me)
        with ExitStack() as stack:
            cancellation = stack.enter_context(Cancellation())
            netlink = stack.enter_context(Netlink())
            yield Opened(assemble(config, self.paths, ThisMachine(netlink, self.paths.listening), cancellation), cancellation)

    @contextmanager
    def alone(self, timeout: float | None, *, makes_way: bool = False) -> Iterator[Opened]:
        """Give the services with the lock, which is waited for ``timeout`` seconds, or as long as a handover may take."""
        with self.opened() as opened, self.lock(opened, timeout, makes_way=makes_way):
            yield opened

    def lock(self, opened: Opened, timeout: float | None = None, *, makes_way: bool = False, outranks: bool = False) -> Lock:
        """Return the lock for whoever moves this instance, to be entered."""
        seconds, holder = timeout or opened.services.instance.config.drain.handover_timeout, f"vrrpctl {self.command}"
        return Lock(self.paths.lock, holder, seconds, opened.cancellation, log.info, makes_way=makes_way, outranks=outranks)

    def finishing(self, opened: Opened, held: ExitStack) -> None:
        """Have ``held`` tell others that this command waits for connections to end, unless another one says so already."""
        try:
            held.enter_context(Lock(self.paths.finishing, f"vrrpctl {self.command}", 0.0, opened.cancellation, log.info))
        except (Busy, SystemFault) as error:
            log.info("%s", error)

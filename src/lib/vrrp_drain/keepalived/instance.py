"""This instance: its configuration, where the machine has its place in the virtual router, and what follows from both."""

from dataclasses import dataclass
from pathlib import Path

from vrrp_drain.config.model import Config, Transport
from vrrp_drain.config.upstream_job import UNHEALTHY_BY
from vrrp_drain.linux.rtnetlink import Netlink
from vrrp_drain.runtime.ip import IPAddress
from vrrp_drain.runtime.paths import Paths
from vrrp_drain.vrrp import bands
from vrrp_drain.vrrp.bands import Band

from . import attachment
from .attachment import Attachment


@dataclass(frozen=True)
class Instance:
    """What is known when a command begins, and does not change while it runs."""

    config: Config
    attachment: Attachment
    paths: Paths

    @classmethod
    def find(cls, config: Config, paths: Paths, netlink: Netlink) -> "Instance":
        """Return this instance as the machine has it. Raises ConfigError when there is no interface for the VIP."""
        return cls(config, attachment.find(config, netlink), paths)

    @property
    def name(self) -> str:
        """Return it as BOSH writes it, such as haproxy/0."""
        return str(self.config.me)

    @property
    def vip(self) -> IPAddress:
        return self.config.vip

    @property
    def interface(self) -> str:
        """Return the interface that carries the adverts."""
        return self.attachment.interface

    @property
    def pid_file(self) -> Path:
        """Return the pid file of the keepalived that runs here, be it another job's."""
        upstream = self.config.drain.upstream_job
        return self.paths.keepalived_pid_file if upstream is None else upstream.pid_file

    @property
    def keepalived_conf(self) -> Path:
        """Return the configuration of the keepalived that runs here, be it another job's."""
        upstream = self.config.drain.upstream_job
        return self.paths.keepalived_conf if upstream is None else upstream.config

    @property
    def active(self) -> int:
        """Return the priority of this instance in the active band."""
        return self.config.keepalived.priority

    @property
    def lowered(self) -> int:
        """Return the priority of this instance in the draining band."""
        return self.config.keepalived.lowered

    @property
    def needed_to_outrank(self) -> int:
        """Return the priority of a MASTER that is none of our business to replace: without preemption that of any active one."""
        return self.active if self.config.keepalived.preempt else bands.LOWEST_ACTIVE

    @property
    def hands_off(self) -> bool:
        """Tell whether open connections are to survive a move."""
        return self.config.drain.connection_handoff

    def interface_of(self, vip: IPAddress) -> str:
        """Return the interface that keepalived puts ``vip`` on."""
        return attachment.interface_of(vip, self.config, self.interface)

    @property
    def tunnels(self) -> bool:
        """Tell whether their packets are handed on inside others."""
        return self.hands_off and self.config.drain.handoff_transport is Transport.TUNNEL

    @property
    def named_peers(self) -> frozenset[IPAddress]:
        """Return the addresses of the peers that the link or the operator names."""
        return frozenset({*self.config.peer_addresses, *(peer.address for peer in self.config.peers)})

    def priority(self, band: Band, *, unhealthy: bool) -> int:
        """Return what this instance adverts, or would as MASTER, as far as its band and the watcher's mark decide it."""
        base = self.lowered if band is Band.DRAINING else self.active
        if not unhealthy:
            return base
        return bands.effective(base + (bands.UNHEALTHY_WEIGHT if self.config.drain.upstream_job is None else -UNHEALTHY_BY))

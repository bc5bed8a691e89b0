"""The one configuration object: read from a job's JSON file, valid once built, frozen.

Errors name the property as the operator wrote it in the manifest, the value, and what is allowed: schema.py says what that is, and
the templates refuse the same while BOSH renders them, before it stops anything. Both jobs render the same ``instance``, ``instances``
and ``keepalived`` sections from the keepalived link; the vrrp-drain job adds its own section.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult

from vrrp_drain.runtime.errors import ConfigError, what_happened
from vrrp_drain.runtime.ip import IPAddress, IPInterface, IPNetwork
from vrrp_drain.runtime.str_enum import StrEnum
from vrrp_drain.vrrp import bands

from .check import Wrong, check, slowest_takeover
from .receivers import Hook, Webhook
from .schema import BESIDE, DOCUMENT
from .upstream_job import LOWERED_BY, UpstreamJob
from .upstream_job import read as read_upstream_job


class Proof(StrEnum):
    """What proves who has the VIP: vrrp_drain.takeover_proof."""

    ARP = "arp"
    ADVERTS = "adverts"
    COMMAND = "command"


GRACE = 2.0  # seconds that a handover gets on top of Master_Down_Interval
UNTIL_DRAIN = 60.0  # seconds from the move in pre-stop until drain begins to wait: BOSH waits for every job's pre-stop


class Transport(StrEnum):
    """How packets of open connections get to whoever serves them: ``vrrp_drain.handoff_transport``."""

    DIRECT = "direct"
    TUNNEL = "tunnel"


@dataclass(frozen=True)
class Member:
    """One member of the instance group, as the keepalived link describes it."""

    name: str
    index: int
    id: str
    address: IPAddress
    bootstrap: bool

    def __str__(self) -> str:
        return f"{self.name}/{self.index}"


@dataclass(frozen=True)
class Mail:
    """Where keepalived reports its transitions; ``timeout`` in seconds."""

    recipients: tuple[str, ...]
    sender: str
    server: tuple[str, int]
    timeout: int


@dataclass(frozen=True)
class Keepalived:
    """The properties ``keepalived.*``; times in seconds.

    ``priority`` is what a healthy instance of the active band adverts, ``lowered`` the same in the draining band, and an
    unhealthy one has ``unhealthy_weight`` (negative, or 0 for FAULT) more.
    """

    vip: IPInterface
    vips: tuple[IPInterface, ...]
    interface: str
    virtual_router_id: int
    vrrp_version: int
    advert_int: float
    priority: int
    lowered: int
    unhealthy_weight: int
    preempt: bool
    preempt_delay: float
    startup_delay: float
    healthcheck_name: str
    healthcheck_command: str
    healthcheck_interval: int
    healthcheck_timeout: int
    healthcheck_rise: int
    healthcheck_fall: int
    track_process: str | None
    track_interfaces: tuple[str, ...]
    dont_track_primary: bool
    unicast: bool
    unicast_peers: tuple[IPAddress, ...]
    unicast_hops: int
    source: IPNetwork | None
    auth_pass: str | None
    garp_master_refresh: int
    garp_master_delay: int
    mail: Mail | None
    use_vmac: bool
    extra_global_config: str
    extra_instance_config: str

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        """All virtual addresses, the one that stands in the adverts first."""
        return tuple(each.ip for each in (self.vip, *self.vips))

    @property
    def slowest_takeover(self) -> float:
        """Return for how long a successor may wait: Master_Down_Interval, and what preempt_delay adds."""
        return slowest_takeover(self.advert_int, self.vrrp_version, self.preempt_delay)


@dataclass(frozen=True)
class VrrpDrain:
    """The properties ``vrrp_drain.*``; times in seconds.

    ``handoff_window`` is at least as long as a drain takes. ``upstream_job`` is given where keepalived is another release's.
    ``handoff_mark`` is 0 for none. ``quic_ports`` are those of HTTP/3.
    Without ``metrics_port`` there are no metrics, without ``health_check`` haproxy is asked where it listens.
    """

    handover_timeout: float
    successor_timeout: float
    post_start_timeout: float
    on_no_successor: str
    takeover_proof: Proof
    takeover_command: tuple[str, ...] | None
    fast_handover: bool
    connection_handoff: bool
    handoff_window: float
    handoff_mark: int
    quic_ports: tuple[int, ...]
    handoff_transport: Transport
    handoff_tunnel_port: int
    drain_timeout: float
    quiet_time: float
    promote_after: float
    haproxy_soft_stop: bool
    haproxy_pid_file: Path
    health_check: SplitResult | None
    health_interval: float
    health_fall: int
    health_rise: int
    metrics_port: int | None
    hooks: tuple[Hook, ...]
    webhooks: tuple[Webhook, ...]
    upstream_job: UpstreamJob | None


@dataclass(frozen=True)
class Config:
    """All that one instance knows of itself, its peers and its virtual router."""

    me: Member
    instances: tuple[Member, ...]
    keepalived: Keepalived
    drain: VrrpDrain

    @property
    def vip(self) -> IPAddress:
        return self.keepalived.vip.ip

    @property
    def peers(self) -> tuple[Member, ...]:
        return tuple(i for i in self.instances if i.id != self.me.id)

    @property
    def ranked(self) -> list[Member]:
        """Return the instances by their places in the group."""
        return _ranked(self.instances)

    @property
    def rank(self) -> int:
        """Return our own place."""
        return _rank(self.me, self.instances)

    @property
    def peer_addresses(self) -> tuple[IPAddress, ...]:
        """Return where the peers' adverts come from, as far as it is known, and with unicast where ours go to."""
        return self.keepalived.unicast_peers or tuple(peer.address for peer in self.peers)

    @classmethod
    def load(cls, path: Path) -> "Config":
        """Read and check ``path``. Raises ConfigError."""
        try:
            raw = json.loads(path.read_bytes())
        except OSError as error:
            raise ConfigError("configuration file", str(path), f"must be readable ({error.strerror})") from None
        except ValueError as error:
            raise ConfigError("configuration file", str(path), f"must be JSON ({what_happened(error)})") from None
        return cls.parse(raw)

    @classmethod
    def parse(cls, raw: object, read: Callable[[UpstreamJob], Mapping[str, Any]] = read_upstream_job) -> "Config":
        """Check what the job's template rendered; ``read`` tells what another release's keepalived is set to. Raises ConfigError."""
        try:
            values = DOCUMENT.typed(given := check(DOCUMENT, raw))
            other = _upstream_job(values["vrrp_drain"])
            if other is not None:
                values = BESIDE.typed(check(BESIDE, {**given, "keepalived": {"vip": given["keepalived"]["vip"], **read(other)}}))
        except Wrong as wrong:
            raise ConfigError(wrong.name, wrong.value, str(wrong.problem)) from None
        instances = tuple(Member(**each) for each in values["instances"])
        me = next(each for each in instances if each.id == values["instance"]["id"])  # its address is the link's, as the peers' are
        keepalived = _keepalived(values["keepalived"], _rank(me, instances))
        return cls(me, instances, keepalived, _vrrp_drain(values["vrrp_drain"], keepalived.slowest_takeover))


def _upstream_job(section: dict[str, Any]) -> UpstreamJob | None:
    config, pid_file = section["keepalived_config"], section["keepalived_pid_file"]
    return UpstreamJob(config, pid_file) if config and pid_file else None


def _ranked(instances: Iterable[Member]) -> list[Member]:
    """Return the bootstrap instance first, then the others by index."""
    return sorted(instances, key=lambda each: (not each.bootstrap, each.index))


def _rank(me: Member, instances: Iterable[Member]) -> int:
    return [each.id for each in _ranked(instances)].index(me.id)


def _keepalived(section: dict[str, Any], rank: int) -> Keepalived:
    """Return the properties of our job, or of another release's, whose check adds its ``weight`` while it succeeds."""
    base, unhealthy_weight = section.pop("priority") or bands.base_of_rank(rank), section.pop("healthcheck_weight")
    priority, lowered = base, base + bands.Band.DRAINING.value
    if "weight" in section:
        weight = section.pop("weight")
        priority = base + max(weight, 0)
        lowered, unhealthy_weight = priority - LOWERED_BY, -abs(weight)
    sources = section.pop("unicast_src_ip"), section.pop("mcast_src_ip")
    return Keepalived(
        priority=priority,
        lowered=lowered,
        unhealthy_weight=unhealthy_weight,
        advert_int=float(section.pop("advert_int")),
        source=next((each for each in sources if each is not None), None),
        mail=_mail(section),
        **section,
    )


def _mail(section: dict[str, Any]) -> Mail | None:
    recipients, sender, server, timeout = (
        section.pop(name) for name in ("notification_email", "notification_email_from", "smtp_server", "smtp_connect_timeout")
    )
    return Mail(recipients, sender, server, timeout) if recipients else None


def _vrrp_drain(section: dict[str, Any], slowest: float) -> VrrpDrain:
    other = _upstream_job(section)
    del section["keepalived_config"], section["keepalived_pid_file"]
    return VrrpDrain(
        handover_timeout=section.pop("handover_timeout") or slowest + GRACE,
        post_start_timeout=section.pop("post_start_timeout") or max(120.0, 2 * slowest),
        takeover_proof=Proof(section.pop("takeover_proof")),
        handoff_transport=Transport(section.pop("handoff_transport")),
        handoff_window=max(section.pop("handoff_window"), section["drain_timeout"] + UNTIL_DRAIN),
        metrics_port=section.pop("metrics_port") or None,
        hooks=tuple(Hook(**each) for each in section.pop("hooks")),
        webhooks=tuple(Webhook(**each) for each in section.pop("webhooks")),
        upstream_job=other,
        **section,
    )

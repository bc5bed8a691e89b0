"""The one configuration object: read from a job's JSON file, valid once built, frozen.

Errors name the property as the operator wrote it in the manifest, the value, and what is allowed. Unknown keys
are refused. Both jobs render the same ``instance``, ``instances`` and ``keepalived`` sections from the keepalived
link; the vrrp-drain job adds its own section. The templates refuse the same values before BOSH stops anything;
``tests/templates`` holds the two against each other.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from vrrp_drain.runtime.errors import ConfigError
from vrrp_drain.runtime.ip import IPAddress, IPInterface, IPNetwork
from vrrp_drain.vrrp import bands
from vrrp_drain.vrrp.timing import master_down_interval

from . import receivers, validators
from .receivers import Hook, Webhook
from .upstream_job import LOWERED_BY, UpstreamJob
from .upstream_job import read as read_upstream_job
from .validators import Section

_NOTHING: object = {}
MAX_INSTANCES = bands.WIDTH
GRACE = 2.0  # seconds that a handover gets on top of Master_Down_Interval


@dataclass(frozen=True)
class Instance:
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
        return master_down_interval(bands.LOWEST_BASE, self.advert_int, self.vrrp_version) + self.preempt_delay


@dataclass(frozen=True)
class VrrpDrain:
    """The properties ``vrrp_drain.*``; times in seconds.

    ``upstream_job`` is given where keepalived is another release's. Without ``metrics_port`` there are no metrics.
    """

    handover_timeout: float
    post_start_timeout: float
    on_no_successor: str
    fast_handover: bool
    connection_handoff: bool
    handoff_window: float
    drain_timeout: float
    promote_after: float
    haproxy_soft_stop: bool
    haproxy_pid_file: Path
    health_check: SplitResult
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

    me: Instance
    instances: tuple[Instance, ...]
    keepalived: Keepalived
    drain: VrrpDrain

    @property
    def vip(self) -> IPAddress:
        return self.keepalived.vip.ip

    @property
    def peers(self) -> tuple[Instance, ...]:
        return tuple(i for i in self.instances if i.id != self.me.id)

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
            raise ConfigError("configuration file", str(path), f"must be JSON ({error})") from None
        return cls.parse(raw)

    @classmethod
    def parse(cls, raw: object, read: Callable[[UpstreamJob], Mapping[str, Any]] = read_upstream_job) -> "Config":
        """Check what the job's template rendered; ``read`` tells what another release's keepalived is set to. Raises ConfigError."""
        top = Section("", raw)
        instances = tuple(_instance(f"instances[{n}]", each) for n, each in enumerate(top.take("instances", validators.at_least_one)))
        me = _instance("instance", top.take("instance", validators.anything))
        rank = _rank(me, instances)
        given = top.take("keepalived", validators.anything)
        drain_section = Section("vrrp_drain", top.take("vrrp_drain", validators.anything, _NOTHING))
        top.refuse_the_rest()
        other = _upstream_job(drain_section)
        keepalived = _keepalived(given, rank) if other is None else _keepalived_of(read(other), given)
        drain = _vrrp_drain(drain_section, keepalived, other)
        config = cls(me, instances, keepalived, drain)
        _refuse_contradictions(config)
        return config


def _rank(me: Instance, instances: tuple[Instance, ...]) -> int:
    """Return our place among the instances: the bootstrap instance first, then by index."""
    if len(instances) > MAX_INSTANCES:
        raise ConfigError("instances", len(instances), f"at most {MAX_INSTANCES} can share one VIP")
    ordered = sorted(instances, key=lambda i: (not i.bootstrap, i.index))
    for rank, each in enumerate(ordered):
        if each.id == me.id:
            return rank
    raise ConfigError("instance.id", me.id, "must be one of the keepalived link's instances: does the link lead to another instance group?")


def _instance(where: str, raw: object) -> Instance:
    section = Section(where, raw)
    instance = Instance(
        name=section.take("name", validators.word),
        index=section.take("index", validators.integer(0, 1_000_000)),
        id=section.take("id", validators.word),
        address=section.take("address", validators.member_address),
        bootstrap=section.take("bootstrap", validators.boolean),
    )
    section.refuse_the_rest()
    return instance


def _keepalived(raw: object, rank: int) -> Keepalived:
    section = Section("keepalived", raw)
    vip = section.take("vip", validators.vip)
    version = section.take("vrrp_version", validators.choice(2, 3), default=2 if vip.version == 4 else 3)
    preempt = section.take("preempt", validators.boolean, default=True)
    check_every = section.take("healthcheck_interval", validators.integer(1, 3600), default=2)
    priority = section.take("priority", validators.integer(bands.LOWEST_BASE, bands.HIGHEST), default=bands.base_of_rank(rank))
    unicast_src_ip = section.take_if_given("unicast_src_ip", validators.network)
    mcast_src_ip = section.take_if_given("mcast_src_ip", validators.network)
    keepalived = Keepalived(
        vip=vip,
        vips=section.take("vips", validators.list_of(validators.vip), default=()),
        interface=section.take("interface", validators.interface_or_auto, default="auto"),
        virtual_router_id=section.take("virtual_router_id", validators.integer(1, 255), default=1),
        vrrp_version=version,
        advert_int=float(section.take("advert_int", validators.number(0.01, 255), default=1.0)),
        priority=priority,
        lowered=priority + bands.Band.DRAINING.value,
        unhealthy_weight=section.take(
            "healthcheck_weight", validators.choice(bands.UNHEALTHY_WEIGHT, 0), default=bands.UNHEALTHY_WEIGHT if preempt else 0
        ),
        preempt=preempt,
        preempt_delay=section.take("preempt_delay", validators.number(0, 1000), default=0.0),
        startup_delay=section.take("startup_delay", validators.number(0, 3600), default=0.0),
        healthcheck_name=section.take("healthcheck_name", validators.check_name, default="check_haproxy"),
        healthcheck_command=section.take("healthcheck_command", validators.command, default="killall -0 haproxy"),
        healthcheck_interval=check_every,
        healthcheck_timeout=section.take("healthcheck_timeout", validators.integer(1, 3600), default=check_every),
        healthcheck_rise=section.take("healthcheck_rise", validators.integer(1, 100), default=1),
        healthcheck_fall=section.take("healthcheck_fall", validators.integer(1, 100), default=1),
        track_process=section.take_if_given("track_process", validators.process_name),
        track_interfaces=section.take("track_interfaces", validators.list_of(validators.interface_name), default=()),
        dont_track_primary=section.take("dont_track_primary", validators.boolean, default=False),
        unicast=section.take("unicast", validators.boolean, default=False),
        unicast_peers=section.take("unicast_peers", validators.list_of(validators.peer_address), default=()),
        source=unicast_src_ip or mcast_src_ip,
        auth_pass=section.take_if_given("auth_pass", validators.password),
        garp_master_refresh=section.take("garp_master_refresh", validators.integer(0, 86400), default=60),
        garp_master_delay=section.take("garp_master_delay", validators.integer(1, 3600), default=5),
        mail=_mail(section),
        use_vmac=section.take("use_vmac", validators.boolean, default=False),
        extra_global_config=section.take("extra_global_config", validators.keepalived_lines, default=""),
        extra_instance_config=section.take("extra_instance_config", validators.keepalived_lines, default=""),
    )
    section.refuse_the_rest()
    if unicast_src_ip and not keepalived.unicast:
        raise ConfigError("keepalived.unicast_src_ip", str(unicast_src_ip), "is used only where keepalived.unicast is true")
    if mcast_src_ip and keepalived.unicast:
        raise ConfigError("keepalived.mcast_src_ip", str(mcast_src_ip), "is not used where keepalived.unicast is true; set unicast_src_ip")
    return keepalived


def _mail(section: Section) -> Mail | None:
    recipients = section.take_if_given("notification_email", validators.mail_addresses)
    sender = section.take_if_given("notification_email_from", validators.mail_address)
    server = section.take_if_given("smtp_server", validators.server)
    timeout = section.take("smtp_connect_timeout", validators.integer(1, 300), default=30)
    if not recipients:
        return None
    needed = "must be given where keepalived.notification_email is"
    if sender is None:
        raise ConfigError("keepalived.notification_email_from", None, needed)
    if server is None:
        raise ConfigError("keepalived.smtp_server", None, needed)
    return Mail(recipients, sender, server, timeout)


def _keepalived_of(found: Mapping[str, Any], given: object) -> Keepalived:
    """Return what another release's keepalived is set to (``found``, of upstream_job.read), with the VIP from its link."""
    link = Section("keepalived", given)
    vip = link.take("vip", validators.vip)
    link.refuse_the_rest()
    section = Section("keepalived", found)
    base = section.take("priority", validators.integer(LOWERED_BY + 1, bands.HIGHEST))
    weight = section.take("weight", validators.integer(-253, 253))
    healthy = base + max(weight, 0)
    properties = {key: value for key, value in found.items() if key not in ("priority", "weight")}
    theirs = _keepalived({"vip": str(vip), **properties}, 0)
    return Keepalived(**{**vars(theirs), "priority": healthy, "lowered": healthy - LOWERED_BY, "unhealthy_weight": -abs(weight)})


def _upstream_job(section: Section) -> UpstreamJob | None:
    config = section.take_if_given("keepalived_config", validators.path)
    pid_file = section.take_if_given("keepalived_pid_file", validators.path)
    if config is None or pid_file is None:
        return None
    return UpstreamJob(Path(config), Path(pid_file))


def _vrrp_drain(section: Section, keepalived: Keepalived, other: UpstreamJob | None) -> VrrpDrain:
    slowest = keepalived.slowest_takeover
    drain = VrrpDrain(
        handover_timeout=section.take("handover_timeout", validators.number(0.1, 3600), default=slowest + GRACE),
        post_start_timeout=section.take("post_start_timeout", validators.number(1, 3600), default=max(120.0, 2 * slowest)),
        on_no_successor=section.take("on_no_successor", validators.choice("proceed", "fail"), default="proceed"),
        fast_handover=section.take("fast_handover", validators.boolean, default=True),
        connection_handoff=section.take("connection_handoff", validators.boolean, default=True),
        handoff_window=section.take("handoff_window", validators.number(1, 86400), default=300.0),
        drain_timeout=section.take("drain_timeout", validators.number(0, 86400), default=60.0),
        promote_after=section.take("promote_after", validators.number(1, 86400), default=120.0),
        haproxy_soft_stop=section.take("haproxy_soft_stop", validators.boolean, default=True),
        haproxy_pid_file=Path(section.take("haproxy_pid_file", validators.path, default="/var/vcap/sys/run/bpm/haproxy/haproxy.pid")),
        health_check=section.take("health_check", validators.health_check, default=urlsplit("tcp://127.0.0.1:80")),
        health_interval=section.take("health_interval", validators.number(0.1, 60), default=1.0),
        health_fall=section.take("health_fall", validators.integer(1, 20), default=2),
        health_rise=section.take("health_rise", validators.integer(1, 20), default=2),
        metrics_port=section.take("metrics_port", validators.integer(0, 65535), default=9922) or None,
        hooks=receivers.hooks(section),
        webhooks=receivers.webhooks(section),
        upstream_job=other,
    )
    section.refuse_the_rest()
    return drain


def _refuse_contradictions(config: Config) -> None:
    """Raise ConfigError where values are right by themselves, but not together."""
    ours, drain = config.keepalived, config.drain
    if ours.vrrp_version == 2 and ours.vip.version == 6:
        raise ConfigError("keepalived.vrrp_version", 2, f"must be 3, because keepalived.vip {ours.vip} is IPv6")
    if ours.vrrp_version == 2 and ours.advert_int != int(ours.advert_int):
        allowed = "version 2 of VRRP takes whole seconds from 1 to 255; set keepalived.vrrp_version to 3"
        raise ConfigError("keepalived.advert_int", ours.advert_int, allowed)
    if ours.vrrp_version == 3 and (ours.advert_int > 40.95 or round(ours.advert_int * 100) != round(ours.advert_int * 100, 6)):
        raise ConfigError("keepalived.advert_int", ours.advert_int, "version 3 of VRRP takes 0.01 to 40.95 seconds in steps of 0.01")
    for name, each in (("vip", ours.vip), *(("vips", vip) for vip in ours.vips)):
        for member in config.instances:
            if member.address == each.ip:
                raise ConfigError(f"keepalived.{name}", str(each), f"must not be the address of an instance ({member})")
    for address in ours.addresses:
        if ours.addresses.count(address) > 1:
            raise ConfigError("keepalived.vips", str(address), "is there twice, or is keepalived.vip: only further addresses belong here")
    if ours.auth_pass is not None and ours.vrrp_version == 3:
        raise ConfigError(
            *("keepalived.auth_pass", validators.HIDDEN),
            "version 3 of VRRP has no authentication; leave it out, or set keepalived.vrrp_version to 2",
        )
    if not ours.preempt and ours.unhealthy_weight and drain.upstream_job is None:
        raise ConfigError(
            "keepalived.healthcheck_weight",
            ours.unhealthy_weight,
            "must be 0 where keepalived.preempt is false: no instance would take the VIP from one that is unhealthy",
        )
    if not ours.preempt and ours.preempt_delay:
        raise ConfigError("keepalived.preempt_delay", ours.preempt_delay, "has no effect where keepalived.preempt is false")
    if ours.unicast_peers and not ours.unicast:
        raise ConfigError("keepalived.unicast_peers", _joined(ours.unicast_peers), "is used only where keepalived.unicast is true")
    if ours.unicast and {each.version for each in config.peer_addresses} - {ours.vip.version}:
        family = f"IPv{ours.vip.version}"
        allowed = f"must all be {family}, as keepalived.vip is: give them in keepalived.unicast_peers"
        raise ConfigError("keepalived.unicast_peers", _joined(config.peer_addresses), allowed)
    if ours.source is not None and ours.source.version != ours.vip.version:
        name = "unicast_src_ip" if ours.unicast else "mcast_src_ip"
        raise ConfigError(f"keepalived.{name}", str(ours.source), f"must be IPv{ours.vip.version}, as keepalived.vip is")
    slowest = ours.slowest_takeover
    for name, seconds in (("handover_timeout", drain.handover_timeout), ("post_start_timeout", drain.post_start_timeout)):
        if seconds <= slowest:
            plus = f" and preempt_delay {ours.preempt_delay:g}" if ours.preempt_delay else ""
            allowed = f"must be longer than Master_Down_Interval, {slowest:.2f} s at keepalived.advert_int {ours.advert_int:g}{plus}"
            raise ConfigError(f"vrrp_drain.{name}", seconds, allowed)


def _joined(addresses: tuple[IPAddress, ...]) -> str:
    return ", ".join(map(str, addresses))

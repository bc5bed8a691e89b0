"""What can be wrong with the instance itself, and the words that are made of it."""

import math
from dataclasses import dataclass
from pathlib import Path

from vrrp_drain.handover.vip import Unserved
from vrrp_drain.keepalived.checks import DisabledCheck
from vrrp_drain.linux import modules
from vrrp_drain.linux.ipv6 import Doubt, Ipv6Obstacle
from vrrp_drain.linux.obstacle import Obstacle
from vrrp_drain.runtime.ip import IPAddress, IPInterface
from vrrp_drain.runtime.plain import utc
from vrrp_drain.runtime.standing_order import Order

from .finding import Finding, Found, note, problem, warning


@dataclass(frozen=True)
class Unwritable(Found):
    """A directory that a handover writes to, and what for; without ``logs`` alone a handover works."""

    directory: Path
    purpose: str
    reason: str
    logs: bool

    def told(self) -> Finding:
        what = f"{self.directory} cannot be written to: {self.reason}"
        mend = "free space on its file system, or mount it writable (mount -o remount,rw); df -h and mount show how it stands"
        if self.logs:
            return warning(what, f"it holds {self.purpose}: nobody will see what a handover did", mend)
        return problem(what, f"it holds {self.purpose}: no handover can begin, and a deploy stops here", mend)


@dataclass(frozen=True)
class NotRunning(Found):
    """keepalived; ``stale_on`` is the interface that the VIP is still on, None where it is on none."""

    pid_file: Path
    log: Path
    vip: IPAddress
    stale_on: str | None

    def told(self) -> Finding:
        what = f"keepalived does not run (no process for {self.pid_file})"
        start = f"monit start keepalived, and see {self.log} for why it ended"
        if self.stale_on is None:
            return problem(what, f"{self.vip} will not come here: this instance is nobody's backup", start)
        means = f"{self.vip} is still on {self.stale_on}: stale, withdrawn by nobody; a peer that takes over is a second machine"
        return problem(what, means, f"vrrpctl demote takes the stale address off safely; then {start}")


@dataclass(frozen=True)
class OtherBinary(Found):
    """The keepalived that runs is not that of the job's package; ``removed`` where its file is gone."""

    runs: Path
    expected: Path
    removed: bool

    def told(self) -> Finding:
        what = f"the keepalived that runs is {self.runs}, not {self.expected}"
        mend = "monit restart keepalived, after vrrpctl demote" if self.removed else "nothing, if that is wanted"
        return note(what, "an update of the package takes effect at its next start", mend)


@dataclass(frozen=True)
class CheckDisabled(Found):
    disabled: DisabledCheck
    vip: IPAddress

    def told(self) -> Finding:
        means = (
            f"when haproxy dies {self.vip} stays here, unless the watcher moves it; this instance adverts another priority than its peers "
            "expect, and post-start fails"
        )
        return problem(str(self.disabled), means, f"{self.disabled.mend}; then deploy, or restart keepalived")


@dataclass(frozen=True)
class UnreadableBand(Found):
    why: str

    def told(self) -> Finding:
        return problem(self.why, "nobody knows what priority keepalived adverts", "vrrpctl promote, or demote, writes it anew")


@dataclass(frozen=True)
class Draining(Found):
    """The band, when it was written (seconds since the epoch), and the order of an operator who wants it so until vrrpctl promote."""

    vip: IPAddress
    changed: float | None
    order: Order | None = None

    def told(self) -> Finding:
        since = f" since {utc(self.changed)}" if self.changed else ""
        means = f"it takes {self.vip} only where no active peer is left"
        if self.order:
            what = f"this instance stays out until vrrpctl promote: {self.order}"
            return note(what, means, "vrrpctl promote, when it is to take part again; neither a reboot nor a deploy does it")
        return note(f"this instance is in the draining band{since}", means, "vrrpctl promote, unless a deploy is at work here")


@dataclass(frozen=True)
class Impassable(Found):
    """Nothing passes through the interface; ``vip_interface`` is the one that has the VIP, which may be another one above it."""

    interface: str
    vip_interface: str
    vip: IPAddress
    obstacle: Obstacle

    def told(self) -> Finding:
        below = "" if self.vip_interface == self.interface else f"is below {self.vip_interface}, which "
        mend = (
            f"ip link set {self.interface} up"
            if self.obstacle is Obstacle.DOWN
            else "look at the virtual switch port or the cable: does the IaaS have it connected?"
        )
        what = f"{self.interface}, which {below}carries {self.vip}, {self.obstacle}"
        return problem(what, "this instance reaches nobody, and nobody reaches it", mend)


@dataclass(frozen=True)
class NoSource(Found):
    interface: str
    family: int

    def told(self) -> Finding:
        what = f"{self.interface} has no {'IPv4' if self.family == 4 else 'IPv6 link-local'} address of its own"
        means = "keepalived here has nothing to advert from, and becomes MASTER beside a peer"
        return problem(what, means, f"give {self.interface} one")


@dataclass(frozen=True)
class OtherNetwork(Found):
    vip: IPAddress
    interface: str
    networks: tuple[IPInterface, ...]

    def told(self) -> Finding:
        return warning(
            f"{self.vip} lies in no network of {self.interface}, which has {', '.join(map(str, self.networks)) or 'no address'}",
            "machines on the segment do not ask by ARP for an address that they think is elsewhere: only a route makes it reachable",
            "set keepalived.vip to an address of the segment, or keepalived.interface to where it belongs, unless routers send it here",
        )


@dataclass(frozen=True)
class NotServed(Found):
    unserved: Unserved

    def told(self) -> Finding:
        ours = self.unserved
        means = "clients of it get no answer while this instance is MASTER"
        if ours.obstacle is None:
            return problem(str(ours), means, "keepalived.log says why it could not put it there; vrrpctl demote has a peer serve it")
        if ours.obstacle is Doubt.DUPLICATE:
            mend = (
                "find that machine in the IaaS and take the address off it; then ip address del "
                f"{ours.vip} dev {ours.interface} here: keepalived puts it back, without looking for duplicates"
            )
        elif ours.obstacle is Doubt.TENTATIVE:
            mend = "vrrpctl doctor again in some seconds; who put it there, if not keepalived, should say nodad"
        elif ours.obstacle is Ipv6Obstacle.SWITCHED_OFF:
            mend = (
                f"switch it on before keepalived starts: net.ipv6.conf.{ours.interface}.disable_ipv6=0, the same of lo and of default, on "
                "all instances and for good (docs/iaas.md); or take the VIP out of the manifest"
            )
        else:
            mend = "a kernel and an interface with IPv6 (docs/iaas.md), or take the VIP out of the manifest"
        return problem(str(ours), means, mend)


@dataclass(frozen=True)
class NotForLo(Found):
    vips: tuple[IPAddress, ...]
    obstacle: Ipv6Obstacle

    def told(self) -> Finding:
        return warning(
            f"{', '.join(map(str, self.vips))} cannot be on lo, which {self.obstacle}",
            "connections to it that are open are cut at a move, and one that is opened in its millisecond is slow",
            "net.ipv6.conf.lo.disable_ipv6=0 for good (docs/iaas.md), then bosh restart of this instance",
        )


@dataclass(frozen=True)
class Duplicate(Found):
    address: IPAddress
    interface: str

    def told(self) -> Finding:
        return problem(
            f"the kernel has found another machine with {self.address}, the IPv6 address that {self.interface} speaks from",
            "it does not use it (duplicate address detection): keepalived adverts nothing, and is a second MASTER or none",
            f"find that machine in the IaaS, most often a copy with our MAC, and delete it; then ip link set {self.interface} down, and up",
        )


@dataclass(frozen=True)
class StrictReversePath(Found):
    """``default`` is where the default route leaves, or with ``everybody`` all that goes to the VIP's network."""

    interface: str
    default: str | None
    vip: IPAddress
    everybody: bool = False

    def told(self) -> Finding:
        if self.everybody:
            loose = f"net.ipv4.conf.all.rp_filter=0 {_setting(self.interface, 'rp_filter')}=0"
            return problem(
                f"rp_filter is strict on {self.interface}, which has the virtual MAC, and answers leave through {self.default}",
                f"all packets of clients are dropped when they arrive for {self.vip}",
                f"sysctl {loose}, as keepalived set them when it started; and find who changed them since",
            )
        return warning(
            f"rp_filter is strict on {self.interface}, and the default route leaves through {self.default}",
            f"packets of clients beyond a router are dropped when they arrive for {self.vip}",
            f"sysctl net.ipv4.conf.{self.interface}.rp_filter=2 (and the same of all), or a route through {self.interface}",
        )


@dataclass(frozen=True)
class FiltersArp(Found):
    """``interface`` has the VIP, and the way to who asks for it is ``leaves_by``."""

    interface: str
    leaves_by: str
    vip: IPAddress

    def told(self) -> Finding:
        return problem(
            f"arp_filter is 1 for {self.interface}, and the way to {self.vip}'s network is {self.leaves_by}",
            f"the kernel answers nobody who asks by ARP for {self.vip}: clients get no answer while this instance is MASTER",
            "sysctl net.ipv4.conf.all.arp_filter=0 net.ipv4.conf.default.arp_filter=0 "
            f"{_setting(self.interface, 'arp_filter')}=0, for good",
        )


@dataclass(frozen=True)
class Uncounted(Found):
    """The kernel does not tell its connections."""

    why: str

    def told(self) -> Finding:
        means = "drain cannot wait for open connections: haproxy's stop cuts them; connections of a frontend that is bound to a VIP are cut"
        return warning(self.why, means, modules.mend(("inet_diag", "tcp_diag")))


@dataclass(frozen=True)
class UncountedQuic(Found):
    """The kernel does not tell those of UDP."""

    why: str

    def told(self) -> Finding:
        means = "drain waits for TCP alone, and haproxy's stop cuts what is open over HTTP/3 (vrrp_drain.quic_ports)"
        return warning(self.why, means, modules.mend(("inet_diag", "udp_diag")))


@dataclass(frozen=True)
class NoVirtualMac(Found):
    vip: IPAddress

    def told(self) -> Finding:
        return problem(
            "this kernel has no macvlan interfaces, which keepalived.use_vmac needs",
            f"keepalived cannot give {self.vip} its virtual MAC: clients get no answer from this instance",
            modules.mend(("macvlan",)) + "; or set keepalived.use_vmac to false on all instances",
        )


@dataclass(frozen=True)
class NoProcConnector(Found):
    why: str
    track_process: str

    def told(self) -> Finding:
        return note(
            f"the kernel does not report here which processes end ({self.why})",
            f"keepalived.track_process: {self.track_process} is looked for every second instead, so its death is noticed later",
        )


@dataclass(frozen=True)
class NotOnLo(Found):
    missing: tuple[IPAddress, ...]

    def told(self) -> Finding:
        return warning(
            f"{', '.join(map(str, self.missing))} is not on lo",
            "connections that are open are cut at a move, and one that is opened in its millisecond is slow",
            "bosh restart of this instance: its pre-start puts it there and logs why it could not; a reboot takes it away",
        )


@dataclass(frozen=True)
class AnswersOnLo(Found):
    """The kernel's settings, by name, that have the interface answer for a VIP which it has not."""

    vip: IPAddress
    interface: str
    settings: tuple[tuple[str, int], ...]

    def told(self) -> Finding:
        wrong = " and ".join(f"{name} is {value}" for name, value in self.settings)
        return problem(
            f"{self.vip} is on lo, but {wrong} on {self.interface}",
            "this instance answers ARP for it though it is not MASTER, or names it in its questions: clients reach the wrong machine",
            "sysctl net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2, with no higher numbers for the interface itself; and "
            "find who changed them",
        )


@dataclass(frozen=True)
class HaproxySick(Found):
    problem: str
    vip: IPAddress

    def told(self) -> Finding:
        means = f"keepalived's check gives {self.vip} to a peer; if this is the MASTER and no peer is better, clients get no answer"
        mend = "monit summary, and haproxy's own log; vrrp_drain.health_check says what is asked, and haproxy_pid_file whose sockets are"
        return problem(self.problem, means, mend)


@dataclass(frozen=True)
class NoSoftStop(Found):
    why: str

    def told(self) -> Finding:
        return warning(
            self.why,
            "drain cannot tell haproxy to finish: keep-alive clients are not asked to close, and its stop cuts them",
            "set vrrp_drain.haproxy_pid_file to haproxy's pid file, or haproxy_soft_stop to false",
        )


@dataclass(frozen=True)
class ClosesTooLate(Found):
    """haproxy's close-spread-time in seconds, infinity where it never closes by itself."""

    spread: float
    drain_timeout: float

    def told(self) -> Finding:
        spread = "infinite" if math.isinf(self.spread) else f"{self.spread:g} s"
        what = f"haproxy's close-spread-time is {spread}, and vrrp_drain.drain_timeout {self.drain_timeout:g} s"
        means = "clients of keep-alive connections that were not asked to close by then are cut when haproxy is stopped"
        return warning(what, means, "a close-spread-time of half of drain_timeout, or a longer drain_timeout")


@dataclass(frozen=True)
class EndsTooEarly(Found):
    """haproxy's hard-stop-after in seconds."""

    hard: float
    drain_timeout: float

    def told(self) -> Finding:
        what = f"haproxy's hard-stop-after is {self.hard:g} s, and vrrp_drain.drain_timeout {self.drain_timeout:g} s"
        means = "haproxy cuts open connections while drain still waits for them"
        return warning(what, means, "no hard-stop-after, or one that is longer than drain_timeout")


@dataclass(frozen=True)
class ClosesAtOnce(Found):
    count: int

    def told(self) -> Finding:
        return warning(
            f"{self.count} connections end here, and haproxy, which speaks HTTP/2, has no close-spread-time",
            "when drain tells haproxy to finish, clients over HTTP/2 are told in the same moment, and come to the new MASTER all at once",
            "close-spread-time in haproxy's section global: ha_proxy.global_config, as the operations file set-close-spread-time.yml does",
        )


@dataclass(frozen=True)
class BoundToVip(Found):
    """Where somebody listens on a VIP itself, as 10.0.0.10:80 or [fd00::10]:80."""

    bound: tuple[str, ...]

    def told(self) -> Finding:
        ports = ", ".join(dict.fromkeys(f"bind :::{each.rpartition(':')[2]} v4v6" for each in self.bound))
        return warning(
            f"a listener is bound to the VIP itself: {', '.join(self.bound)}",
            "the kernel does not tell its connections from it (no mark, or one of its own): they are reset when the VIP moves",
            f"bind it to the wildcard address: {ports}; or have the watcher run, with a vrrp_drain.handoff_mark other than 0",
        )


def _setting(interface: str, name: str) -> str:
    """Return what sysctl(8) calls a setting of an interface: a dot in its name, as in eth0.5, is a slash there."""
    return f"net.ipv4.conf.{interface.replace('.', '/')}.{name}"

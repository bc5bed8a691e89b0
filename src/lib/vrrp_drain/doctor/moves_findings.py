"""What can be wrong with a move: nobody to take over, connections that are cut; and the words that are made of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from vrrp_drain.linux import modules
from vrrp_drain.linux.nftables.kernel import BaseChain
from vrrp_drain.linux.nftables.objects import GOING_OUT, INET, NETDEV
from vrrp_drain.runtime.ip import IPAddress

from .finding import Finding, Found, listed, note, problem, warning

_TABLES = {INET: "inet", 2: "ip", NETDEV: "netdev", 10: "ip6"}  # NFPROTO_*, as nft(8) names their tables


@dataclass(frozen=True)
class Alone(Found):
    vip: IPAddress

    def told(self) -> Finding:
        means = f"whenever it stops, clients are without {self.vip}"
        return warning("the instance group has one instance", means, "scale it to two instances at least")


@dataclass(frozen=True)
class NotAskable(Found):
    """The health check is a socket of this machine, or haproxy listens at addresses that no peer has."""

    health_check: str

    def told(self) -> Finding:
        what = f"{self.health_check} cannot be asked of the peers, so their haproxy was not"
        means = "a handover cannot be hurried and takes three advert intervals"
        return note(what, means, "let vrrp_drain.health_check ask a port that every instance has (tcp:// or http://)")


@dataclass(frozen=True)
class NoAnswer(Found):
    """Peers whose haproxy does not answer; of these ``gone`` answer nothing at all. ``others`` tells whether some peer's does."""

    silent: Sequence[IPAddress]
    gone: Sequence[IPAddress]
    others: bool
    health_check: str
    vip: IPAddress

    def told(self) -> Finding:
        they = f"haproxy of {listed(self.silent)} does not answer us"
        if self.gone:
            they += f"; {listed(self.gone)} does not even answer ARP: off, or on another segment"
        mend = f"vrrpctl status there; {self.health_check} is what is asked, at their addresses"
        if self.others:
            return warning(they, "that many fewer can take over", mend)
        means = f"no healthy successor is known: when this instance stops, clients may be without {self.vip}, and no handover is hurried"
        return problem(they, means, mend)


@dataclass(frozen=True)
class NoCommand(Found):
    """vrrp_drain.takeover_command is nothing that can be run."""

    program: str
    vip: IPAddress

    def told(self) -> Finding:
        return problem(
            f"{self.program}, of vrrp_drain.takeover_command, is no program that can be run",
            f"no handover of {self.vip} is ever proven: with on_no_successor fail no deploy gets past this instance",
            "the job that brings it must be on this instance; is its path right, and is it executable?",
        )


@dataclass(frozen=True)
class NotHandedOver(Found):
    """Open connections, by what the properties say."""

    def told(self) -> Finding:
        return note("open connections are not handed over (vrrp_drain.connection_handoff is false)", "a move cuts them")


@dataclass(frozen=True)
class RulesRefused(Found):
    """``modules`` would help, as far as the kernel says what it lacks; without ``handed_over`` the rules are for adverts alone."""

    why: str
    modules: Sequence[str] = ()
    handed_over: bool = True

    def told(self) -> Finding:
        mend = modules.mend(self.modules or ("nf_tables", "nft_dup_ipv4", "nft_dup_ipv6", "nft_limit", "nft_socket"))
        if not self.handed_over:
            return warning(self.why, "adverts of strangers reach keepalived: any of them may disturb the election", mend)
        return problem(self.why, "every move cuts the connections that are open", mend)


@dataclass(frozen=True)
class RulesMissing(Found):
    def told(self) -> Finding:
        return warning(
            "the rules that hand open connections over are not installed, though this kernel takes them",
            "a move to or from this instance cuts the connections that are open",
            "bosh restart of this instance: its pre-start installs them; a reboot takes them away",
        )


@dataclass(frozen=True)
class DropsHandedOn(Found):
    """Somebody else's chain, whose policy is to drop, and the VIPs that none of its table's rules speaks of."""

    chain: BaseChain
    vips: Sequence[IPAddress]

    def told(self) -> Finding:
        name = f"{_TABLES.get(self.chain.family, self.chain.family)} {self.chain.table} {self.chain.name}"
        where = "on their way out" if self.chain.hook == GOING_OUT.number else "as they arrive, before our rules see them"
        lets = "; ".join(f"nft insert rule {name} {'ip' if each.version == 4 else 'ip6'} daddr {each} accept" for each in self.vips)
        return warning(
            f"the nftables chain {name} drops what none of its rules lets pass, and none speaks of {listed(self.vips)}",
            f"packets that this instance hands on to whoever serves their connection are dropped {where}: their clients hang at a move. "
            "They go to the VIP, and have their client's address",
            f"let them pass, for good where that table is made: {lets}",
        )


@dataclass(frozen=True)
class Untried(Found):
    """No peer was there to try foreign source addresses with."""

    interface: str

    def told(self) -> Finding:
        what = f"no peer answers in a network of {self.interface}, so whether foreign source addresses reach one was not tried"
        return note(what, mend="vrrpctl doctor again when one is there")


@dataclass(frozen=True)
class SourcesDropped(Found):
    """Peers that answer our own address, and nothing that comes from ``unused``."""

    peers: Sequence[IPAddress]
    unused: IPAddress

    def told(self) -> Finding:
        return problem(
            f"{listed(self.peers)} answers our own address, but nothing that we send from {self.unused} reaches it: "
            "something between the instances drops foreign source addresses",
            "a handed-off packet has its client's address: connections that are open hang or break when the VIP moves",
            "set vrrp_drain.handoff_transport to tunnel (operations/enable-handoff-tunnel.yml), or allow it at the instances' ports "
            "(OpenStack: port security; vSphere: forged transmits, spoof guard; docs/iaas.md)",
        )


@dataclass(frozen=True)
class ReachUnproven(Found):
    """Peers of which it is not known whether ``what`` reaches them."""

    peers: Sequence[IPAddress]
    what: str

    def told(self) -> Finding:
        who = listed(self.peers)
        what = f"{who} does not answer an echo request, so whether {self.what} it cannot be proven from here"
        return note(what, mend="let ICMP echo requests pass between the instances, or try it from there")


@dataclass(frozen=True)
class NoVxlan(Found):
    """The kernel makes no VXLAN device."""

    def told(self) -> Finding:
        return problem(
            "this kernel has no VXLAN, which vrrp_drain.handoff_transport: tunnel needs",
            "a move to or from this instance cuts the connections that are open",
            modules.mend(("vxlan",)) + ". Then bosh restart of this instance",
        )


@dataclass(frozen=True)
class TunnelMissing(Found):
    lacks: Sequence[str]

    def told(self) -> Finding:
        return problem(
            f"{', '.join(self.lacks)}: not there",
            "a move to or from this instance cuts the connections that are open",
            "the log of pre-start says why; nobody else may be at vrrp_drain.handoff_tunnel_port. Then bosh restart of this instance",
        )


@dataclass(frozen=True)
class TunnelBlocked(Found):
    """Peers that answer our own address, and nothing that comes through the tunnel."""

    peers: Sequence[IPAddress]
    port: int

    def told(self) -> Finding:
        return problem(
            f"{listed(self.peers)} answers us, but nothing that goes through the tunnel: UDP port {self.port} does not pass between the "
            "instances, or the tunnel is not there",
            "connections that are open hang when the VIP moves",
            f"let UDP port {self.port} pass between the instances (OpenStack: the security group; docs/iaas.md); vrrpctl doctor there",
        )


@dataclass(frozen=True)
class FullSizeLost(Found):
    """Peers that small packets reach through the tunnel, and none of ``size`` bytes."""

    peers: Sequence[IPAddress]
    size: int

    def told(self) -> Finding:
        return problem(
            f"small packets reach {listed(self.peers)} through the tunnel, those of {self.size} bytes do not: something between the "
            "instances drops fragments of UDP",
            "uploads on connections that are open hang when the VIP moves",
            "let fragments pass between the instances, or give their network a larger MTU than clients use (docs/iaas.md)",
        )

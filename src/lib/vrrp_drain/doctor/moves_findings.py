"""What can be wrong with a move: nobody to take over, connections that are cut; and the words that are made of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from vrrp_drain.runtime.ip import IPAddress

from .finding import Finding, Found, listed, note, problem, warning


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

    use_vmac: bool

    def told(self) -> Finding:
        why = "keepalived.use_vmac" if self.use_vmac else "vrrp_drain.connection_handoff is false"
        return note(f"open connections are not handed over ({why})", "a move cuts them")


@dataclass(frozen=True)
class RulesRefused(Found):
    why: str

    def told(self) -> Finding:
        mend = "run a kernel with nf_tables and its dup and socket expressions (modules nft_dup_ipv4, nft_dup_ipv6, nft_socket)"
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
            "allow it at the instances' ports (OpenStack: port security; vSphere: forged transmits, spoof guard; docs/iaas.md), "
            "or set vrrp_drain.connection_handoff to false",
        )


@dataclass(frozen=True)
class SourcesUnproven(Found):
    peers: Sequence[IPAddress]

    def told(self) -> Finding:
        who = listed(self.peers)
        what = f"{who} does not answer an echo request, so whether foreign source addresses reach it cannot be proven from here"
        return note(what, mend="let ICMP echo requests pass between the instances, or try it from there")

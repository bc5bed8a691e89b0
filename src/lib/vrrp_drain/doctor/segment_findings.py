"""What can be wrong on the segment, and the words that are made of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vrrp_drain.runtime.ip import IPAddress
from vrrp_drain.vrrp import bands
from vrrp_drain.vrrp.bands import Band
from vrrp_drain.vrrp.foreign import Foreign

from .finding import Finding, Found, listed, note, problem, warning
from .patient import Holder

_SECURITY_GROUP = "the IaaS' rules and security groups must let IP protocol 112 pass between the instances (docs/iaas.md)"
_TWO = "both are MASTER: clients reach one of two machines, and connections break whenever the segment learns the other one"


@dataclass(frozen=True)
class ForeignAdverts(Found):
    """Somebody who is not of the group; ``confirmed`` when it was not one packet alone."""

    foreign: Foreign
    confirmed: bool

    def told(self) -> Finding:
        if self.confirmed:
            means = "two MASTERs, or one that silences ours: clients reach the wrong machine, or none"
            return problem(self.foreign.what, means, self.foreign.mend)
        return note(f"{self.foreign.what}, in one packet", "nothing, unless it is heard again", "vrrpctl doctor once more")


@dataclass(frozen=True)
class OtherInterval(Found):
    """Seconds between two adverts, in version 3."""

    source: IPAddress
    theirs: float
    ours: float

    def told(self) -> Finding:
        return warning(
            f"{self.source} adverts every {self.theirs:g} s, we every {self.ours:g} s",
            "a dead MASTER is noticed after three intervals of whoever was MASTER: now sooner, now later",
            "give all instances the same keepalived.advert_int",
        )


@dataclass(frozen=True)
class Dropped(Found):
    """A firewall of this instance keeps adverts from keepalived."""

    sources: Sequence[IPAddress]
    interface: str
    is_master: bool

    def told(self) -> Finding:
        who = listed(self.sources)
        means = _TWO if self.is_master else f"keepalived here becomes MASTER beside {who}, and clients reach one of two machines"
        return problem(
            f"adverts of {who} arrive at {self.interface}, but a firewall of this instance drops them",
            means,
            "accept IP protocol 112 (vrrp) from the other instances in iptables or nftables here, before the rule that drops it",
        )


@dataclass(frozen=True)
class TooShort(Found):
    seconds: float
    advert_int: float

    def told(self) -> Finding:
        what = f"listened for {self.seconds:.1f} s, too short for adverts every {self.advert_int:g} s"
        return note(what, mend="give --timeout more")


@dataclass(frozen=True)
class TooFar(Found):
    """A peer whose adverts crossed more ``routers`` than are ``allowed``."""

    source: IPAddress
    routers: int
    allowed: int

    def told(self) -> Finding:
        return problem(
            f"adverts of {self.source} have crossed routers ({self.routers}) and are dropped: keepalived.unicast_hops is {self.allowed}",
            f"keepalived here does not hear them: {_TWO}",
            f"set keepalived.unicast_hops to {self.routers} for all instances",
        )


@dataclass(frozen=True)
class SideBySide(Found):
    masters: Sequence[IPAddress]

    def told(self) -> Finding:
        what = f"{listed(self.masters)} advert side by side"
        return problem(what, "they do not hear each other: " + _TWO, f"vrrpctl doctor on each; {_SECURITY_GROUP}")


@dataclass(frozen=True)
class Unheard(Found):
    """A peer answers for the VIP, and no advert of it reaches us."""

    holders: Sequence[Holder]
    vip: IPAddress
    interface: str
    seconds: float

    def told(self) -> Finding:
        return problem(
            f"{listed(self.holders)} answers for {self.vip}, but none of its adverts reached {self.interface} in {self.seconds:.1f} s",
            f"keepalived here becomes MASTER beside it: {_TWO}",
            f"{_SECURITY_GROUP}; where multicast is lost, keepalived.unicast; vrrpctl doctor there tells whether they leave",
        )


@dataclass(frozen=True)
class Nobody(Found):
    vip: IPAddress
    log: Path

    def told(self) -> Finding:
        return problem(
            f"nobody adverts {self.vip}, and nobody answers for it",
            "clients are without it",
            f"vrrpctl doctor on every instance; here, {self.log} says why keepalived does not take it",
        )


@dataclass(frozen=True)
class SendsNothing(Found):
    vip: IPAddress
    seconds: float

    def told(self) -> Finding:
        return problem(
            f"keepalived has {self.vip} here, but sent no advert within {self.seconds:.1f} s",
            "a peer becomes MASTER beside it: clients reach one of two machines",
            "keepalived hangs: monit restart keepalived",
        )


@dataclass(frozen=True)
class BesideUs(Found):
    """Another MASTER, with its priority and ours."""

    source: IPAddress
    theirs: int
    ours: int

    def told(self) -> Finding:
        why = "it does not hear us" if self.theirs <= self.ours else "keepalived here ignores it"
        return problem(
            f"{self.source} adverts priority {self.theirs} beside our {self.ours}: {why}",
            _TWO,
            f"vrrpctl doctor on {self.source}: is it its firewall? {_SECURITY_GROUP}",
        )


@dataclass(frozen=True)
class AnswersBesideUs(Found):
    holders: Sequence[Holder]
    vip: IPAddress

    def told(self) -> Finding:
        return problem(
            f"{listed(self.holders)} answers for {self.vip} as well, and no advert of it arrives",
            _TWO,
            f"vrrpctl doctor on the other one first: it may know why; {_SECURITY_GROUP}; where multicast is lost, keepalived.unicast",
        )


@dataclass(frozen=True)
class Unproven(Found):
    """Whether our adverts reach the peers."""

    peers: Sequence[IPAddress]

    def told(self) -> Finding:
        return note(
            "our adverts leave, but that they reach the peers cannot be proven from the MASTER: a BACKUP is silent",
            mend=f"vrrpctl doctor on {listed(self.peers)}",
        )


@dataclass(frozen=True)
class Late(Found):
    """The longest time between two adverts, in seconds; ``lost`` when it is nearly Master_Down_Interval."""

    source: IPAddress
    gap: float
    advert_int: float
    lost: bool

    def told(self) -> Finding:
        return (warning if self.lost else note)(
            f"{self.gap:.2f} s passed between two adverts of {self.source}, which come every {self.advert_int:g} s",
            "after three missed intervals a BACKUP becomes a second MASTER",
            f"see whether {self.source} or this instance lacks processor time (steal in top), or the segment loses packets",
        )


@dataclass(frozen=True)
class OutOfBand(Found):
    """What keepalived here adverts is not what its band asks for."""

    sent: int
    band: Band
    priority: int
    vip: IPAddress
    log: Path

    def told(self) -> Finding:
        return warning(
            f"keepalived here adverts priority {self.sent} ({bands.describe(self.sent)}), though the {self.band} band is {self.priority}",
            f"its check fails, or it has not read the band: any healthy peer takes {self.vip}",
            f"{self.log} says which; keepalived.healthcheck_command is what it runs",
        )


@dataclass(frozen=True)
class InactiveMaster(Found):
    source: IPAddress
    priority: int
    we_drain: bool

    def told(self) -> Finding:
        also = ", and so is this instance" if self.we_drain else ""
        return warning(
            f"the MASTER, {self.source}, adverts priority {self.priority} ({bands.describe(self.priority)}){also}",
            "no instance is known to be healthy and to stay: a handover finds no successor",
            f"vrrpctl status on {self.source}; vrrpctl promote where haproxy answers",
        )


@dataclass(frozen=True)
class SamePriority(Found):
    source: IPAddress
    priority: int

    def told(self) -> Finding:
        mend = "give every instance another keepalived.priority, or none: then the index decides"
        return warning(f"{self.source} adverts our own priority, {self.priority}", "two instances may win the same election", mend)


@dataclass(frozen=True)
class WeakBackup(Found):
    """A MASTER that we outrank stays MASTER."""

    source: IPAddress
    theirs: int
    ours: int
    log: Path

    def told(self) -> Finding:
        return warning(
            f"{self.source} is MASTER with priority {self.theirs}, below our {self.ours}, and this instance does not take over",
            "keepalived's check fails here, though haproxy answers: this instance is a weak backup",
            f"{self.log}; keepalived.healthcheck_command is what it runs",
        )


@dataclass(frozen=True)
class StrangersAnswer(Found):
    """``silent`` are the peers of which no MAC is known."""

    macs: Sequence[str]
    vip: IPAddress
    silent: Sequence[IPAddress]

    def told(self) -> Finding:
        unless = f" (unless it is {listed(self.silent)}, which answers for nothing else)" if self.silent else ""
        return problem(
            f"{listed(self.macs)}, which is no instance of this group{unless}, answers for {self.vip}",
            "clients reach a machine of somebody else's, or one of two",
            "find that MAC in the IaaS and free the address; reserve it there (docs/iaas.md)",
        )


@dataclass(frozen=True)
class TwoAnswer(Found):
    holders: Sequence[Holder]
    vip: IPAddress

    def told(self) -> Finding:
        mend = "vrrpctl doctor on each: one of them has a stale address, or does not hear the other"
        return problem(f"{listed(self.holders)} answer for {self.vip}", _TWO, mend)


@dataclass(frozen=True)
class SilentMaster(Found):
    master: IPAddress
    vip: IPAddress

    def told(self) -> Finding:
        return problem(
            f"{self.master} adverts {self.vip}, but nobody answers for it",
            "clients cannot find it, and no BACKUP takes over while the adverts go on",
            f"on {self.master}: is {self.vip} on its interface, is ARP filtered (arptables, anti-spoofing)? vrrpctl demote there moves it",
        )


@dataclass(frozen=True)
class OurAddressTaken(Found):
    holders: Sequence[Holder]
    own: IPAddress

    def told(self) -> Finding:
        what = f"{listed(self.holders)} answers for {self.own}, the address of this instance"
        means = "adverts, health checks and clients reach the wrong machine; it may be a second MASTER, and neither hears the other"
        mend = "find that MAC in the IaaS: a VM that BOSH has replaced and that still runs is deleted there, or the address was given twice"
        return problem(what, means, mend)

"""Why something changed, or why a condition holds: what is known about it, and the one sentence that is made of that for people.

Nothing is decided by these sentences; who wants to know the cause looks at the notice's.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from vrrp_drain.notify.notice import Cause
from vrrp_drain.runtime.ip import IPAddress
from vrrp_drain.runtime.standing_order import Order
from vrrp_drain.vrrp.peer_table import Leaving
from vrrp_drain.vrrp.state import VrrpState


class Duration(float):
    """Seconds from one moment to another: never less than none, in whatever order the two were seen."""

    def __new__(cls, since: float, until: float) -> "Duration":
        return super().__new__(cls, max(0.0, until - since))


class Reason(ABC):
    """``str`` gives the sentence."""

    @abstractmethod
    def __str__(self) -> str: ...


@dataclass(frozen=True)
class Said(Reason):
    """What another part found and says itself, or what needs no more than these words."""

    words: str

    def __str__(self) -> str:
        return self.words


OVER = Said("it is over")
BEGINS = Said("it begins to watch")
REBOOTED = Said("the machine was started anew, and no lifecycle script ran: this instance is promoted when haproxy answers")
HAPROXY_ANSWERS = Said("haproxy answers")
REBOOTED_AND_OUT = Said("the machine was started anew, and no lifecycle script ran: this instance stays out, as an operator wants it")
KEEPALIVED_RUNS = Said("keepalived runs")
KEEPALIVED_ENDED = Said("keepalived does not run (any more): see keepalived.log")
KEEPALIVED_HANGS = Said("keepalived is there, but is stopped (SIGSTOP) or stuck: nobody hears it, and it hears nobody")
STOPPED_AS_TOLD = Said("keepalived was stopped; this instance had been told to leave")


@dataclass(frozen=True)
class BandWritten(Reason):
    """This instance was demoted or promoted; ``by`` is the operator's command that did it, if one did and it is known."""

    priority: int
    by: str

    def __str__(self) -> str:
        return f"the priority of this instance is {self.priority} now" + (f", by {self.by}" if self.by else "")


@dataclass(frozen=True)
class HaproxyDown(Reason):
    """haproxy died or hangs; ``problem`` is what the health check found."""

    problem: str
    leaving: bool
    vip_here: bool

    def __str__(self) -> str:
        if self.leaving:
            return f"{self.problem}: this instance is leaving, as it was told to"
        means = "clients of the VIP are not served from here" if self.vip_here else "this instance could not take the VIP over"
        return f"{self.problem}: {means}"


# Why the VIP came here, or to another peer.


@dataclass(frozen=True)
class NoPeer(Reason):
    """Nobody was heard who had the VIP before."""

    vip: IPAddress

    def __str__(self) -> str:
        return f"no peer adverts {self.vip}"


@dataclass(frozen=True)
class PeerSilent(Reason):
    """The MASTER was not heard any more."""

    peer: IPAddress
    silent: Duration

    def __str__(self) -> str:
        return f"{self.peer} was not heard for {self.silent:.1f} s: it is dead, or its adverts do not reach us"


@dataclass(frozen=True)
class PeerLeft(Reason):
    """The MASTER said that it leaves; ``priority`` is its last one above 0."""

    peer: IPAddress
    priority: int
    how: Leaving

    def __str__(self) -> str:
        match self.how:
            case Leaving.DRAINING:
                return f"{self.peer} is leaving (priority {self.priority})"
            case Leaving.UNHEALTHY:
                return f"haproxy of {self.peer} does not serve (priority {self.priority})"
            case Leaving.RESIGNED:
                return f"{self.peer} stopped adverting: its keepalived was stopped, or its check failed"
            case Leaving.UNKNOWN:
                return f"{self.peer} adverts priority {self.priority}"


@dataclass(frozen=True)
class Outranks(Reason):
    """This instance has the higher priority, since what ``cause`` says."""

    cause: Cause
    peer: IPAddress
    priority: int

    def __str__(self) -> str:
        since = {
            Cause.HAPROXY_BACK: "haproxy serves here again, and this instance",
            Cause.KEEPALIVED_STARTED: "keepalived was started here, and this instance",
            Cause.PROMOTE: "this instance was promoted and",
        }.get(self.cause, "this instance")
        return f"{since} outranks {self.peer} (priority {self.priority})"


@dataclass(frozen=True)
class PeerOutranks(Reason):
    """Another peer outranks the one that was MASTER."""

    before: IPAddress

    def __str__(self) -> str:
        return f"it outranks {self.before}"


@dataclass(frozen=True)
class PeerHasIt(Reason):
    """A peer is MASTER now; ``why`` is None where nobody was heard meanwhile."""

    peer: IPAddress
    priority: int
    why: Reason | None

    def __str__(self) -> str:
        has = f"{self.peer} has the VIP now, with priority {self.priority}"
        return f"{has}; until then nobody was heard who has it" if self.why is None else f"{has}: {self.why}"


# Why the VIP left. ``to`` is who is heard to have it.


@dataclass(frozen=True)
class NotServing(Reason):
    """haproxy here died or hangs."""

    to: IPAddress | None

    def __str__(self) -> str:
        return f"haproxy does not serve here: {_holder(self.to)}"


@dataclass(frozen=True)
class ToldToLeave(Reason):
    """This instance is in the draining band."""

    to: IPAddress | None

    def __str__(self) -> str:
        return f"this instance was told to leave: {_holder(self.to)}"


@dataclass(frozen=True)
class Silenced(Reason):
    """keepalived ended or hangs, which ``how`` says. Where nobody is heard the VIP may be here still: nothing is said of it."""

    how: Said
    to: IPAddress | None

    def __str__(self) -> str:
        return f"{self.how}; {self.to} has the VIP" if self.to else str(self.how)


@dataclass(frozen=True)
class GivenUp(Reason):
    """keepalived has its own reasons."""

    to: IPAddress | None

    def __str__(self) -> str:
        return f"keepalived gave it up (its check failed, or the interface is down): {_holder(self.to)}; see keepalived.log"


def _holder(peer: IPAddress | None) -> str:
    return f"{peer} has it" if peer else "nobody is heard yet who has it"


@dataclass(frozen=True)
class Outranked(Reason):
    """A peer has the higher priority."""

    peer: IPAddress
    priority: int

    def __str__(self) -> str:
        return f"{self.peer} outranks us with priority {self.priority}"


@dataclass(frozen=True)
class HeardAgain(Reason):
    """The peer that had fallen silent before we took over is there."""

    peer: IPAddress
    priority: int
    after: Duration

    def __str__(self) -> str:
        return (
            f"{self.peer} is heard again, {self.after:.1f} s after it fell silent, and outranks us (priority {self.priority}): if it ran "
            "all the time, both of us were MASTER, and clients reached one or the other"
        )


@dataclass(frozen=True)
class Obstacle(Reason):
    """The interface does not work; ``what`` is wrong with it."""

    what: str

    def __str__(self) -> str:
        return f"{self.what}: keepalived gave the VIP up, and clients are not served from here until that is mended"


# Why a condition holds.


@dataclass(frozen=True)
class TwoMasters(Reason):
    peer: IPAddress
    priority: int
    ours: int

    def __str__(self) -> str:
        return (
            f"{self.peer} (priority {self.priority}) adverts as MASTER, and so do we (priority {self.ours}): clients reach one or the "
            "other; our adverts do not reach it"
        )


@dataclass(frozen=True)
class Stale(Reason):
    """The VIP outlived its keepalived, or what is left of it ``hangs``; ``to`` is the peer that has it as well."""

    vip: IPAddress
    to: IPAddress | None
    hangs: bool = False

    def __str__(self) -> str:
        means = f"clients reach this instance or {self.to}, which has it" if self.to else "clients are served from here until a peer has it"
        return f"{self.vip} is still on the interface here although keepalived {'hangs' if self.hangs else 'has ended'}: {means}"


@dataclass(frozen=True)
class Unserved(Reason):
    """VIPs that no client reaches, in ``words``, as things stand now or when this instance has them."""

    words: str
    state: VrrpState

    def __str__(self) -> str:
        when = "now" if self.state is VrrpState.MASTER else "as soon as this instance is MASTER"
        return f"{self.words}: clients of it get no answer, {when}"


@dataclass(frozen=True)
class SilentMaster(Reason):
    peer: IPAddress
    vip: IPAddress

    def __str__(self) -> str:
        return f"{self.peer} adverts as MASTER, but nobody answers for {self.vip}: clients that do not know its MAC are without it"


@dataclass(frozen=True)
class NoMaster(Reason):
    vip: IPAddress
    state: VrrpState

    def __str__(self) -> str:
        return f"nobody adverts {self.vip}, and it is not here (we are {self.state}): clients are without it, or adverts do not reach us"


@dataclass(frozen=True)
class Saturated(Reason):
    full: str
    vip_here: bool

    def __str__(self) -> str:
        means = "clients that are connected are served, new ones wait" if self.vip_here else "it has no VIP now"
        return f"{self.full}: {means}"


@dataclass(frozen=True)
class TakenOut(Reason):
    order: Order

    def __str__(self) -> str:
        return f"this instance stays out until vrrpctl promote, after a reboot and a deploy too: {self.order}"


@dataclass(frozen=True)
class LetGo(Reason):
    order: Order

    def __str__(self) -> str:
        return f"BOSH may stop this instance although nobody can take the VIP over, by vrrpctl let-go: {self.order}"

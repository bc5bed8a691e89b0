"""Promote: let this node compete for the VIP again, and prove how that ended. One pure table.

The rules. Two ends are good: we are MASTER (the VIP is on our interface, and for one advert interval nobody else
has it: proof.py), or a peer adverts a higher priority than our active one (we are its backup). Our own kernel does
not answer our own broadcast, so silence of the others is the proof. Whoever adverts our VRID but is not of our
cluster ends the promotion at once: keepalived ignores his adverts, and two masters would follow. When it fails,
the band goes back to what it was.
"""

from enum import Enum, auto
from typing import Final

from .transitions import Action, Row, Sign, Table


class Promote(Enum):
    START = auto()
    CONTENDING = auto()
    SETTLING = auto()
    CONTESTED = auto()
    MASTER = auto()
    BACKUP = auto()
    FAILED = auto()
    CANCELLED = auto()


_S, _A = Sign, Action
_LEAVING = frozenset({_S.ABLE, _S.ALONE, _S.UNSEEN})  # who can take over matters to whoever leaves


def _failures(state: Promote) -> tuple[Row[Promote], ...]:
    """What ends a promotion in any of its waiting states."""
    return (
        Row(state, _S.FOREIGN, Promote.FAILED, "{why}", (_A.PUT_BACK,)),
        Row(state, _S.KEEPALIVED_GONE, Promote.FAILED,
            "keepalived ended during the promotion: see keepalived.log in the keepalived job's log directory", (_A.PUT_BACK,)),
        Row(state, _S.CANCEL, Promote.CANCELLED, "told to stop: the priority is what it was before", (_A.PUT_BACK,)),
    )  # fmt: skip


_NOT_RUNNING: Final = "keepalived does not run here: nothing to promote; see keepalived.log in the keepalived job's log directory"

TABLE: Final = Table[Promote](
    start=Promote.START,
    final=frozenset({Promote.MASTER, Promote.BACKUP, Promote.FAILED, Promote.CANCELLED}),
    rows=(
        Row(Promote.START, _S.VIP_HERE, Promote.SETTLING,
            "{vip} is on {vip_interface} here: priority is {active}; making sure that nobody else has it", (_A.RAISE, _A.PROBE)),
        Row(Promote.START, _S.VIP_GONE, Promote.CONTENDING,
            "priority raised to {active}: waiting for {vip} or for a peer that outranks us", (_A.RAISE,)),
        Row(Promote.START, _S.VIP_STALE, Promote.FAILED, _NOT_RUNNING),
        Row(Promote.START, _S.KEEPALIVED_GONE, Promote.FAILED, _NOT_RUNNING),
        Row(Promote.START, _S.CANCEL, Promote.CANCELLED, "told to stop before anything was changed"),

        Row(Promote.CONTENDING, _S.SUCCESSOR, Promote.BACKUP,
            "{peer} is MASTER with priority {priority}, we have {active}: this node is its backup"),
        Row(Promote.CONTENDING, _S.VIP_HERE, Promote.SETTLING,
            "{vip} came to {vip_interface} here: making sure that nobody else has it", (_A.PROBE,)),
        Row(Promote.CONTENDING, _S.DEADLINE, Promote.FAILED,
            "after {seconds} s {vip} is not on {vip_interface} and no peer outranks our {active}: "
            "is keepalived in FAULT, or its health check failing? See keepalived.log", (_A.PUT_BACK,)),
        *_failures(Promote.CONTENDING),

        Row(Promote.SETTLING, _S.NOBODY_ANSWERS, Promote.MASTER, "{nobody}: this node is MASTER"),
        Row(Promote.SETTLING, _S.PEER_ANSWERS, Promote.CONTESTED, "{proof} as well: waiting for it to stop", (_A.PROBE,)),
        Row(Promote.SETTLING, _S.VIP_GONE, Promote.CONTENDING,
            "{vip} left {vip_interface}: waiting for it or for a peer that outranks us"),
        Row(Promote.SETTLING, _S.DEADLINE, Promote.FAILED,
            "{vip} came to {vip_interface}, but that nobody else has it was not proven within {seconds} s", (_A.PUT_BACK,)),
        *_failures(Promote.SETTLING),

        Row(Promote.CONTESTED, _S.PEER_ANSWERS, Promote.CONTESTED, "{proof} as well: waiting for it to stop", (_A.PROBE,)),
        Row(Promote.CONTESTED, _S.NOBODY_ANSWERS, Promote.MASTER, "{nobody}: this node is MASTER"),
        Row(Promote.CONTESTED, _S.VIP_GONE, Promote.CONTENDING,
            "{vip} left {vip_interface}: waiting for it or for a peer that outranks us"),
        Row(Promote.CONTESTED, _S.DEADLINE, Promote.FAILED,
            "after {seconds} s another machine still has {vip}: clients reach one of two; "
            "find it in the log above and take the address off it", (_A.PUT_BACK,)),
        *_failures(Promote.CONTESTED),
    ),
    ignored={
        Promote.START: _LEAVING | {_S.SUCCESSOR, _S.LEAVER, _S.FOREIGN, _S.PEER_ANSWERS, _S.NOBODY_ANSWERS, _S.DEADLINE},
        Promote.CONTENDING: _LEAVING | {_S.VIP_GONE, _S.VIP_STALE, _S.LEAVER, _S.PEER_ANSWERS, _S.NOBODY_ANSWERS},
        Promote.SETTLING: _LEAVING | {_S.VIP_HERE, _S.VIP_STALE, _S.SUCCESSOR, _S.LEAVER},
        Promote.CONTESTED: _LEAVING | {_S.VIP_HERE, _S.VIP_STALE, _S.SUCCESSOR, _S.LEAVER},
    },
)  # fmt: skip

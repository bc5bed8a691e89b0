"""Demote: hand the VIP over before this node stops. One pure table.

The rules. Lowering our priority drops nothing: we serve until a successor adverts. The handover is proven by
three things together: an active peer adverts a higher priority than ours, the VIP has left our interface, and what
vrrp_drain.takeover_proof asks for (proof.py), as a rule a MAC that is not ours that answers for it. The VIP is taken
away by us in one case only: keepalived is not running here, so it cannot do it, and a peer has become MASTER. While all
peers are away, as when several instances are updated at the same time, the priority stays up: whoever has the VIP is the
last to leave, and waits for the first that is back. Without proof by the deadline there is no successor; whether the
priority then goes back is the caller's policy.
"""

from enum import Enum, auto
from typing import Final

from .transitions import Action, Row, Sign, Table


class Demote(Enum):
    START = auto()
    LEAVING = auto()
    YIELDING = auto()
    WAITING = auto()
    ABANDONED = auto()
    OUTRANKED = auto()
    RELEASED = auto()
    VERIFYING = auto()
    DONE = auto()
    NO_SUCCESSOR = auto()
    CANCELLED = auto()


_S, _A = Sign, Action
_CANCELLED: Final = "told to stop: the priority is back at {active}"


_HERE = frozenset({_S.ABLE, _S.ALONE, _S.UNSEEN})  # what matters only while the VIP is here


def _cancel(state: Demote) -> Row[Demote]:
    return Row(state, _S.CANCEL, Demote.CANCELLED, _CANCELLED, (_A.RAISE,))


TABLE: Final = Table[Demote](
    start=Demote.START,
    final=frozenset({Demote.DONE, Demote.NO_SUCCESSOR, Demote.CANCELLED}),
    rows=(
        Row(Demote.START, _S.VIP_HERE, Demote.YIELDING,
            "{vip} is on {vip_interface} here: priority lowered to {lowered}; serving until a successor has it",
            (_A.LOWER, _A.RESIGN, _A.LOOK_OUT)),
        Row(Demote.START, _S.ALONE, Demote.WAITING,
            "{vip} is on {vip_interface} here and no peer can take it: the priority stays {active}, clients are served from here ({whom})",
            (_A.LOOK_OUT,)),
        Row(Demote.START, _S.VIP_GONE, Demote.LEAVING,
            "{vip} is not on {vip_interface} here: priority lowered to {lowered}, so that it does not come", (_A.LOWER,)),
        Row(Demote.START, _S.VIP_STALE, Demote.ABANDONED,
            "keepalived does not run here, but {vip} is still on {vip_interface}: it stays until a peer is MASTER", (_A.LOWER,)),
        Row(Demote.START, _S.KEEPALIVED_GONE, Demote.DONE,
            "keepalived does not run here and {vip} is not on {vip_interface}: nothing to hand over", (_A.LOWER,)),
        Row(Demote.START, _S.CANCEL, Demote.CANCELLED, "told to stop before anything was changed"),

        Row(Demote.LEAVING, _S.SUCCESSOR, Demote.DONE, "{peer} is MASTER with priority {priority}: this node can go"),
        Row(Demote.LEAVING, _S.LEAVER, Demote.DONE,
            "{peer} is MASTER with priority {priority}, and leaving itself: this node can go, but is no longer its backup"),
        Row(Demote.LEAVING, _S.VIP_HERE, Demote.YIELDING, "{vip} came to {vip_interface} here: serving until a successor has it",
            (_A.RESIGN, _A.LOOK_OUT)),
        Row(Demote.LEAVING, _S.KEEPALIVED_GONE, Demote.DONE,
            "keepalived ended here and {vip} is not on {vip_interface}: nothing to hand over"),
        Row(Demote.LEAVING, _S.DEADLINE, Demote.NO_SUCCESSOR,
            "no peer adverted VRID {vrid} on {interface} within {seconds} s: nobody is known to serve {vip}"),
        _cancel(Demote.LEAVING),

        Row(Demote.YIELDING, _S.SUCCESSOR, Demote.OUTRANKED, "{peer} adverts priority {priority}, above our {lowered}: it takes over"),
        Row(Demote.YIELDING, _S.LEAVER, Demote.YIELDING,
            "{peer} adverts priority {priority}, above our {lowered}, but is leaving itself: it is no successor"),
        Row(Demote.YIELDING, _S.ALONE, Demote.WAITING,
            "no peer can take {vip}: the priority is back at {active}, clients are served from here ({whom})", (_A.RAISE,)),
        Row(Demote.YIELDING, _S.UNSEEN, Demote.YIELDING, "{vip} is served from here until a peer takes it over ({whom})"),
        Row(Demote.YIELDING, _S.VIP_GONE, Demote.RELEASED, "{vip} left {vip_interface}; waiting for the advert of an active peer"),
        Row(Demote.YIELDING, _S.KEEPALIVED_GONE, Demote.ABANDONED,
            "keepalived ended here; if {vip} is still on {vip_interface} it stays until a peer is MASTER"),
        Row(Demote.YIELDING, _S.DEADLINE, Demote.NO_SUCCESSOR,
            "no active peer adverted a higher priority within {seconds} s: {vip} is still here and served"),
        _cancel(Demote.YIELDING),

        Row(Demote.WAITING, _S.ALONE, Demote.WAITING, "{vip} is served from here until a peer can take it over ({whom})"),
        Row(Demote.WAITING, _S.ABLE, Demote.YIELDING, "{able} can take {vip} over: priority lowered to {lowered}", (_A.LOWER, _A.RESIGN)),
        Row(Demote.WAITING, _S.UNSEEN, Demote.YIELDING, "whoever may be there can take {vip} over: priority lowered to {lowered} ({whom})",
            (_A.LOWER, _A.RESIGN)),
        Row(Demote.WAITING, _S.SUCCESSOR, Demote.YIELDING, "{peer} adverts priority {priority}: priority lowered to {lowered}",
            (_A.LOWER, _A.RESIGN)),
        Row(Demote.WAITING, _S.VIP_GONE, Demote.RELEASED, "{vip} left {vip_interface}; waiting for the advert of an active peer",
            (_A.LOWER,)),
        Row(Demote.WAITING, _S.KEEPALIVED_GONE, Demote.ABANDONED,
            "keepalived ended here; if {vip} is still on {vip_interface} it stays until a peer is MASTER", (_A.LOWER,)),
        Row(Demote.WAITING, _S.DEADLINE, Demote.NO_SUCCESSOR,
            "nobody to take {vip} over after {seconds} s: it is still here and served ({whom})", (_A.LOWER,)),
        _cancel(Demote.WAITING),

        Row(Demote.ABANDONED, _S.SUCCESSOR, Demote.OUTRANKED,
            "{peer} is MASTER with priority {priority}: the stale {vip} is taken off {vip_interface}", (_A.REMOVE_STALE_VIP,)),
        Row(Demote.ABANDONED, _S.LEAVER, Demote.ABANDONED,
            "{peer} is MASTER with priority {priority}, though leaving: the stale {vip} is taken off {vip_interface}",
            (_A.REMOVE_STALE_VIP,)),
        Row(Demote.ABANDONED, _S.VIP_GONE, Demote.RELEASED, "{vip} left {vip_interface}; waiting for the advert of an active peer"),
        Row(Demote.ABANDONED, _S.DEADLINE, Demote.NO_SUCCESSOR,
            "keepalived does not run here and no peer is MASTER after {seconds} s: {vip} stays on {vip_interface}, where haproxy may "
            "serve it"),
        _cancel(Demote.ABANDONED),

        Row(Demote.OUTRANKED, _S.VIP_GONE, Demote.VERIFYING,
            "{vip} left {vip_interface}: {asked}", (_A.PROBE,)),
        Row(Demote.OUTRANKED, _S.KEEPALIVED_GONE, Demote.OUTRANKED,
            "keepalived ended here while a peer takes over: a stale {vip} is taken off {vip_interface}", (_A.REMOVE_STALE_VIP,)),
        Row(Demote.OUTRANKED, _S.DEADLINE, Demote.NO_SUCCESSOR,
            "a peer adverts a higher priority, but {vip} did not leave {vip_interface} within {seconds} s: two machines may answer for it"),
        _cancel(Demote.OUTRANKED),

        Row(Demote.RELEASED, _S.SUCCESSOR, Demote.VERIFYING,
            "{peer} adverts priority {priority}, above our {lowered}: {asked}", (_A.PROBE,)),
        Row(Demote.RELEASED, _S.LEAVER, Demote.VERIFYING,
            "{peer} adverts priority {priority} and has {vip}, though leaving itself, as the last to go: {asked}",
            (_A.PROBE,)),
        Row(Demote.RELEASED, _S.VIP_HERE, Demote.YIELDING, "{vip} is back on {vip_interface}: serving until another successor has it",
            (_A.RESIGN, _A.LOOK_OUT)),
        Row(Demote.RELEASED, _S.DEADLINE, Demote.NO_SUCCESSOR,
            "{vip} left {vip_interface}, but no active peer adverted it within {seconds} s: clients may be without it"),
        _cancel(Demote.RELEASED),

        Row(Demote.VERIFYING, _S.PEER_ANSWERS, Demote.DONE, "{proof}: handed over"),
        Row(Demote.VERIFYING, _S.VIP_HERE, Demote.YIELDING,
            "the successor is gone and {vip} is back on {vip_interface}: serving until another successor has it",
            (_A.RESIGN, _A.LOOK_OUT)),
        Row(Demote.VERIFYING, _S.DEADLINE, Demote.NO_SUCCESSOR,
            "a peer adverts a higher priority, but that it has {vip} is not proven ({unproven} within {seconds} s): clients may be "
            "without it"),
        _cancel(Demote.VERIFYING),
    ),
    ignored={
        Demote.START: frozenset(
            {_S.SUCCESSOR, _S.LEAVER, _S.FOREIGN, _S.PEER_ANSWERS, _S.NOBODY_ANSWERS, _S.DEADLINE, _S.ABLE, _S.UNSEEN}),
        Demote.LEAVING: _HERE | {_S.VIP_GONE, _S.VIP_STALE, _S.FOREIGN, _S.PEER_ANSWERS, _S.NOBODY_ANSWERS},
        Demote.YIELDING: frozenset({_S.VIP_HERE, _S.VIP_STALE, _S.FOREIGN, _S.PEER_ANSWERS, _S.NOBODY_ANSWERS, _S.ABLE}),
        Demote.WAITING: frozenset({_S.VIP_HERE, _S.VIP_STALE, _S.LEAVER, _S.FOREIGN, _S.PEER_ANSWERS, _S.NOBODY_ANSWERS}),
        Demote.ABANDONED: _HERE
        | {_S.VIP_HERE, _S.VIP_STALE, _S.KEEPALIVED_GONE, _S.FOREIGN, _S.PEER_ANSWERS, _S.NOBODY_ANSWERS},
        Demote.OUTRANKED: _HERE
        | {_S.VIP_HERE, _S.VIP_STALE, _S.SUCCESSOR, _S.LEAVER, _S.FOREIGN, _S.PEER_ANSWERS, _S.NOBODY_ANSWERS},
        Demote.RELEASED: _HERE
        | {_S.VIP_GONE, _S.VIP_STALE, _S.KEEPALIVED_GONE, _S.FOREIGN, _S.PEER_ANSWERS, _S.NOBODY_ANSWERS},
        Demote.VERIFYING: _HERE
        | {_S.VIP_GONE, _S.VIP_STALE, _S.KEEPALIVED_GONE, _S.SUCCESSOR, _S.LEAVER, _S.FOREIGN, _S.NOBODY_ANSWERS},
    },
    patient=frozenset({Demote.YIELDING, Demote.WAITING, Demote.ABANDONED}),
)  # fmt: skip

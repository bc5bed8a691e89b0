"""Our rules in a machine of the lab, installed by hand: what pre-start does, with values that a test chooses."""

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from types import MappingProxyType

from vrrp_drain.handoff.group import Group
from vrrp_drain.handoff.rules import Rules
from vrrp_drain.handoff.situation import Situation
from vrrp_drain.vrrp import hello

from .namespace import Namespace

VRID = 1
WINDOW = 60.0
ID = "the-instance"


def group(
    *vips: str,
    members: Sequence[str] = (),
    version: int = 3,
    closed: bool = True,
    nobody: Sequence[str] = (),
    hops: int = 0,
    rank: int = 0,
    ranks: Mapping[str, int] = MappingProxyType({}),
    virtual: str = "",
) -> Group:
    return Group(
        vips=tuple(map(ip_address, vips)),
        interface="eth0",
        vrid=VRID,
        vrrp_version=version,
        token=hello.token(ID, VRID),
        members=frozenset(map(ip_address, members)),
        nobody=frozenset(map(ip_address, nobody)),
        closed=closed,
        hops=hops,
        window=WINDOW,
        rank=rank,
        ranks=tuple((ip_address(each), place) for each, place in ranks.items()),
        virtual=virtual,
        silence=3.6,
    )


def hold(machine: Namespace, ours: Group) -> None:
    machine.in_network(lambda: Rules().hold(ours))


def arm(machine: Namespace, vip: str, peer: str) -> None:
    machine.in_network(lambda: Rules().arm([ip_address(vip)], ip_address(peer)))


def situation(machine: Namespace) -> Situation:
    return machine.in_network(Rules().state)

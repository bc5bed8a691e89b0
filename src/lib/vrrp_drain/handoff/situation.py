"""What our nftables table holds and has learnt, read back from the kernel. Nothing is changed here."""

import ipaddress
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from vrrp_drain.linux.netlink import NETFILTER, Conversation
from vrrp_drain.linux.nftables.kernel import BaseChain, Nftables, Refusal
from vrrp_drain.linux.nftables.objects import FAMILIES, FIRST, GOING_OUT, INET, NETDEV
from vrrp_drain.linux.sock_diag import End
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import IPAddress

from . import admission, forwarding, sockets

TABLE = "vrrp_drain"
_INGRESS = 0  # NF_NETDEV_INGRESS


@dataclass(frozen=True)
class Armed:
    """Packets of connections to ``vip`` that are unknown here may go to ``peer``, for ``seconds`` more: one of those who have left."""

    vip: IPAddress
    peer: IPAddress
    seconds: float


@dataclass(frozen=True)
class Situation:
    """What is installed and learnt.

    ``tables`` are the IP versions (4, 6) that there is a table for, ``families`` those with a handoff. Packets: ``sent`` were handed off,
    ``circled`` came back so often that they were answered here, ``refused`` are adverts that keepalived did not get.
    """

    families: tuple[int, ...] = ()
    armed: tuple[Armed, ...] = ()
    sent: int = 0
    circled: int = 0
    refused: int = 0
    members: tuple[IPAddress, ...] = ()
    tables: tuple[int, ...] = ()


class Members(NamedTuple):
    """Who may be heard: the ``members`` of the group, and the IP versions that there is a table for, which alone keeps others out."""

    members: tuple[IPAddress, ...] = ()
    tables: tuple[int, ...] = ()


class Words(NamedTuple):
    """What members said of themselves last (vrrp/hello.py): who is ``away`` for a while, since how many seconds, and who has ``ended``."""

    away: tuple[tuple[IPAddress, float], ...] = ()
    ended: tuple[IPAddress, ...] = ()


class Installed:
    """Our table as it is, one for each address family. ``make`` opens a netlink socket. All public methods raise SystemFault."""

    def __init__(self, make: Callable[[], Conversation] = lambda: Conversation(NETFILTER)) -> None:
        self._nftables = Nftables(make)

    def state(self) -> Situation:
        """Return what is installed and learnt now."""
        with told():
            tables = self._nftables.versions(TABLE)
            counted = [(version, self._nftables.counted(version, TABLE)) for version in tables]
            families = tuple(version for version, packets in counted if forwarding.SEND in packets)
            return Situation(
                families=families,
                armed=tuple(each for version in families for each in self._armed(version)),
                sent=sum(packets.get(forwarding.SEND, 0) for _, packets in counted),
                circled=sum(packets.get(forwarding.CIRCLED, 0) for _, packets in counted),
                refused=sum(packets.get(admission.REFUSED, 0) for _, packets in counted),
                members=tuple(each for version in tables for each in self._members(version) or ()),
                tables=tables,
            )

    def membership(self) -> Members:
        """Return who may be heard: a part of ``state`` that costs little, because no rule is read."""
        with told():
            return self._membership()

    def further(self, version: int) -> dict[IPAddress, IPAddress]:
        """Return the addresses of the other family that members have told, by those of IP ``version`` that they speak from."""
        with told():
            found = self._nftables.elements(version, TABLE, admission.FURTHER) or ()
            return {ipaddress.ip_address(each.key): ipaddress.ip_address(each.data) for each in found if each.data}

    def words(self) -> Words:
        """Return what the members said of themselves."""
        with told():
            return self._words()

    def stopped(self) -> tuple[int, int]:
        """Return how many packets went round and how many adverts were refused: a part of ``state``."""
        with told():
            counted = [self._nftables.counted(version, TABLE) for version in self._nftables.versions(TABLE)]
        circled, refused = (sum(packets.get(chain, 0) for packets in counted) for chain in (forwarding.CIRCLED, admission.REFUSED))
        return circled, refused

    def in_the_way(self, vip: IPAddress) -> list[BaseChain]:
        """Return the chains of others that drop packets to ``vip`` as they arrive, before ours see them, or as they are handed on.

        It is their policy, and no rule of their table speaks of the VIP.
        """
        family = FAMILIES[vip.version].number
        with told():
            found = [each for each in self._nftables.base_chains() if each.drops and each.table != TABLE and _meets(each, family)]
            return [each for each in found if not self._nftables.mentions(each.family, each.table, vip.packed)]

    def armed(self) -> tuple[Armed, ...]:
        """Return who gets packets of which VIP now: a part of ``state`` that costs little."""
        with told():
            return tuple(each for version in FAMILIES for each in self._armed(version))

    def told_apart(self) -> frozenset[End]:
        """Return where listeners are told from their connections, by marks that are in force."""
        with told():
            return frozenset(each for version in FAMILIES for each in self._told_apart(version))

    def _told_apart(self, version: int) -> set[End]:
        found = [self._nftables.elements(version, TABLE, name) or () for name in (sockets.BOUND, sockets.MARKED)]
        keys = {bytes(each.key) for each in found[0]} & {bytes(each.key) for each in found[1]}
        if not keys or not self._nftables.rules(version, TABLE).get(sockets.MARKS):
            return set()
        return {sockets.end_of(each, FAMILIES[version]) for each in keys}

    def _armed(self, version: int) -> list[Armed]:
        left = self._nftables.elements(version, TABLE, forwarding.LEAVING) or ()
        leavers: dict[bytes, float] = {}
        for each in self._nftables.elements(version, TABLE, forwarding.LEAVERS) or () if left else ():
            address = each.data or b""  # the last one to leave has two places
            leavers[address] = max(each.seconds or 0.0, leavers.get(address, 0.0))
        return [
            Armed(ipaddress.ip_address(vip.key), ipaddress.ip_address(peer), min(vip.seconds or 0.0, seconds))
            for vip in left
            for peer, seconds in sorted(leavers.items())
        ]

    def _membership(self) -> Members:
        members = {version: self._members(version) for version in FAMILIES}
        tables = tuple(version for version, found in members.items() if found is not None)  # there is none without its set of members
        return Members(tuple(each for version in tables for each in members[version] or ()), tables)

    def _words(self) -> Words:
        return Words(
            away=tuple(each for version in FAMILIES for each in self._said(version, admission.AWAY)),
            ended=tuple(who for version in FAMILIES for who, _ in self._said(version, admission.ENDED)),
        )

    def _said(self, version: int, name: str) -> list[tuple[IPAddress, float]]:
        """Return who is in a set of words, and how many seconds ago he said so last."""
        found = self._nftables.elements(version, TABLE, name) or ()
        return [(ipaddress.ip_address(each.key), admission.REMEMBERED - (each.seconds or 0.0)) for each in found]

    def _members(self, version: int) -> list[IPAddress] | None:
        found = self._nftables.elements(version, TABLE, admission.MEMBERS)
        return None if found is None else [ipaddress.ip_address(each.key) for each in found]


def _meets(chain: BaseChain, family: int) -> bool:
    """Tell whether a packet that is to be handed on comes to this chain: before ours, or when it leaves."""
    if chain.family == NETDEV:
        return chain.hook == _INGRESS
    return chain.family in (family, INET) and (
        chain.hook == GOING_OUT.number or (chain.hook == FIRST.number and chain.priority <= FIRST.priority)
    )


@contextmanager
def told() -> Iterator[None]:
    try:
        yield
    except Refusal as error:
        raise SystemFault(f"the kernel does not tell its nftables rules ({error})") from error

"""Our nftables table, from pre-start to post-stop: who is heard (admission.py), and connections that survive a move (forwarding.py)."""

import socket
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from vrrp_drain.linux.nftables.expressions import GOTO, IIFNAME, compare, meta, verdict
from vrrp_drain.linux.nftables.kernel import Refusal
from vrrp_drain.linux.nftables.objects import FAMILIES, Kind, Order, new_chain, new_rule, new_table, removal, renamed
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import IPAddress

from . import admission, forwarding
from .situation import TABLE, Installed, told

_TRIAL = "vrrp_drain_trial"
_BASE = "prerouting"
_FURTHER_VERSION = 3  # of VRRP, in the family that keepalived.vip is not of
_TRIES = 3  # of a change to what the kernel's rules change too
_LACKING = "it lacks a part of nftables that they need: socket, dup or dynset"


@dataclass(frozen=True)
class Group:
    """What the kernel must know of the virtual router.

    ``vips`` has the one first that stands in adverts. ``members`` may arm the handoff; in a ``closed`` group keepalived hears nobody else.
    ``token`` makes a member of who says it in a hello, ``nobody`` has the addresses that can be no member's. Members are at most ``hops``
    routers away. ``window`` is for how many seconds a leaver gets its connections, 0 without a handoff. ``rank`` is our place among the
    instances, ``ranks`` are the others' with their addresses, as far as the keepalived link names them.
    """

    vips: tuple[IPAddress, ...]
    interface: str
    vrid: int
    vrrp_version: int
    token: bytes
    members: frozenset[IPAddress] = frozenset()
    nobody: frozenset[IPAddress] = frozenset()
    closed: bool = False
    hops: int = 0
    window: float = 0.0
    rank: int = 0
    ranks: tuple[tuple[IPAddress, int], ...] = ()

    def of(self, version: int) -> tuple[IPAddress, ...]:
        """Return the VIPs of one IP version."""
        return tuple(vip for vip in self.vips if vip.version == version)

    @property
    def versions(self) -> tuple[int, ...]:
        """Return the IP versions that there are VIPs of."""
        return tuple(version for version in FAMILIES if self.of(version))


class Rules(Installed):
    """Our table, one for each address family: what is read of it, and here what is done to it."""

    def hold(self, group: Group) -> None:
        """Install the rules anew, in one transaction: who left is forgotten, who said hello is not.

        Raises SystemFault; what the kernel does take of them, the rules for adverts alone, is installed then, or nothing is changed.
        """
        index = _index(group.interface)
        try:
            self._install(group, index)
        except Refusal as error:
            if not group.window:
                raise SystemFault(
                    "the kernel refuses the rules that keep strangers' adverts from keepalived:"
                    f" any of them may disturb the election ({_why(error, _LACKING)})"
                ) from error
            with suppress(Refusal):
                self._install(replace(group, window=0.0), index)
            names = ", ".join(map(str, group.vips))
            raise SystemFault(
                f"the kernel refuses the rules that hand open connections over: a move of {names} cuts them ({_why(error, _LACKING)})"
            ) from error

    def _install(self, group: Group, index: int) -> None:
        learned, ended = self._membership().members, self._words().ended
        self._nftables.change([*removal(TABLE, 4, 6), *installation(group, index, learned, ended)], TABLE)

    def lacks(self, group: Group) -> list[str]:
        """Return what is missing of that which ``hold`` puts in place, in words; more than that is nobody's fault. Raises SystemFault."""
        found: list[str] = []
        orders = installation(group, _index(group.interface))
        with told():
            there = self._nftables.versions(TABLE)
            for version in group.versions:
                name = f"{'ip' if version == 4 else 'ip6'} {TABLE}"
                if version not in there:
                    found.append(f"the nftables table {name}")
                    continue
                ours = [each for each in orders if each.family == FAMILIES[version].number]
                wanted = Counter(dict(each.attributes)["NFTA_RULE_CHAIN"] for each in ours if each.kind == Kind.NEWRULE)
                have = self._nftables.rules(version, TABLE)
                found += [f"rules of chain {chain} of {name}" for chain, count in wanted.items() if have.get(chain, 0) < count]
                found += [f"elements of set {each} of {name}" for each in self._emptied(version, ours)]
        return found

    def _emptied(self, version: int, orders: Iterable[Order]) -> list[str]:
        """Return the sets that lack what ``orders`` put into them."""
        found = []
        for each in orders:
            if each.kind == Kind.NEWSETELEM:
                attributes = dict(each.attributes)
                name, elements = attributes["NFTA_SET_ELEM_LIST_SET"], attributes["NFTA_SET_ELEM_LIST_ELEMENTS"]
                wanted = {dict(element["attrs"])["NFTA_SET_ELEM_KEY"]["attrs"][0][1] for element in elements}
                if wanted - {bytes(key.key) for key in self._nftables.elements(version, TABLE, name) or ()}:
                    found.append(name)
        return found

    def arm(self, vips: Sequence[IPAddress], peer: IPAddress) -> None:
        """Before we take ``vips`` over from ``peer``, which stays healthy: its connections go to it for a window.

        ``peer`` is the source address of its adverts; whoever left before stays where it is. Raises SystemFault.
        """
        for tries_left in range(_TRIES - 1, -1, -1):
            try:
                self._nftables.change(forwarding.arming(FAMILIES[peer.version], TABLE, vips, peer, self._there(peer.version)), TABLE)
            except Refusal as error:
                if tries_left and error.outdated:
                    continue
                names, why = ", ".join(map(str, vips)), _why(error, "our rules are not installed")
                raise SystemFault(
                    f"the connections that {peer} serves cannot be left with it: a move of {names} cuts them ({why})"
                ) from error
            return

    def _there(self, version: int) -> dict[str, dict[bytes, bytes]]:
        names = (forwarding.LEAVING, forwarding.LEAVERS, forwarding.PLACES)
        return {name: {each.key: each.data or b"" for each in self._nftables.elements(version, TABLE, name) or ()} for name in names}

    def disarm(self, peer: IPAddress) -> None:
        """``peer`` is gone: clients of its connections get their reset here. No error where it is not armed. Raises SystemFault."""
        try:
            leavers = self._nftables.elements(peer.version, TABLE, forwarding.LEAVERS) or ()
            if places := [each.key for each in leavers if each.data == peer.packed]:
                self._nftables.change([forwarding.disarming(FAMILIES[peer.version], TABLE, places)], TABLE)
        except Refusal as error:
            if not error.absent:  # it went meanwhile
                raise SystemFault(f"packets of open connections go on to {peer}, which is gone: their clients hang ({error})") from error

    def release(self) -> None:
        """Take our tables away; it is no error if there are none, or no nftables at all. Raises SystemFault."""
        try:
            versions = self._nftables.versions(TABLE)
        except Refusal as error:
            if error.without_nftables:
                return
            raise SystemFault(f"the kernel does not tell whether our nftables table {TABLE} is there ({error})") from error
        try:
            if versions:
                self._nftables.change(removal(TABLE, *versions), TABLE)
        except Refusal as error:
            raise SystemFault(f"the kernel keeps our nftables table {TABLE} ({_why(error, 'it is not there')})") from error

    def trial(self, group: Group) -> None:
        """Install the rules and take them away again, in one transaction and under another name. Raises SystemFault.

        Nobody's packets meet them: the kernel checks all of it, and what is left is nothing.
        """
        away = [each for each in removal(TABLE, *group.versions) if each.kind == Kind.DELTABLE]
        orders = [renamed(each, TABLE, _TRIAL) for each in (*installation(group, _index(group.interface)), *away)]
        try:
            self._nftables.change(orders, _TRIAL)
        except Refusal as error:
            raise SystemFault(f"the kernel refuses the rules that hand open connections over ({_why(error, _LACKING)})") from error


def installation(group: Group, index: int, learned: Sequence[IPAddress] = (), ended: Sequence[IPAddress] = ()) -> list[Order]:
    """Return the orders that make our tables where none is; ``index`` is the interface's.

    ``learned`` are members that said hello before, ``ended`` those who said that they end.
    """
    return [order for version in group.versions for order in _table(group, version, index, set(learned), set(ended))]


def _table(group: Group, version: int, index: int, learned: set[IPAddress], ended: set[IPAddress]) -> list[Order]:
    family, vips = FAMILIES[version], group.of(version)
    is_first = version == group.vips[0].version  # keepalived adverts and listens in this family alone
    speaks = group.vrrp_version if is_first else _FURTHER_VERSION
    nobody = {*group.vips, *group.nobody}
    named, known = (_possible(each - nobody, version) for each in (group.members, learned))
    ranks = [(address, rank) for address, rank in group.ranks if address.version == version]
    arrives = [meta(IIFNAME), compare(group.interface.encode().ljust(16, b"\0"))]
    chains = [_BASE, *admission.CHAINS, *(forwarding.CHAINS if group.window else ())]
    rules = [
        (_BASE, [*arrives, *admission.is_advert(), verdict(GOTO, admission.ADVERTS)], "VRRP"),
        *admission.rules(
            *(family, group.vrid, speaks, vips[0], group.token, nobody),
            guarded=is_first,
            closed=group.closed,
            hops=group.hops if is_first else 0,
            arms=forwarding.ARM if group.window else "",
            told=forwarding.TOLD if group.window else "",
        ),
    ]
    if group.window:  # until somebody has left, this lookup is all that a packet costs
        rules.append((_BASE, [*arrives, *forwarding.to_known(family), verdict(GOTO, forwarding.ARMED)], "somebody has left"))
        rules += forwarding.rules(family, vips, index, group.rank, ranks)
    return [
        new_table(family, TABLE),
        *admission.members(family, TABLE, named, known),
        *admission.words(family, TABLE, _possible(ended - nobody, version)),
        *(forwarding.sets(family, TABLE, group.window, ranks) if group.window else ()),
        *(new_chain(family, TABLE, each, base=each == _BASE) for each in chains),
        *(new_rule(family, TABLE, chain, expressions, comment) for chain, expressions, comment in rules),
    ]


def _possible(addresses: Iterable[IPAddress], version: int) -> set[IPAddress]:
    return {each for each in addresses if each.version == version and admission.is_somebodys(each)}


def _index(interface: str) -> int:
    try:
        return socket.if_nametoindex(interface)
    except OSError as error:
        raise SystemFault(f"interface {interface} does not exist (any more)") from error


def _why(error: Refusal, absent: str) -> str:
    """Return the reason. ``absent`` is what ENOENT means: the kernel does not say what it is that it does not find."""
    return absent if error.absent else str(error)

"""Our nftables tables from pre-start to post-stop: installed, changed while they are there, taken away. What is in them: tables.py."""

import math
import socket
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from vrrp_drain.linux.nftables.kernel import NF_TABLES, Refusal
from vrrp_drain.linux.nftables.objects import ARP, FAMILIES, Family, Kind, Order, removal, renamed
from vrrp_drain.linux.sock_diag import End
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import IPAddress

from . import forwarding, sockets
from .group import Group
from .situation import TABLE, Installed, told
from .tables import installation

_TRIAL = "vrrp_drain_trial"
_NUMBERS = tuple(each.number for each in FAMILIES.values())
_TRIES = 3  # of a change to what the kernel's rules change too
_LACKING = "it lacks a part of nftables that they need: socket, dup, limit or dynset"


class RulesRefused(SystemFault):
    """The kernel would not take our rules; ``modules`` would help, as far as it says what it lacks."""

    def __init__(self, what: str, refusal: Refusal) -> None:
        self.modules = tuple(sorted({each.module for each in refusal.lacking})) or ((NF_TABLES,) if refusal.without_nftables else ())
        super().__init__(what)


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
                self._install(replace(group, window=0.0, virtual=""), index)
            names = ", ".join(map(str, group.vips))
            raise SystemFault(
                f"the kernel refuses the rules that hand open connections over: a move of {names} cuts them ({_why(error, _LACKING)})"
            ) from error

    def _install(self, group: Group, index: int) -> None:
        learned, ended = self._membership().members, self._words().ended
        before = {*_NUMBERS, *self._nftables.numbers(TABLE)}
        self._nftables.change([*removal(TABLE, *sorted(before)), *installation(group, index, learned, ended)], TABLE)

    def lacks(self, group: Group) -> list[str]:
        """Return what is missing of that which ``hold`` puts in place, in words; more than that is nobody's fault. Raises SystemFault."""
        found: list[str] = []
        orders = installation(group, _index(group.interface))
        with told():
            there = self._nftables.versions(TABLE)
            if group.announces_mac and ARP.number not in self._nftables.numbers(TABLE):
                found.append(f"the nftables table arp {TABLE}")
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

    def arm(self, vips: Sequence[IPAddress], *peer: IPAddress) -> None:
        """Before we take ``vips`` over from a ``peer`` that stays healthy: its connections go to it for a window.

        ``peer`` are its addresses, the source of its adverts first, at most one of each family; whoever left before stays where it is.
        Raises SystemFault, having armed nothing.
        """
        for tries_left in range(_TRIES - 1, -1, -1):
            try:
                self._nftables.change([order for each in peer for order in self._arming(vips, each)], TABLE)
            except Refusal as error:
                if tries_left and error.outdated:
                    continue
                names, why = ", ".join(map(str, vips)), _why(error, "our rules are not installed")
                raise SystemFault(
                    f"the connections that {peer[0]} serves cannot be left with it: a move of {names} cuts them ({why})"
                ) from error
            return

    def _arming(self, vips: Sequence[IPAddress], peer: IPAddress) -> list[Order]:
        return forwarding.arming(FAMILIES[peer.version], TABLE, vips, peer, self._there(peer.version))

    def _there(self, version: int) -> dict[str, dict[bytes, bytes]]:
        names = (forwarding.LEAVING, forwarding.LEAVERS, forwarding.PLACES)
        return {name: {each.key: each.data or b"" for each in self._nftables.elements(version, TABLE, name) or ()} for name in names}

    def disarm(self, peer: IPAddress, at_most: float = math.inf) -> None:
        """``peer`` is gone: clients of its connections get their reset here. No error where it is not armed. Raises SystemFault.

        What has more than ``at_most`` seconds left stays: the kernel has learnt it since, from ``peer`` itself.
        """
        try:
            leavers = self._nftables.elements(peer.version, TABLE, forwarding.LEAVERS) or ()
            if places := [each.key for each in leavers if each.data == peer.packed and (each.seconds or 0.0) <= at_most]:
                self._nftables.change([forwarding.disarming(FAMILIES[peer.version], TABLE, places)], TABLE)
        except Refusal as error:
            if not error.absent:  # it went meanwhile
                raise SystemFault(f"packets of open connections go on to {peer}, which is gone: their clients hang ({error})") from error

    def mark(self, mark: int, there: Iterable[End]) -> None:
        """Have connections that clients open to ``there`` marked from now on: somebody listens at a VIP itself. Raises SystemFault."""
        self._tell_apart(_by_version(there), lambda family, ends: [sockets.marking(family, TABLE, mark, ends)])

    def tell_apart(self, there: Iterable[End], older: Iterable[tuple[End, End]]) -> None:
        """Tell listeners at ``there`` from their connections, which have a mark or are among ``older``: client and end here.

        Raises SystemFault; what is sent on is at no time a connection of ours.
        """
        clients = defaultdict(list)
        for client, here in older:
            clients[here[0].version].append((client, here))
        self._tell_apart(_by_version(there), lambda family, ends: sockets.telling_apart(family, TABLE, ends, clients[ends[0][0].version]))

    def _tell_apart(self, there: Mapping[int, list[End]], transactions: Callable[[Family, list[End]], Iterable[Sequence[Order]]]) -> None:
        try:
            for version, ends in there.items():
                for orders in transactions(FAMILIES[version], ends):
                    self._nftables.change(orders, TABLE)
        except Refusal as error:
            raise SystemFault(
                "the kernel does not take what tells the connections of frontends that are bound to a VIP:"
                f" a move cuts them ({_why(error, 'our rules are not installed')})"
            ) from error

    def release(self) -> None:
        """Take our tables away; it is no error if there are none, or no nftables at all. Raises SystemFault."""
        try:
            numbers = self._nftables.numbers(TABLE)
        except Refusal as error:
            if error.without_nftables:
                return
            raise SystemFault(f"the kernel does not tell whether our nftables table {TABLE} is there ({error})") from error
        try:
            if numbers:
                self._nftables.change(removal(TABLE, *numbers), TABLE)
        except Refusal as error:
            raise SystemFault(f"the kernel keeps our nftables table {TABLE} ({_why(error, 'it is not there')})") from error

    def trial(self, group: Group) -> None:
        """Install the rules and take them away again, in one transaction and under another name. Raises RulesRefused.

        Nobody's packets meet them: the kernel checks all of it, and what is left is nothing.
        """
        made = installation(group, _index(group.interface))
        marks = [
            order
            for version in (group.versions if group.mark and group.window else ())
            for order in sockets.marking(FAMILIES[version], TABLE, group.mark, [(vip, 1) for vip in group.of(version)])
        ]
        numbers = sorted({each.family for each in made})
        away = [each for each in removal(TABLE, *numbers) if each.kind == Kind.DELTABLE]
        orders = [renamed(each, TABLE, _TRIAL) for each in (*made, *marks, *away)]
        try:
            self._nftables.change(orders, _TRIAL)
        except Refusal as error:
            raise RulesRefused(f"the kernel refuses the rules that hand open connections over ({_why(error, _LACKING)})", error) from error


def _by_version(ends: Iterable[End]) -> dict[int, list[End]]:
    found: dict[int, list[End]] = defaultdict(list)
    for each in ends:
        found[each[0].version].append(each)
    return found


def _index(interface: str) -> int:
    try:
        return socket.if_nametoindex(interface)
    except OSError as error:
        raise SystemFault(f"interface {interface} does not exist (any more)") from error


def _why(error: Refusal, absent: str) -> str:
    """Return the reason. ``absent`` is what ENOENT means where the kernel does not say what it is that it does not find."""
    if error.without_nftables:
        return f"{error}: it has no nftables"
    if error.lacking:
        return f"it lacks {', '.join(map(str, error.lacking))}, in nftables"
    return absent if error.absent else str(error)

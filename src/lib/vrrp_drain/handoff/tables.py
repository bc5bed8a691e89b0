"""What is in our nftables tables, one for each address family: who is heard (admission.py), and connections that survive a move
(forwarding.py), with what tells a connection from its listener (sockets.py), and what QUIC, a tunnel or a virtual MAC add."""

from collections.abc import Iterable, Sequence

from vrrp_drain.linux.nftables.expressions import GOTO, IIFNAME, NEQ, compare, interface_name, meta, verdict
from vrrp_drain.linux.nftables.objects import (
    FAMILIES,
    FIRST,
    GOING_OUT,
    Order,
    new_chain,
    new_rule,
    new_table,
)
from vrrp_drain.runtime.ip import IPAddress

from . import admission, forwarding, quic, tunnel, virtual_mac
from .group import Group
from .situation import TABLE

_BASE = "prerouting"
_HOOKS = {_BASE: FIRST, virtual_mac.OUTPUT: GOING_OUT}
_FURTHER_VERSION = 3  # of VRRP, in the family that keepalived.vip is not of


def installation(group: Group, index: int, learned: Sequence[IPAddress] = (), ended: Sequence[IPAddress] = ()) -> list[Order]:
    """Return the orders that make our tables where none is; ``index`` is the interface's.

    ``learned`` are members that said hello before, ``ended`` those who said that they end.
    """
    of_arp = virtual_mac.of_arp(TABLE, group.virtual, group.vrid) if group.announces_mac else []
    return [*(order for version in group.versions for order in _table(group, version, index, set(learned), set(ended))), *of_arp]


def _table(group: Group, version: int, index: int, learned: set[IPAddress], ended: set[IPAddress]) -> list[Order]:
    family, vips = FAMILIES[version], group.of(version)
    is_first = version == group.vips[0].version  # keepalived adverts and listens in this family alone
    speaks = group.vrrp_version if is_first else _FURTHER_VERSION
    nobody = {*group.vips, *group.nobody}
    named, known = (_possible(each - nobody, version) for each in (group.members, learned))
    ranks = [(address, rank) for address, rank in group.ranks if address.version == version]
    other = next((FAMILIES[each] for each in group.versions if each != version), None)
    arrives = [meta(IIFNAME), compare(interface_name(group.interface))]
    hops, through = group.hops if is_first else 0, group.tunnel if group.window else None
    virtual = group.virtual if is_first else ""
    quic_ports = group.quic_ports if group.window else ()
    one_way_in = bool(group.window) and not (through or virtual)
    chains = [
        *(_BASE, *admission.CHAINS, *(forwarding.CHAINS if group.window else ()), *((forwarding.OTHERS,) if one_way_in else ())),
        *((quic.QUIC,) if quic_ports else ()),
        *((tunnel.TUNNEL,) if through else ()),
        *(virtual_mac.CHAINS if virtual else ()),
    ]
    rules = [
        (forwarding.OTHERS if one_way_in else _BASE, [*arrives, *admission.is_advert(), verdict(GOTO, admission.ADVERTS)], "VRRP"),
        *admission.rules(
            *(family, group.vrid, speaks, vips[0], group.token, nobody),
            guarded=is_first,
            closed=group.closed,
            hops=hops,
            far=through is not None,
            arms=forwarding.ARM if group.window else "",
            told=forwarding.TOLD if group.window else "",
            other=other,
            virtual=bool(virtual),
        ),
        *(virtual_mac.rules(family, _BASE, group.interface, virtual, group.vrid, vips[0], admission.is_advert()) if virtual else ()),
    ]
    if one_way_in:
        rules += forwarding.beginning(family, vips, _BASE, [meta(IIFNAME), compare(interface_name(group.interface), NEQ)])
    elif group.window:  # until somebody has left, this lookup is all that a packet costs
        rules.append((_BASE, [*arrives, *forwarding.to_known(family), verdict(GOTO, forwarding.ARMED)], "somebody has left"))
    if group.window:
        if virtual:
            rules.append((virtual_mac.VIRTUAL, [*forwarding.to_known(family), verdict(GOTO, forwarding.ARMED)], "somebody has left"))
        rules += forwarding.rules(family, vips, tunnel.INDEXES[version] if through else index, group.rank, ranks)
    if quic_ports:
        rules += quic.rules(family, quic_ports, forwarding.ARMED, forwarding.ONWARD)
    if through:
        rules += tunnel.rules(family, version, through.port, hops, _BASE)
    return [
        new_table(family, TABLE),
        *admission.members(family, TABLE, named, known),
        *admission.words(family, TABLE, _possible(ended - nobody, version)),
        *admission.further(family, TABLE, other),
        *(forwarding.sets(family, TABLE, group.window, ranks) if group.window else ()),
        *(quic.sets(family, TABLE) if quic_ports else ()),
        *(tunnel.sets(family, TABLE, vips) if through else ()),
        *(virtual_mac.sets(family, TABLE, group.silence, group.grace) if virtual else ()),
        *(new_chain(family, TABLE, each, hook=_HOOKS.get(each)) for each in chains),
        *(new_rule(family, TABLE, chain, expressions, comment) for chain, expressions, comment in rules),
    ]


def _possible(addresses: Iterable[IPAddress], version: int) -> set[IPAddress]:
    return {each for each in addresses if each.version == version and admission.is_somebodys(each)}

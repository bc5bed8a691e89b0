"""nftables rules for the virtual MAC (keepalived.use_vmac): what comes to it counts on the MASTER alone.

keepalived gives the VIP's MAC to an interface of its own, on every instance and for as long as it runs; on a BACKUP it has no address. A
switch that has forgotten at which port that MAC is, as after a change of its topology, sends what is for it to all ports. Every instance
has the VIP on lo (handoff/vip_on_lo.py) and would answer: one serves the connection, the others reset it. So who hears a MASTER, and has
not adverted as one himself for a while, drops what comes to that MAC. Where no MASTER is heard it stays: nothing is dropped because
keepalived here has ended.

Who has just yielded goes on taking it until keepalived has announced the move a second time (garp_master_delay): until the switch has
learnt it packets come to him. What a peer hands on comes to the instance's own MAC, and so never here.

Whoever sends from that MAC beside the MASTER has the switch send all that is for it to him, until keepalived announces it once more
(garp_master_delay). Linux does so by itself, and is kept from it: gratuitous ARP is a question, which who has not yielded yet would
answer; and who has yielded tells multicast routers that nobody here listens to the IPv6 VIP's group any more (MLD), twice in a second.

Sources: RFC 9568 section 7.3; keepalived's vrrp_vmac.c, which sends adverts from the interface below (vmac_xmit_base); the kernel's
macvlan.c, which makes PACKET_HOST of what is for its MAC.
"""

from collections.abc import Sequence

from vrrp_drain.linux.nftables.expressions import (
    DROP,
    GOTO,
    IIFNAME,
    L4PROTO,
    NEQ,
    NETWORK,
    OIFNAME,
    PKTTYPE,
    TRANSPORT,
    UPDATE,
    Expression,
    compare,
    counter,
    immediate,
    interface_name,
    lookup,
    meta,
    payload,
    put,
    verdict,
)
from vrrp_drain.linux.nftables.objects import ARP, ARRIVING_ARP, FAMILIES, Family, Order, new_chain, new_rule, new_set, new_table
from vrrp_drain.runtime.ip import IPAddress

SPEAKS, HEARD = "speaks", "heard"
VIRTUAL, OUTPUT = CHAINS = "virtual", "output"
_ARP_INPUT = "input"
_ARP_SENDER = 8  # offset of the sender's MAC, RFC 826
_REPORT, _DONE = 143, 132  # ICMPv6 types, RFC 3810 section 5.2, RFC 2710 section 3
_RECORD, _LEFT = 8, 3  # offset of a report's first record, whose type is CHANGE_TO_INCLUDE_MODE, RFC 3810 section 5.2.12
_MAC_OF_IPV4 = bytes.fromhex("00005e0001")  # before the VRID
_SPEAKS_ID, _HEARD_ID = 9, 10
_SIZE = 64  # for one element, which has its place until the kernel clears up, a second after its time was over and it may be there anew
_TO_THIS_HOST = b"\0"  # PACKET_HOST, linux/if_packet.h


def sets(family: Family, table: str, silence: float, grace: float) -> list[Order]:
    """Return the orders that make the sets; after ``silence`` a MASTER that was heard is gone, we ourselves ``grace`` later, in seconds."""
    wanted = ((_SPEAKS_ID, SPEAKS, silence + grace), (_HEARD_ID, HEARD, silence))
    return [new_set(family, table, number, name, family.kind, family.size, seconds=seconds, size=_SIZE) for number, name, seconds in wanted]


def noted(name: str, vip: IPAddress) -> list[Expression]:
    """Note that a MASTER has adverted ``vip`` just now, unless it was a resignation."""
    return [payload(TRANSPORT, 2, 1), compare(b"\0", NEQ), immediate(vip.packed), put(name, UPDATE)]


def rules(
    family: Family, base: str, interface: str, virtual: str, vrid: int, vip: IPAddress, is_advert: Sequence[Expression]
) -> list[tuple[str, Sequence[Expression], str]]:
    """Return the rules as (chain, expressions, comment).

    ``base`` is the chain of what comes in, ``virtual`` the interface with the VIP's MAC, ``interface`` the one below it, ``vip`` the one
    that stands in adverts.
    """
    arrives = [meta(IIFNAME), compare(interface_name(virtual)), meta(PKTTYPE), compare(_TO_THIS_HOST)]
    ours = [meta(OIFNAME), compare(interface_name(interface)), *is_advert, payload(TRANSPORT, 1, 1), compare(bytes((vrid,)))]
    elsewhere = [immediate(vip.packed), lookup(HEARD), lookup(SPEAKS, inverted=True)]
    return [
        (base, [*arrives, verdict(GOTO, VIRTUAL)], "to the VIP's MAC"),
        (VIRTUAL, [*elsewhere, counter(), verdict(DROP)], "a peer is MASTER"),
        (OUTPUT, [*ours, *noted(SPEAKS, vip)], "we are MASTER"),
        *(_of_groups(family, virtual) if family is FAMILIES[6] else ()),
    ]


def _of_groups(family: Family, virtual: str) -> list[tuple[str, Sequence[Expression], str]]:
    """Keep in what says that nobody here listens to a group any more."""
    sent = [meta(OIFNAME), compare(interface_name(virtual)), meta(L4PROTO), compare(bytes((family.icmp,))), payload(TRANSPORT, 0, 1)]
    left = [compare(bytes((_REPORT,))), payload(TRANSPORT, _RECORD, 1), compare(bytes((_LEFT,)))]
    return [(OUTPUT, [*sent, *each, verdict(DROP)], "the MASTER has the VIP's MAC") for each in (left, [compare(bytes((_DONE,)))])]


def of_arp(table: str, virtual: str, vrid: int) -> list[Order]:
    """Return the orders that make a table of ARP: questions from the VIP's own MAC get no answer."""
    mac = _MAC_OF_IPV4 + bytes((vrid,))
    asked = [meta(IIFNAME), compare(interface_name(virtual)), payload(NETWORK, _ARP_SENDER, len(mac)), compare(mac)]
    return [
        new_table(ARP, table),
        new_chain(ARP, table, _ARP_INPUT, hook=ARRIVING_ARP),
        new_rule(ARP, table, _ARP_INPUT, [*asked, counter(), verdict(DROP)], "the MASTER says where the VIP's MAC is"),
    ]

"""Our nftables table: which messages, in which order, and what is said when the kernel refuses them."""

import errno
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address
from typing import Any

import pytest

from unit.support.fakes import PEER, VIP
from vrrp_drain.handoff import admission, forwarding
from vrrp_drain.handoff.group import Group
from vrrp_drain.handoff.rules import Rules, RulesRefused
from vrrp_drain.handoff.situation import TABLE, Armed, Members, Situation
from vrrp_drain.handoff.tables import installation
from vrrp_drain.handoff.tunnel import Tunnel
from vrrp_drain.linux.message import decoded, encoded
from vrrp_drain.linux.netlink import ACK, Answer, Conversation, Rejected, TransactionError
from vrrp_drain.linux.nftables.expressions import genex
from vrrp_drain.linux.nftables.kernel import CLASSES
from vrrp_drain.linux.nftables.objects import FAMILIES, Kind, Order, removal
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import IPAddress
from vrrp_drain.vrrp.bands import Band, describe

THE_VIP, THE_PEER = ip_address(VIP), ip_address(PEER)
SIXTH, SIXTH_PEER = ip_address("fd00::10"), ip_address("fe80::2")
IPV4, ARP, IPV6 = 2, 3, 10
TOKEN = bytes(range(16))
SUBSYSTEM = 10 << 8


def refused(code: int) -> OSError:
    return OSError(code, os.strerror(code))


class FakeNFT(Conversation):
    """The kernel's nftables: keeps every batch that comes in, answers dumps from ``answers``, refuses with ``error``."""

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.answers: dict[tuple[Kind, int], list[Answer]] = {}
        self.sets: dict[tuple[str, int], Answer] = {}  # what those hold that are not all the same
        self.errors: list[OSError] = []  # of one transaction each
        self.error: OSError | None = None
        self.dump_error: OSError | None = None
        self.opened = self.closed = 0
        self.asked: list[Kind] = []

    def make(self) -> "FakeNFT":
        self.opened += 1
        return self

    def close(self) -> None:
        self.closed += 1

    def dump(self, question: bytes) -> list[Answer]:
        if self.dump_error is not None:
            raise self.dump_error
        kind, family = Kind(number(question) - SUBSYSTEM), question[16]
        self.asked.append(kind)
        if kind is Kind.GETSETELEM and self.sets:
            name = attributes_of(question, kind)["NFTA_SET_ELEM_LIST_SET"]
            return [self.sets.get((name, family), elements())]
        if kind is Kind.GETSETELEM and (kind, family) not in self.answers:
            raise refused(errno.ENOENT)
        return self.answers.get((kind, family), [])

    def transact(self, messages: Sequence[bytes]) -> None:
        self.batches.append(list(messages))
        if self.errors:
            raise self.errors.pop(0)
        if self.error is not None:
            raise self.error

    def installed(self, *families: int) -> None:
        tables = [("theirs", IPV4), *((TABLE, family) for family in families)]
        self.answers[Kind.GETTABLE, 0] = [answer(Kind.GETTABLE, family, [("NFTA_TABLE_NAME", name)]) for name, family in tables]


def answer(kind: Kind, family: int, attributes: list[tuple[str, Any]]) -> Answer:
    return memoryview(encoded(CLASSES[kind], SUBSYSTEM, 0, attributes, nfgen_family=family))


def number(message: bytes) -> int:
    return int.from_bytes(message[4:6], sys.byteorder)


def kinds(batch: Sequence[bytes]) -> list[tuple[str, int]]:
    """Return what each message between the edges of a batch does, and for which family."""
    return [(Kind(number(message) - SUBSYSTEM).name, message[16]) for message in batch[1:-1]]


def attributes_of(message: bytes, kind: Kind | None = None) -> dict[str, Any]:
    return dict(decoded(CLASSES[kind or Kind(number(message) - SUBSYSTEM)], memoryview(message))["attrs"])


@pytest.fixture
def nft(monkeypatch: pytest.MonkeyPatch) -> FakeNFT:
    monkeypatch.setattr(socket, "if_nametoindex", lambda name: 2)
    return FakeNFT()


@pytest.fixture
def rules(nft: FakeNFT) -> Rules:
    return Rules(nft.make)


def group(*vips: IPAddress, window: float = 60, members: Sequence[IPAddress] = (), interface: str = "eth0", **more: Any) -> Group:
    return Group(vips or (THE_VIP,), interface, 7, more.pop("version", 2), TOKEN, frozenset(members), window=window, **more)


def install(*vips: IPAddress, **more: Any) -> list[Order]:
    return installation(group(*vips, **more), 2)


def steps(orders: Sequence[Order]) -> list[tuple[str, int]]:
    return [(order.kind.name, order.family) for order in orders]


def rules_of(orders: Sequence[Order], chain: str) -> list[list[tuple[str, dict[str, Any]]]]:
    """Return each rule of ``chain`` as (expression, attributes without their prefix)."""
    found = []
    for order in orders:
        attributes = dict(order.attributes)
        if attributes.get("NFTA_RULE_CHAIN") == chain:
            rule = []
            for each in attributes["NFTA_RULE_EXPRESSIONS"]:
                (_, name), (_, data) = each["attrs"]
                rule.append((name, {key.split("_", 2)[2].lower(): value for key, value in data["attrs"]}))
            found.append(rule)
    return found


def compared(rule: list[tuple[str, dict[str, Any]]]) -> list[bytes]:
    return [data["data"]["attrs"][0][1] for name, data in rule if name == "cmp"]


def test_hold_is_one_transaction(rules: Rules, nft: FakeNFT) -> None:
    """What was there goes and the new rules come between one begin and one commit; the kernel answers each message."""
    rules.hold(group())
    (batch,) = nft.batches
    assert [number(message) for message in (batch[0], batch[-1])] == [0x10, 0x11]
    assert all(len(message) == 20 for message in (batch[0], batch[-1])), "an edge has no attributes"
    assert all(message[6] & ACK for message in batch[1:-1])
    assert kinds(batch) == steps([*removal(TABLE, IPV4, IPV6), *install()])
    assert nft.opened == nft.closed


def test_a_trial_leaves_nothing(rules: Rules, nft: FakeNFT) -> None:
    """The same rules under another name, made and taken away in one transaction; our own table is not in it."""
    rules.trial(group())
    (batch,) = nft.batches
    assert kinds(batch) == [*steps(install()), ("DELTABLE", IPV4)]
    named = {value for message in batch[1:-1] for name, value in attributes_of(message).items() if name.endswith(("_TABLE", "_TABLE_NAME"))}
    assert named == {"vrrp_drain_trial"}


def test_create_delete_create() -> None:
    """A table is made before it is deleted, so that it is no error if there was none; rules come after what they name."""
    assert steps(removal(TABLE, IPV4, IPV6)) == [("NEWTABLE", IPV4), ("DELTABLE", IPV4), ("NEWTABLE", IPV6), ("DELTABLE", IPV6)]
    order = [name for name, _ in steps(install(members=[THE_PEER]))]
    assert list(dict.fromkeys(order)) == ["NEWTABLE", "NEWSET", "NEWSETELEM", "NEWCHAIN", "NEWRULE"]


VIRTUAL: dict[str, Any] = {"virtual": "vrrp.7", "silence": 3.6, "grace": 1.0}


def test_with_a_virtual_mac(rules: Rules, nft: FakeNFT) -> None:
    """Only the first one's family has that MAC: its table has the rules for it, and with IPv4 there is a table of ARP; all go together."""
    for vips, arp in (((THE_VIP, SIXTH), True), ((SIXTH, THE_VIP), False)):
        orders = install(*vips, **VIRTUAL)
        chains = {(order.family, dict(order.attributes)["NFTA_CHAIN_NAME"]) for order in orders if order.kind == Kind.NEWCHAIN}
        assert {family for family, name in chains if name in ("virtual", "output")} == {IPV4 if arp else IPV6}
        assert {order.family for order in orders} == {IPV4, IPV6, *([ARP] if arp else [])}
    timeouts = {dict(order.attributes).get("NFTA_SET_NAME"): dict(order.attributes).get("NFTA_SET_TIMEOUT") for order in orders}
    assert (timeouts["speaks"], timeouts["heard"]) == (4600, 3600)
    nft.installed(IPV4, IPV6, ARP)
    rules.release()
    rules.trial(group(**VIRTUAL))
    release, trial = nft.batches
    assert kinds(release) == steps(removal(TABLE, IPV4, IPV6, ARP))
    assert [each for each in kinds(trial) if each[0] == "DELTABLE"] == [("DELTABLE", IPV4), ("DELTABLE", ARP)]


def test_a_table_of_arp_that_is_left_over_goes(rules: Rules, nft: FakeNFT) -> None:
    """The property was changed, and whoever should have taken it away was killed."""
    nft.installed(IPV4, ARP)
    rules.hold(group())
    (batch,) = nft.batches
    assert kinds(batch) == steps([*removal(TABLE, IPV4, ARP, IPV6), *install()])


def test_a_table_of_arp_that_is_missing_is_missed(rules: Rules, nft: FakeNFT) -> None:
    """Whoever takes it away, the watcher puts it back."""
    nft.installed(IPV4)
    assert "the nftables table arp vrrp_drain" in rules.lacks(group(**VIRTUAL))
    nft.installed(IPV4, ARP)
    assert "the nftables table arp vrrp_drain" not in rules.lacks(group(**VIRTUAL))
    assert "the nftables table arp vrrp_drain" not in rules.lacks(group())


def test_a_kernel_that_has_no_rules_of_arp(rules: Rules, nft: FakeNFT) -> None:
    """What it does take keeps strangers out."""
    nft.errors = [refused(errno.EOPNOTSUPP)]
    with pytest.raises(SystemFault, match="hand open connections over"):
        rules.hold(group(**VIRTUAL))
    assert {family for _, family in kinds(nft.batches[1])} == {IPV4, IPV6}


def test_hold_twice_sends_the_same(rules: Rules, nft: FakeNFT) -> None:
    rules.hold(group())
    nft.installed(IPV4)
    rules.hold(group())
    first, second = nft.batches
    assert first == second


def test_only_our_table_is_named() -> None:
    for order in [*removal(TABLE, IPV4, IPV6), *install(THE_VIP, SIXTH, members=[THE_PEER]), *arming(THE_VIP)]:
        names = [value for name, value in order.attributes if name.endswith("_TABLE") or name == "NFTA_TABLE_NAME"]
        assert names == ["vrrp_drain"]


def test_a_table_for_each_family() -> None:
    """`dup` exists in the families ip and ip6, not in inet."""
    assert {family for _, family in steps(install(THE_VIP))} == {IPV4}
    assert {family for _, family in steps(install(SIXTH))} == {IPV6}
    assert {family for _, family in steps(install(THE_VIP, SIXTH))} == {IPV4, IPV6}


def test_the_draining_band_arms() -> None:
    """What the kernel takes for leaving is what vrrp/bands.py calls draining."""
    assert {describe(priority) for priority in admission.DRAINING} == {str(Band.DRAINING)}
    below, above = admission.DRAINING[0] - 1, admission.DRAINING[1] + 1
    assert {describe(priority) for priority in (below, above)} == {"unhealthy", "of no band of ours"}


def test_who_is_a_member_from_the_start() -> None:
    """Addresses of the table's family that a host can have, but for VIPs and what is nobody's: in one element list, or none at all."""
    nobodys = ["10.0.0.255", "224.0.0.18", "0.0.0.0", "255.255.255.255", VIP]
    for members, there in (([], None), (nobodys, None), ([*nobodys, PEER, "fe80::2"], [THE_PEER.packed])):
        orders = install(members=[*map(ip_address, members)], nobody=frozenset({ip_address("10.0.0.255")}))
        found = [dict(order.attributes) for order in orders if order.kind == Kind.NEWSETELEM]
        keys = [each["attrs"][0][1]["attrs"][0][1] for each in found[0]["NFTA_SET_ELEM_LIST_ELEMENTS"]] if found else None
        assert keys == there


def test_the_other_family_speaks_version_3_and_refuses_nobody() -> None:
    """keepalived adverts and listens in the first VIP's family alone: in the other one a whole advert of version 3 arms, all pass."""
    for version, first in ((2, b"\x21"), (3, b"\x31")):
        orders = install(THE_VIP, SIXTH, version=version, closed=True)
        for family, byte in ((IPV4, first), (IPV6, b"\x31")):
            member = rules_of([order for order in orders if order.family == family], "member")
            assert byte in compared(member[0])
        goes_to = {family: [*targets([each for each in orders if each.family == family], "adverts")] for family in (IPV4, IPV6)}
        assert goes_to == {IPV4: ["hello", "member", "refused"], IPV6: ["hello", "member"]}


def targets(orders: Sequence[Order], chain: str) -> Iterator[str]:
    """Yield the chains that the rules of ``chain`` go to."""
    for rule in rules_of(orders, chain):
        for name, data in rule:
            if name == "immediate" and data["dreg"] == 0:
                verdict = dict(data["data"]["attrs"][0][1]["attrs"])
                if "NFTA_VERDICT_CHAIN" in verdict:
                    yield verdict["NFTA_VERDICT_CHAIN"]


@pytest.mark.parametrize(("named", "learned", "size", "there"), [(1, 127, 128, 128), (3, 128, 128, 128), (200, 300, 400, 400)])
def test_members_that_the_link_names_come_first(named: int, learned: int, size: int, there: int) -> None:
    """The kernel refuses a transaction with one element too many for its set: who said hello before gets the room that is left."""
    link = [ip_address(0x0A010000 + n) for n in range(named)]
    orders = installation(group(members=link), 2, [ip_address(0x0A000100 + n) for n in range(learned)])
    (made,) = (found for found in (dict(order.attributes) for order in orders) if found.get("NFTA_SET_NAME") == "members")
    assert made["NFTA_SET_DESC"]["attrs"] == [("NFTA_SET_DESC_SIZE", size)]
    (put,) = (dict(order.attributes) for order in orders if order.kind == Kind.NEWSETELEM)
    keys = [each["attrs"][0][1]["attrs"][0][1] for each in put["NFTA_SET_ELEM_LIST_ELEMENTS"]]
    assert len(keys) == there
    assert {each.packed for each in link} <= set(keys)


def test_without_a_handoff_the_rules_for_adverts_are_alone() -> None:
    """No map, no chain and no rule of the handoff, and nothing that arms."""
    orders = install(window=0.0)
    chains = {dict(order.attributes).get("NFTA_RULE_CHAIN") for order in orders} - {None}
    assert chains == {"prerouting", *admission.CHAINS} - {"member"}
    assert len(rules_of(orders, "prerouting")) == 1


def arming(*vips: IPAddress, peer: IPAddress = THE_PEER) -> list[Order]:
    return forwarding.arming(FAMILIES[peer.version], TABLE, vips, peer, {"leaving": {}, "leavers": {}, "places": {}})


def test_who_leaves_takes_its_place_anew() -> None:
    """An update alone keeps the data that is there: the element is deleted first, as the last one to leave and where the link has it."""
    ranks = ((THE_PEER, 1), (SIXTH_PEER, 1))
    last, at, *vips = rules_of(install(THE_VIP, ip_address("10.0.0.11"), ranks=ranks), "arm")
    assert [[data["op"] for name, data in rule if name == "dynset"] for rule in (last, at, *vips)] == [[2, 1], [2, 1], [1], [1]]
    assert THE_PEER.packed in compared(at)
    assert [rule[0][1]["data"]["attrs"][0][1] for rule in (last, *vips)] == [b"\0", THE_VIP.packed, ip_address("10.0.0.11").packed]


@pytest.mark.parametrize(
    ("rank", "others", "asked"), [(0, 2, range(2, 9)), (2, 2, [4, 5, 6, 7, 8, 1, 2]), (20, 32, [*range(22, 34), *range(1, 21)])]
)
def test_everybody_is_asked_by_his_place(rank: int, others: int, asked: Sequence[int]) -> None:
    """From ours on and round, each of the group and of those that may have been added since the link was made, and never ourselves."""
    ranks = tuple((ip_address(0x0A000100 + each), each) for each in range(others + 1) if each != rank)
    rules = rules_of(install(rank=rank, ranks=ranks), "next")
    first = [rule[0][1]["data"]["attrs"][0][1] for rule in rules if rule[1][0] == "lookup"]
    assert [each[0] for each in first] == [*asked]


def test_the_window_in_milliseconds() -> None:
    made = [dict(order.attributes) for order in install(window=1.5) if order.kind == Kind.NEWSET]
    timeouts = {each["NFTA_SET_NAME"]: each["NFTA_SET_TIMEOUT"] for each in made if "NFTA_SET_TIMEOUT" in each}
    assert (timeouts["leaving"], timeouts["leavers"]) == (1500, 1500)


def test_arm_adds_to_who_is_there(rules: Rules, nft: FakeNFT) -> None:
    """In one transaction: what is to be refreshed goes first, others stay; the peer is the last one to leave, and at its place."""
    nft.sets["leaving", IPV6] = elements((SIXTH.packed, b""))
    nft.sets["leavers", IPV6] = elements((b"\0", ip_address("fe80::3").packed), (b"\3", ip_address("fe80::3").packed))
    nft.sets["places", IPV6] = elements((b"\2", SIXTH_PEER.packed), (b"\3", ip_address("fe80::3").packed))
    rules.arm([THE_VIP, SIXTH], SIXTH_PEER)
    (batch,) = nft.batches
    assert kinds(batch) == [("DELSETELEM", IPV6), ("NEWSETELEM", IPV6)] * 2
    assert [[*listed(each)] for each in batch[1:-1]] == [
        [(SIXTH.packed, None)],
        [(SIXTH.packed, None)],
        [(b"\0", None)],
        [(b"\0", SIXTH_PEER.packed), (b"\2", SIXTH_PEER.packed)],
    ]


def test_arm_is_one_transaction_for_both_families(rules: Rules, nft: FakeNFT) -> None:
    """Connections are left with the peer in each family in which it has an address, or in none."""
    nft.sets["leaving", IPV6] = elements((SIXTH.packed, b""))
    rules.arm([THE_VIP, SIXTH], THE_PEER, SIXTH_PEER)
    (batch,) = nft.batches
    assert kinds(batch) == [("NEWSETELEM", IPV4)] * 2 + [("DELSETELEM", IPV6)] + [("NEWSETELEM", IPV6)] * 2
    assert [[*listed(each)] for each in batch[1:-1] if Kind(number(each) - SUBSYSTEM) is Kind.NEWSETELEM] == [
        [(THE_VIP.packed, None)],
        [(b"\0", THE_PEER.packed)],
        [(SIXTH.packed, None)],
        [(b"\0", SIXTH_PEER.packed)],
    ]


def test_addresses_of_the_other_family(rules: Rules, nft: FakeNFT) -> None:
    """What members told, in the family that they told it in; without the table, nothing."""
    assert rules.further(4) == {}
    nft.sets["further", IPV4] = elements((THE_PEER.packed, SIXTH_PEER.packed))
    assert rules.further(4) == {THE_PEER: SIXTH_PEER}
    assert rules.further(6) == {}


@pytest.mark.parametrize("vips", [(THE_VIP,), (THE_VIP, SIXTH)], ids=["one family", "both"])
def test_addresses_of_the_other_family_are_kept_where_there_is_one(vips: tuple[IPAddress, ...]) -> None:
    """Each table has a map for them only where there are VIPs of both families."""
    made = {dict(order.attributes)["NFTA_SET_NAME"] for order in install(*vips) if order.kind == Kind.NEWSET}
    assert ("further" in made) is (len(vips) == 2)


def listed(message: bytes) -> Iterator[tuple[bytes, bytes | None]]:
    """Yield key and data of each element that a message names."""
    for element in attributes_of(message)["NFTA_SET_ELEM_LIST_ELEMENTS"]:
        found = {name: value["attrs"][0][1] for name, value in element["attrs"]}
        yield found["NFTA_SET_ELEM_KEY"], found.get("NFTA_SET_ELEM_DATA")


@pytest.mark.parametrize("code", [errno.ENOENT, errno.EEXIST])
def test_arm_tries_again_when_the_rules_were_quicker(rules: Rules, nft: FakeNFT, code: int) -> None:
    """What it read before may have changed: an element has gone, or has come."""
    nft.errors = [refused(code), refused(code)]
    rules.arm([THE_VIP], THE_PEER)
    assert len(nft.batches) == 3


def test_release_takes_away_what_is_there(rules: Rules, nft: FakeNFT) -> None:
    nft.installed(IPV6)
    rules.release()
    (batch,) = nft.batches
    assert kinds(batch) == [("NEWTABLE", IPV6), ("DELTABLE", IPV6)]


def test_release_of_nothing_changes_nothing(rules: Rules, nft: FakeNFT) -> None:
    nft.installed()
    rules.release()
    assert nft.batches == []


def elements(*found: tuple[bytes, bytes]) -> Answer:
    listed = [
        {
            "attrs": [
                ("NFTA_SET_ELEM_KEY", {"attrs": [("NFTA_DATA_VALUE", key)]}),
                ("NFTA_SET_ELEM_DATA", {"attrs": [("NFTA_DATA_VALUE", data)]}),
                ("NFTA_SET_ELEM_EXPIRATION", 12_500),
            ]
        }
        for key, data in found
    ]
    attributes: list[tuple[str, Any]] = [("NFTA_SET_ELEM_LIST_SET", "leaving")]
    return answer(Kind.GETSETELEM, IPV4, [*attributes, *([("NFTA_SET_ELEM_LIST_ELEMENTS", listed)] if listed else [])])


def counting(chain: str, packets: int) -> Answer:
    expressions = [genex("counter", {"bytes": 80, "packets": packets}), genex("dup", {"sreg_addr": 1, "sreg_dev": 2})]
    return answer(Kind.GETRULE, IPV4, [("NFTA_RULE_CHAIN", chain), ("NFTA_RULE_EXPRESSIONS", expressions)])


def test_state(rules: Rules, nft: FakeNFT) -> None:
    """Who is sent connections of which VIP, for how long, how many packets were and came round, and how many adverts were kept out."""
    nft.installed(IPV4)
    nft.answers[Kind.GETSETELEM, IPV4] = [elements((THE_VIP.packed, THE_PEER.packed))]
    nft.answers[Kind.GETRULE, IPV4] = [counting("send", 2), counting("circled", 3), counting("refused", 4)]
    found = rules.state()
    assert found.armed == (Armed(THE_VIP, THE_PEER, 12.5),)
    assert (found.families, found.tables, found.sent, found.circled, found.refused) == ((4,), (4,), 2, 3, 4)


def test_state_of_a_table_without_a_handoff(rules: Rules, nft: FakeNFT) -> None:
    """Adverts are looked at; that is no handoff."""
    nft.installed(IPV4)
    nft.answers[Kind.GETRULE, IPV4] = [counting("refused", 1)]
    found = rules.state()
    assert (found.families, found.tables, found.armed, found.refused) == ((), (4,), (), 1)


def test_who_may_be_heard_costs_no_look_at_the_rules(rules: Rules, nft: FakeNFT) -> None:
    """A table is there when its set of members is, be it empty; what the rules have counted is not asked."""
    assert rules.membership() == Members()
    nft.answers[Kind.GETSETELEM, IPV4] = [elements((THE_PEER.packed, b""))]
    nft.answers[Kind.GETSETELEM, IPV6] = [elements()]
    assert rules.membership() == Members((THE_PEER,), (4, 6))
    assert Kind.GETRULE not in nft.asked


def test_state_without_rules(rules: Rules) -> None:
    assert rules.state() == Situation()


def test_an_empty_map(rules: Rules, nft: FakeNFT) -> None:
    """The kernel answers with a list that has no elements at all."""
    nft.installed(IPV4)
    nft.answers[Kind.GETSETELEM, IPV4] = [elements()]
    nft.answers[Kind.GETRULE, IPV4] = [counting("send", 0)]
    assert rules.state() == Situation((4,), tables=(4,))


def test_disarm_takes_the_peer_out(rules: Rules, nft: FakeNFT) -> None:
    """Its VIPs alone; where it is not in the map nothing is sent, and where it went meanwhile nothing is wrong."""
    other = (ip_address("10.0.0.11").packed, ip_address("10.0.0.3").packed)
    nft.answers[Kind.GETSETELEM, IPV4] = [elements((THE_VIP.packed, THE_PEER.packed), other)]
    rules.disarm(ip_address("10.0.0.4"))
    assert nft.batches == []
    rules.disarm(THE_PEER)
    (batch,) = nft.batches
    assert kinds(batch) == [("DELSETELEM", IPV4)]
    (gone,) = attributes_of(batch[1])["NFTA_SET_ELEM_LIST_ELEMENTS"]
    assert gone["attrs"][0][1]["attrs"][0][1] == THE_VIP.packed
    rules.disarm(THE_PEER, at_most=12.4)
    assert len(nft.batches) == 1, "with 12.5 s left it has been told since"
    rules.disarm(THE_PEER, at_most=12.6)
    assert len(nft.batches) == 2
    nft.error = refused(errno.ENOENT)
    rules.disarm(THE_PEER)
    nft.error = refused(errno.EPERM)
    with pytest.raises(SystemFault, match=r"^packets of open connections go on to 10\.0\.0\.2, which is gone: their clients hang \(Op"):
        rules.disarm(THE_PEER)


def test_what_can_be_had_is_installed(rules: Rules, nft: FakeNFT) -> None:
    """A kernel that lacks a part of the handoff is asked for the rules for adverts alone; for less nobody asks."""
    nft.error = refused(errno.ENOENT)
    with pytest.raises(SystemFault, match="hand open connections over"):
        rules.hold(group())
    assert len(nft.batches) == 2
    assert len(nft.batches[0]) > len(nft.batches[1])
    with pytest.raises(SystemFault, match="keep strangers' adverts from keepalived"):
        rules.hold(group(window=0.0))
    assert len(nft.batches) == 3


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (refused(errno.EOPNOTSUPP), "Operation not supported"),
        (refused(errno.EPROTONOSUPPORT), "Protocol not supported: it has no nftables"),
        (OSError("no number"), "no number"),
    ],
)
def test_a_refusal_is_one_plain_sentence(rules: Rules, nft: FakeNFT, error: OSError, reason: str) -> None:
    nft.error = error
    nft.installed(IPV4)
    attempts: list[tuple[Callable[[], None], str]] = [
        (
            lambda: rules.hold(group()),
            f"the kernel refuses the rules that hand open connections over: a move of {VIP} cuts them",
        ),
        (lambda: rules.arm([THE_VIP], THE_PEER), f"the connections that {PEER} serves cannot be left with it: a move of {VIP} cuts them"),
        (rules.release, "the kernel keeps our nftables table vrrp_drain"),
    ]
    for act, said in attempts:
        with pytest.raises(SystemFault) as refusal:
            act()
        assert str(refusal.value) == f"{said} ({reason})"
    assert nft.opened == nft.closed


def test_without_the_right_no_batch_is_sent(rules: Rules, nft: FakeNFT) -> None:
    """The kernel answers a batch that it does not look at with nothing that names a message: ask before."""
    nft.dump_error = refused(errno.EPERM)
    for act in (lambda: rules.hold(group()), rules.release, rules.state):
        with pytest.raises(SystemFault, match="Operation not permitted"):
            act()
    assert nft.batches == []


def test_what_the_kernel_does_not_find(rules: Rules, nft: FakeNFT) -> None:
    """ENOENT alone would say nothing: among the rules it is a part that this kernel lacks, when arming it is our table."""
    nft.error = refused(errno.ENOENT)
    with pytest.raises(
        SystemFault, match=r"a move of 10\.0\.0\.10 cuts them \(it lacks a part of nftables that they need: socket, dup, limit or dynset\)$"
    ):
        rules.hold(group())
    with pytest.raises(SystemFault, match=r"a move of 10\.0\.0\.10 cuts them \(our rules are not installed\)$"):
        rules.arm([THE_VIP], THE_PEER)


def test_the_kernel_says_what_it_does_not_find(rules: Rules, nft: FakeNFT) -> None:
    """An error about an expression's place in a rule names that one, in its family; one about something else names nothing."""

    def refuse(messages: Sequence[bytes]) -> None:
        wrong = [each for each in messages if b"dup\0" in each]
        elsewhere = Rejected(messages[3], errno.ENOENT, 20)
        raise TransactionError([elsewhere, *(Rejected(each, errno.ENOENT, each.index(b"dup\0") - 8) for each in wrong)])

    nft.transact = refuse  # type: ignore[method-assign]
    with pytest.raises(SystemFault, match=r"a move of 10\.0\.0\.10 cuts them \(it lacks dup of IPv4, in nftables\)$"):
        rules.hold(group())
    with pytest.raises(RulesRefused, match=r"\(it lacks dup of IPv4, dup of IPv6, in nftables\)$") as refusal:
        rules.trial(group(THE_VIP, SIXTH))
    assert refusal.value.modules == ("nft_dup_ipv4", "nft_dup_ipv6")


def base_chain(table: str, hook: int, priority: int, policy: int = 0, family: int = IPV4) -> Answer:
    where = {"attrs": [("NFTA_HOOK_HOOKNUM", hook), ("NFTA_HOOK_PRIORITY", priority)]}
    told = [("NFTA_CHAIN_TABLE", table), ("NFTA_CHAIN_NAME", "theirs"), ("NFTA_CHAIN_HOOK", where), ("NFTA_CHAIN_POLICY", policy)]
    return answer(Kind.GETCHAIN, family, told)


PREROUTING, INPUT, OUTPUT, ACCEPTS = 0, 1, 3, 1
INET, NETDEV = 1, 5


@pytest.mark.parametrize(
    ("chain", "is_in_the_way"),
    [
        (base_chain("filter", OUTPUT, 0), True),
        (base_chain("filter", OUTPUT, 0, ACCEPTS), False),
        (base_chain("filter", OUTPUT, 0, family=INET), True),
        (base_chain("filter", OUTPUT, 0, family=IPV6), False),
        (base_chain("filter", INPUT, 0), False),
        (base_chain("raw", PREROUTING, -300), False),
        (base_chain("first", PREROUTING, -400), True),
        (base_chain("edge", 0, 0, family=NETDEV), True),
        (base_chain(TABLE, OUTPUT, 0), False),
    ],
    ids=["out", "lets all out", "of both families", "of the other", "in", "behind ours", "before ours", "at the interface", "ours"],
)
def test_who_drops_what_is_handed_on(rules: Rules, nft: FakeNFT, chain: Answer, is_in_the_way: bool) -> None:
    """Chains whose policy is to drop, where such a packet comes by, unless a rule or a set of their table speaks of the VIP."""
    other = answer(Kind.GETCHAIN, IPV4, [("NFTA_CHAIN_TABLE", "filter"), ("NFTA_CHAIN_NAME", "no base chain")])
    nft.answers[Kind.GETCHAIN, 0] = [other, chain]
    assert bool(rules.in_the_way(THE_VIP)) is is_in_the_way
    for family in (IPV4, INET, NETDEV):
        nft.answers[Kind.GETRULE, family] = [memoryview(b"daddr " + THE_VIP.packed)]
    assert rules.in_the_way(THE_VIP) == []
    for family in (IPV4, INET, NETDEV):
        nft.answers[Kind.GETRULE, family] = []
        nft.answers[Kind.GETSET, family] = [answer(Kind.GETSET, family, [("NFTA_SET_TABLE", "filter"), ("NFTA_SET_NAME", "vips")])]
    nft.sets = {("vips", family): elements((THE_VIP.packed, b"")) for family in (IPV4, INET, NETDEV)}
    assert rules.in_the_way(THE_VIP) == []


@pytest.mark.parametrize("code", [errno.EPROTONOSUPPORT, errno.EINVAL], ids=["no nfnetlink", "no nf_tables"])
def test_nothing_to_release_without_nftables(rules: Rules, nft: FakeNFT, code: int) -> None:
    """A kernel that never had our rules needs no mending: post-stop says nothing. What it is asked to install, it refuses."""
    nft.dump_error = refused(code)
    rules.release()
    with pytest.raises(SystemFault, match=r"a move of 10\.0\.0\.10 cuts them"):
        rules.hold(group())


def test_an_interface_that_is_gone(rules: Rules, nft: FakeNFT, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> int:
        raise OSError(errno.ENODEV, "x")

    monkeypatch.setattr(socket, "if_nametoindex", gone)
    with pytest.raises(SystemFault, match="interface eth7 does not exist"):
        rules.hold(group(interface="eth7"))
    assert nft.batches == []


def there(nft: FakeNFT, orders: Sequence[Order], *, without: Callable[[Order], bool] = lambda order: False) -> None:
    """Have the kernel tell that ``orders`` were done, but for some."""
    done = [each for each in orders if not without(each)]
    nft.installed(*{each.family for each in done})
    for family in {each.family for each in done}:
        ours = [each for each in done if each.family == family]
        nft.answers[Kind.GETRULE, family] = [
            answer(Kind.GETRULE, family, [("NFTA_RULE_CHAIN", dict(each.attributes)["NFTA_RULE_CHAIN"])])
            for each in ours
            if each.kind is Kind.NEWRULE
        ]
        nft.answers[Kind.GETSETELEM, family] = [
            answer(Kind.GETSETELEM, family, [*each.attributes]) for each in ours if each.kind is Kind.NEWSETELEM
        ]


def of(kind: Kind, family: int, name: str = "") -> Callable[[Order], bool]:
    """Tell of an order whether it is one of these."""
    return lambda order: order.kind is kind and order.family == family and (not name or name in dict(order.attributes).values())


@pytest.mark.parametrize(
    ("without", "lacks"),
    [
        (lambda order: False, []),
        (lambda order: order.family == IPV4, ["the nftables table ip vrrp_drain"]),
        (lambda order: order.family == IPV6, ["the nftables table ip6 vrrp_drain"]),
        (of(Kind.NEWRULE, IPV4, "send"), ["rules of chain send of ip vrrp_drain"]),
        (of(Kind.NEWRULE, IPV6, admission.ADVERTS), ["rules of chain adverts of ip6 vrrp_drain"]),
        (of(Kind.NEWSETELEM, IPV4), ["elements of set members of ip vrrp_drain"]),
    ],
    ids=["nothing", "a table", "the other table", "rules of a chain", "rules of the other family", "elements"],
)
def test_what_is_missing(rules: Rules, nft: FakeNFT, without: Callable[[Order], bool], lacks: list[str]) -> None:
    """All that hold puts in place is looked for, in both families; what others have beside it is theirs."""
    ours = group(THE_VIP, SIXTH, members=[THE_PEER])
    there(nft, installation(ours, 2), without=without)
    assert rules.lacks(ours) == lacks


def test_what_the_rules_learnt_is_not_missing(rules: Rules, nft: FakeNFT) -> None:
    """A member that said hello is more than hold puts there."""
    ours = group(THE_VIP, members=[THE_PEER])
    there(nft, installation(ours, 2, [ip_address("10.0.0.7")]))
    assert rules.lacks(ours) == []


HERE = (THE_VIP, 80)


def test_marks_and_who_is_told_by_them(rules: Rules, nft: FakeNFT) -> None:
    """The chain, empty, its rule, where: one transaction for each family. Then those who are older, and where listeners are, last."""
    rules.mark(7, [HERE, (SIXTH, 80)])
    assert [kinds(each) for each in nft.batches] == [
        [("NEWCHAIN", family), ("DELRULE", family), ("NEWRULE", family), ("NEWSETELEM", family)] for family in (IPV4, IPV6)
    ]
    nft.batches.clear()
    rules.tell_apart([HERE], [((THE_PEER, 40_000), HERE)])
    assert [kinds(each) for each in nft.batches] == [[("DELSETELEM", IPV4)], [("NEWSETELEM", IPV4)], [("NEWSETELEM", IPV4)]]
    assert [*listed(nft.batches[1][1])] == [(THE_PEER.packed + b"\x9c\x40\0\0" + THE_VIP.packed + b"\0\x50\0\0", None)]


def test_what_is_told_apart(rules: Rules, nft: FakeNFT) -> None:
    """What is in both sets, as long as the rule that marks is there."""
    keys = [(each.packed + b"\0\x50\0\0", b"") for each in (THE_VIP, ip_address("10.0.0.11"))]
    nft.sets["bound", IPV4], nft.sets["marked", IPV4] = elements(*keys), elements(keys[0])
    assert rules.told_apart() == frozenset()
    nft.answers[Kind.GETRULE, IPV4] = [answer(Kind.GETRULE, IPV4, [("NFTA_RULE_CHAIN", "marks")])]
    assert rules.told_apart() == {HERE}


def test_a_kernel_that_takes_no_marks(rules: Rules, nft: FakeNFT) -> None:
    nft.error = refused(errno.ENOENT)
    with pytest.raises(SystemFault, match=r"a move cuts them \(our rules are not installed\)$"):
        rules.mark(7, [HERE])


def test_a_trial_has_marks_as_well(rules: Rules, nft: FakeNFT) -> None:
    rules.trial(group(mark=7))
    assert ("DELRULE", IPV4) in kinds(nft.batches[0])
    assert kinds(nft.batches[0])[-1] == ("DELTABLE", IPV4)


def test_each_set_has_a_number_of_its_own() -> None:
    """Whatever there is of them in one transaction, in which the kernel finds a new set by its number where no name is given."""
    everything = {"mark": 0x400, "quic_ports": (443,), "virtual": "vrrp.7", "silence": 3.0, "grace": 1.0}
    tunnel = Tunnel(9923, 7, "eth0", (ip_address("10.0.0.1"), ip_address("fd00::1")))
    for more in ({}, {"tunnel": tunnel}):
        made = [
            dict(each.attributes) for each in install(THE_VIP, ip_address("fd00::10"), **everything, **more) if each.kind is Kind.NEWSET
        ]
        numbers = {each["NFTA_SET_NAME"]: each["NFTA_SET_ID"] for each in made}
        assert len({*numbers.values()}) == len(numbers) > 10

"""The rules of the connection handoff: which messages, in which order, and what is said when the kernel refuses them."""

import errno
import socket
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any

import pytest
from pyroute2.netlink import NLM_F_ACK, NLM_F_DUMP
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.nfnetlink import nfgen_msg, nftsocket
from pyroute2.nftables.expressions import genex

from unit.fakes import PEER, VIP
from vrrp_drain import handoff
from vrrp_drain.bands import Band, describe
from vrrp_drain.errors import SystemFault
from vrrp_drain.handoff import Armed, Handoff, Order, Situation, arming, installation, removal

THE_VIP, THE_PEER = ip_address(VIP), ip_address(PEER)
SIXTH, SIXTH_PEER = ip_address("fd00::10"), ip_address("fe80::2")
IPV4, IPV6 = 2, 10
NAMES = {value: name for name, value in vars(nftsocket).items() if name.startswith("NFT_MSG_")}
GET_TABLES, GET_ELEMENTS, GET_RULES = (10 << 8 | kind for kind in (1, 13, 7))


class FakeNFT:
    """pyroute2's NFTSocket: keeps every batch as it would go out, answers dumps from ``answers``, refuses with ``error``."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.answers: dict[tuple[int, int], list[Any]] = {}
        self.error: OSError | NetlinkError | None = None
        self.dump_error: OSError | NetlinkError | None = None
        self.opened = self.closed = 0

    def make(self) -> "FakeNFT":
        self.opened += 1
        return self

    def __enter__(self) -> "FakeNFT":
        return self

    def __exit__(self, *error: object) -> None:
        self.closed += 1

    def nlm_request_batch(self, messages: Sequence[Any]) -> list[Any]:
        for message in messages:
            message.reset()
            message.encode()
        if messages[0]["header"]["flags"] & NLM_F_DUMP == NLM_F_DUMP:
            (question,) = messages
            if self.dump_error is not None:
                raise self.dump_error
            return self.answers.get((question["header"]["type"], question["nfgen_family"]), [])
        self.batches.append(list(messages))
        if self.error is not None:
            raise self.error
        return []

    def installed(self, *families: int) -> None:
        self.answers[GET_TABLES, 0] = [
            answer(nftsocket.nft_table_msg, IPV4, [("NFTA_TABLE_NAME", "theirs")]),
            *(answer(nftsocket.nft_table_msg, family, [("NFTA_TABLE_NAME", handoff.TABLE)]) for family in families),
        ]


def answer(kind: type, family: int, attributes: list[tuple[str, Any]]) -> Any:
    """Return what the kernel says, as pyroute2 decodes it."""
    message = kind()
    message["nfgen_family"] = family
    message["attrs"] = attributes
    message.encode()
    decoded = kind(message.data)
    decoded.decode()
    return decoded


@pytest.fixture
def nft(monkeypatch: pytest.MonkeyPatch) -> FakeNFT:
    monkeypatch.setattr(socket, "if_nametoindex", lambda name: 2)
    return FakeNFT()


@pytest.fixture
def rules(nft: FakeNFT) -> Handoff:
    return Handoff(nft.make)


def install(*vips: Any, window: float = 60, peers: Sequence[Any] = ()) -> list[Order]:
    return installation(vips or (THE_VIP,), "eth0", 2, 7, window, peers)


def steps(orders: Sequence[Order]) -> list[tuple[str, int]]:
    return [(NAMES[order.kind].removeprefix("NFT_MSG_"), order.family) for order in orders]


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


def test_hold_is_one_transaction(rules: Handoff, nft: FakeNFT) -> None:
    """What was there goes and the new rules come between one begin and one commit; the kernel answers each message."""
    rules.hold([THE_VIP], "eth0", 7)
    (batch,) = nft.batches
    assert [message["header"]["type"] for message in (batch[0], batch[-1])] == [0x10, 0x11]
    assert all(type(message) is nfgen_msg for message in (batch[0], batch[-1]))
    assert all(message["header"]["type"] >> 8 == 10 and message["header"]["flags"] & NLM_F_ACK for message in batch[1:-1])
    kinds = [(NAMES[message["header"]["type"] & 0xFF].removeprefix("NFT_MSG_"), message["nfgen_family"]) for message in batch[1:-1]]
    assert kinds == steps([*removal(4, 6), *install()])
    assert nft.opened == nft.closed


def test_a_trial_leaves_nothing(rules: Handoff, nft: FakeNFT) -> None:
    """The same rules under another name, made and taken away in one transaction; our own table is not in it."""
    rules.trial([THE_VIP], "eth0", 7)
    (batch,) = nft.batches
    kinds = [(NAMES[message["header"]["type"] & 0xFF].removeprefix("NFT_MSG_"), message["nfgen_family"]) for message in batch[1:-1]]
    assert kinds == [*steps(install()), ("DELTABLE", IPV4)]
    named = {value for message in batch[1:-1] for name, value in message["attrs"] if name.endswith(("_TABLE", "_TABLE_NAME"))}
    assert named == {"vrrp_drain_trial"}


def test_create_delete_create() -> None:
    """A table is made before it is deleted, so that it is no error if there was none; rules come after what they name."""
    assert steps(removal(4, 6)) == [("NEWTABLE", IPV4), ("DELTABLE", IPV4), ("NEWTABLE", IPV6), ("DELTABLE", IPV6)]
    order = [name for name, _ in steps(install(peers=[THE_PEER]))]
    assert order == ["NEWTABLE", *["NEWSET"] * 4, "NEWSETELEM", *["NEWCHAIN"] * 5, *["NEWRULE"] * 11]


def test_hold_twice_sends_the_same(rules: Handoff, nft: FakeNFT) -> None:
    rules.hold([THE_VIP], "eth0", 7)
    nft.installed(IPV4)
    rules.hold([THE_VIP], "eth0", 7)
    first, second = ([bytes(message.data[16:]) for message in batch] for batch in nft.batches)  # without sequence numbers
    assert first == second


def test_only_our_table_is_named() -> None:
    for order in [*removal(4, 6), *install(THE_VIP, SIXTH, peers=[THE_PEER]), *arming([THE_VIP], THE_PEER)]:
        names = [value for name, value in order.attributes if name.endswith("_TABLE") or name == "NFTA_TABLE_NAME"]
        assert names == ["vrrp_drain"]


def test_a_table_for_each_family() -> None:
    """`dup` exists in the families ip and ip6, not in inet."""
    assert {family for _, family in steps(install(THE_VIP))} == {IPV4}
    assert {family for _, family in steps(install(SIXTH))} == {IPV6}
    assert {family for _, family in steps(install(THE_VIP, SIXTH))} == {IPV4, IPV6}


def test_which_adverts_arm() -> None:
    """Interface, protocol, TTL, version and type, VRID, and the draining band of bands.py."""
    advert, *_ = rules_of(install(), "prerouting")
    assert compared(advert) == [b"eth0".ljust(16, b"\0"), b"\x70", b"\xff", b"\x21", b"\x07", b"\x43", b"\x63", b"\1\0"]
    assert [data["mask"]["attrs"][0][1] for name, data in advert if name == "bitwise"] == [b"\xef"], "0x31 & 0xef is 0x21"
    sixth, *_ = rules_of(install(SIXTH), "prerouting")
    assert compared(sixth)[3] == b"\x31"
    assert {describe(priority) for priority in handoff.DRAINING} == {str(Band.DRAINING)}
    assert {describe(priority) for priority in (handoff.DRAINING[0] - 1, handoff.DRAINING[1] + 1)} == {"unhealthy", "of no band of ours"}


def test_peers_are_asked_for_only_where_they_are_known() -> None:
    """Without addresses of the VIP's family any neighbour's advert counts."""
    for peers, sets in (([], []), ([SIXTH_PEER], []), ([THE_PEER, SIXTH_PEER], ["peers"])):
        orders = install(peers=peers)
        advert, *_ = rules_of(orders, "prerouting")
        assert [data["set"] for name, data in advert if name == "lookup"] == sets
        elements = [dict(order.attributes) for order in orders if order.kind == nftsocket.NFT_MSG_NEWSETELEM]
        assert [each["NFTA_SET_ELEM_LIST_SET"] for each in elements] == sets


def test_the_last_one_to_leave_counts() -> None:
    """An update alone keeps the data that is there: the element is deleted first, for each VIP."""
    arm = rules_of(install(THE_VIP, ip_address("10.0.0.11")), "arm")
    assert [[data["op"] for name, data in rule if name == "dynset"] for rule in arm] == [[2, 1], [2, 1]]
    assert [rule[0][1]["data"]["attrs"][0][1] for rule in arm] == [THE_VIP.packed, ip_address("10.0.0.11").packed]


def test_the_window_in_milliseconds() -> None:
    """The MAC of a leaver is known for longer than its address is in the map: no gap in which a packet could come back."""
    timeouts = [dict(order.attributes)["NFTA_SET_TIMEOUT"] for order in install(window=1.5) if order.kind == nftsocket.NFT_MSG_NEWSET]
    assert timeouts[:2] == [1500, 2500]


def test_arm_replaces_who_is_there(rules: Handoff, nft: FakeNFT) -> None:
    """The map is emptied and filled in one transaction, for the VIPs of the peer's family."""
    rules.arm([THE_VIP, SIXTH], SIXTH_PEER)
    (batch,) = nft.batches
    assert len(batch) == 4
    emptied, filled = arming([THE_VIP, SIXTH], SIXTH_PEER)
    assert steps([emptied, filled]) == [("DELSETELEM", IPV6), ("NEWSETELEM", IPV6)]
    assert "NFTA_SET_ELEM_LIST_ELEMENTS" not in dict(emptied.attributes)
    (element,) = dict(filled.attributes)["NFTA_SET_ELEM_LIST_ELEMENTS"]
    assert [value["attrs"][0][1] for _, value in element["attrs"]] == [SIXTH.packed, SIXTH_PEER.packed]


def test_release_takes_away_what_is_there(rules: Handoff, nft: FakeNFT) -> None:
    nft.installed(IPV6)
    rules.release()
    (batch,) = nft.batches
    assert [message["nfgen_family"] for message in batch[1:-1]] == [IPV6, IPV6]


def test_release_of_nothing_changes_nothing(rules: Handoff, nft: FakeNFT) -> None:
    nft.installed()
    rules.release()
    assert nft.batches == []


def test_state(rules: Handoff, nft: FakeNFT) -> None:
    """Who is sent connections of which VIP, for how long, and how many packets were."""
    nft.installed(IPV4)
    element = {
        "attrs": [
            ("NFTA_SET_ELEM_KEY", {"attrs": [("NFTA_DATA_VALUE", THE_VIP.packed)]}),
            ("NFTA_SET_ELEM_DATA", {"attrs": [("NFTA_DATA_VALUE", THE_PEER.packed)]}),
            ("NFTA_SET_ELEM_EXPIRATION", 12_500),
        ]
    }
    elements = answer(nftsocket.nft_set_elem_list_msg, IPV4, [("NFTA_SET_ELEM_LIST_ELEMENTS", [element])])
    (send,) = rules_of(install(), "send")
    assert send[0][0] == "counter"
    expressions = [genex("counter", {"bytes": 80, "packets": 2}), genex("dup", {"sreg_addr": 1, "sreg_dev": 2})]
    rule = answer(nftsocket.nft_rule_msg, IPV4, [("NFTA_RULE_EXPRESSIONS", expressions)])
    nft.answers |= {(GET_ELEMENTS, IPV4): [elements], (GET_RULES, IPV4): [rule]}
    assert rules.state() == Situation((4,), (Armed(THE_VIP, THE_PEER, 12.5),), 2)


def test_state_without_rules(rules: Handoff) -> None:
    assert rules.state() == Situation()


def test_an_empty_map(rules: Handoff, nft: FakeNFT) -> None:
    """The kernel answers with a list that has no elements at all."""
    nft.installed(IPV4)
    nft.answers[GET_ELEMENTS, IPV4] = [answer(nftsocket.nft_set_elem_list_msg, IPV4, [("NFTA_SET_ELEM_LIST_SET", "leaving")])]
    nft.answers[GET_RULES, IPV4] = [answer(nftsocket.nft_rule_msg, IPV4, [("NFTA_RULE_CHAIN", "send")])]
    assert rules.state() == Situation((4,), (), 0)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NetlinkError(errno.EOPNOTSUPP, "nothing of use"), "Operation not supported"),
        (OSError(errno.EPROTONOSUPPORT, "x"), "Protocol not supported"),
        (OSError("no number"), "no number"),
    ],
)
def test_a_refusal_is_one_plain_sentence(rules: Handoff, nft: FakeNFT, error: OSError | NetlinkError, reason: str) -> None:
    nft.error = error
    nft.installed(IPV4)
    attempts: list[tuple[Callable[[], None], str]] = [
        (
            lambda: rules.hold([THE_VIP], "eth0", 7),
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


def test_without_the_right_no_batch_is_sent(rules: Handoff, nft: FakeNFT) -> None:
    """The kernel answers a batch that it does not look at with nothing that names a message: ask before."""
    nft.dump_error = NetlinkError(errno.EPERM, "x")
    for act in (lambda: rules.hold([THE_VIP], "eth0", 7), rules.release, rules.state):
        with pytest.raises(SystemFault, match="Operation not permitted"):
            act()
    assert nft.batches == []


def test_what_the_kernel_does_not_find(rules: Handoff, nft: FakeNFT) -> None:
    """ENOENT alone would say nothing: among the rules it is a part that this kernel lacks, when arming it is our table."""
    nft.error = NetlinkError(errno.ENOENT, "x")
    with pytest.raises(
        SystemFault, match=r"a move of 10\.0\.0\.10 cuts them \(it lacks a part of nftables that they need: socket, dup or dynset\)$"
    ):
        rules.hold([THE_VIP], "eth0", 7)
    with pytest.raises(SystemFault, match=r"a move of 10\.0\.0\.10 cuts them \(our rules are not installed\)$"):
        rules.arm([THE_VIP], THE_PEER)


@pytest.mark.parametrize("code", [errno.EPROTONOSUPPORT, errno.EINVAL], ids=["no nfnetlink", "no nf_tables"])
def test_nothing_to_release_without_nftables(rules: Handoff, nft: FakeNFT, code: int) -> None:
    """A kernel that never had our rules needs no mending: post-stop says nothing. What it is asked to install, it refuses."""
    nft.dump_error = NetlinkError(code, "x")
    rules.release()
    with pytest.raises(SystemFault, match=r"a move of 10\.0\.0\.10 cuts them"):
        rules.hold([THE_VIP], "eth0", 7)


def test_an_interface_that_is_gone(rules: Handoff, nft: FakeNFT, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> int:
        raise OSError(errno.ENODEV, "x")

    monkeypatch.setattr(socket, "if_nametoindex", gone)
    with pytest.raises(SystemFault, match="interface eth7 does not exist"):
        rules.hold([THE_VIP], "eth7", 7)
    assert nft.batches == []

"""The kernel's nftables: transactions, and what is read back. Source: linux/netfilter/nfnetlink.h."""

import errno
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from vrrp_drain.runtime.errors import SystemFault

from ..codec import load
from ..message import Message, decoded, encoded
from ..netlink import ACK, DUMP, HEADER, NETFILTER, REQUEST, Answer, Conversation, TransactionError, attributes
from .expressions import DROP
from .objects import FAMILIES, Kind, Order, elements_of

_SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11  # NFNL_MSG_BATCH_*
_EXPRESSION_NAME = 1  # NFTA_EXPR_NAME
NF_TABLES = "nf_tables"  # the module of nftables itself
_NO_NFTABLES = (errno.EPROTONOSUPPORT, errno.EINVAL)  # no nfnetlink; nfnetlink without nf_tables, asked for its tables
_nft = load("netlink.nfnetlink.nftsocket")
CLASSES = {
    Kind.NEWTABLE: _nft.nft_table_msg,
    Kind.GETTABLE: _nft.nft_table_msg,
    Kind.DELTABLE: _nft.nft_table_msg,
    Kind.NEWCHAIN: _nft.nft_chain_msg,
    Kind.GETCHAIN: _nft.nft_chain_msg,
    Kind.NEWRULE: _nft.nft_rule_msg,
    Kind.GETRULE: _nft.nft_rule_msg,
    Kind.DELRULE: _nft.nft_rule_msg,
    Kind.NEWSET: _nft.nft_set_msg,
    Kind.GETSET: _nft.nft_set_msg,
    Kind.NEWSETELEM: _nft.nft_set_elem_list_msg,
    Kind.GETSETELEM: _nft.nft_set_elem_list_msg,
    Kind.DELSETELEM: _nft.nft_set_elem_list_msg,
}


_FAMILY_NAMES = {2: "IPv4", 3: "ARP", 10: "IPv6"}  # NFPROTO_*
_MODULES = {  # of expressions that are no part of nf_tables itself, in each family (the kernel's netfilter/Kconfig)
    "counter": dict.fromkeys(_FAMILY_NAMES, "nft_counter"),  # until 5.17
    "dup": {2: "nft_dup_ipv4", 10: "nft_dup_ipv6"},
    "limit": dict.fromkeys(_FAMILY_NAMES, "nft_limit"),
    "socket": dict.fromkeys(_FAMILY_NAMES, "nft_socket"),
}


class Part(NamedTuple):
    """An expression of nftables' in a ``family``, NFPROTO_*, as the kernel names it."""

    family: int
    expression: str

    @property
    def module(self) -> str:
        """Return the module that has it."""
        return _MODULES.get(self.expression, {}).get(self.family, NF_TABLES)

    def __str__(self) -> str:
        return f"{self.expression} of {_FAMILY_NAMES.get(self.family, self.family)}"


class Refusal(SystemFault):
    """The kernel did not do it; nothing was changed. ``lacking`` are the parts of nftables that it has not, where it says so."""

    def __init__(self, error: OSError, lacking: Sequence[Part] = ()) -> None:
        self.code, self.lacking = error.errno, tuple(lacking)
        super().__init__(error.strerror or str(error))

    @property
    def absent(self) -> bool:
        """Tell whether something that was named is not there; the kernel does not say what."""
        return self.code == errno.ENOENT

    @property
    def outdated(self) -> bool:
        """Tell whether what was read before may have changed meanwhile: an element that was there is not, or the other way round."""
        return self.code in (errno.ENOENT, errno.EEXIST, errno.EBUSY)

    @property
    def without_nftables(self) -> bool:
        """Tell whether the kernel has no nftables at all."""
        return self.code in _NO_NFTABLES


class Element(NamedTuple):
    """What a set holds; ``seconds`` until it goes, None where it stays."""

    key: bytes
    data: bytes | None
    seconds: float | None


class BaseChain(NamedTuple):
    """A chain that packets come to by themselves: of which ``family``, NFPROTO_*, at which hook, and with which priority.

    ``drops`` tells its policy: what none of its rules lets pass.
    """

    family: int
    table: str
    name: str
    hook: int
    priority: int
    drops: bool


class Nftables:
    """``make`` opens a netlink socket. All methods raise Refusal."""

    def __init__(self, make: Callable[[], Conversation] = lambda: Conversation(NETFILTER)) -> None:
        self._make = make

    def change(self, orders: Sequence[Order], table: str) -> None:
        """Do all or nothing."""
        self.versions(table)  # why there is no nftables here, or not for us, is told by a question more clearly than by a transaction
        batch = [_edge(_BATCH_BEGIN), *map(_message, orders), _edge(_BATCH_END)]
        try:
            with self._make() as kernel:
                kernel.transact(batch)
        except TransactionError as error:
            raise Refusal(error, _lacking(error, {*_parts(orders)})) from error
        except OSError as error:
            raise Refusal(error) from error

    def versions(self, table: str) -> tuple[int, ...]:
        """Return the IP versions for which ``table`` is there."""
        numbers = self.numbers(table)
        return tuple(version for version, family in FAMILIES.items() if family.number in numbers)

    def numbers(self, table: str) -> tuple[int, ...]:
        """Return the families, NFPROTO_*, for which ``table`` is there."""
        return tuple(each["nfgen_family"] for each in self._dump(Kind.GETTABLE) if each.get_attr("NFTA_TABLE_NAME") == table)

    def elements(self, version: int, table: str, name: str) -> list[Element] | None:
        """Return what a set or map holds now, None where it is not there."""
        try:
            answers = self._dump(Kind.GETSETELEM, version, elements_of(table, name))
        except Refusal as error:
            if error.absent:
                return None
            raise
        return [
            Element(_bytes(each, "NFTA_SET_ELEM_KEY") or b"", _bytes(each, "NFTA_SET_ELEM_DATA"), _seconds(each))
            for answer in answers
            for each in answer.get_attr("NFTA_SET_ELEM_LIST_ELEMENTS") or ()
        ]

    def rules(self, version: int, table: str) -> dict[str, int]:
        """Return how many rules each chain of ``table`` has, of those that have any."""
        found: dict[str, int] = {}
        for answer in self._dump(Kind.GETRULE, version, [("NFTA_RULE_TABLE", table)]):
            chain = answer.get_attr("NFTA_RULE_CHAIN")
            found[chain] = found.get(chain, 0) + 1
        return found

    def counted(self, version: int, table: str) -> dict[str, int]:
        """Return how many packets the counters of each chain of ``table`` have seen."""
        found: dict[str, int] = {}
        for answer in self._dump(Kind.GETRULE, version, [("NFTA_RULE_TABLE", table)]):
            chain = answer.get_attr("NFTA_RULE_CHAIN")
            for packets in _counters(answer):
                found[chain] = found.get(chain, 0) + packets
        return found

    def base_chains(self) -> list[BaseChain]:
        """Return those of all tables, whoever made them."""
        found = []
        for each in self._dump(Kind.GETCHAIN):
            if (hook := each.get_attr("NFTA_CHAIN_HOOK")) is not None:
                number, priority = (hook.get_attr(f"NFTA_HOOK_{name}") or 0 for name in ("HOOKNUM", "PRIORITY"))
                name, policy = (each.get_attr(f"NFTA_CHAIN_{what}") for what in ("NAME", "POLICY"))
                found.append(
                    BaseChain(each["nfgen_family"], each.get_attr("NFTA_CHAIN_TABLE"), name, number, priority, drops=policy == DROP)
                )
        return found

    def mentions(self, family: int, table: str, data: bytes) -> bool:
        """Tell whether ``data`` stands in any rule of a table, or in a set that its rules look into."""
        asked = [(Kind.GETRULE, [("NFTA_RULE_TABLE", table)])]
        asked += [(Kind.GETSETELEM, elements_of(table, name)) for name in self._sets(family, table)]
        return any(data in bytes(answer) for kind, told in asked for answer in self._answers(kind, family, told))

    def _sets(self, family: int, table: str) -> list[str]:
        answers = self._answers(Kind.GETSET, family, [("NFTA_SET_TABLE", table)])
        return [decoded(CLASSES[Kind.GETSET], each).get_attr("NFTA_SET_NAME") for each in answers]

    def _dump(self, kind: Kind, version: int | None = None, told: Sequence[tuple[str, Any]] = ()) -> list[Message]:
        answers = self._answers(kind, 0 if version is None else FAMILIES[version].number, told)
        return [decoded(CLASSES[kind], each) for each in answers]

    def _answers(self, kind: Kind, family: int, told: Sequence[tuple[str, Any]] = ()) -> list[Answer]:
        question = encoded(CLASSES[kind], _SUBSYSTEM << 8 | kind, REQUEST | DUMP, told, nfgen_family=family)
        try:
            with self._make() as kernel:
                return kernel.dump(question)
        except OSError as error:
            raise Refusal(error) from error


def _message(order: Order) -> bytes:
    """Return it as it is sent. Each is answered: a transaction fails without a word otherwise."""
    number, flags = _SUBSYSTEM << 8 | order.kind, REQUEST | ACK | order.flags
    return encoded(CLASSES[order.kind], number, flags, order.attributes, nfgen_family=order.family)


def _parts(orders: Iterable[Order]) -> Iterator[Part]:
    for order in orders:
        for expression in dict(order.attributes).get("NFTA_RULE_EXPRESSIONS", ()):
            yield Part(order.family, dict(expression["attrs"])["NFTA_EXPR_NAME"])


def _lacking(error: TransactionError, asked: Collection[Part]) -> list[Part]:
    """Return which of the parts ``asked`` for the kernel does not know: its error is about the list's element that names one.

    Kernels before 5.9 say no more than that something is not there.
    """
    found = []
    for message, code, at in error.rejected:
        if code != errno.ENOENT or at is None:
            continue
        element = next((value for _, value in attributes(message[at:])), b"")
        name = dict(attributes(element)).get(_EXPRESSION_NAME, b"").rstrip(b"\0").decode(errors="replace")
        part = Part(message[HEADER.size], name)
        if part in asked:
            found.append(part)
    return sorted({*found})


def _edge(kind: int) -> bytes:
    """Begin or commit a transaction."""
    return encoded(_nft.nfgen_msg, kind, REQUEST, res_id=_SUBSYSTEM)


def _counters(rule: Message) -> Iterator[int]:
    for expression in rule.get_attr("NFTA_RULE_EXPRESSIONS") or ():
        if expression.get_attr("NFTA_EXPR_NAME") == "counter":
            yield expression.get_attr("NFTA_EXPR_DATA").get_attr("NFTA_COUNTER_PACKETS")


def _bytes(element: Message, name: str) -> bytes | None:
    found = element.get_attr(name)
    return None if found is None else bytes(found.get_attr("NFTA_DATA_VALUE"))


def _seconds(element: Message) -> float | None:
    left = element.get_attr("NFTA_SET_ELEM_EXPIRATION")
    return None if left is None else left / 1000

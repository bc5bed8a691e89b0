"""The kernel's nftables: transactions, and what is read back. Source: linux/netfilter/nfnetlink.h."""

import errno
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from vrrp_drain.runtime.errors import SystemFault

from ..codec import load
from ..message import Message, decoded, encoded
from ..netlink import ACK, DUMP, NETFILTER, REQUEST, Conversation
from .objects import FAMILIES, Kind, Order, elements_of

_SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11  # NFNL_MSG_BATCH_*
_NO_NFTABLES = (errno.EPROTONOSUPPORT, errno.EINVAL)  # no nfnetlink; nfnetlink without nf_tables, asked for its tables
_nft = load("netlink.nfnetlink.nftsocket")
CLASSES = {
    Kind.NEWTABLE: _nft.nft_table_msg,
    Kind.GETTABLE: _nft.nft_table_msg,
    Kind.DELTABLE: _nft.nft_table_msg,
    Kind.NEWCHAIN: _nft.nft_chain_msg,
    Kind.NEWRULE: _nft.nft_rule_msg,
    Kind.GETRULE: _nft.nft_rule_msg,
    Kind.NEWSET: _nft.nft_set_msg,
    Kind.NEWSETELEM: _nft.nft_set_elem_list_msg,
    Kind.GETSETELEM: _nft.nft_set_elem_list_msg,
    Kind.DELSETELEM: _nft.nft_set_elem_list_msg,
}


class Refusal(SystemFault):
    """The kernel did not do it; nothing was changed."""

    def __init__(self, error: OSError) -> None:
        self.code = error.errno
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
        except OSError as error:
            raise Refusal(error) from error

    def versions(self, table: str) -> tuple[int, ...]:
        """Return the IP versions for which ``table`` is there."""
        tables = [(each["nfgen_family"], each.get_attr("NFTA_TABLE_NAME")) for each in self._dump(Kind.GETTABLE)]
        return tuple(version for version, family in FAMILIES.items() if (family.number, table) in tables)

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

    def _dump(self, kind: Kind, version: int | None = None, attributes: Sequence[tuple[str, Any]] = ()) -> list[Message]:
        family = 0 if version is None else FAMILIES[version].number
        question = encoded(CLASSES[kind], _SUBSYSTEM << 8 | kind, REQUEST | DUMP, attributes, nfgen_family=family)
        try:
            with self._make() as kernel:
                return [decoded(CLASSES[kind], each) for each in kernel.dump(question)]
        except OSError as error:
            raise Refusal(error) from error


def _message(order: Order) -> bytes:
    """Return it as it is sent. Each is answered: a transaction fails without a word otherwise."""
    number, flags = _SUBSYSTEM << 8 | order.kind, REQUEST | ACK | order.flags
    return encoded(CLASSES[order.kind], number, flags, order.attributes, nfgen_family=order.family)


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

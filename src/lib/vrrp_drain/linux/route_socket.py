"""The kernel's links, routes and addresses (rtnetlink(7)): of pyroute2's IPRoute what rtnetlink.py uses, by the same names."""

import socket
from typing import Any

from .codec import load
from .message import Message, decoded, encoded
from .netlink import ACK, CREATE, DUMP, EXCL, REQUEST, ROUTE, Answer, Conversation

_ADDRESS = load("netlink.rtnl.ifaddrmsg").ifaddrmsg
_ROUTE = load("netlink.rtnl.rtmsg").rtmsg
_GET_LINK, _NEW_ADDRESS, _DELETE_ADDRESS, _GET_ADDRESS, _GET_ROUTE = 18, 20, 21, 22, 26  # RTM_*, linux/rtnetlink.h
_TABLE_AT = 20  # where struct rtmsg has rtm_table: of the routes in other tables, which may be many, nothing else is read


class _Link(load("netlink").nlmsg):  # type: ignore[misc]  # pyroute2 has no types
    """struct ifinfomsg and what we read of it; pyroute2's own class for it loads 16 modules for the kinds of links that there are."""

    fields = (("family", "B"), ("__align", "x"), ("type", "H"), ("index", "i"), ("flags", "I"), ("change", "I"))
    nla_map = ((1, "IFLA_ADDRESS", "lladdr"), (3, "IFLA_IFNAME", "asciiz"), (33, "IFLA_CARRIER", "uint8"))  # linux/if_link.h


class RouteSocket:
    """One rtnetlink socket. Everything raises OSError."""

    def __init__(self) -> None:
        self._conversation = Conversation(ROUTE)

    def close(self) -> None:
        self._conversation.close()

    def get_links(self, *indexes: int) -> list[Message]:
        """Return the links with ``indexes``, or all."""
        if not indexes:
            return [decoded(_Link, each) for each in self._dump(_Link, _GET_LINK)]
        answers = (self._conversation.ask(encoded(_Link, _GET_LINK, REQUEST, index=each)) for each in indexes)
        return [decoded(_Link, each) for each in answers if each is not None]

    def link_lookup(self, ifname: str) -> list[int]:
        """Return the index of the link of that name, or nothing."""
        try:
            return [socket.if_nametoindex(ifname)]
        except OSError:
            return []

    def get_routes(self, family: int, table: int) -> list[Message]:
        return [decoded(_ROUTE, each) for each in self._dump(_ROUTE, _GET_ROUTE, family=family) if each[_TABLE_AT] == table]

    def get_addr(self, family: int = socket.AF_UNSPEC, index: int | None = None) -> list[Message]:
        found = (decoded(_ADDRESS, each) for each in self._dump(_ADDRESS, _GET_ADDRESS, family=family))
        return [each for each in found if index in (None, each["index"])]

    def addr(self, command: str, *, index: int, address: str, prefixlen: int, **more: Any) -> None:
        """``command`` is add or del; ``more`` are fields of struct ifaddrmsg, and attributes, which are written in capitals."""
        kind, flags = {"add": (_NEW_ADDRESS, CREATE | EXCL), "del": (_DELETE_ADDRESS, 0)}[command]
        attributes = {"IFA_LOCAL": address, "IFA_ADDRESS": address} | {name: value for name, value in more.items() if name.isupper()}
        fields = {name: value for name, value in more.items() if name not in attributes}
        fields |= {"family": socket.AF_INET6 if ":" in address else socket.AF_INET, "index": index, "prefixlen": prefixlen}
        self._conversation.ask(encoded(_ADDRESS, kind, REQUEST | ACK | flags, [*attributes.items()], **fields))

    def _dump(self, kind: Any, number: int, **fields: int) -> list[Answer]:
        return self._conversation.dump(encoded(kind, number, REQUEST | DUMP, (), **fields))

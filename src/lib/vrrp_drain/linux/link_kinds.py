"""Which kinds of network interfaces the kernel makes, asked without making one.

The question is for an interface of that kind and lacks what every such interface needs. A kernel that has the kind, or finds its module,
refuses that as invalid; one that has not says so before it looks (the kernel's rtnetlink.c, rtnl_newlink).
"""

import errno
import struct
from collections.abc import Callable

from .netlink import ACK, CREATE, EXCL, REQUEST, ROUTE, Conversation, attribute, message

VXLAN, MACVLAN = "vxlan", "macvlan"
_NEWLINK = 16  # RTM_NEWLINK
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg
_LINKINFO, _INFO_KIND, _NESTED = 18, 1, 0x8000  # IFLA_*, NLA_F_NESTED


def known(kind: str, make: Callable[[], Conversation] = lambda: Conversation(ROUTE)) -> bool:
    """Tell whether the kernel has this kind. Raises OSError."""
    told = attribute(_LINKINFO | _NESTED, attribute(_INFO_KIND, kind.encode() + b"\0"))
    try:
        with make() as kernel:
            kernel.ask(message(_NEWLINK, REQUEST | ACK | CREATE | EXCL, _LINK.pack(0, 0, 0, 0, 0) + told))
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
        return error.errno == errno.EINVAL
    raise OSError(errno.EPROTO, f"the kernel took a question about {kind} for an order")

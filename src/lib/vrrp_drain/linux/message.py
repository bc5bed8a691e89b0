"""Messages between pyroute2's form, in which fields and attributes have the names of the kernel's headers, and the bytes of netlink.py."""

from collections.abc import Sequence
from typing import Any

from .netlink import Answer

Message = Any  # a message of pyroute2: fields by their names, attributes through get_attr


def encoded(kind: Any, number: int, flags: int, attributes: Sequence[tuple[str, Any]] = (), /, **fields: int) -> bytes:
    """Return a message of the class ``kind``, whose type is ``number``."""
    message = kind()
    message.update(fields)
    message["header"] |= {"type": number, "flags": flags}
    message["attrs"] = list(attributes)
    message.encode()
    return bytes(message.data)


def decoded(kind: Any, answer: Answer) -> Message:
    message = kind(bytes(answer))
    message.decode()
    return message

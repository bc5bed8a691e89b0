"""Conversations with the kernel over netlink (netlink(7)): questions, dumps, transactions. Messages are bytes, header and all.

What stands in them is the affair of sock_diag.py, rtnetlink.py and nftables/. One thread asks and waits for the answer: that takes
neither an event loop nor threads. Sources: linux/netlink.h, the kernel's af_netlink.c.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, TypeVar

ROUTE, SOCK_DIAG, NETFILTER = 0, 4, 12  # NETLINK_*
REQUEST, ACK, DUMP = 0x1, 0x4, 0x300  # NLM_F_*
EXCL, CREATE, APPEND = 0x200, 0x400, 0x800
HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, kind, flags, sequence number, port
_ERROR, _DONE = 0x2, 0x3  # NLMSG_*
_INTERRUPTED = 0x10  # NLM_F_DUMP_INTR: what is told changed meanwhile
_CAPPED, _TOLD_MORE = 0x100, 0x200  # NLM_F_CAPPED: of what was asked, an error has the header alone; NLM_F_ACK_TLVS: attributes follow
_SOL_NETLINK, _EXT_ACK = 270, 11  # NETLINK_EXT_ACK: an error has attributes, such as which byte of what was asked it is about
_AT = 2  # NLMSGERR_ATTR_OFFS
_SEQUENCE, _SEQUENCE_AT = struct.Struct("=I"), 8
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr
_STATUS = struct.Struct("=i")  # what follows the header of an end or an error: 0, or a negative errno
_PATIENCE = 5.0  # seconds that the kernel may take for one part of its answer
_LONGEST = 1 << 16  # bytes that it sends at a time
_BUFFER = 1 << 20  # bytes of a transaction, and of its answers: the rules of a group of hundreds of members have tens of thousands
_ATTEMPTS = 10  # at a dump of what changes all the time

_Self = TypeVar("_Self", bound="Conversation")
Answer = memoryview  # a whole message


def message(kind: int, flags: int, body: bytes) -> bytes:
    return HEADER.pack(HEADER.size + len(body), kind, flags, 0, 0) + body


def pending(opened: socket.socket) -> Iterator[bytes]:
    """Yield what has come to a socket that does not block and listens to a group. Raises OSError.

    Messages that were lost are passed over: whoever is told asks what there is.
    """
    while True:
        try:
            yield opened.recv(_LONGEST)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise


def attributes(data: bytes | Answer) -> Iterator[tuple[int, bytes]]:
    """Yield the kinds and the values of the attributes (struct nlattr) that ``data`` consists of."""
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        yield kind, bytes(data[_ATTRIBUTE.size : length])
        data = data[max((length + 3) & ~3, _ATTRIBUTE.size) :]


def attribute(kind: int, value: bytes) -> bytes:
    """Return one attribute; what follows begins at a multiple of four bytes."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


class Rejected(NamedTuple):
    """A message of a transaction that the kernel did not take; ``at`` is its byte that is wrong, None where it does not say."""

    message: bytes
    code: int
    at: int | None


class TransactionError(OSError):
    """A transaction of which the kernel took nothing; its number is that of the first refusal. ``rejected`` are all of them."""

    def __init__(self, rejected: Sequence[Rejected]) -> None:
        code = rejected[0].code
        super().__init__(code, os.strerror(code))
        self.rejected = tuple(rejected)


class Conversation:
    """One netlink socket, for one thread; use it as a context manager.

    Everything raises OSError, be it the socket's or what the kernel answers; its silence is a TimeoutError.
    """

    def __init__(self, protocol: int, patience: float = _PATIENCE) -> None:
        self._sequence = 0
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        self._socket.settimeout(patience)
        with suppress(OSError):  # a kernel before 4.12 tells the number of an error alone
            self._socket.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def ask(self, question: bytes) -> Answer | None:
        """Return the one answer, or None where the kernel only acknowledges."""
        kind, _, answer = next(self._answers(self._send([question])))
        return None if kind == _ERROR else answer

    def dump(self, question: bytes) -> list[Answer]:
        """Return all that the kernel tells, as it was at one time; what changes all the time, as it was at several."""
        found: list[Answer] = []
        for _ in range(_ATTEMPTS):
            found.clear()
            interrupted = 0
            for kind, flags, answer in self._answers(self._send([question])):
                interrupted |= flags & _INTERRUPTED
                if kind == _DONE:
                    break
                found.append(answer)
            if not interrupted:
                break
        return found

    def tells(self, question: bytes) -> bool:
        """Tell whether a dump has anything in it. If so the rest of it is not asked for: close the conversation then."""
        kind, _, _ = next(self._answers(self._send([question])))
        return kind != _DONE

    def transact(self, messages: Sequence[bytes]) -> None:
        """Send all at once, and wait for every acknowledgement that one of them asks for. Raises TransactionError."""
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            self._socket.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
        awaited = {n for n, each in enumerate(messages) if HEADER.unpack_from(each)[2] & ACK}
        first = self._send(messages)
        rejected = []
        for kind, _, answer in self._messages(first):
            number = HEADER.unpack_from(answer)[3] - first
            if code := _refusal(kind, answer):
                rejected.append(Rejected(messages[number], code, _wrong_at(answer)))
                if number not in awaited:  # the edges of a transaction are told of alone
                    break
            awaited.discard(number)
            if not awaited:
                break
        if rejected:
            raise TransactionError(rejected)

    def _send(self, messages: Sequence[bytes]) -> int:
        """Number the messages, send them as one, and return the first number: a late answer to what was asked before has a lower one."""
        first = self._sequence + 1
        sent = bytearray()
        for each in messages:
            self._sequence += 1
            begin = len(sent)
            sent += each
            _SEQUENCE.pack_into(sent, begin + _SEQUENCE_AT, self._sequence)
        self._socket.send(sent)
        return first

    def _answers(self, since: int) -> Iterator[tuple[int, int, Answer]]:
        """Yield kind and flags of each message that answers a number from ``since`` on, and the message. Raises what the kernel refuses."""
        for kind, flags, answer in self._messages(since):
            if code := _refusal(kind, answer):
                raise OSError(code, os.strerror(code))
            yield kind, flags, answer

    def _messages(self, since: int) -> Iterator[tuple[int, int, Answer]]:
        """Yield the same, refusals too, without an end."""
        while True:
            data = memoryview(self._socket.recv(_LONGEST))
            while len(data) >= HEADER.size:
                length, kind, flags, sequence, _ = HEADER.unpack_from(data)
                answer, data = data[:length], data[(length + 3) & ~3 :]
                if sequence >= since:
                    yield kind, flags, answer


def _refusal(kind: int, answer: Answer) -> int:
    """Return the errno that a message tells, 0 where it is no error."""
    return -int(_STATUS.unpack_from(answer, HEADER.size)[0]) if kind in (_ERROR, _DONE) else 0


def _wrong_at(answer: Answer) -> int | None:
    """Return which byte of what was asked an error is about, None where the kernel does not say."""
    _, _, flags, _, _ = HEADER.unpack_from(answer)
    asked = HEADER.size + _STATUS.size
    if not flags & _TOLD_MORE or len(answer) < asked + HEADER.size:
        return None
    length = HEADER.size if flags & _CAPPED else HEADER.unpack_from(answer, asked)[0]
    told = dict(attributes(answer[asked + ((length + 3) & ~3) :]))
    return int(_SEQUENCE.unpack(told[_AT])[0]) if _AT in told else None

"""Conversations with a kernel that is not there: what is sent, which answers belong to it, and what is said instead."""

import errno
import os
import socket
import struct

import pytest

from unit.support.netlink import ACKNOWLEDGED, DONE, END, ERROR, INTERRUPTED, FakeKernel, message, rejection, status
from vrrp_drain.linux.netlink import ACK, NETFILTER, REQUEST, Conversation, Rejected, TransactionError
from vrrp_drain.linux.netlink import message as question

ANSWER = 20
ASKED = question(18, REQUEST, b"what")


def test_one_answer(kernel: FakeKernel) -> None:
    """The whole message comes back, as long as it says, without what fills it up."""
    kernel.replies = [[message(ANSWER, b"five!")]]
    with Conversation(NETFILTER, patience=3) as conversation:
        answer = conversation.ask(ASKED)
    assert answer is not None
    assert bytes(answer[16:]) == b"five!"
    assert (kernel.opened, kernel.timeout, kernel.closed) == ((socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER), 3, 1)


def test_an_acknowledgement_is_no_answer(kernel: FakeKernel) -> None:
    """Where something was to be done, the kernel says that it is."""
    kernel.replies = [[ACKNOWLEDGED]]
    assert Conversation(NETFILTER).ask(ASKED) is None


def test_a_dump_comes_in_parts(kernel: FakeKernel) -> None:
    """Each part has several messages, and the end may come in one of its own."""
    kernel.replies = [[message(ANSWER, b"one") + message(ANSWER, b"two"), message(ANSWER, b"three"), END]]
    assert [bytes(each[16:]) for each in Conversation(NETFILTER).dump(ASKED)] == [b"one", b"two", b"three"]


@pytest.mark.parametrize(
    "marked", [message(ANSWER, b"old", INTERRUPTED) + END, message(ANSWER, b"old") + message(DONE, bytes(4), INTERRUPTED)]
)
def test_what_changed_meanwhile_is_asked_again(kernel: FakeKernel, marked: bytes) -> None:
    """Half of it old and half of it new is no answer; the kernel says so, in any of its messages."""
    kernel.replies = [[marked], [message(ANSWER, b"new") + END]]
    assert [bytes(each[16:]) for each in Conversation(NETFILTER).dump(ASKED)] == [b"new"]


def test_what_changes_all_the_time_is_taken_as_it_is(kernel: FakeKernel) -> None:
    """Asking has an end."""
    kernel.replies = [[message(ANSWER, b"old", INTERRUPTED) + END]] * 100
    assert len(Conversation(NETFILTER).dump(ASKED)) == 1
    assert len(kernel.asked) < 100


def test_a_late_answer_belongs_to_what_was_asked_before(kernel: FakeKernel) -> None:
    """After a timeout its answer may still come: it is not taken for that of the next question, be it an error or an end."""
    refused = message(ERROR, struct.pack("=i", -errno.EPERM), sequence=1)
    kernel.replies = [[TimeoutError("timed out")], [message(ANSWER, b"late", sequence=1), refused, message(ANSWER, b"right")]]
    conversation = Conversation(NETFILTER)
    with pytest.raises(TimeoutError):
        conversation.ask(ASKED)
    answer = conversation.ask(ASKED)
    assert answer is not None
    assert bytes(answer[16:]) == b"right"


@pytest.mark.parametrize(
    "reply", [status(ERROR, errno.ENOENT), message(ANSWER) + status(DONE, errno.ENOENT)], ids=["at once", "at the end"]
)
def test_what_the_kernel_refuses(kernel: FakeKernel, reply: bytes) -> None:
    """Its error is raised as the one of a system call would be, also where it comes after a part of the answer."""
    kernel.replies = [[reply]]
    with pytest.raises(FileNotFoundError) as refused:
        Conversation(NETFILTER).dump(ASKED)
    assert refused.value.strerror == os.strerror(errno.ENOENT)


def test_a_transaction_is_one_message_to_the_kernel(kernel: FakeKernel) -> None:
    """All goes out in one piece, each part with a number of its own, and it is done when each that asks for it is acknowledged."""
    kernel.replies = [[status(ERROR, sequence=2), status(ERROR, sequence=3)]]
    parts = [
        question(16, REQUEST, b""),
        question(17, REQUEST | ACK, b"abcd"),
        question(18, REQUEST | ACK, b"efgh"),
        question(19, REQUEST, b""),
    ]
    Conversation(NETFILTER).transact(parts)
    (sent,) = kernel.asked
    lengths = (0, 16, 36, 56)
    assert [struct.unpack_from("=I", sent, at + 8)[0] for at in lengths] == [1, 2, 3, 4]
    assert len(sent) == sum(map(len, parts))


def test_a_transaction_that_is_refused(kernel: FakeKernel) -> None:
    """All refusals are read, the first one is the reason, and where the kernel says which byte is wrong, that is known."""
    parts = [question(16, REQUEST, b""), *(question(17, REQUEST | ACK, bytes((n,)) * 8) for n in range(3))]
    why = rejection(errno.ENOENT, 4, parts[3], 20)
    kernel.replies = [[status(ERROR, sequence=2) + status(ERROR, errno.EEXIST, sequence=3), why]]
    with pytest.raises(TransactionError) as refused:
        Conversation(NETFILTER).transact(parts)
    assert (refused.value.errno, refused.value.strerror) == (errno.EEXIST, os.strerror(errno.EEXIST))
    assert refused.value.rejected == (Rejected(parts[2], errno.EEXIST, None), Rejected(parts[3], errno.ENOENT, 20))


def test_a_transaction_that_is_refused_as_a_whole(kernel: FakeKernel) -> None:
    """Its edge asks for no acknowledgement: where the kernel says no to that one, nothing else is waited for."""
    kernel.replies = [[status(ERROR, errno.EPERM, sequence=1)]]
    with pytest.raises(TransactionError, match=os.strerror(errno.EPERM)):
        Conversation(NETFILTER).transact([question(16, REQUEST, b""), question(17, REQUEST | ACK, b"")])

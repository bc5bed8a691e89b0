"""Conversations with a kernel that is not there: what is sent, which answers belong to it, and what is said instead."""

import errno
import os
import socket
import struct

import pytest

from unit.support.netlink import ACKNOWLEDGED, DONE, END, ERROR, INTERRUPTED, FakeKernel, message, status
from vrrp_drain.linux.netlink import ACK, NETFILTER, REQUEST, Conversation
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
    kernel.replies = [[ACKNOWLEDGED, ACKNOWLEDGED]]
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
    """One part of it is enough; what was refused first is said."""
    kernel.replies = [[ACKNOWLEDGED + status(ERROR, errno.EEXIST), status(ERROR, errno.EPERM)]]
    with pytest.raises(FileExistsError):
        Conversation(NETFILTER).transact([question(17, REQUEST | ACK, b"")] * 3)

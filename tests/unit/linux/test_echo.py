"""Asking a machine itself by ICMP echo: packets against scapy, and what counts as an answer."""

import os
import socket
from ipaddress import ip_address

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest

from unit.support.fakes import FakeSocket
from vrrp_drain.linux.echo import echo
from vrrp_drain.runtime.errors import SystemFault

FAR4, FAR6 = ip_address("10.7.0.2"), ip_address("2001:db8:7::2")
ID = 0x1234


class Connected(FakeSocket):
    def connect(self, where: object) -> None:
        self.bound = where


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Connected:
    made = Connected()
    monkeypatch.setattr(socket, "socket", made.open)
    monkeypatch.setattr(os, "urandom", lambda size: ID.to_bytes(size, "big"))
    return made


def test_a_question_is_what_scapy_builds(opened: Connected) -> None:
    """Each has the next number; the kernel fills in the checksum of IPv6."""
    inquiry = echo("eth0", FAR4)
    inquiry.ask()
    inquiry.ask()
    assert opened.sent == [(bytes(ICMP(type=8, id=ID, seq=number)),) for number in (1, 2)]
    assert opened.bound == ("10.7.0.2", 0)
    opened.sent.clear()
    echo("eth0", FAR6).ask()
    assert opened.sent == [(bytes(ICMPv6EchoRequest(id=ID, seq=1, cksum=0)),)]


def test_a_link_local_address_is_on_the_interface(opened: Connected, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "if_nametoindex", lambda name: 7)
    echo("eth0", ip_address("fe80::2"))
    assert opened.bound == ("fe80::2", 0, 0, 7)


def test_its_reply_is_an_answer(opened: Connected) -> None:
    """With IPv4 the kernel gives the IP header too, options or not."""
    inquiry = echo("eth0", FAR4)
    reply = ICMP(type=0, id=ID, seq=1)
    opened.inbox = [bytes(IP(src=str(FAR4)) / reply), bytes(IP(src=str(FAR4), options=b"\1\1\1\0") / reply)]
    assert inquiry.answers() == [str(FAR4)] * 2
    inquiry = echo("eth0", FAR6)
    opened.inbox = [bytes(ICMPv6EchoReply(id=ID, seq=1))]
    assert inquiry.answers() == [str(FAR6)]


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(bytes(IP() / ICMP(type=0, id=ID + 1)), id="to another program"),
        pytest.param(bytes(IP() / ICMP(type=8, id=ID)), id="a question"),
        pytest.param(bytes(IP() / ICMP(type=3, id=ID)), id="unreachable"),
        pytest.param(bytes(IP() / ICMP(type=0, id=ID))[:24], id="truncated"),
        pytest.param(b"", id="empty"),
    ],
)
def test_what_is_no_answer(opened: Connected, message: bytes) -> None:
    inquiry = echo("eth0", FAR4)
    opened.inbox = [message]
    assert inquiry.answers() == []


def test_a_flood_of_answers_does_not_keep_anybody(opened: Connected) -> None:
    opened.inbox = [bytes(IP() / ICMP(type=0, id=ID))] * 1000
    assert len(echo("eth0", FAR4).answers()) < 100


def test_an_error_for_an_earlier_question_is_no_answer_and_no_fault(opened: Connected) -> None:
    """Host unreachable, of a machine that is gone: nothing has come from it."""
    inquiry = echo("eth0", FAR4)
    opened.inbox = [OSError(113, "No route to host"), bytes(IP() / ICMP(type=0, id=ID))]
    assert inquiry.answers() == [str(FAR4)]
    inquiry.close()
    assert opened.closed


def test_who_may_not_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(SystemFault, match=r"cannot ask whether 10\.7\.0\.2 is there: Operation not permitted; run as root"):
        echo("eth0", FAR4)

"""Telling receivers: at once for the watcher, in order for each receiver, and bounded in every way."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from unit.support.receiver import PATIENCE, answer, serving, silence
from unit.support.samples import MOVED
from vrrp_drain.config.receivers import Hook, Webhook
from vrrp_drain.notify.delivery import Away, Message, Refused
from vrrp_drain.notify.notice import Kind, Notice
from vrrp_drain.notify.notifier import MOST_QUEUED, Counts, Notifier, Receiver


def at_once(tries: int) -> float:
    return 0.0


def numbered(number: int) -> Notice:
    return replace(MOVED, seconds=float(number))


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread has to do."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class Scripted:
    """A way to a receiver that ends as told: with each of ``endings`` in turn, then well; it works only while ``open`` is set."""

    name = "https://a.example.org"
    retry_for = 1000.0

    def __init__(self, *endings: Exception | None) -> None:
        self.endings = list(endings)
        self.got: list[float | None] = []
        self.retries: list[int] = []
        self.begun = threading.Event()
        self.open = threading.Event()
        self.open.set()
        self.is_cut = False

    def send(self, message: Message) -> None:
        self.begun.set()
        assert self.open.wait(PATIENCE)
        if self.is_cut:
            raise Away("the watcher ends")
        ending = self.endings.pop(0) if self.endings else None
        if ending is not None:
            raise ending
        self.got.append(message.notice.seconds)
        self.retries.append(message.retries)

    def cut(self) -> None:
        self.is_cut = True
        self.open.set()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, "vrrp_drain"):
        yield caplog


def receiver(way: Scripted, pause: Callable[[int], float] = at_once) -> Receiver:
    return Receiver("a receiver", way, pause)


def put(to: Receiver, *numbers: int) -> None:
    for number in numbers:
        to.put(Message(numbered(number)))


def finish(given: Receiver) -> None:
    given.finish()
    given.wait(PATIENCE)


def test_everybody_is_told_in_order(tmp_path: Path) -> None:
    """Hooks and webhooks each get every notice, one after the other."""
    out = tmp_path / "out"
    hook = Hook(("/bin/sh", "-c", f"cat >> {out}"))
    with serving() as server:
        notifier = Notifier([hook], [Webhook(server.url()), Webhook(server.url("/second"))])
        for number in range(20):
            notifier.tell(numbered(number))
        notifier.close(PATIENCE)
        requests = server.take(40)
    assert [json.loads(line)["seconds"] for line in out.read_text().splitlines()] == list(range(20))
    for target in ("/", "/second"):
        assert [each.json["seconds"] for each in requests if each.target == target] == list(range(20))
    assert notifier.counts() == dict.fromkeys(["hooks[0]", "webhooks[0]", "webhooks[1]"], Counts(sent=20))


def test_telling_waits_for_nobody(log: pytest.LogCaptureFixture) -> None:
    """tell returns while a receiver that gives no answer has not even had the first notice; the other one has them all."""
    with serving(silence) as silent, serving() as well:
        notifier = Notifier([], [Webhook(silent.url(), timeout=60), Webhook(well.url())])
        for number in range(3):
            notifier.tell(numbered(number))
        assert [each.json["seconds"] for each in well.take(3)] == [0, 1, 2]
        until(lambda: notifier.counts()["webhooks[1]"] == Counts(sent=3))
        assert notifier.counts()["webhooks[0]"] == Counts(queued=3)
        notifier.close(0)
    assert notifier.counts()["webhooks[0]"] == Counts(failed=1, lost=3)
    assert [record.getMessage() for record in log.records] == [
        f"3 notices are lost, which {silent.url('')} (vrrp_drain.webhooks[0]) did not take before the watcher ended"
    ]


def test_gone_and_back(log: pytest.LogCaptureFixture) -> None:
    """A receiver that nobody answers for, then answers 500 and 429, gets the whole story in order; the log has two lines."""
    headers = (("Authorization", "Bearer secret"),)
    with serving() as before:
        port = before.port
    notifier = Notifier([], [Webhook(before.url("/secret?token=secret"), headers, timeout=PATIENCE)], pause=lambda tries: 0.01)
    for number in range(5):
        notifier.tell(numbered(number))
    until(lambda: notifier.counts()["webhooks[0]"].failed >= 3)
    with serving(answer(500), answer(429), answer(503), answer(200), port=port) as back:
        seen = [each.json for each in back.take(8)]
        until(lambda: notifier.counts()["webhooks[0]"].queued == 0)
        notifier.close(PATIENCE)
    assert [each["seconds"] for each in seen] == [0, 0, 0, 0, 1, 2, 3, 4]
    assert len({each["id"] for each in seen}) == 5
    assert [each["retries"] for each in seen[1:4]] == [seen[0]["retries"] + n for n in (1, 2, 3)]
    assert (seen[0]["retries"] >= 3, seen[4]["retries"]) == (True, 0)
    assert seen[0]["delayed"] <= seen[3]["delayed"]
    first, second = (record.getMessage() for record in log.records)
    assert first == (
        f"http://127.0.0.1:{port} (vrrp_drain.webhooks[0]) cannot be reached: Connection refused; clients of the VIP are not affected; "
        "200 notices at most are kept for 86400 s and sent in order when it is back"
    )
    assert second.endswith(" s; what was kept is sent in order, no notice is lost")
    assert "secret" not in log.text


def test_what_is_refused_is_given_up(log: pytest.LogCaptureFixture) -> None:
    """A 403 is not tried again; the next notice is."""
    with serving(answer(403), answer(200)) as server:
        notifier = Notifier([], [Webhook(server.url("/secret"), (("X-Token", "secret"),))])
        notifier.tell(numbered(0))
        notifier.tell(numbered(1))
        assert [each.json["seconds"] for each in server.take(2)] == [0, 1]
        notifier.close(PATIENCE)
        assert server.requests.empty()
    assert notifier.counts()["webhooks[0]"] == Counts(sent=1, failed=1, lost=1)
    (line,) = (record.getMessage() for record in log.records)
    assert line.endswith(
        "(vrrp_drain.webhooks[0]) answers with status 403 (Forbidden); this notice is not sent to it again: "
        "state backup -> master, peer_lost: nobody adverts (0.00 s)"
    )
    assert "secret" not in log.text


def test_a_hook_that_fails_is_logged_with_what_it_said(log: pytest.LogCaptureFixture) -> None:
    """The log has the reason; the next notice runs it again."""
    notifier = Notifier([Hook(("/bin/sh", "-c", "echo no such address; exit 2"))], [])
    notifier.tell(MOVED)
    notifier.tell(MOVED)
    notifier.close(PATIENCE)
    said = "/bin/sh (vrrp_drain.hooks[0]) ended with status 2, having said: no such address; this notice is not sent to it again: "
    assert [record.getMessage() for record in log.records] == [said + MOVED.line()] * 2
    assert notifier.counts() == {"hooks[0]": Counts(failed=2, lost=2)}


def test_the_oldest_go_first(log: pytest.LogCaptureFixture) -> None:
    """More than the bound are never kept: the newest are, and the log says how many were lost."""
    way = Scripted(Away("is away"))
    way.open.clear()
    given = receiver(way)
    put(given, 0)
    assert way.begun.wait(PATIENCE)
    put(given, *range(1, MOST_QUEUED + 6))
    assert given.counts() == Counts(lost=5, queued=MOST_QUEUED + 1)
    way.open.set()
    until(lambda: given.counts().queued == 0)
    assert way.got == list(range(6, MOST_QUEUED + 6))
    assert given.counts() == Counts(sent=MOST_QUEUED, failed=1, lost=6)
    assert [record.getMessage().partition("; what")[2] for record in log.records if "again after" in record.getMessage()] == [
        " was kept is sent in order, 6 notices are lost"
    ]
    finish(given)


def test_a_slow_receiver_is_told_of_in_the_log(log: pytest.LogCaptureFixture) -> None:
    """One that answers, but more slowly than things happen, loses the oldest too, and that is said."""
    way = Scripted()
    way.open.clear()
    given = receiver(way)
    put(given, 0)
    assert way.begun.wait(PATIENCE)
    put(given, *range(1, MOST_QUEUED + 2))
    way.open.set()
    finish(given)
    assert way.got == [0, *range(2, MOST_QUEUED + 2)]
    assert [record.getMessage() for record in log.records] == ["a receiver is slower than things happen: one notice is lost"]


def test_a_notice_is_not_kept_for_ever(log: pytest.LogCaptureFixture) -> None:
    """With retry_for 0 each notice gets one try; the next one gets its own."""
    way = Scripted(Away("is away"), Away("is away"))
    way.retry_for = 0.0
    given = receiver(way)
    put(given, 0, 1, 2)
    until(lambda: given.counts().queued == 0)
    finish(given)
    assert (way.got, given.counts()) == ([2], Counts(sent=1, failed=2, lost=2))
    assert "2 notices are lost" in log.records[-1].getMessage()


def test_pauses_grow_with_failures_and_begin_anew() -> None:
    """The pause follows the failures in a row, and is as long as the receiver asks for."""
    asked: list[int] = []

    def pause(tries: int) -> float:
        asked.append(tries)
        return 0.0

    way = Scripted(Away("1"), Away("2"), Away("3", after=0.3), None, Away("1"))
    given = receiver(way, pause)
    began = time.monotonic()
    put(given, 0, 1)
    until(lambda: given.counts().queued == 0)
    assert time.monotonic() - began >= 0.3
    assert asked == [1, 2, 3, 1]
    assert (way.got, way.retries) == ([0, 1], [3, 1])
    finish(given)


def test_an_error_that_nobody_thought_of(log: pytest.LogCaptureFixture) -> None:
    """It neither ends the thread nor gets into the log with its text."""
    way = Scripted(RuntimeError("secret"), Refused("refuses"))
    given = receiver(way)
    put(given, 0, 1, 2)
    finish(given)
    assert way.got == [2]
    assert "could not be told (RuntimeError)" in log.text
    assert "secret" not in log.text


def test_closing_ends_a_pause() -> None:
    """What waits for its next try is tried once more, at once; if that fails it is over."""
    back, gone = Scripted(Away("is away")), Scripted(Away("is away"), Away("is still away"))
    for way, got, counts in ((back, [0, 1], Counts(sent=2, failed=1)), (gone, [], Counts(failed=2, lost=2))):
        given = receiver(way, lambda tries: 1000.0)
        put(given, 0, 1)
        until(lambda given=given: given.counts().failed == 1)  # type: ignore[misc]
        finish(given)
        given.say_what_is_left()
        assert (way.got, given.counts()) == (got, counts)


def test_closing_is_bounded(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    """A hook that outlasts the time is killed, and the next notice does not start it again."""
    out = tmp_path / "out"
    notifier = Notifier([Hook(("/bin/sh", "-c", f"echo run >> {out}; sleep 1000"), 300)], [])
    notifier.tell(numbered(0))
    notifier.tell(numbered(1))
    until(lambda: out.exists() and bool(out.read_text()))
    notifier.close(0)
    assert notifier.counts() == {"hooks[0]": Counts(failed=1, lost=2)}
    assert out.read_text() == "run\n"
    assert "was killed, because the watcher ends" in log.text
    assert "one notice is lost, which /bin/sh (vrrp_drain.hooks[0]) did not take before the watcher ended" in log.text


def test_after_closing_nothing_is_taken() -> None:
    """A notice that comes too late is counted, and hurts nobody."""
    notifier = Notifier([Hook(("/bin/true",))], [])
    notifier.close(PATIENCE)
    notifier.tell(MOVED)
    assert notifier.counts() == {"hooks[0]": Counts(lost=1)}


def test_the_newest_state_is_told_again() -> None:
    """A receiver that has lost track hears the last change of state, marked as no news; other kinds do not count."""
    with serving() as server:
        notifier = Notifier([], [Webhook(server.url())])
        notifier.again()
        for notice in (numbered(0), numbered(1), replace(numbered(2), kind=Kind.BAND)):
            notifier.tell(notice)
        notifier.again()
        notifier.close(PATIENCE)
        seen = [(each.json["seconds"], each.json["again"]) for each in server.take(4)]
    assert seen == [(0, False), (1, False), (2, False), (1, True)]


def test_without_receivers() -> None:
    """The default manifest has none; telling nobody is no error."""
    notifier = Notifier([], [])
    notifier.tell(MOVED)
    notifier.close(0)
    assert notifier.counts() == {}

"""One POST to a receiver of every manner: what it says, how it fails, and that it ends in time."""

import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unit.support.fakes import Clock
from unit.support.receiver import Manner, answer, certificate, dribble, endless_body, garbage, hang_up, serving, silence
from unit.support.samples import MOVED
from vrrp_drain.config.receivers import Webhook
from vrrp_drain.notify.delivery import Away, Message, Refused, backoff
from vrrp_drain.notify.webhook import LONGEST_RETRY_AFTER, WebhookDelivery, seconds

SECRETS = (("Authorization", "Bearer secret"), ("X-Token", "secret"))


def test_what_is_posted() -> None:
    """The body is the notice with how it came, the headers are the manifest's, path and query those of the url."""
    message = Message(MOVED, retries=2)
    with serving() as server:
        WebhookDelivery(Webhook(server.url("/hooks?token=secret"), SECRETS)).send(message)
        (request,) = server.take(1)
    assert (request.method, request.target) == ("POST", "/hooks?token=secret")
    assert {name: request.headers[name.lower()] for name, _ in SECRETS} == dict(SECRETS)
    assert request.headers["content-type"] == "application/json"
    found = request.json
    assert found.pop("delayed") >= 0
    assert found == {**MOVED.as_json(), "severity": "warning", "id": message.id, "again": False, "retries": 2}


def test_the_manifest_chooses_the_content_type() -> None:
    """A header of the manifest takes the place of ours, however it is written."""
    with serving() as server:
        WebhookDelivery(Webhook(server.url(), (("content-type", "application/x-notice"),))).send(Message(MOVED))
        assert server.take(1)[0].headers["content-type"] == "application/x-notice"


@pytest.mark.parametrize(
    ("manner", "error", "said"),
    [
        (answer(500), Away, "answers with status 500 (Internal Server Error)"),
        (answer(503, "Retry-After: 7"), Away, "answers with status 503 (Service Unavailable)"),
        (answer(599), Away, "answers with status 599"),
        (answer(429), Away, "answers with status 429 (Too Many Requests)"),
        (answer(408), Away, "answers with status 408 (Request Timeout)"),
        (answer(401, body=b"secret"), Refused, "answers with status 401 (Unauthorized)"),
        (answer(404), Refused, "answers with status 404 (Not Found)"),
        (garbage, Away, "answers, but not in HTTP"),
        (hang_up, Away, "cannot be reached: it closes the connection without an answer"),
        (silence, Away, "gives no answer within 0.3 s"),
        (dribble, Away, "gives no answer within 0.3 s"),
    ],
)
def test_what_goes_wrong(manner: Manner, error: type[Exception], said: str) -> None:
    """What passes is Away, what stays wrong is Refused; the text has no credential in it."""
    with serving(manner) as server:
        way = WebhookDelivery(Webhook(server.url("/secret?token=secret"), SECRETS, timeout=0.3 if "0.3" in said else 20))
        with pytest.raises(error) as failed:
            way.send(Message(MOVED))
    assert str(failed.value) == said
    assert "secret" not in way.name


def test_a_dribbling_receiver_is_hung_up_on() -> None:
    """After the timeout nothing goes on reading in the background: the connection is closed."""
    with serving(dribble) as server:
        with pytest.raises(Away):
            WebhookDelivery(Webhook(server.url(), timeout=2)).send(Message(MOVED))
        assert server.hung_up.get(timeout=20)


def test_a_body_is_not_read() -> None:
    """The head of an answer is all that counts, however long the rest."""
    with serving(endless_body) as server:
        WebhookDelivery(Webhook(server.url(), timeout=20)).send(Message(MOVED))
        assert server.hung_up.get(timeout=20)


def test_a_redirect_is_not_followed() -> None:
    """A notice with its headers goes where the manifest says, and nowhere else."""
    with serving() as elsewhere, serving(answer(307, f"Location: {elsewhere.url()}")) as server:
        with pytest.raises(Refused, match=r"^answers with status 307"):
            WebhookDelivery(Webhook(server.url())).send(Message(MOVED))
        assert elsewhere.requests.empty()


def test_no_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set in the watcher's environment does not lead notices elsewhere."""
    with serving() as proxy, serving() as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url())
        WebhookDelivery(Webhook(server.url())).send(Message(MOVED))
        server.take(1)
        assert proxy.requests.empty()


def test_nobody_listens() -> None:
    """A refused connection passes."""
    with serving() as server:
        url = server.url()
    with pytest.raises(Away, match=r"^cannot be reached: Connection refused$"):
        WebhookDelivery(Webhook(url)).send(Message(MOVED))


def test_tls(tmp_path: Path) -> None:
    """With its CA in ca_cert the receiver is trusted; without, with another one, or under another name it is not."""
    ours, other = certificate(tmp_path, "IP:127.0.0.1"), certificate(tmp_path, "DNS:elsewhere.example.org")
    with serving(tls=ours.context) as server, serving(tls=other.context) as misnamed:
        WebhookDelivery(Webhook(server.url(), ca_cert=other.pem + ours.pem)).send(Message(MOVED))
        assert server.take(1)[0].json["cause"] == "peer_lost"
        for url, ca_cert, why in (
            (server.url(), None, "self-signed certificate"),
            (server.url(), other.pem, "self-signed certificate"),
            (misnamed.url(), other.pem, "IP address mismatch"),
        ):
            with pytest.raises(Away, match=f"^cannot be reached: its certificate is not accepted: .*{why}"):
                WebhookDelivery(Webhook(url, ca_cert=ca_cert)).send(Message(MOVED))
        assert server.requests.empty()
        assert misnamed.requests.empty()


@settings(max_examples=40)
@given(st.one_of(st.binary(max_size=300), st.binary(max_size=300).map(lambda rest: b"HTTP/1.1 " + rest)))
def test_whatever_is_answered(said: bytes) -> None:
    """Any bytes are a success, or one of the two errors with a text that does not repeat them: the receiver's thread lives on."""

    def say(client: socket.socket, over: threading.Event) -> None:
        client.sendall(said)

    error: Away | Refused | None = None
    with serving(say) as server:
        try:
            WebhookDelivery(Webhook(server.url(), timeout=30)).send(Message(MOVED))
        except (Away, Refused) as found:
            error = found
    if error is None:
        assert said.startswith(b"HTTP/1.1 2")
    else:
        assert str(error).startswith(("answers with status ", "answers, but not in HTTP", "cannot be reached: "))


def test_tls_where_there_is_none() -> None:
    """A receiver that does not speak TLS, and a ca_cert that is none, are told apart."""
    pem = "-----BEGIN CERTIFICATE-----\nTUlJ\n-----END CERTIFICATE-----\n"
    with serving() as server:
        url = server.url().replace("http:", "https:")
        with pytest.raises(Away, match=r"^cannot be reached: TLS fails"):
            WebhookDelivery(Webhook(url, timeout=30)).send(Message(MOVED))
        with pytest.raises(Refused, match=r"^its ca_cert cannot be used"):
            WebhookDelivery(Webhook(url, ca_cert=pem)).send(Message(MOVED))


def test_after_a_cut_nothing_is_sent() -> None:
    """The watcher ends: so does every send."""
    with serving() as server:
        way = WebhookDelivery(Webhook(server.url()))
        way.cut()
        with pytest.raises(Away, match="the watcher ends"):
            way.send(Message(MOVED))
        assert server.requests.empty()


@pytest.mark.parametrize(
    ("retry_after", "expected"),
    [
        *((None, 0), ("7", 7), ("0", 0), ("9" * 400, LONGEST_RETRY_AFTER), ("-5", 0), ("soon", 0), ("1.5", 0), ("\u0663", 0)),
        ("Fri, 02 Jan 1970 00:01:30 GMT", 90),
        ("Fri, 02 Jan 1970 00:01:30 -0000", 90),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Sat, 03 Jan 1970 00:00:00 GMT", LONGEST_RETRY_AFTER),
    ],
)
def test_retry_after(clock: Clock, retry_after: str | None, expected: float) -> None:
    """Seconds or a date, bounded at both ends; what is neither counts for nothing."""
    assert seconds(retry_after) == expected


def test_retry_after_is_told() -> None:
    """What the receiver asks for reaches the one who waits."""
    with serving(answer(503, "Retry-After: 7")) as server, pytest.raises(Away) as away:
        WebhookDelivery(Webhook(server.url())).send(Message(MOVED))
    assert away.value.after == 7


def test_delayed_is_the_age(clock: Clock) -> None:
    """A receiver sees how late it hears; the id stays the same, so that it can tell a repetition."""
    first = Message(MOVED)
    clock.sleep(12.5)
    later = replace(first, retries=1).as_json()
    assert (later["delayed"], later["id"], later["time"]) == (12.5, first.id, MOVED.as_json()["time"])
    assert Message(MOVED).id != first.id


@pytest.mark.parametrize(("tries", "most"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (100_000, 60)])
def test_the_pause_grows_to_its_bound(tries: int, most: float) -> None:
    """1, 2, 4 and so on to 60 seconds, of which chance takes at most half."""
    found = [backoff(tries) for _ in range(100)]
    assert most / 2 <= min(found) < max(found) <= most

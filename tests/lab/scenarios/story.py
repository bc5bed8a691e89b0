"""What happened, as the instances tell it: each gives four accounts of itself, and a story is true when they agree.

The accounts are the history (`vrrpctl history`), what a webhook was told, the metrics of Prometheus, and `vrrpctl status`. The
first two are notices, the last two say how things stand now. Counters begin with the watcher, and so does what is compared: a
life of the watcher, from its notice that it begins.
"""

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from lab.clients.inbox import Inbox
from lab.fabric.cluster import Cluster
from lab.fabric.node import Node
from lab.fabric.wait import until
from vrrp_drain.notify.notice import CONDITIONS, Kind, Notice

_METRICS = "http://127.0.0.1:9922/metrics"
_QUIET = 1.2  # seconds in which nobody tells anything more: six advert intervals of the fast clusters, five looks of the watcher
_EARLIER = 0.25  # seconds by which what is told of may have begun before it was caused: an advert interval, and the clocks

Scrape = Mapping[tuple[str, tuple[str, ...]], float]


@dataclass(frozen=True)
class Account:
    """One instance's four accounts, of one life of its watcher.

    ``metrics`` are by their name without vrrp_drain_, and the values of their labels in the order of the labels' names.
    """

    history: list[Notice]
    posts: list[dict[str, Any]]
    metrics: Scrape
    status: dict[str, Any]

    def contradictions(self) -> list[str]:
        """Return what two of them tell differently."""
        told, shown, status = self.history, self.metrics, self.status
        states = [each.state for each in told if each.kind in (Kind.STATE, Kind.WATCHER)]
        moves = [each for each in told if each.kind is Kind.STATE and "master" in (each.previous, each.state)]
        took = [each.seconds for each in told if each.kind is Kind.STATE and each.seconds is not None]
        conditions = sorted(each.kind.value for each in _on(told))
        pairs: list[tuple[str, object, object]] = [
            ("history, webhook", [each.as_json() for each in told], [_as_in_history(post) for post in self.posts]),
            ("webhook: told once", len({post["id"] for post in self.posts}), len(self.posts)),
            ("history, metrics: notices", _count((e.cause, e.kind.value) for e in told), _counted(shown, "transitions_total")),
            ("history, metrics: moves", _count((each.cause,) for each in moves), _counted(shown, "moves_total")),
            ("history, metrics: handovers", len(took), shown[("handover_seconds_count", ())]),
            ("history, metrics: their seconds", round(sum(took), 3), round(shown[("handover_seconds_sum", ())], 3)),
            ("history, metrics: conditions", conditions, sorted(each.value for each in CONDITIONS if shown[(each.value, ())])),
            ("webhook, metrics", len(self.posts), shown[("notifications_total", ("sent", "webhooks[0]"))]),
            ("metrics: nothing was lost", shown[("notifications_total", ("lost", "webhooks[0]"))], 0.0),
            ("history, metrics: state", states[-1:], _that_holds(shown, "state")),
            ("history, status: state", states[-1:], [status["state"]]),
            ("history, status: conditions", sorted(each.reason for each in _on(told)), sorted(status["conditions"])),
            ("metrics, status: band", _that_holds(shown, "band"), [status["band"]]),
            ("metrics, status: priority", shown[("effective_priority", ())], status["priority"]),
            ("metrics, status: haproxy", shown[("haproxy_up", ())], status["haproxy_healthy"]),
        ]
        return [f"{what}: {one} and {other}" for what, one, other in pairs if one != other]


class Story:
    """Follows the instances of a cluster. What was told before it began is no part of it."""

    def __init__(self, cluster: Cluster, inbox: Inbox) -> None:
        self._cluster, self._inbox = cluster, inbox
        self._began = time.time()
        self._read = {node.name: len(history(node)) for node in cluster.nodes}

    def tells(self, node: Node, *expected: str, maybe: Sequence[str] = (), seconds: float = 20) -> list[Notice]:
        """Wait until ``node`` has told this and no more, and return the notices.

        ``expected`` are lines of `vrrpctl history` up to the reason. Those in ``maybe`` depend on which of two processes that are
        started or stopped together was first: they may come anywhere between, and are left out of what is returned.
        """
        news: list[Notice] = []

        def told() -> bool:
            news[:] = history(node)[self._read[node.name] :]
            return sum(_headline(each) not in maybe for each in news) >= len(expected)

        with suppress(TimeoutError):  # the comparison says more
            until(told, "", seconds)
        found = [each for each in news if _headline(each) not in maybe]
        assert [_headline(notice) for notice in found] == list(expected), _text(node, found)
        self._read[node.name] += len(news)
        for notice in found:
            assert (notice.instance, notice.vip) == (node.name, self._cluster.vip), notice
            assert self._began - _EARLIER <= notice.at <= time.time(), notice
            assert notice.seconds is None or 0 <= notice.seconds <= notice.at - self._began + _EARLIER, notice
        return found

    def ends_with(self, *masters: Node) -> None:
        """Everybody agrees, in all accounts, that ``masters`` have the VIP (one, if all is well), and has nothing more to tell."""
        time.sleep(_QUIET)  # nothing can be awaited where nothing may happen
        running = [node for node in self._cluster.nodes if node.powered]
        assert self._cluster.holders() == list(masters)
        with ThreadPoolExecutor(len(running)) as pool:
            accounts = list(pool.map(self._account, running))
        for node, account in zip(running, accounts, strict=True):
            assert account.contradictions() == [], f"{node.name} contradicts itself: {_text(node, account.history)}"
            here, master = account.status["vip_here"], account.status["master"]
            assert here is (node in masters), node.name
            assert here or master in [each.spec.address for each in masters], f"{node.name}: {master} is MASTER"
            self.tells(node)

    def _account(self, node: Node) -> Account:
        """Return the accounts of the watcher that runs now."""
        status = node.status()
        notices, posts = _notices(node.vrrpctl("history", "--json", "-n", "1000")[1]), self._inbox.of(node.name)
        begins = max(n for n, notice in enumerate(notices) if notice.kind is Kind.WATCHER)
        posted = max((n for n, post in enumerate(posts) if post["kind"] == Kind.WATCHER.value), default=0)
        return Account(notices[begins:], posts[posted:], scrape(node), status)


def history(node: Node) -> list[Notice]:
    """Return what `vrrpctl history` has; the file is read from here, where looking often costs less."""
    return _notices(node.log(name="history.log"))


def _notices(lines: str) -> list[Notice]:
    return [Notice.from_json(json.loads(line)) for line in lines.splitlines()]


def scrape(node: Node) -> Scrape:
    """Scrape the watcher as a Prometheus on the instance does."""

    def get() -> str:
        with urlopen(_METRICS, timeout=5) as response:
            return str(response.read().decode())

    families = text_string_to_metric_families(node.machine.in_network(get))
    samples = (sample for family in families for sample in family.samples)
    return {
        (sample.name.removeprefix("vrrp_drain_"), tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for sample in samples
    }


def _headline(notice: Notice) -> str:
    """Return a notice without its reason; how things stand when a watcher begins depends on which process was started first."""
    return f"watcher, {notice.cause}" if notice.kind is Kind.WATCHER else notice.line().partition(": ")[0]


def _on(told: Iterable[Notice]) -> list[Notice]:
    """Return the notices of the conditions that hold."""
    last = {each.kind: each for each in told if each.kind in CONDITIONS}
    return [each for each in last.values() if each.state == "on"]


def _as_in_history(post: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a post says of the notice, without what it says of the way."""
    return {name: value for name, value in post.items() if name not in ("id", "again", "retries", "delayed", "severity")}


def _count(labels: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], float]:
    return {each: float(number) for each, number in Counter(labels).items()}


def _counted(metrics: Scrape, name: str) -> dict[tuple[str, ...], float]:
    return {labels: value for (each, labels), value in metrics.items() if each == name and value}


def _that_holds(metrics: Scrape, name: str) -> list[str]:
    return [label for (each, (label, *_)), value in ((key, v) for key, v in metrics.items() if key[1]) if each == name and value == 1.0]


def _text(node: Node, notices: Iterable[Notice]) -> str:
    return "\n".join([f"{node.name} told", *(notice.line() for notice in notices)])

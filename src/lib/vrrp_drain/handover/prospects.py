"""Who can take the VIP over: what the peers said of themselves (vrrp/hello.py), and whether their haproxy answers.

A backup does not advert, so VRRP does not tell. It matters where several instances leave at the same time: to lower the priority for
the sake of a peer that is leaving too only has the VIP pass through the hands of one that is about to stop.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from vrrp_drain.keepalived.instance import Instance
from vrrp_drain.runtime.ip import IPAddress
from vrrp_drain.vrrp.hello import Word

from .membership import ANSWER_SECONDS, Membership

_RECENT = 1.0  # seconds


@dataclass(frozen=True)
class Outlook:
    """The peers at one moment, each by name: ``able`` ones may take over, and of these the ``healthy`` answered just now.

    ``away`` said so many seconds ago that they leave and will be back, ``ended`` that they will not by themselves. Of the ``unseen``
    nothing is known but that their haproxy does not answer. Where it cannot be ``asked`` from here, nobody is healthy.
    """

    able: tuple[str, ...] = ()
    healthy: tuple[str, ...] = ()
    away: tuple[tuple[str, float], ...] = ()
    ended: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    asked: bool = True

    @property
    def alone(self) -> bool:
        """Tell whether it is known that nobody can take over now: a lower priority would help nobody but one who leaves too."""
        return not self.able and bool(self.away or self.ended or not self.unseen)

    @property
    def hopeful(self) -> bool:
        """Tell whether somebody may yet come."""
        return bool(self.able or self.away or self.unseen)

    def __str__(self) -> str:
        """Say who cannot take over, and why."""
        return "; ".join(self._each()) or "there is no other instance in this group"

    def _each(self) -> Iterator[str]:
        for name, ago in self.away:
            yield f"{name} said {ago:.0f} s ago that it is being stopped or started"
        if self.unseen:
            yield f"haproxy of {', '.join(self.unseen)} does not answer"
        if self.ended:
            yield f"taken out or stopped, until somebody starts them: {', '.join(self.ended)}"


class Prospects:
    """What is known now; kept up to date by what is heard, so that no question to the kernel can come before its own answer."""

    def __init__(self, instance: Instance, membership: Membership) -> None:
        self._instance, self._membership = instance, membership
        words, now = membership.words(), time.monotonic()
        self._away = {who: now - ago for who, ago in words.away}
        self._ended = {*words.ended} - self._away.keys()
        self.latest = Outlook(unseen=tuple(map(str, instance.config.peers)))  # before anybody was asked
        self._looked = float("-inf")

    def hear(self, source: IPAddress, word: Word) -> bool:
        """Take in what a peer says of itself; tell whether it is another word than before."""
        before = (source in self._away, source in self._ended)
        self._ended.discard(source)
        at = self._away.pop(source, None)
        if word is Word.LEAVES:
            self._away[source] = time.monotonic() if at is None else at
        elif word is Word.ENDS:
            self._ended.add(source)
        return before != (source in self._away, source in self._ended)

    def recent(self) -> Outlook:
        """Return what was seen within the last second; otherwise look."""
        return self.latest if time.monotonic() - self._looked < _RECENT else self.look()

    def look(self, seconds: float = ANSWER_SECONDS) -> Outlook:
        """Ask the peers' haproxy, which have ``seconds`` for an answer, and return who can take over."""
        now, peers = time.monotonic(), self._membership.peers()
        names = {each.address: str(each) for each in self._instance.config.peers}
        families = {self._instance.vip.version, *(each.version for each in peers)}
        away = {who: now - at for who, at in self._away.items() if who.version in families}
        ended = sorted((who for who in self._ended if who.version in families), key=lambda who: (who.version, int(who)))
        answering = self._membership.healthy_peers(seconds)
        answered = set(answering or ())
        here = sorted((each for each in peers if each not in away and each not in ended), key=lambda each: each in answered)
        # Who speaks from another address than the link gives it cannot be told from the rest: so many of them are not counted on, first
        # of all those that do not answer.
        here = here[len({*away, *ended} - {*peers}) :]
        healthy = [each for each in here if each in answered]
        able = here if answering is None else healthy

        def named(those: Iterable[IPAddress]) -> tuple[str, ...]:
            return tuple(names.get(each, str(each)) for each in those)

        self._looked = now
        self.latest = Outlook(
            able=named(able),
            healthy=named(healthy),
            away=tuple(zip(named(away), away.values(), strict=True)),
            ended=named(ended),
            unseen=named(each for each in here if each not in able),
            asked=answering is not None,
        )
        return self.latest

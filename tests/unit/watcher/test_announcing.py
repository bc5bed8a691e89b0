"""The MASTER says again where the VIPs are while a peer that leaves says hello."""

import logging

import pytest

from unit.support.fakes import VIP
from unit.support.services import FakeServices
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.logs import Complaints
from vrrp_drain.vrrp.hello import Word
from vrrp_drain.watcher.announcing import Announcing


@pytest.fixture
def announcing(services: FakeServices) -> Announcing:
    return Announcing(services.instance, services.machine, Complaints(logging.getLogger("vrrp_drain")))


@pytest.mark.parametrize("word", [Word.LEAVES, Word.ENDS])
def test_each_hello_of_a_leaver_is_answered_once_a_second(services: FakeServices, announcing: Announcing, word: Word) -> None:
    """However often it is said: who has copied a token has nobody flood the segment."""
    for now in (0.0, 0.25, 0.5, 0.75, 1.0, 1.25):
        announcing.hear(word)
        announcing.tick(now, vip_here=True)
    assert services.machine.announced == [(VIP, "eth0")] * 2
    announcing.tick(2.0, vip_here=True)
    announcing.tick(3.0, vip_here=True)
    assert len(services.machine.announced) == 3, "nobody has said any more that he leaves"


def test_nobody_leaves(services: FakeServices, announcing: Announcing) -> None:
    """Peers that stay say hello all the time."""
    announcing.hear(Word.STAYS)
    announcing.tick(0.0, vip_here=True)
    assert services.machine.announced == []


def test_only_who_has_the_vip_says_so(services: FakeServices, announcing: Announcing) -> None:
    """A BACKUP would take the clients away from the MASTER; what it heard is forgotten."""
    announcing.hear(Word.LEAVES)
    announcing.tick(0.0, vip_here=False)
    announcing.tick(2.0, vip_here=True)
    assert services.machine.announced == []


def test_what_cannot_be_said_is_a_warning(services: FakeServices, announcing: Announcing, log: pytest.LogCaptureFixture) -> None:
    """Said once, with what it means; the watcher goes on."""
    services.machine.sending_fault = SystemFault("cannot announce 10.0.0.10 on eth0: Network is down")
    for now in (0.0, 1.0):
        announcing.hear(Word.LEAVES)
        announcing.tick(now, vip_here=True)
    assert log.messages == [
        "cannot announce 10.0.0.10 on eth0: Network is down: who has not learnt yet that the VIP is here goes on to the peer that had it"
    ]


def test_a_rival_that_yields(services: FakeServices, announcing: Announcing) -> None:
    """Heard once: it is said at once, and again until it must have yielded, since it answered who asked meanwhile; then no more."""
    announcing.meet(0.0)
    said = []
    for quarter in range(40):
        announcing.tick(quarter / 4, vip_here=True)
        said.append(len(services.machine.announced))
    assert said[0] == 1
    assert said[-1] == 5
    assert said[17:] == [5] * 23, "two seconds and two advert intervals after it"


def test_a_rival_that_does_not_hear_us(services: FakeServices, announcing: Announcing) -> None:
    """It adverts for ever, and announces itself now and then: after ten seconds so do we. It counts anew after a silence."""
    for second in range(60):
        announcing.meet(float(second))
        announcing.tick(float(second), vip_here=True)
    assert len(services.machine.announced) == 11 + 4
    for second in (70, 71):
        announcing.meet(float(second))
        announcing.tick(float(second), vip_here=True)
    assert len(services.machine.announced) == 11 + 4 + 2

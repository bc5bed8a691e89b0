"""Who can take the VIP over, of those who said something of themselves and those whose haproxy answers."""

from collections.abc import Callable
from ipaddress import ip_address

import pytest

from unit.support.fakes import Clock, rendered
from unit.support.machine import FakeMachine
from vrrp_drain.config.model import Config
from vrrp_drain.handover.membership import Membership
from vrrp_drain.handover.prospects import Outlook, Prospects
from vrrp_drain.keepalived.instance import Instance
from vrrp_drain.linux.rtnetlink import Netlink
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import IPAddress
from vrrp_drain.runtime.paths import Paths
from vrrp_drain.vrrp.hello import Word

SECOND, THIRD, ELSEWHERE = (ip_address(each) for each in ("10.0.0.2", "10.0.0.3", "10.0.0.99"))
Build = Callable[..., Prospects]


@pytest.fixture
def machine(clock: Clock, netlink: Netlink) -> FakeMachine:
    made = FakeMachine(clock, netlink)
    made.healthy_peers = [str(SECOND), str(THIRD)]
    return made


@pytest.fixture
def build(machine: FakeMachine, paths: Paths) -> Build:
    def make(instances: int = 3, **drain: object) -> Prospects:
        instance = Instance.find(Config.parse(rendered(instances, vrrp_drain=drain)), paths, machine.netlink)
        return Prospects(instance, Membership(instance, machine))

    return make


def test_all_are_there(build: Build) -> None:
    """Peers that said nothing, and whose haproxy answers, can take over."""
    outlook = build().look()
    assert outlook == Outlook(able=("haproxy/1", "haproxy/2"), healthy=("haproxy/1", "haproxy/2"))
    assert (outlook.alone, outlook.hopeful) == (False, True)


def test_who_is_away_is_no_successor_but_comes(build: Build, machine: FakeMachine, clock: Clock) -> None:
    """It said so before we began: the kernel kept it, and its haproxy may answer still."""
    machine.rules.hears(SECOND, Word.LEAVES)
    machine.rules.hears(THIRD, Word.ENDS)
    clock.sleep(3)
    outlook = build().look()
    ((name, seconds),) = outlook.away
    assert name == "haproxy/1"
    assert seconds == pytest.approx(3.0, abs=0.01)
    assert (outlook.able, outlook.ended, outlook.unseen) == ((), ("haproxy/2",), ())
    assert (outlook.alone, outlook.hopeful) == (True, True)
    assert str(outlook) == (
        "haproxy/1 said 3 s ago that it is being stopped or started; taken out or stopped, until somebody starts them: haproxy/2"
    )


@pytest.mark.parametrize("silent", [SECOND, THIRD])
def test_one_that_speaks_from_another_address_has_taken_its_haproxy_along(build: Build, machine: FakeMachine, silent: IPAddress) -> None:
    """Where BOSH knows the instances by another network than the VIP's, a word is somebody's: most likely his whose haproxy is silent."""
    machine.healthy_peers.remove(str(silent))
    machine.rules.hears(ELSEWHERE, Word.ENDS)
    outlook = build().look()
    assert outlook.able == ("haproxy/2" if silent == SECOND else "haproxy/1",)
    assert outlook.unseen == ()
    assert not outlook.alone


def test_nobody_comes(build: Build, machine: FakeMachine) -> None:
    """All others have ended, or there are none."""
    for who in (SECOND, THIRD):
        machine.rules.hears(who, Word.ENDS)
    outlook = build().look()
    assert (outlook.alone, outlook.hopeful) == (True, False)
    machine.rules.said.clear()
    alone = build(1).look()
    assert (alone.alone, alone.hopeful, str(alone)) == (True, False, "there is no other instance in this group")


def test_whose_haproxy_does_not_answer(build: Build, machine: FakeMachine) -> None:
    """Nothing is known of it: it may come, and it is not known that we are alone."""
    machine.healthy_peers = []
    outlook = build().look()
    assert outlook == Outlook(unseen=("haproxy/1", "haproxy/2"))
    assert (outlook.alone, outlook.hopeful) == (False, True)
    assert str(outlook) == "haproxy of haproxy/1, haproxy/2 does not answer"


def test_where_nobody_can_be_asked(build: Build, machine: FakeMachine) -> None:
    """A unix:// check is of this machine alone: whoever did not say otherwise is taken for able, and none is known to be healthy."""
    machine.healthy_peers = []
    outlook = build(health_check="unix:///var/vcap/sys/run/haproxy/stats.sock").look()
    assert (outlook.able, outlook.healthy) == (("haproxy/1", "haproxy/2"), ())


@pytest.mark.parametrize("word", [Word.LEAVES, Word.ENDS])
def test_words_that_are_heard(build: Build, word: Word) -> None:
    """A new word counts at once, is news once, and the next one takes its place."""
    prospects = build()
    assert prospects.hear(SECOND, word)
    assert not prospects.hear(SECOND, word)
    assert prospects.look().able == ("haproxy/2",)
    assert prospects.hear(SECOND, Word.STAYS)
    assert not prospects.hear(SECOND, Word.STAYS)
    assert prospects.look().able == ("haproxy/1", "haproxy/2")


def test_somebody_at_an_unknown_address_leaves(build: Build) -> None:
    """Which of the group it is cannot be told: one less is counted on."""
    prospects = build()
    prospects.hear(ELSEWHERE, Word.LEAVES)
    outlook = prospects.look()
    assert len(outlook.able) == 1
    assert outlook.away == ((str(ELSEWHERE), 0.0),)


def test_without_rules_nothing_was_said(build: Build, machine: FakeMachine) -> None:
    """Where the kernel keeps no words, those that are heard from now on count."""
    machine.rules.fault = SystemFault("nftables: Operation not permitted")
    assert build().look().able == ("haproxy/1", "haproxy/2")


def test_a_look_is_good_for_a_second(build: Build, machine: FakeMachine, clock: Clock) -> None:
    """Peers are not asked anew for every question."""
    prospects = build()
    prospects.look()
    prospects.recent()
    assert len(machine.asked_peers) == 1
    clock.sleep(1.1)
    prospects.recent()
    assert len(machine.asked_peers) == 2

"""Whole handovers between instances, in frozen time: the product's services over simulated machines, and nothing patched."""

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from unit.support.fakes import VIP, Clock
from unit.support.simulation import Segment, settled
from vrrp_drain.handover.demote import Demote
from vrrp_drain.handover.promote import Promote
from vrrp_drain.haproxy.health import Health
from vrrp_drain.runtime.signals import Cancellation
from vrrp_drain.vrrp.bands import Band

NewSegment = Callable[..., Segment]
TIMEOUT = 10.0


@pytest.fixture
def new_segment(clock: Clock, tmp_path: Path, cancellation: Cancellation) -> NewSegment:
    def make(instances: int = 2, **keepalived: Any) -> Segment:
        segment = Segment(clock, tmp_path, cancellation, instances, **keepalived)
        settled(segment)
        return segment

    return make


@pytest.mark.parametrize("keepalived", [{}, {"unicast": True}], ids=["multicast", "unicast"])
def test_connections_of_both_families_stay_with_who_yields(new_segment: NewSegment, keepalived: dict[str, Any]) -> None:
    """Away and back, with VIPs of both families: whoever comes back knows where the MASTER is in each, and tells it where it is itself."""
    segment = new_segment(2, vips=["fd00::10"], **keepalived)
    first, second = segment.machines
    second.services.announcements.say_hello()
    assert first.services.handover.demote(TIMEOUT).state is Demote.DONE
    assert first.services.handover.promote(TIMEOUT).state is Promote.MASTER
    assert first.rules.arms == [([VIP, "fd00::10"], f"{second.config.me.address} fe80::2")]
    there = {str(packet.destination) for sender, packet in segment.said if sender == 0 and packet.source.version == 6}
    assert there == ({"ff02::1", "fe80::2"} if keepalived else {"ff02::1"})


def seconds_with(segment: Segment, began: float, holders: int) -> float:
    """Return for how long so many instances had the VIP on their interface."""
    story = segment.since(began)
    return sum(later - at for (at, found), (later, _) in pairwise(story) if len(found) == holders)


def test_the_election_is_that_of_the_priorities(new_segment: NewSegment) -> None:
    """The first instance of the group has the VIP, alone, and no other had it before."""
    segment = new_segment(3)
    assert segment.holders == (0,)
    assert {each.holders for each in segment.story} == {(), (0,)}


@pytest.mark.parametrize(
    "keepalived",
    [{}, {"advert_int": 0.1, "vrrp_version": 3}, {"unicast": True}, {"preempt": False}, {"auth_pass": "cf-lb-1"}],
    ids=["defaults", "fast", "unicast", "no preemption", "password"],
)
def test_the_master_hands_over(new_segment: NewSegment, keepalived: dict[str, Any], log: pytest.LogCaptureFixture) -> None:
    """A demotion of the MASTER: the peer is hurried, the VIP is nowhere for a moment at most and never in two places for long.

    It is proven by the answer of the peer's machine, and a promotion afterwards brings it back where there is preemption.
    """
    segment = new_segment(2, **keepalived)
    first, second = segment.machines
    began = time.monotonic()
    assert first.services.handover.demote(TIMEOUT).state is Demote.DONE
    assert segment.holders == (1,)
    assert log.messages[-1] == f"{second.mac} answers for {VIP}: handed over"
    assert seconds_with(segment, began, 0) < 0.002
    assert seconds_with(segment, began, 2) < 0.002
    assert time.monotonic() - began < 0.5 * first.config.keepalived.advert_int + 0.2, "nobody waited for an advert interval"
    ending = first.services.handover.promote(TIMEOUT)
    preempt = keepalived.get("preempt", True)
    assert (ending.state, segment.holders) == ((Promote.MASTER, (0,)) if preempt else (Promote.BACKUP, (1,)))
    assert first.services.control.read() is Band.ACTIVE
    assert first.rules.arms == ([([VIP], str(second.config.me.address))] if preempt else []), "its connections are left with it"


def test_a_backup_leaves_without_a_word_to_anybody(new_segment: NewSegment) -> None:
    """Its priority is lowered, and the MASTER's advert is the proof that it can go; the VIP does not move."""
    segment = new_segment()
    began = time.monotonic()
    assert segment.machines[1].services.handover.demote(TIMEOUT).state is Demote.DONE
    segment.world.sleep(TIMEOUT)
    assert segment.since(began) == [(0.0, (0,))]


def test_a_rolling_upgrade_of_three(new_segment: NewSegment) -> None:
    """Each in its turn hands over, stops, starts in the draining band and is promoted: the VIP is nowhere for milliseconds alone."""
    segment = new_segment(3)
    began = time.monotonic()
    for each in segment.machines:
        assert each.services.handover.demote(TIMEOUT).state is Demote.DONE
        each.daemon.stop()
        segment.world.sleep(5)
        each.daemon.start()
        segment.world.sleep(5)
        assert each.services.handover.promote(TIMEOUT).state in (Promote.MASTER, Promote.BACKUP)
    assert segment.holders == (0,)
    assert seconds_with(segment, began, 0) < 0.006, "in three moves"


def test_without_a_successor_it_goes_on_serving(new_segment: NewSegment) -> None:
    """The peer's keepalived does not run: the VIP stays all the time, and the deadline says that nobody is there."""
    segment = new_segment()
    segment.machines[1].daemon.stop()
    began = time.monotonic()
    assert segment.machines[0].services.handover.demote(TIMEOUT).state is Demote.NO_SUCCESSOR
    assert segment.since(began) == [(0.0, (0,))]
    assert time.monotonic() - began == pytest.approx(TIMEOUT, abs=0.01)


def test_a_peer_that_leaves_too_is_no_successor(new_segment: NewSegment) -> None:
    """Both are demoted: whoever has the VIP then goes on serving it."""
    segment = new_segment()
    segment.machines[1].services.control.write(Band.DRAINING)
    assert segment.machines[0].services.handover.demote(TIMEOUT).state is Demote.NO_SUCCESSOR
    assert segment.holders == (0,)


def test_an_unhealthy_peer_is_hurried_by_nobody(new_segment: NewSegment, log: pytest.LogCaptureFixture) -> None:
    """Its haproxy does not answer us: it takes over in three advert intervals, if keepalived there still thinks it may."""
    segment = new_segment()
    segment.machines[1].health = Health("haproxy does not answer")
    began = time.monotonic()
    assert segment.machines[0].services.handover.demote(TIMEOUT).state is Demote.DONE
    assert time.monotonic() - began > 2.0
    assert "no peer's haproxy answers us, so none is hurried" in log.text


def test_the_successor_dies_before_it_answers(new_segment: NewSegment) -> None:
    """It says that it takes over and is gone: the VIP comes back here, and the third instance gets it."""
    segment = new_segment(3)
    first, second, _ = segment.machines
    second.health, segment.machines[2].health = Health(), Health()

    def dies() -> None:
        if second.daemon.is_master:
            segment.deaf.add(1)
            second.daemon.dies()

    segment.world.syncs.append(dies)
    assert first.services.handover.demote(TIMEOUT).state is Demote.DONE
    assert 2 in segment.holders


def test_keepalived_dies_during_a_demotion(new_segment: NewSegment) -> None:
    """Nobody takes the VIP away until a peer is MASTER; then it goes from here, and the peer's answer is the proof."""
    segment = new_segment()
    first = segment.machines[0]
    first.services.control.write(Band.DRAINING)
    segment.machines[1].health = Health("haproxy does not answer")
    segment.world.after(0.05, first.daemon.dies)
    began = time.monotonic()
    assert first.services.handover.demote(TIMEOUT).state is Demote.DONE
    assert segment.holders == (1,)
    assert seconds_with(segment, began, 0) < 0.002


def test_a_partition_is_no_proof(new_segment: NewSegment) -> None:
    """Cut off from its peer, the MASTER hands over to nobody."""
    segment = new_segment()
    segment.deaf.add(0)
    assert segment.machines[0].services.handover.demote(TIMEOUT).state is Demote.NO_SUCCESSOR
    assert 0 in segment.holders


def test_a_promotion_beside_a_stronger_peer(new_segment: NewSegment) -> None:
    """It ends when the peer has been heard: this instance is its backup, and nothing moved."""
    segment = new_segment()
    second = segment.machines[1]
    second.services.control.write(Band.DRAINING)
    began = time.monotonic()
    assert second.services.handover.promote(TIMEOUT).state is Promote.BACKUP
    assert segment.since(began) == [(0.0, (0,))]


def test_a_signal_ends_a_demotion_where_it_is(new_segment: NewSegment, cancellation: Cancellation) -> None:
    """The priority is back, and the VIP never left."""
    segment = new_segment()
    segment.machines[1].daemon.stop()
    segment.world.after(1.0, lambda: cancellation.cancel())
    began = time.monotonic()
    assert segment.machines[0].services.handover.demote(TIMEOUT).state is Demote.CANCELLED
    assert segment.machines[0].services.control.read() is Band.ACTIVE
    assert segment.since(began) == [(0.0, (0,))]

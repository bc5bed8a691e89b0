"""A MASTER that says nothing of leaving, and lives: its open connections stay with it. On a frozen clock."""

import time
from dataclasses import replace

import pytest

from unit.support.fakes import PEER, PEER_MAC, VIP
from unit.support.theatre import ALIVE, Theatre, packet
from vrrp_drain.config.model import Proof
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.vrrp.bands import Band

ARMED = ([VIP], PEER)
THIRD = "10.0.0.3"
LAST = 5.1  # seconds: the last advert that is heard


@pytest.fixture
def backup(stage: Theatre) -> Theatre:
    """Give the watcher of a backup, whose MASTER outranks it and is heard every second until LAST."""
    keepalived = replace(stage.services.instance.config.keepalived, priority=253)
    stage.services.configure(replace(stage.services.instance.config, keepalived=keepalived))
    stage.at(0.05, lambda: stage.verdict(ALIVE))
    stage.adverts(0.1, LAST + 1.0, priority=254)
    return stage


def arms_at(stage: Theatre) -> list[float]:
    """Have the times noted at which anybody is armed, in seconds since the last advert."""
    rules, at = stage.machine.rules, []
    arm = rules.arm

    def noted(*arguments: object) -> None:
        at.append(round(time.monotonic() - stage.start - LAST, 2))
        arm(*arguments)  # type: ignore[arg-type]

    rules.arm = noted  # type: ignore[assignment,method-assign]
    return at


def test_a_master_that_is_silent_and_lives(backup: Theatre, log: pytest.LogCaptureFixture) -> None:
    """An advert is missing: its machine is asked, answers, and keeps its connections. That is told when the VIP has come."""
    backup.machine.answers[PEER] = [PEER_MAC]
    at = arms_at(backup)
    backup.at(LAST + 3.0, lambda: backup.vip(here=True))
    backup.run(LAST + 5.0)
    assert backup.machine.rules.arms == [ARMED]
    assert 1.5 <= at[0] < 1.7, "before the VIP comes, at three intervals"
    assert log.messages.count(f"{PEER} is not heard any more, but its machine answers: its open connections stay with it") == 1


def test_a_master_that_is_dead(backup: Theatre) -> None:
    """It answers nothing: its clients get their reset at once."""
    backup.at(LAST + 3.0, lambda: backup.vip(here=True))
    backup.run(LAST + 5.0)
    asked = [each for target, each in backup.machine.inquiries if str(target) == PEER]
    assert len(asked[0].asked) >= 3
    assert all(each.closed for each in asked)
    assert backup.machine.rules.arms == []


def test_where_the_network_answers_arp_for_everybody(backup: Theatre) -> None:
    """An answer proves nothing there; the machine's own, to an ICMP echo, does."""
    backup.services.set_drain(takeover_proof=Proof.ADVERTS)
    backup.machine.answers[PEER] = [PEER_MAC]
    at = arms_at(backup)
    backup.at(LAST + 2.6, lambda: backup.machine.echoed.update({PEER: [PEER]}))
    backup.run(LAST + 3.0)
    assert backup.machine.rules.arms == [ARMED]
    assert at[0] >= 2.6


def test_one_that_is_heard_again(backup: Theatre) -> None:
    """Adverts were lost: it has left nothing, and if it dies now nobody shall wait for it."""
    backup.machine.answers[PEER] = [PEER_MAC]
    backup.adverts(LAST + 2.5, LAST + 5.0, priority=254)
    backup.run(LAST + 4.9)
    assert backup.machine.rules.arms == [ARMED]
    assert backup.machine.rules.disarmed == [PEER]
    window = backup.services.instance.config.drain.handoff_window
    assert window - 1.5 < backup.machine.rules.at_most < window - 0.5, "what the kernel has learnt since from itself stays"


def test_one_that_is_heard_again_when_the_vip_is_here(backup: Theatre) -> None:
    """We yield to it: clients that have not learnt that still come here, and are handed on."""
    backup.machine.answers[PEER] = [PEER_MAC]
    backup.at(LAST + 3.0, lambda: backup.vip(here=True))
    backup.adverts(LAST + 10.0, LAST + 15.0, priority=254)
    backup.at(LAST + 10.1, lambda: backup.vip(here=False))
    backup.run(LAST + 14.9)
    assert backup.machine.rules.disarmed == []


@pytest.mark.parametrize("priority", [0, 99, 66, 1])
def test_one_that_has_said_what_becomes_of_it(backup: Theatre, priority: int) -> None:
    """It resigned, leaves or has a dead haproxy: the kernel has heard that, and nobody is asked."""
    backup.machine.answers[PEER] = [PEER_MAC]
    backup.at(LAST + 0.1, lambda: backup.hear(packet(priority)))
    backup.run(LAST + 5.0)
    assert backup.machine.rules.arms == []


def test_nobody_is_asked_while_all_is_well(backup: Theatre) -> None:
    backup.run(LAST)
    assert [target for target, _ in backup.machine.inquiries if str(target) == PEER] == []
    assert backup.machine.rules.arms == []


@pytest.mark.parametrize("here", [True, False], ids=["beside us", "before we take over"])
def test_a_master_that_we_outrank(stage: Theatre, here: bool) -> None:
    """It is about to yield, and goes on serving what it has: kept in mind in the moment that it is heard, and not with each advert."""
    stage.vip(here=here)
    at = arms_at(stage)
    stage.at(0.05, lambda: stage.verdict(ALIVE))
    stage.adverts(2.0, 6.0, priority=253)
    stage.run(5.9)
    assert stage.machine.rules.arms == [ARMED]
    assert at == [round(2.0 - LAST, 2)]


def test_one_that_we_do_not_take_over_from(stage: Theatre) -> None:
    """Without preemption a MASTER of a lower priority stays."""
    keepalived = replace(stage.services.instance.config.keepalived, preempt=False)
    stage.services.configure(replace(stage.services.instance.config, keepalived=keepalived))
    stage.adverts(2.0, 6.0, priority=253)
    stage.run(5.9)
    assert stage.machine.rules.arms == []


def test_while_we_drain_nobody_is_outranked(stage: Theatre) -> None:
    """The successor of a drain is no MASTER beside us."""
    stage.vip(here=True)
    stage.at(1.0, lambda: stage.write(Band.DRAINING))
    stage.adverts(2.0, 6.0, priority=253)
    stage.run(5.9)
    assert stage.machine.rules.arms == []


def test_who_is_no_member_gets_nothing(stage: Theatre) -> None:
    """Whoever it is: an open group hears it, but packets of clients are not for it."""
    stage.machine.answers["10.0.0.77"] = [PEER_MAC]
    stage.adverts(2.0, 5.0, priority=253, source="10.0.0.77")
    stage.run(9.0)
    assert stage.machine.rules.arms == []


def test_without_a_handoff_nothing_is_done(backup: Theatre) -> None:
    backup.services.set_drain(connection_handoff=False)
    backup.machine.answers[PEER] = [PEER_MAC]
    backup.run(LAST + 5.0)
    assert backup.machine.rules.arms == []


def test_what_the_kernel_refuses_is_said_once(backup: Theatre, log: pytest.LogCaptureFixture) -> None:
    backup.machine.answers[PEER] = [PEER_MAC]
    fault = SystemFault(f"the connections that {PEER} serves cannot be left with it")

    def refuse(*arguments: object) -> None:
        raise fault

    backup.machine.rules.arm = refuse  # type: ignore[assignment,method-assign]
    backup.run(LAST + 6.0)
    assert log.messages.count(str(fault)) == 1


def test_an_interface_that_is_away(backup: Theatre) -> None:
    """Who cannot ask cannot take the VIP over either; it is asked when the interface is back."""
    backup.machine.answers[PEER] = [PEER_MAC]
    backup.machine.asking_fault = OSError(100, "Network is down")
    backup.at(LAST + 2.5, lambda: setattr(backup.machine, "asking_fault", None))
    at = arms_at(backup)
    backup.run(LAST + 4.0)
    assert 2.5 <= at[0] < 2.6

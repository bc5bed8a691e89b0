"""What the kernel's rules stopped lately, on a frozen clock."""

import time

import pytest

from unit.support.fakes import Clock, FakeRules
from vrrp_drain.handoff.situation import Situation
from vrrp_drain.watcher.strays import Strays


@pytest.fixture
def rules() -> FakeRules:
    return FakeRules()


def run(strays: Strays, clock: Clock, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        strays.tick(time.monotonic())
        clock.sleep(0.25)


def test_what_was_counted_before_is_no_news(rules: FakeRules, clock: Clock) -> None:
    """A watcher that begins beside rules that have seen much has nothing to tell."""
    rules.situation = Situation(circled=100, refused=100)
    strays = Strays(rules)
    run(strays, clock, 90)
    assert (strays.circled, strays.refused) == ("", "")


def test_each_is_told_with_its_number_until_it_is_over(rules: FakeRules, clock: Clock) -> None:
    """Within ten seconds, for a minute after the last one."""
    strays = Strays(rules)
    run(strays, clock, 11)
    rules.situation = Situation(circled=3)
    run(strays, clock, 11)
    assert strays.circled.startswith("3 packets that no instance knows came back")
    assert strays.refused == ""
    rules.situation = Situation(circled=3, refused=7)
    run(strays, clock, 11)
    assert strays.refused.startswith("7 VRRP packets of somebody who is not of the group")
    rules.situation = Situation(circled=5, refused=7)
    run(strays, clock, 11)
    assert strays.circled.startswith("5 packets")
    run(strays, clock, 75)
    assert (strays.circled, strays.refused) == ("", "")


def test_rules_that_were_made_anew_count_from_the_start(rules: FakeRules, clock: Clock) -> None:
    """A smaller number is that many more, not fewer."""
    rules.situation = Situation(refused=100)
    strays = Strays(rules)
    run(strays, clock, 11)
    rules.situation = Situation(refused=2)
    run(strays, clock, 11)
    assert strays.refused.startswith("2 VRRP packets")

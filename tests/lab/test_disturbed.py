"""Something breaks in the middle of a handover."""

import time

import pytest

from lab.conftest import MakeCluster
from lab.fabric.agent import ScriptFailed
from lab.fabric.wait import until
from vrrp_drain.runtime.errors import ExitCode

SLOW = {"fast_handover": False, "haproxy_soft_stop": False}  # leaves time to break something, and haproxy alone
WAITS = {"on_no_successor": "fail", "successor_timeout": 8}  # for a peer that does not come


def test_the_successor_dies_one_second_into_the_handover(make_cluster: MakeCluster) -> None:
    """The next one takes over instead, within the same drain."""
    cluster = make_cluster(3, fast=False, vrrp_drain=SLOW)
    first, second, third = cluster.nodes
    drain = first.agent.start_drain()
    until(lambda: first.band() == "-155", "the priority to be lowered")
    time.sleep(1)  # one second into the handover: this is the scenario, not a wait
    second.power_off()
    run = drain.result()
    second.power_on()
    assert (run.exit_code, run.stdout) == (0, "0\n")
    assert cluster.holders() == [third]
    assert "10.0.0.3 adverts priority 252" in run.stderr


@pytest.mark.thorough
def test_the_only_successor_dies_one_second_into_the_handover(make_cluster: MakeCluster) -> None:
    """With nobody left the drain fails in bounded time, the priority is back, and the VIP never left."""
    cluster = make_cluster(2, fast=False, vrrp_drain={**SLOW, **WAITS})
    first, second = cluster.nodes
    drain = first.agent.start_drain()
    until(lambda: first.band() == "-155", "the priority to be lowered")
    time.sleep(1)  # as above
    second.power_off()
    run = drain.result()
    second.power_on()
    assert (run.exit_code, run.stdout) == (1, "")
    assert first.band() == "0"
    assert cluster.holders() == [first]


def test_keepalived_dies_during_the_handover(make_cluster: MakeCluster) -> None:
    """A keepalived that is killed half way leaves its VIP behind; the drain clears it when the successor is MASTER."""
    cluster = make_cluster(2, fast=False, vrrp_drain=SLOW)
    first, second = cluster.nodes
    drain = first.agent.start_drain()
    until(lambda: first.band() == "-155", "the priority to be lowered")
    first.crash_keepalived()
    run = drain.result()
    assert (run.exit_code, run.stdout) == (0, "0\n")
    assert "keepalived ended here" in run.stderr
    assert cluster.holders() == [second]


def test_cancelled_drain_puts_the_priority_back(make_cluster: MakeCluster) -> None:
    """SIGTERM: within a second the priority is back, the exit code says failure, stdout is empty, the VIP stays."""
    cluster = make_cluster(2, fast=False, vrrp_drain=SLOW)
    first, _ = cluster.nodes
    drain = first.agent.start_drain()
    until(lambda: first.band() == "-155", "the priority to be lowered")
    sent = drain.cancel()
    until(lambda: first.band() == "0", "the priority to be back", sent + 1.0 - time.monotonic())
    run = drain.result()
    assert (run.exit_code, run.stdout) == (1, "")
    assert "told to stop" in run.stderr
    assert cluster.holders() == [first]


def test_killed_drain_drops_nothing_and_the_next_one_works(make_cluster: MakeCluster) -> None:
    """After SIGKILL the node goes on, at its lowered priority; the next drain needs no cleaning up."""
    cluster = make_cluster(2, vrrp_drain=WAITS)
    only, gone = cluster.nodes
    gone.power_off()
    drain = only.agent.start_drain()
    until(lambda: only.band() == "-155", "the priority to be lowered")
    drain.kill()
    assert drain.result().stdout == ""
    assert cluster.holders() == [only]
    with pytest.raises(ScriptFailed, match="no active peer"):
        only.agent.drain()
    assert only.band() == "0"


def test_a_second_handover_waits_for_the_first_and_says_so(make_cluster: MakeCluster) -> None:
    """While a drain moves the VIP an operator's promote waits and names it, while it finishes promote is refused, and comes after it."""
    cluster = make_cluster(2, fast=False, vrrp_drain=SLOW)
    first, second = cluster.nodes
    drain = first.agent.start_drain()
    until(lambda: first.band() == "-155", "the priority to be lowered")
    code, _, stderr = first.vrrpctl("promote", "--timeout", "20")
    assert code == ExitCode.BUSY
    assert "waiting for vrrpctl drain (pid" in stderr
    assert drain.result().stdout == "0\n"
    code, _, stderr = first.vrrpctl("promote", "--timeout", "20")
    assert code == 0, stderr
    first.wait_for(cluster.vip)
    second.wait_for(cluster.vip, here=False)

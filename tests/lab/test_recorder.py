"""The recorder of demo and benches, on a group that moves its VIP in every way that it tells apart."""

import pytest

from lab.conftest import MakeCluster
from lab.fabric.cluster import VIP, VIP6
from lab.scenarios.ownership import Why
from lab.scenarios.recorder import Recorder


@pytest.mark.samples("fd00::10")
@pytest.mark.parametrize("vip", [VIP, VIP6])
def test_moves_as_kernels_and_wire_tell_them(make_cluster: MakeCluster, vip: str) -> None:
    """A drain is a handover, a promotion a way back, and one that dies is taken over from: each with its time, and announced at once."""
    cluster = make_cluster(2, vip=vip, ha_proxy={"bind": ":::80 v4v6"})
    first, second = cluster.nodes
    with Recorder(cluster.nodes, cluster.vip) as recorder:
        first.agent.run_script("pre-stop")
        second.wait_for(vip)
        first.agent.run_script("post-start")
        first.wait_for(vip)
        second.wait_for(vip, here=False)
        first.power_off()
        second.wait_for(vip)
        first.power_on()
        first.start()
        first.wait_for(vip)
    away, back, died, again = recorder.moves()
    to, fro = (first.name, second.name), (second.name, first.name)
    assert [(move.source, move.target) for move in (away, back, died, again)] == [to, fro, to, fro]
    assert [move.why for move in (away, back, died, again)] == [Why.HANDOVER, Why.WAY_BACK, Why.TAKEOVER, Why.WAY_BACK]
    assert all(move.announced_ms is not None for move in (away, back, died, again))
    assert max(away.nobody_ms, back.nobody_ms) < 200 < died.nobody_ms, "a dead MASTER is missed for two or three adverts of 0.2 s"
    assert away.ms < back.ms, "the way back takes three adverts"

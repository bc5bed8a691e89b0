"""Several instances are updated at the same time: whoever has the VIP leaves last, once another is back, and no client notices."""

import time
from contextlib import ExitStack

import pytest

from lab.clients.load import Load
from lab.clients.transfers import BACKEND, Transfers
from lab.conftest import MakeCluster
from lab.fabric.cluster import Cluster
from lab.fabric.wait import until
from lab.scenarios.parallel import in_flight, parallel_upgrade
from lab.scenarios.recorder import Recorder

STOPPED = {"BOSH_VM_NEXT_STATE": "keep", "BOSH_INSTANCE_NEXT_STATE": "keep", "BOSH_DEPLOYMENT_NEXT_STATE": "keep"}
DELETED = {"BOSH_VM_NEXT_STATE": "delete", "BOSH_INSTANCE_NEXT_STATE": "delete", "BOSH_DEPLOYMENT_NEXT_STATE": "keep"}
SOON = 60.0  # seconds: far less than successor_timeout, more than three handover timeouts take


@pytest.mark.samples("3 of 3")
@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("nodes", "max_in_flight", "canaries", "seconds"),
    [
        pytest.param(2, 2, 0, 60.0, id="2 of 2, 60 s each"),
        pytest.param(5, 5, 2, 5.0, id="5 of 5, 2 canaries"),
        pytest.param(5, 5, 0, 5.0, id="5 of 5"),
        pytest.param(3, 3, 0, 5.0, id="3 of 3"),
        pytest.param(3, 2, 1, 5.0, id="2 of 3, 1 canary"),
    ],
)
def test_no_client_notices(make_cluster: MakeCluster, nodes: int, max_in_flight: int, canaries: int, seconds: float) -> None:
    """Nobody is refused, no connection is cut, there is always somebody who has the VIP, and all are updated and active again."""
    cluster = make_cluster(nodes, watched=True, ha_proxy={"backend": ":".join(map(str, BACKEND))})
    with ExitStack() as stack:
        recorder = stack.enter_context(Recorder(cluster.nodes, cluster.vip))
        transfers = stack.enter_context(Transfers(cluster.client, cluster.vip, downloads=1, uploads=1, slow=2))
        load = stack.enter_context(Load(cluster.client, cluster.vip, rate=50, keep_alive=20))
        until(lambda: load.answered > 50, "the clients to be served")
        parallel_upgrade(cluster, max_in_flight, seconds, canaries, note=recorder.note)
    assert not load.found.failed("new")
    assert not load.found.failed("established")
    assert not load.found.lost_syns()
    assert not transfers.broken
    assert {node.band() for node in cluster.nodes} == {"0"}
    assert len(cluster.holders()) == 1


def stop_all(cluster: Cluster, environment: dict[str, str], change: str, at_once: int) -> None:
    """Stop every instance as the director does for `bosh stop`, and for one that it deletes: none is started again."""

    def stop(number: int) -> None:
        node = cluster.nodes[number]
        node.agent.run_script("pre-stop", environment)
        node.agent.drain(change)
        node.monit.stop()
        node.agent.run_script("post-stop")

    in_flight(stop, range(len(cluster.nodes)), at_once, 0)


@pytest.mark.samples("1-bosh stop", "3-scaled down to nothing")
@pytest.mark.parametrize(
    ("environment", "change"), [(STOPPED, "job_shutdown"), (DELETED, "job_shutdown")], ids=["bosh stop", "scaled down to nothing"]
)
@pytest.mark.parametrize("at_once", [1, 3])
def test_nobody_is_waited_for_who_does_not_come(make_cluster: MakeCluster, environment: dict[str, str], change: str, at_once: int) -> None:
    """The whole group is stopped or deleted: the last one finds that nobody comes back, says so, and does not wait for long."""
    cluster = make_cluster(3)
    begun = time.monotonic()
    stop_all(cluster, environment, change, at_once)
    assert time.monotonic() - begun < SOON
    assert cluster.holders() == []

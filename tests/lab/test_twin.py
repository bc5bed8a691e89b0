"""A VM that BOSH has replaced still runs, with the address of the instance: pre-start finds it before keepalived starts."""

from collections.abc import Iterator

import pytest

from lab.conftest import MakeCluster, start_keepalived
from lab.fabric.agent import ScriptFailed
from lab.fabric.cluster import VIP, VIP6
from lab.fabric.namespace import Namespace
from lab.fabric.network import mac_of


@pytest.fixture
def twin() -> Iterator[Namespace]:
    machine = Namespace("twin")
    yield machine
    machine.kill()


@pytest.mark.parametrize(("vip", "address"), [(VIP, "10.0.0.1/24"), (VIP6, "fd00::1/64")], ids=["ipv4", "ipv6"])
def test_a_silent_twin_is_named(make_cluster: MakeCluster, twin: Namespace, vip: str, address: str) -> None:
    """With its MAC, what it means, and what to do, by pre-start and by doctor; the instance starts."""
    cluster = make_cluster(1, create=False, vip=vip)
    (only,) = cluster.nodes
    cluster.switch.attach(twin, 66, (address,))
    (run,) = (each for each in only.agent.run_script("pre-start") if each.job == "vrrp-drain")
    own = address.partition("/")[0]
    said = f"answers: {mac_of(66)} answers for {own}, the address of this instance"
    assert said in run.stderr
    assert "keepalived" not in only.machine.pids().values()
    assert said in " ".join(only.vrrpctl("doctor")[1].split())


def test_a_twin_on_the_network_that_bosh_knows(make_cluster: MakeCluster, twin: Namespace) -> None:
    """The address by which the link names the instance is asked for where it is, on another interface than the VIP's."""
    cluster = make_cluster(1, create=False, two_networks=True)
    (only,) = cluster.nodes
    assert cluster.backbone is not None
    cluster.backbone.attach(twin, 66, ("10.1.0.1/24",))
    (run,) = (each for each in only.agent.run_script("pre-start") if each.job == "vrrp-drain")
    said = f"answers: {mac_of(66)} answers for 10.1.0.1, the address of this instance"
    assert said in run.stderr
    assert said in " ".join(only.vrrpctl("doctor")[1].split())


def test_a_twin_that_is_master_stops_the_deploy(make_cluster: MakeCluster, twin: Namespace) -> None:
    """It would be MASTER beside this instance, and neither could hear the other: nothing is started, and nothing stays."""
    cluster = make_cluster(1, create=False)
    (only,) = cluster.nodes
    cluster.switch.attach(twin, 66, ("10.0.0.1/24",))
    start_keepalived(twin, vip=cluster.vip, version=3, advert_int=0.2)
    with pytest.raises(ScriptFailed, match=r"another machine has 10\.0\.0\.1, .*adverts VRID 1"):
        only.start()
    assert only.machine.pids().keys() == {1}
    assert f"{mac_of(66)} answers for 10.0.0.1" in only.log()
    assert f"inet {cluster.vip}" not in only.machine.run(["/sbin/ip", "-oneline", "address"]).stdout

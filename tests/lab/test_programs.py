"""haproxy, keepalived and nft of other Debian suites: in our instances, in upstream's job, and as a stranger on the segment."""

from collections.abc import Callable, Mapping
from ipaddress import ip_address
from pathlib import Path

import pytest

from lab.clients.load import Load
from lab.conftest import MakeCluster, PlugIn, start_keepalived
from lab.fabric.addresses import has_address
from lab.fabric.agent import PATH, ScriptFailed
from lab.fabric.cluster import ALL_JOBS, VIP, VIP6, Cluster, update
from lab.fabric.kernel_rules import group, hold
from lab.fabric.node import Node
from lab.fabric.ruleset import normal
from lab.fabric.wait import until
from lab.scenarios.recorder import Recorder
from machines.programs import SUITES, paths
from machines.suites import Suite, SuiteError
from vrrp_drain.handoff.group import Group
from vrrp_drain.handoff.rules import Rules

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(300)]  # the first of each suite has its programs got by apt

HAPROXY, NFT = "/usr/sbin/haproxy", "/usr/sbin/nft"
BESIDE = ("upstream-keepalived", "vrrp-drain", "haproxy")
PATIENCE = {"post_start_timeout": 20, "drain_timeout": 10}
VERSIONS = {"bullseye": "2.2.", "bookworm": "2.6.", "trixie": "3.0."}  # haproxy's
HA_PROXY = {"bullseye": {"idle_close_on_response": False}}  # haproxy 2.2 does not know it
# keepalived 2.3 looks for `killall` in a PATH that begins with a link on a merged /usr, and disables a check that it finds there
CHECK = {"trixie": {"healthcheck_command": "/usr/bin/killall -0 haproxy"}}
ADVERT_INT = 1.0  # upstream's job has no property for it
NFT_ADDS = "ip6 nexthdr vrrp "  # nft 0.9.8 does not print it of a packet that is VRRP anyway


def of(suite: str) -> Mapping[str, Path]:
    """Return a suite's programs. Without a mirror the test is skipped, which CI takes for failed."""
    try:
        return paths(Suite(suite))
    except SuiteError as error:
        pytest.skip(str(error))


@pytest.fixture(params=SUITES)
def suite(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def programs(suite: str, package: Path) -> Mapping[str, Path]:
    """Give the programs of each suite."""
    return of(suite)


def version(node: Node) -> str:
    """Return what haproxy says of itself where the wrapper of its job starts it."""
    return node.machine.run([HAPROXY, "-v"], {"PATH": PATH}).stdout


def haproxys(node: Node) -> set[int]:
    """Return haproxy's processes: the master is the first of them."""
    return {pid for pid, name in node.machine.pids().items() if name == "haproxy"}


def test_an_update_of_its_haproxy(make_cluster: MakeCluster, suite: str, programs: Mapping[str, Path]) -> None:
    """Clients that are connected notice nothing of an update of both instances; its reload is no death, and its death is one."""
    ha_proxy = {"keepalive_timeout": 60, **HA_PROXY.get(suite, {})}
    cluster = make_cluster(2, watched=True, programs={HAPROXY: programs[HAPROXY]}, ha_proxy=ha_proxy)
    first, second = cluster.nodes
    assert f"version {VERSIONS[suite]}" in version(first)
    with Load(cluster.client, cluster.vip, rate=100, keep_alive=20) as load:
        until(lambda: load.answered > 50, "clients to be served")
        runs = update(first) + update(second)
        first.wait_for(cluster.vip)
        served = load.answered
        until(lambda: load.answered > served + 50, "clients to be served by the first one again")
    assert [(run.exit_code, run.stdout) for run in runs if run.job == "vrrp-drain"] == [(0, "0\n")] * 2
    for node in cluster.nodes:
        assert "was told to finish its connections" in node.log()
    assert load.found.failed("established") == []
    assert load.found.failed("new") + load.found.lost_syns() == []
    assert {each.node for each in load.found.of("established")} == {first.name, second.name}
    before = haproxys(first)
    first.machine.run(["/usr/bin/kill", "-USR2", str(min(before))])
    until(lambda: haproxys(first) - before, "a new worker")
    until(lambda: haproxys(first) & before == {min(before)}, "the old one to end")
    until(lambda: first.status()["haproxy_healthy"], "haproxy to be found well")
    assert cluster.holders() == [first]
    assert "haproxy_died" not in first.log()
    first.machine.run(["/usr/bin/killall", "-KILL", "haproxy"])
    second.wait_for(cluster.vip, seconds=5)
    until(lambda: "haproxy up -> down, haproxy_died" in first.log(), "the death to be told")


@pytest.mark.long
def test_beside_its_keepalived_and_on_to_ours(make_cluster: MakeCluster, suite: str, programs: Mapping[str, Path]) -> None:
    """Upstream's job with its keepalived and haproxy: an update beside it, then one to our job. Nobody is refused, never two for long."""
    properties = {"vrrp_drain": PATIENCE, "keepalived": CHECK.get(suite, {}), "ha_proxy": HA_PROXY.get(suite, {})}
    cluster = make_cluster(2, fast=False, jobs=BESIDE, programs=programs, **properties)
    first, second = cluster.nodes

    def to_ours(node: Node) -> Callable[[], None]:
        return lambda: node.apply(ALL_JOBS, cluster.group, cluster.properties, cluster.package)

    with Recorder(cluster.nodes, cluster.vip) as recorder, Load(cluster.client, cluster.vip, keep_alive=10) as load:
        until(lambda: load.answered > 0, "the first answer", 20)
        update(first)
        first.wait_for(cluster.vip)
        for node in (first, second):
            update(node, apply=to_ours(node))
            assert len(cluster.holders()) == 1
    assert cluster.holders() == [first]
    assert recorder.overlap_seconds() <= ADVERT_INT
    assert recorder.vacant_seconds() < 0.2
    assert load.found.refused() + load.found.lost_syns() == []


def test_upstreams_default_check_is_disabled_by_keepalived_2_3(make_cluster: MakeCluster) -> None:
    """On a merged /usr, with monit's PATH: post-start names it, and the path that is none; earlier ones run it."""
    properties = {"vrrp_drain": PATIENCE, "ha_proxy": HA_PROXY.get("trixie", {})}
    cluster = make_cluster(1, fast=False, create=False, jobs=BESIDE, programs=of("trixie"), **properties)
    mend = r"/bin, on its path /bin/killall, is a link\. .* has no link in it: /usr/bin/killall -0 haproxy"
    with pytest.raises(ScriptFailed, match=rf"keepalived has disabled its check check_haproxy \(killall -0 haproxy\): {mend}"):
        cluster.nodes[0].start()


def test_its_keepalived_is_a_stranger(make_cluster: MakeCluster, stranger: PlugIn, programs: Mapping[str, Path]) -> None:
    """With a VRID of its own it is nothing to us, nor we to it: our VIP moves, and it keeps its own."""
    cluster = make_cluster(2)
    first, second = cluster.nodes
    machine = stranger(cluster, programs)
    start_keepalived(machine, vip="10.0.0.99", version=3, advert_int=0.2, vrid=2)
    first.agent.run_script("pre-stop")
    assert first.agent.drain()[0].exit_code == 0
    assert cluster.holders() == [second]
    assert has_address(machine, "10.0.0.99")
    assert "10.0.0.99" not in second.log() + second.log("keepalived", "keepalived.log")


def test_its_keepalived_has_our_vrid(make_cluster: MakeCluster, stranger: PlugIn, programs: Mapping[str, Path]) -> None:
    """It is named with what to change, before anything is started beside it."""
    cluster = make_cluster(1, create=False)
    (only,) = cluster.nodes
    start_keepalived(stranger(cluster, programs), vip="10.0.0.99", version=3, advert_int=0.1)
    with pytest.raises(ScriptFailed, match=r"10\.0\.0\.66 uses VRID 1 .* for 10\.0\.0\.99.*keepalived\.virtual_router_id"):
        only.start()
    assert only.machine.pids().keys() == {1}, "nothing was started"


PLAIN = {
    "IPv4": group(VIP, members=["10.0.0.2"], version=2, rank=1, ranks={"10.0.0.2": 0}),
    "both": group(VIP6, VIP, members=["10.0.0.2", "fd00::2"]),
}
VIRTUAL = {"virtual MAC": group(VIP, virtual="vrrp.1"), "virtual MAC, IPv6": group(VIP6, virtual="vrrp.1")}


@pytest.mark.parametrize("rules", [*PLAIN.values(), *VIRTUAL.values()], ids=[*PLAIN, *VIRTUAL])
def test_each_nft_prints_the_same(bench: Cluster, package: Path, rules: Group) -> None:
    """An operator reads the same rules whichever he has. One exception: 0.9.8 ends in an assertion where the virtual MAC's rules are."""
    machine = bench.nodes[0].machine
    hold(machine, rules)
    machine.in_network(lambda: Rules().mark(1 << 28, [(vip, 80) for vip in rules.vips]))
    here = [(vip, 80) for vip in rules.vips]
    clients = {4: ip_address("10.0.0.200"), 6: ip_address("fd00::200")}
    machine.in_network(lambda: Rules().tell_apart(here, [((clients[vip.version], 40_000), (vip, port)) for vip, port in here]))
    printed = {}
    for suite in SUITES:
        done = machine.run([str(of(suite)[NFT]), "list", "ruleset"])
        if suite == "bullseye" and rules.virtual:
            assert "Assertion" in done.stderr
            continue
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("comment") > 20
        printed[suite] = normal(done.stdout).replace(NFT_ADDS, "")
    machine.in_network(Rules().release)
    assert len(printed) >= 2
    assert len({*printed.values()}) == 1

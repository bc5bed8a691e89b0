"""The release as the bosh CLI builds it, compiled from its own tarball, with the real bosh-agent in every node."""

import os
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from acceptance.real_agent import RealAgent, TaskFailed
from lab.fabric import release
from lab.fabric.cluster import ALL_JOBS, FAST, Cluster
from lab.fabric.wait import until
from lab.scenarios import upgrade

OURS = ("keepalived", "vrrp-drain", "vip-demote", "vip-promote")


@pytest.fixture(scope="module")
def package(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Create the release from a clone, unpack it, compile its packages, and let the lab take its jobs; give the vrrp-drain package."""
    top = tmp_path_factory.mktemp("release")
    tarball = create_release(tools, top)
    unpacked = top / "unpacked"
    unpack(tarball, unpacked)
    with pytest.MonkeyPatch.context() as patch:
        for job in OURS:
            patch.setitem(release.JOBS, job, unpacked / "jobs" / job)
        for name in ("keepalived", "vrrp-drain"):
            release.run_packaging(name, unpacked / "packages" / name, top / "compiled" / name)
        yield top / "compiled/vrrp-drain"


def create_release(tools: Path, top: Path) -> Path:
    """Run `bosh create-release` on a clone of the checkout, with uncommitted changes, and return the tarball."""
    clone, tarball = top / "clone", top / "release.tgz"
    release.clone_checkout(clone)
    command = ["create-release", "--force", "--non-interactive", "--version", "0.0.0", "--tarball", str(tarball)]
    environment = {**os.environ, "HOME": str(top)}
    done = subprocess.run([str(tools / "bosh"), *command], cwd=clone, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return tarball


def unpack(tarball: Path, into: Path) -> None:
    """Lay a release out as directories: jobs/NAME with its spec, packages/NAME with its files."""
    release.unpack(tarball, into)
    for kind in ("jobs", "packages"):
        for archive in (into / kind).glob("*.tgz"):
            release.unpack(archive, into / kind / archive.stem)
    for manifest in (into / "jobs").glob("*/job.MF"):
        manifest.rename(manifest.with_name("spec"))


@pytest.mark.timeout(240)
def test_rolling_upgrade(package: Path, tools: Path) -> None:
    """With the built release and the real agent, three instances under load are upgraded and nobody is refused or loses a SYN."""
    ours = upgrade.run(
        "acceptance",
        package,
        ALL_JOBS,
        watch_seconds=1.0,
        make_agent=partial(RealAgent, binary=tools / "bosh-agent"),
        keepalived=dict(FAST),
    )
    assert len(ours.found.of("new")) > 1000
    assert ours.found.refused() == []
    assert ours.found.lost_syns() == []
    assert ours.broken == []
    assert (ours.moves[0].source, ours.moves[0].target) == ("haproxy/0", "haproxy/1")
    assert ours.moves[-1].target == "haproxy/0", "a machine that stands still for long may make more moves in between"
    assert [(run.exit_code, run.stdout) for _, run in ours.drains] == [(0, "0\n")] * 3


@pytest.fixture
def alone(package: Path, tools: Path) -> Iterator[Cluster]:
    """An instance that may not go without handing over, and whose only peer is gone and does not come back."""
    make_agent = partial(RealAgent, binary=tools / "bosh-agent")
    drain = {"on_no_successor": "fail", "handover_timeout": 3, "successor_timeout": 6}
    with Cluster(package, 2, ALL_JOBS, make_agent=make_agent, keepalived=dict(FAST), vrrp_drain=drain) as cluster:
        cluster.create()
        cluster.nodes[0].wait_for(cluster.vip)
        cluster.nodes[1].power_off()
        yield cluster


def test_a_drain_that_fails_stops_the_deploy(alone: Cluster) -> None:
    """Nothing on stdout and exit code 1: the agent fails the task, the director stops, and the instance serves on."""
    only, _ = alone.nodes
    with pytest.raises(TaskFailed, match=r"no successor for 10\.0\.0\.10, and vrrp_drain\.on_no_successor is fail") as failed:
        only.agent.drain()
    assert [(run.exit_code, run.stdout) for run in failed.value.runs] == [(1, "")]
    assert alone.holders() == [only]
    assert only.band() == "0"


def test_a_cancelled_drain_puts_the_priority_back(alone: Cluster) -> None:
    """cancel_task sends SIGTERM to the script's process group: the priority is back before SIGKILL would come, and clients are served."""
    only, _ = alone.nodes
    running = only.agent.start_drain()
    until(lambda: only.band() == "-155", "drain to lower the priority")
    running.cancel()
    until(lambda: only.band() == "0", "the priority to be back", 9)
    until(lambda: f"told to stop: the priority is back at {254}" in only.log(), "the log to say so")
    assert alone.holders() == [only]


def test_errands(package: Path, tools: Path) -> None:
    """vip-demote and vip-promote move the VIP away and back, as `bosh run-errand` runs them."""
    jobs = (*ALL_JOBS, "vip-demote", "vip-promote")
    with Cluster(package, 2, jobs, make_agent=partial(RealAgent, binary=tools / "bosh-agent"), keepalived=dict(FAST)) as cluster:
        cluster.create()
        first, second = cluster.nodes
        first.wait_for(cluster.vip)
        done = first.machine.run(["/var/vcap/jobs/vip-demote/bin/run"], {"PATH": "/usr/bin:/bin"})
        assert done.returncode == 0, done.stderr
        assert cluster.holders() == [second]
        done = first.machine.run(["/var/vcap/jobs/vip-promote/bin/run"], {"PATH": "/usr/bin:/bin"})
        assert done.returncode == 0, done.stderr
        assert cluster.holders() == [first]

"""Fixtures: the compiled package once a session, clusters that end with their test, strangers on the segment."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from lab.fabric.addresses import has_address
from lab.fabric.cluster import FAST, Cluster, compiled_package
from lab.fabric.namespace import Namespace, missing
from lab.fabric.node import Node
from lab.fabric.programs import Programs
from lab.fabric.wait import until

SAMPLES = "samples(*ids): of its parameters `make test` plays these; the others are thorough"
KERNEL = (
    "kernel(area, all=True, short=False): what depends on the kernel, for `make kernels`. Whether all that is played has it, and the "
    "short share, or which parameters of it"
)
NEEDS = "needs(*modules): of the kernel; `make kernels` tells where there are none"
MakeCluster = Callable[..., Cluster]
PlugIn = Callable[..., Namespace]


def pytest_configure(config: pytest.Config) -> None:
    for each in (SAMPLES, KERNEL, NEEDS):
        config.addinivalue_line("markers", each)


@pytest.hookimpl(tryfirst=True)  # before -m is asked
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        samples = item.get_closest_marker("samples")
        if samples and isinstance(item, pytest.Function) and item.callspec.id not in samples.args:
            item.add_marker("thorough")


@pytest.fixture(scope="session")
def package() -> Iterator[Path]:
    """Give the compiled vrrp-drain package. Skipped loudly on a laptop without the means, failed in CI."""
    if lack := missing():
        if os.environ.get("CI"):
            pytest.fail(f"the lab cannot run, and CI must not skip it: {lack}")
        pytest.skip(lack)
    with compiled_package() as compiled:
        yield compiled


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A machine and a client with nothing deployed."""
    with Cluster(tmp_path_factory.mktemp("bench") / "none", 1) as cluster:
        yield cluster


@pytest.fixture
def make_cluster(package: Path, request: pytest.FixtureRequest) -> Iterator[MakeCluster]:
    """Give a function that deploys a cluster; VRRP version 3 with 0.2 s adverts unless ``fast=False``.

    The watcher runs only with ``watched=True``: what the other tests are about must hold without it, and they are quicker.
    """
    clusters: list[Cluster] = []
    with ExitStack() as stack:

        def make(nodes: int = 2, *, fast: bool = True, create: bool = True, watched: bool = False, **properties: Any) -> Cluster:
            if fast:
                properties["keepalived"] = {**FAST, **properties.get("keepalived", {})}
            cluster = stack.enter_context(Cluster(package, nodes, watched=watched, **properties))
            clusters.append(cluster)
            if create:
                cluster.create()
                cluster.nodes[0].wait_for(cluster.vip)
            else:
                cluster.apply()
            return cluster

        yield make
        for cluster in clusters:
            show(cluster)


@pytest.fixture
def stranger() -> Iterator[PlugIn]:
    """Give a function that plugs a machine of somebody else into a cluster's segment, as 10.0.0.66."""
    with ExitStack() as stack:

        def plug_in(cluster: Cluster, programs: Programs = MappingProxyType({})) -> Namespace:
            machine = Namespace("stranger", programs=programs)
            stack.callback(machine.kill)
            cluster.switch.attach(machine, 66, ("10.0.0.66/24",))
            return machine

        yield plug_in


def show(cluster: Cluster) -> None:
    """Print the logs, which pytest shows of a test that failed."""
    for node in cluster.nodes:
        print(f"--- {node.name}\n{node.log()}{node.log('keepalived', 'keepalived.log')[-3000:]}")


def nft(node: Node, *arguments: str) -> str:
    done = node.machine.run(["nft", *arguments], {"PATH": "/usr/sbin:/sbin:/usr/bin"})
    assert done.returncode == 0, done.stderr
    return done.stdout


def start_keepalived(machine: Namespace, *, vip: str, version: int, advert_int: float, vrid: int = 1) -> None:
    """Run a keepalived of somebody else's on ``machine``, with our VRID unless another is given, until it is MASTER."""
    conf = machine.root / "run/keepalived.conf"
    conf.write_text(
        f"vrrp_instance stranger {{\n interface eth0\n virtual_router_id {vrid}\n version {version}\n priority 10\n"
        f" advert_int {advert_int:g}\n virtual_ipaddress {{\n {vip}\n }}\n}}\n"
    )
    machine.popen(["/usr/sbin/keepalived", "-n", "-f", "/run/keepalived.conf", "-p", "/run/k.pid", "-r", "/run/v.pid"])
    until(lambda: has_address(machine, vip), f"the stranger to have {vip}")

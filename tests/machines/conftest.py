"""Fixtures: a kernel, and groups of which instances are guests under it."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from lab.conftest import show
from lab.fabric.cluster import compiled_package
from lab.fabric.namespace import missing as lab_lacks

from .hypervisor import missing
from .instances import GuestCluster
from .kernel import Kernel
from .suites import Suite

NEEDS = "needs(*modules): of the kernel; what lacks one is skipped, and named"
Deploy = Callable[..., GuestCluster]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", NEEDS)


@pytest.fixture(scope="session")
def kernel() -> Kernel:
    """Give the kernel of the suite that KERNEL names: the oldest one's unless it does. Without the means it is skipped: failed, in CI."""
    if lack := missing() or lab_lacks():
        pytest.skip(lack)
    return Kernel.of(Suite(os.environ.get("KERNEL", "bullseye")))


@pytest.fixture(scope="session")
def package(kernel: Kernel) -> Iterator[Path]:
    with compiled_package() as compiled:
        yield compiled


@pytest.fixture
def deploy(package: Path, kernel: Kernel, request: pytest.FixtureRequest) -> Iterator[Deploy]:
    """Give a function that deploys a `GuestCluster`; the first instance is MASTER then. Logs are shown of a test that failed."""
    if lacks := [name for needs in request.node.iter_markers("needs") for name in needs.args if not kernel.has(name)]:
        pytest.skip(f"{kernel.release} has no {', '.join(lacks)}")
    clusters: list[GuestCluster] = []
    with ExitStack() as stack:

        def make(**options: Any) -> GuestCluster:
            cluster = stack.enter_context(GuestCluster(package, kernel, **options))
            clusters.append(cluster)
            return cluster.create()

        yield make
        for cluster in clusters:
            show(cluster)

"""An instance group behind one VIP on one segment, a client, and the director's order of things."""

import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, TypeVar

from . import release
from .agent import Agent, MakeAgent, ScriptRun
from .namespace import Namespace
from .network import Switch
from .node import Nic, Node
from .programs import Programs
from .release import Spec

Self = TypeVar("Self", bound="Cluster")
VIP = "10.0.0.10"
VIP6 = "fd00::10"
ALL_JOBS = ("keepalived", "vrrp-drain", "haproxy")
WATCHER = "vrrp-drain-watch"  # as monit knows it
# fast enough for tests, slow enough that a busy machine does not look like a dead MASTER
FAST: Mapping[str, Any] = {"vrrp_version": 3, "advert_int": 0.2, "healthcheck_interval": 1}


@dataclass(frozen=True)
class Drain:
    """One drain of ours, as the agent saw it."""

    node: str
    seconds: float
    exit_code: int
    stdout: str


@contextmanager
def compiled_package() -> Iterator[Path]:
    """Compile the package once and give its directory."""
    with tempfile.TemporaryDirectory(prefix="vrrp-drain-") as scratch:
        target = Path(scratch) / "vrrp-drain"
        release.compile_package(target)
        yield target


class Cluster:
    """``nodes`` instances; use it as a context manager, then ``create``."""

    def __init__(
        self,
        package: Path,
        nodes: int = 3,
        jobs: Sequence[str] = ALL_JOBS,
        vip: str = VIP,
        make_agent: MakeAgent = Agent,
        watched: bool = True,
        two_networks: bool = False,
        same_segment: bool = False,
        dad: bool = False,
        programs: Programs = MappingProxyType({}),
        priorities: Mapping[int, int] = MappingProxyType({}),
        **properties: Any,
    ) -> None:
        """``properties`` are ``keepalived``, ``vrrp_drain`` and ``ha_proxy``, as in a manifest; with ``watched`` the watcher runs.

        With ``dad`` IPv6 addresses are used once nobody else has them, a second or two after they came. ``two_networks`` has
        BOSH know the instances by addresses of a network of their own, on eth1, be it in the ``same_segment``; the VIP is on eth0 as ever.
        ``programs`` has the instances run others than this machine's. ``priorities`` gives instances, by their index, another base
        priority than their rank's.
        """
        self.vip = vip
        self.jobs = tuple(jobs)
        self.properties = {**properties, "keepalived": {"vip": vip, **properties.get("keepalived", {})}}
        self.package = package
        self._make_agent = make_agent
        self._programs = programs
        self._priorities = priorities
        self._unmonitored = () if watched else (WATCHER,)
        # hard links from the package need its file system
        self._disk = Path(tempfile.mkdtemp(prefix="disks-", dir=package.parent))
        self.switch = Switch(dad=dad)
        self.backbone = (self.switch if same_segment else Switch()) if two_networks else None
        self.group = [
            Spec("haproxy", n, str(uuid.uuid5(uuid.NAMESPACE_DNS, f"haproxy-{n}")), self._address(n), n == 0) for n in range(nodes)
        ]
        self.nodes = [self._machine(spec) for spec in self.group]
        self.client = Namespace("client")
        self._plug_in_client()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        for node in self.nodes:
            node.machine.kill()
        self.client.kill()
        self.switch.close()
        if self.backbone not in (None, self.switch):
            self.backbone.close()
        shutil.rmtree(self._disk, ignore_errors=True)

    def create(self) -> "Cluster":
        """Deploy the group for the first time: the first instance, and when it is active the others side by side.

        Were it still in the draining band, as it is until post-start, who starts beside it would take it for one that leaves.
        """
        self.apply()
        first, *others = self.nodes
        first.start()
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            list(pool.map(Node.start, others))
        return self

    def apply(self) -> None:
        """Render the jobs of all instances."""
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self._apply, self.nodes))

    def holders(self) -> list[Node]:
        """Return the nodes that have the VIP on an interface but lo."""
        return [node for node in self.nodes if node.has(self.vip)]

    def client_sends_to(self, node: Node) -> bool:
        """Tell whether the client has learnt that the VIP is at ``node``; what it sends before goes to whom it knew."""
        found = self.client.run(["/usr/sbin/ip", "neighbour", "show", self.vip, "dev", "eth0"]).stdout
        return f"lladdr {node.mac} " in found

    def _apply(self, node: Node) -> None:
        properties = self.properties
        if node.spec.index in self._priorities:
            properties = {**properties, "keepalived": {**properties["keepalived"], "priority": self._priorities[node.spec.index]}}
        node.apply(self.jobs, self.group, properties, self.package)

    def _address(self, index: int) -> str:
        return f"10.1.0.{index + 1}" if self.backbone else f"10.0.0.{index + 1}"

    def _plug_in_client(self) -> None:
        self.switch.attach(self.client, 200, ("10.0.0.200/24", "fd00::200/64"))

    def _machine(self, spec: Spec) -> Node:
        disk = self._disk / f"{spec.name}-{spec.index}"
        disk.mkdir()
        number, further = spec.index + 1, [Nic(self.backbone)] if self.backbone else []
        address = f"10.0.0.{number}" if self.backbone else spec.address
        addresses = (f"{address}/24", f"fd00::{number}/64")
        return Node(self.switch, spec, addresses, disk, self._make_agent, self._unmonitored, further, programs=self._programs)


def update(node: Node, note: Callable[[str], None] = lambda what: None, apply: Callable[[], None] = lambda: None) -> list[ScriptRun]:
    """Update one instance as the director does: stop it, change it, start it (director: instance_updater, stopper.rb).

    ``note`` is told each step as it begins; returns the runs of the drain scripts.
    """
    note("pre-stop")
    node.agent.run_script(
        "pre-stop", {"BOSH_VM_NEXT_STATE": "keep", "BOSH_INSTANCE_NEXT_STATE": "keep", "BOSH_DEPLOYMENT_NEXT_STATE": "keep"}
    )
    note("drain")
    drains = node.agent.drain()
    note("stop")
    node.monit.stop()
    node.agent.run_script("post-stop")
    note("stopped")
    apply()
    node.agent.run_script("pre-start")
    note("start")
    node.monit.start()
    note("post-start")
    node.agent.run_script("post-start")
    note("updated")
    return drains

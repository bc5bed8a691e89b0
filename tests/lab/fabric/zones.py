"""Instances in zones: each on a segment of its own, a router between them and the client, as with availability zones."""

from pathlib import Path
from types import TracebackType
from typing import Any

from .cluster import Cluster
from .namespace import Namespace
from .network import Switch
from .node import Node
from .release import Spec

_IP = "/usr/sbin/ip"
_CLIENT = 200  # the client's zone
_FORWARDING = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding")


class Zones(Cluster):
    """Instance n is 10.0.n.1 and fd00:n::1, the router 10.0.n.254 and fd00:n::254 there, by its interface ``zone<n>``."""

    def __init__(self, package: Path, nodes: int = 2, **options: Any) -> None:
        self.router = Namespace("router")
        self._zones: list[Switch] = []
        self.router.in_network(lambda: [Path("/proc/sys", each).write_text("1") for each in _FORWARDING])
        super().__init__(package, nodes, **options)

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        super().__exit__(kind, value, trace)
        self.router.kill()
        for each in self._zones:
            each.close()

    def _address(self, index: int) -> str:
        return f"10.0.{index}.1"

    def _plug_in_client(self) -> None:
        switch = self._zone(_CLIENT)
        switch.attach(self.client, _CLIENT, (f"10.0.{_CLIENT}.1/24", f"fd00:{_CLIENT}::1/64"))
        _use_router(self.client, _CLIENT)

    def _machine(self, spec: Spec) -> Node:
        number, disk = spec.index, self._disk / f"{spec.name}-{spec.index}"
        disk.mkdir()
        addresses = (f"{spec.address}/24", f"fd00:{number}::1/64")
        node = Node(self._zone(number), spec, addresses, disk, self._make_agent, self._unmonitored, programs=self._programs)
        _use_router(node.machine, number)
        return node

    def _zone(self, number: int) -> Switch:
        switch = Switch()
        self._zones.append(switch)
        switch.attach(self.router, 254, (f"10.0.{number}.254/24", f"fd00:{number}::254/64"), interface=f"zone{number}")
        return switch


def _use_router(machine: Namespace, number: int) -> None:
    for gateway in (f"10.0.{number}.254", f"fd00:{number}::254"):
        done = machine.run([_IP, "route", "add", "default", "via", gateway])
        assert done.returncode == 0, done.stderr

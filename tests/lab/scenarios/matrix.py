"""Why the VIP leaves an instance whose haproxy lives, and the networks that it does so in: open connections survive each in each.

docs/how-it-works.md has the table of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.fabric.cluster import Cluster
from lab.fabric.node import Node
from lab.fabric.port_security import secure


@dataclass(frozen=True)
class Network:
    """``prepare`` is called before anything is deployed."""

    name: str
    properties: Mapping[str, Any] = field(default_factory=dict)
    prepare: Callable[[Cluster], None] = lambda cluster: None


@dataclass(frozen=True)
class Reason:
    """``leave`` has the VIP leave the instance, ``come_back`` has it come back; both return when it is about to.

    From the one to the other nobody can be answered there, who ``waits`` then. Where it is ``cut_off`` it cannot be told from a dead one:
    who asks meanwhile gets a reset.
    """

    name: str
    leave: Callable[[Cluster, Node], None]
    come_back: Callable[[Cluster, Node], None]
    waits: bool = False
    cut_off: bool = False


def _drop_foreign_sources(cluster: Cluster) -> None:
    for node in cluster.nodes:
        secure(cluster.switch, node, [cluster.vip])
        node.machine.in_network(lambda: Path("/proc/sys/net/ipv4/conf/all/rp_filter").write_text("1"))


def _vrrpctl(command: str) -> Callable[[Cluster, Node], None]:
    def run(_: Cluster, node: Node) -> None:
        code, _stdout, stderr = node.vrrpctl(command)
        if code:
            raise RuntimeError(f"{node.name}: vrrpctl {command} exited {code}: {stderr}")

    return run


def _run(*command: str) -> Callable[[Cluster, Node], None]:
    def run(_: Cluster, node: Node) -> None:
        node.machine.run(list(command))

    return run


def _part(cluster: Cluster, _: Node) -> None:
    cluster.switch.part(*(each.port for each in cluster.nodes))


def _heal(cluster: Cluster, _: Node) -> None:
    cluster.switch.part(*(each.port for each in cluster.nodes), apart=False)


def _cable(*, plugged: bool) -> Callable[[Cluster, Node], None]:
    return lambda cluster, node: cluster.switch.plug(node.port, plugged=plugged)


def _end_keepalived(_: Cluster, node: Node) -> None:
    pid = int((node.machine.root / "var/vcap/sys/run/keepalived/vrrp.pid").read_text())
    node.machine.run(["kill", "-KILL", str(pid)])


NETWORKS = (
    Network("one segment"),
    Network("drops foreign sources", {"vrrp_drain": {"handoff_transport": "tunnel"}}, _drop_foreign_sources),
    Network("virtual MAC", {"keepalived": {"use_vmac": True}}),
)
# Both are MASTER until one of them hears the other, and the switch sends to whoever adverted last from the MAC that they share: before the
# watcher there has left the other one's connections with it, they may get a reset.
TWO_MASTERS = {("machine frozen", "virtual MAC"), ("partition", "virtual MAC")}
REASONS = (
    Reason("drain", _vrrpctl("demote"), _vrrpctl("promote")),
    Reason("keepalived died", _end_keepalived, lambda cluster, node: None),  # it starts anew, and the watcher promotes the instance
    Reason("haproxy hung", _run("killall", "-STOP", "haproxy"), _run("killall", "-CONT", "haproxy"), waits=True),
    Reason("machine frozen", _run("kill", "-STOP", "-1"), _run("kill", "-CONT", "-1"), waits=True),
    Reason("carrier lost", _cable(plugged=False), _cable(plugged=True), waits=True, cut_off=True),
    Reason("partition", _part, _heal, waits=True, cut_off=True),
)

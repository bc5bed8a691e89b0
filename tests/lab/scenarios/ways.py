"""Ways to have a VIP leave a node for maintenance and come back: ours, and what people do today."""

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.fabric.agent import PATH
from lab.fabric.cluster import ALL_JOBS, Cluster
from lab.fabric.node import Node

_ENVIRONMENT = {"PATH": PATH}
_LEAVE = "/run/leave"  # the file that our hand-written keepalived.conf looks at


@dataclass(frozen=True)
class Way:
    """``leave`` has the VIP go from the first of two nodes to the second, ``come_back`` the reverse; both may return before it is done."""

    key: str
    name: str
    leave: Callable[[Cluster], object]
    come_back: Callable[[Cluster], object]
    jobs: tuple[str, ...] = ("haproxy",)
    properties: Mapping[str, Any] = field(default_factory=dict)
    start: Callable[[Node, str], None] = lambda node, vip: None  # what is no job of ours: called node by node, with the VIP
    missing: Callable[[], str] = lambda: ""  # what the way lacks on this machine


def _pre_stop(cluster: Cluster) -> None:
    cluster.nodes[0].agent.run_script("pre-stop")


def _post_start(cluster: Cluster) -> None:
    cluster.nodes[0].agent.run_script("post-start")


def _start_by_hand(node: Node, *command: str) -> None:
    node.machine.popen(command, _ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _start_keepalived(node: Node, vip: str) -> None:
    """Debian's keepalived with a file of the kind that its documentation has; the first node prefers to be MASTER."""
    priority = 101 if node.spec.bootstrap else 100
    (node.machine.root / "run/keepalived.conf").write_text(
        f"global_defs {{\n enable_script_security\n script_user root\n}}\n"
        f'vrrp_script leave {{\n script "/usr/bin/test ! -e {_LEAVE}"\n interval 1\n weight -20\n}}\n'
        f"vrrp_instance by_hand {{\n state BACKUP\n interface eth0\n virtual_router_id 1\n priority {priority}\n advert_int 1\n"
        f" virtual_ipaddress {{\n  {vip}\n }}\n track_script {{\n  leave\n }}\n}}\n"
    )
    _start_by_hand(node, "/usr/sbin/keepalived", "-n", "-f", "/run/keepalived.conf", "-p", "/run/k.pid", "-r", "/run/v.pid")


def _runs_no_script() -> str:
    """keepalived calls setgroups(2) before it runs a script, which user_namespaces(7) deny to whoever is not root outside."""
    denied = Path("/proc/self/setgroups").read_text().strip() == "deny"
    return "keepalived runs no script in a user namespace; run it as root" if denied else ""


def _start_ucarp(node: Node, vip: str) -> None:
    """Debian's ucarp(8) with its defaults; it sends the gratuitous ARP itself, after the script."""
    for name, action in (("up", "add"), ("down", "del")):
        script = node.machine.root / "run" / name
        script.write_text(f'#!/bin/sh\nexec ip address {action} {vip}/32 dev "$1"\n')
        script.chmod(0o755)
    _start_by_hand(
        node,
        *("/usr/sbin/ucarp", "--interface=eth0", f"--srcip={node.spec.address}", "--vhid=1", "--pass=lab", f"--addr={vip}"),
        *("--upscript=/run/up", "--downscript=/run/down", "--neutral"),
    )


def _demote_ucarp(node: Node) -> None:
    node.machine.run(["killall", "-USR2", "ucarp"], _ENVIRONMENT)


WAYS = (
    Way("handoff", "vrrp-drain", _pre_stop, _post_start, ALL_JOBS),
    Way(
        "no_handoff",
        "vrrp-drain, connection_handoff: false",
        _pre_stop,
        _post_start,
        ALL_JOBS,
        {"vrrp_drain": {"connection_handoff": False}},
    ),
    Way(
        "stop",
        "keepalived stopped (SIGTERM)",
        lambda cluster: cluster.nodes[0].monit.stop("keepalived"),
        lambda cluster: cluster.nodes[0].monit.start("keepalived"),
        ("keepalived", "haproxy"),
    ),
    Way(
        "script",
        "keepalived, priority lowered by a script",
        lambda cluster: (cluster.nodes[0].machine.root / _LEAVE.lstrip("/")).touch(),
        lambda cluster: (cluster.nodes[0].machine.root / _LEAVE.lstrip("/")).unlink(),
        start=_start_keepalived,
        missing=_runs_no_script,
    ),
    Way(
        "ucarp",
        "ucarp, demoted (SIGUSR2)",
        lambda cluster: _demote_ucarp(cluster.nodes[0]),
        lambda cluster: _demote_ucarp(cluster.nodes[1]),
        start=_start_ucarp,
    ),
)

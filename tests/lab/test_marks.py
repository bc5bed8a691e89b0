"""Marks by which connections of frontends that are bound to a VIP are told from their listener: who gets one, what takes them away."""

import http.client
import ipaddress
import socket
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from lab.conftest import MakeCluster, nft
from lab.fabric import ruleset
from lab.fabric.cluster import VIP, Cluster
from lab.fabric.kernel_rules import group, hold
from lab.fabric.node import Node
from lab.fabric.wait import until
from vrrp_drain.handoff.inherited_marks import InheritedMarks
from vrrp_drain.handoff.rules import Rules

OWN = {4: "10.0.0.1", 6: "fd00::1"}
OURS, THEIRS = 1 << 28, 1
SO_MARK = socket.SO_MARK
BOUND, LATER = 8001, 8002
FRONTEND = """
frontend {name}
    bind {vip}:{port}
    timeout client 60s
    http-request return status 200 content-type text/plain string "$INSTANCE"
"""


@pytest.mark.kernel("handoff rules", short=True)
@pytest.mark.parametrize("version", OWN)
def test_who_gets_which_mark(bench: Cluster, tmp_path: Path, version: int) -> None:
    """Ours gets whoever connects where somebody listens at the address itself, and the sysctl is put back. A mark that a packet had stays,
    and that of a listener; a frontend elsewhere gets none."""
    (node,) = bench.nodes
    own = OWN[version]
    rules, marks = Rules(), InheritedMarks(tmp_path, Path("/proc/sys/net/ipv4/tcp_fwmark_accept"))
    hold(node.machine, group(own))

    def listener(port: int, mark: int = 0) -> socket.socket:
        opened = socket.create_server((own, port), family=socket.AF_INET6 if version == 6 else socket.AF_INET)
        opened.setsockopt(socket.SOL_SOCKET, SO_MARK, mark)
        return opened

    def inherited(listening: socket.socket, source_port: int) -> int:
        to = listening.getsockname()[:2]
        with (
            bench.client.in_network(lambda: socket.create_connection(to, 5, ("", source_port))),
            closing(listening.accept()[0]) as accepted,
        ):
            return accepted.getsockopt(socket.SOL_SOCKET, SO_MARK)

    with (
        node.machine.in_network(lambda: listener(81)) as told,
        node.machine.in_network(lambda: listener(82)) as untold,
        node.machine.in_network(lambda: listener(83, 5)) as marked,
    ):
        assert inherited(told, 41_000) == 0
        node.machine.in_network(marks.hold)
        node.machine.in_network(lambda: rules.mark(OURS, [(ipaddress.ip_address(own), port) for port in (81, 83)]))
        assert [inherited(each, 41_001) for each in (told, untold, marked)] == [OURS, 0, 5]
        family = "ip" if version == 4 else "ip6"
        nft(
            node,
            f"add table {family} theirs; add chain {family} theirs a {{ type filter hook prerouting priority 10; }}; "
            f"add rule {family} theirs a tcp sport 41002 meta mark set {THEIRS}",
        )
        assert [inherited(each, 41_002) for each in (told, untold, marked)] == [THEIRS, THEIRS, 5]
        nft(node, f"delete table {family} theirs")
        node.machine.in_network(marks.release)
        assert inherited(told, 41_003) == 0
    node.machine.in_network(rules.release)


def sysctl(node: Node, value: int | None = None) -> int:
    """Return net.ipv4.tcp_fwmark_accept, or set it."""
    file = Path("/proc/sys/net/ipv4/tcp_fwmark_accept")
    if value is not None:
        node.machine.in_network(lambda: file.write_text(f"{value}\n"))
    return node.machine.in_network(lambda: int(file.read_text()))


def frontend(port: int) -> str:
    return FRONTEND.format(name=f"at-{port}", vip=VIP, port=port)


@pytest.mark.kernel("handoff rules")
def test_what_takes_marks_away_breaks_no_connection(make_cluster: MakeCluster) -> None:
    """While the first one's connections are handed off, the second loses its marks: those that it opened meanwhile, without a mark, stay
    with it, and the first one's with the first. So do those that a haproxy has which was reloaded, with one more frontend."""
    cluster = make_cluster(2, watched=True, ha_proxy={"extra": frontend(BOUND), "keepalive_timeout": 60})
    first, second = cluster.nodes
    with ExitStack() as stack:

        def opened(port: int = BOUND) -> http.client.HTTPConnection:
            connection = http.client.HTTPConnection(VIP, port)
            connection.sock = cluster.client.in_network(lambda: socket.create_connection((VIP, port), 5))
            connection.auto_open = 0
            stack.callback(connection.close)
            return connection

        def ask(connection: http.client.HTTPConnection) -> str:
            connection.request("GET", "/")
            return connection.getresponse().read().decode()

        of_first = opened()
        assert ask(of_first) == first.name
        code, _, stderr = first.vrrpctl("demote")
        assert code == 0, stderr
        of_second = [opened()]
        nft(second, "flush", "chain", "ip", "vrrp_drain", "marks")
        of_second.append(opened())
        until(lambda: "its connection inherits it" in nft(second, "list", "chain", "ip", "vrrp_drain", "marks"), "the rule to be back")
        sysctl(second, 0)
        of_second.append(opened())
        until(lambda: sysctl(second) == 1, "the sysctl to be back")
        assert "net.ipv4.tcp_fwmark_accept was switched off by somebody" in second.log()
        of_second.append(opened())
        config = second.vcap / "jobs/haproxy/config/haproxy.config"
        config.write_text(config.read_text() + frontend(LATER))
        reload(second)
        until(lambda: listens(cluster, LATER), "the haproxy that was reloaded to listen")
        of_second += [opened(), opened(LATER)]
        until(lambda: elements(second, "older") >= 2, "those without a mark to be known")
        until(lambda: elements(second, "bound") == 2, "the further frontend to be known")
        until(lambda: elements(second, "opening") == 0, "all handshakes to be forgotten")
        assert [ask(each) for each in of_second] == [second.name] * len(of_second)
        assert ask(of_first) == first.name
        assert [node.status()["bound_to_vip"] for node in cluster.nodes] == [[], []]
    first.monit.stop()
    first.agent.run_script("post-stop")
    assert sysctl(first) == 0


def test_without_a_mark_the_operator_is_told(make_cluster: MakeCluster) -> None:
    """handoff_mark 0: a frontend bound to the VIP is cut with the next packet, and all say so; nothing is marked, nothing is set."""
    cluster = make_cluster(2, ha_proxy={"extra": frontend(BOUND)}, vrrp_drain={"handoff_mark": 0})
    first, second = cluster.nodes
    warning = (
        f"{VIP}:{BOUND} is bound to the VIP itself, and the kernel does not tell its connections from the listener: a move cuts them. "
        f"Bind it to every address instead, in haproxy: bind *:{BOUND}"
    )
    for node in cluster.nodes:
        assert warning in node.log(), "post-start says so"
        assert f"warning     {warning}" in node.vrrpctl("status")[1].splitlines()
        assert node.status()["bound_to_vip"] == [f"{VIP}:{BOUND}"]
        assert sysctl(node) == 0
        assert "chain marks" not in nft(node, "list", "ruleset")
    with closing(cluster.client.in_network(lambda: socket.create_connection((VIP, BOUND), 5))) as connection:
        code, _, stderr = first.vrrpctl("demote")
        assert code == 0, stderr
        assert cluster.holders() == [second]
        connection.sendall(b"GET / HTTP/1.1\r\nHost: vip\r\n\r\n")
        with pytest.raises(ConnectionResetError):  # in 5 s it would be a TimeoutError
            connection.recv(1)


def reload(node: Node) -> None:
    """As the master is told to by SIGUSR2."""
    inside = node.machine.root / "var/vcap/sys/run/haproxy/haproxy.pid"
    done = node.machine.run(["kill", "-USR2", inside.read_text().strip()], {"PATH": "/usr/bin:/bin"})
    assert done.returncode == 0, done.stderr


def listens(cluster: Cluster, port: int) -> bool:
    try:
        cluster.client.in_network(lambda: socket.create_connection((VIP, port), 5)).close()
    except OSError:
        return False
    return True


def elements(node: Node, name: str) -> int:
    """Return how many a set of ours has."""
    return len(ruleset.held(ruleset.objects(node.machine, "set", "ip", "vrrp_drain", name)))

"""Moves that nobody has asked for, where the old MASTER's haproxy lives on: whose connection is there is sent there, either way."""

import ipaddress
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager

import pytest

from lab.clients.both_ways import Transfer
from lab.clients.load import Load
from lab.conftest import MakeCluster, nft
from lab.fabric.cluster import WATCHER, Cluster
from lab.fabric.kernel_rules import situation
from lab.fabric.node import Node
from lab.fabric.servers import echo, serving
from lab.fabric.wait import until
from lab.fabric.watchdog import watchdog
from lab.scenarios.recorder import Recorder
from vrrp_drain.handoff.rules import Rules
from vrrp_drain.linux import echo as icmp

SECONDS = 120.0  # a storm is ended from outside
CLIENTS = 10
PATIENT = {"keepalive_timeout": 60}  # haproxy closes nobody's connection who is quiet during a test
ECHO_PORT = 8081
UNHURRIED = {"advert_int": 0.4}  # on a busy machine a watcher needs a while to learn who is silent


def connect(cluster: Cluster) -> socket.socket:
    return cluster.client.in_network(lambda: socket.create_connection((cluster.vip, 80), 5))


def ask(connection: socket.socket) -> str:
    """Send a request; return who answers it, or what became of the connection."""
    connection.settimeout(5)
    try:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: vip\r\n\r\n")
        answer = b""
        while b"haproxy/" not in answer.rpartition(b"\r\n\r\n")[2]:
            if not (piece := connection.recv(4096)):
                return "closed"
            answer += piece
    except OSError as error:
        return error.strerror or "timeout"
    return answer.rpartition(b"\r\n\r\n")[2].decode()


def answers_anew(cluster: Cluster) -> str:
    try:
        with connect(cluster) as connection:
            return ask(connection)
    except OSError as error:
        return str(error)


class Sessions:
    """Connections that ``node`` serves, and goes on serving: their clients say nothing until they are told to."""

    def __init__(self, cluster: Cluster, node: Node) -> None:
        until(lambda: answers_anew(cluster) == node.name, f"{node.name} to answer clients")
        self._open = [connect(cluster) for _ in range(CLIENTS)]
        assert self.ask() == {node.name}

    def ask(self) -> set[str]:
        """Have each client ask once; return who answered, or what became of its connection."""
        return {ask(each) for each in self._open}

    def close(self) -> None:
        for each in self._open:
            each.close()


@contextmanager
def sessions(cluster: Cluster, node: Node) -> Iterator[Sessions]:
    with closing(Sessions(cluster, node)) as made:
        yield made
        assert made.ask() == {node.name}, "each is answered where it was opened, to the end"


@contextmanager
def transfer(cluster: Cluster, node: Node) -> Iterator[None]:
    """Have bytes under way in both directions between the client and ``node``, none of which gets lost."""
    with serving(node.machine, "::", ECHO_PORT, echo), Transfer(cluster.client, cluster.vip, ECHO_PORT) as made:
        yield
    assert made.whole, made.error


def served(load: Load, count: int = 60) -> None:
    before = load.answered + load.failed
    until(lambda: load.answered + load.failed > before + count, "clients to be served")


def everybody(node: Node, signal: str) -> None:
    """Have no process of a machine run, or all again; its kernel does, and answers."""
    node.machine.run(["kill", f"-{signal}", "-1"])


def haproxy(node: Node, signal: str) -> None:
    node.machine.run(["killall", f"-{signal}", "haproxy"])


@contextmanager
def stopped(*nodes: Node) -> Iterator[None]:
    """Have no watcher run on ``nodes``; afterwards they learn what they have missed."""
    watchers = [(node, str(node.monit.pid(WATCHER))) for node in nodes]
    for signal in ("STOP", "CONT"):
        for node, pid in watchers:
            node.machine.run(["kill", f"-{signal}", pid])
        if signal == "STOP":
            yield


def armed(node: Node) -> set[str]:
    return {str(each.peer) for each in situation(node.machine).armed}


def none_circled(cluster: Cluster) -> None:
    assert sum(situation(node.machine).circled for node in cluster.nodes) == 0


def test_the_network_fails_and_is_mended(make_cluster: MakeCluster) -> None:
    """A segment that is parted, an interface that flaps, one that is down for longer, adverts that somebody drops: what was opened at the
    one MASTER or the other lives on. Clients of the first hear nothing of a short flap or of lost adverts."""
    cluster = make_cluster(2, watched=True, ha_proxy=PATIENT, keepalived=UNHURRIED)
    first, second = cluster.nodes
    ip = "/usr/sbin/ip"
    with watchdog(SECONDS, first.machine, second.machine):
        with sessions(cluster, first):  # cut off, they cannot be told from those of a dead machine: whoever asks meanwhile gets a reset
            cluster.switch.part(first.port, second.port)
            second.wait_for(cluster.vip)
            with (
                sessions(cluster, second),
                transfer(cluster, second),
                Load(cluster.client, cluster.vip, rate=0, keep_alive=20) as load,
            ):
                served(load)
                time.sleep(1.2)  # a cache keeps what it has just learnt for a second (arp(7), locktime), whatever it hears
                with stopped(first, second):  # until watchers have left connections where they are, clients are told nothing
                    cluster.switch.part(first.port, second.port, apart=False)
                    second.wait_for(cluster.vip, here=False)
                    served(load)
                until(lambda: cluster.client_sends_to(first), "the client to learn where the VIP is", 5)
                served(load)
            assert load.found.failed("established") == []
            assert armed(first) == {second.spec.address}

        with sessions(cluster, first), Recorder(cluster.nodes, cluster.vip) as recorder:
            with transfer(cluster, first), Load(cluster.client, cluster.vip, rate=0, keep_alive=20) as load:
                served(load)
                first.machine.run([ip, "link", "set", "eth0", "down"])
                first.wait_for(cluster.vip, here=False)
                time.sleep(0.1)  # what is said meanwhile reaches nobody: this is the scenario, not a wait
                first.machine.run([ip, "link", "set", "eth0", "up"])
                second.wait_for(cluster.vip)
                first.wait_for(cluster.vip)
                served(load, 100)
            assert load.found.failed("established") == []
            assert [(each.source, each.target) for each in recorder.moves()] == [(first.name, second.name), (second.name, first.name)]

        with sessions(cluster, first):
            first.machine.run([ip, "link", "set", "eth0", "down"])
            second.wait_for(cluster.vip)
            with sessions(cluster, second), transfer(cluster, second), stopped(second):  # it says nothing of what is open when it yields
                first.machine.in_network(lambda: Rules().disarm(ipaddress.ip_address(second.spec.address)))  # what it knows from above
                first.machine.run([ip, "link", "set", "eth0", "up"])
                first.wait_for(cluster.vip)

        with sessions(cluster, first), Load(cluster.client, cluster.vip, rate=0, keep_alive=20) as load:
            served(load)
            nft(second, "add table ip firewall { chain input { type filter hook prerouting priority -400; ip protocol vrrp drop; }; }")
            second.wait_for(cluster.vip)
            assert armed(second) == {first.spec.address}
            served(load, 100)
            nft(second, "delete table ip firewall")
            second.wait_for(cluster.vip, here=False)
            served(load, 100)
        assert load.found.failed("established") == []
        assert cluster.holders() == [first]
        none_circled(cluster)


@pytest.mark.samples("IPv6")
@pytest.mark.parametrize(("vip", "stand_still"), [("10.0.0.10", (everybody,)), ("fd00::10", (everybody, haproxy))], ids=["IPv4", "IPv6"])
def test_processes_stand_still_and_go_on(make_cluster: MakeCluster, vip: str, stand_still: Sequence[Callable[[Node, str], None]]) -> None:
    """All of a machine, which believes for a moment that it is MASTER still; haproxy alone. Who has a connection there waits, and is
    answered."""
    properties = {"ha_proxy": {**PATIENT, "bind": ":::80 v4v6"}, "keepalived": UNHURRIED, "vrrp_drain": {"health_interval": 0.3}}
    cluster = make_cluster(2, vip=vip, watched=True, **properties)
    first, second = cluster.nodes
    with watchdog(SECONDS, first.machine, second.machine):
        for whose in stand_still:
            with (
                sessions(cluster, first),
                Load(cluster.client, vip, rate=0, keep_alive=20) as load,
                transfer(cluster, first),
            ):
                served(load)
                whose(first, "STOP")
                second.wait_for(vip)
                with sessions(cluster, second):
                    assert len(armed(second)) == 1
                    whose(first, "CONT")
                    second.wait_for(vip, here=False)
                    first.wait_for(vip)
                    served(load, 100)
            assert load.found.failed("established") == []
            assert {each.node for each in load.found.of("established")} == {first.name}

        none_circled(cluster)


def test_keepalived_dies_with_the_watcher(make_cluster: MakeCluster) -> None:
    """Nobody says a word, but the machine answers: clients notice neither the move away nor the one back."""
    cluster = make_cluster(2, watched=True, ha_proxy=PATIENT, keepalived=UNHURRIED)
    first, second = cluster.nodes
    with (
        sessions(cluster, first),
        Load(cluster.client, cluster.vip, rate=0, keep_alive=20) as load,
        transfer(cluster, first),
    ):
        served(load)
        first.machine.run(["kill", "-KILL", str(first.monit.pid(WATCHER))])
        first.crash_keepalived()
        second.wait_for(cluster.vip)
        with sessions(cluster, second):
            served(load)
            first.monit.start(WATCHER)
            first.wait_for(cluster.vip, here=False)
            first.monit.start("keepalived")
            first.wait_for(cluster.vip)
            served(load)
    assert load.found.failed("established") == []
    assert "is not heard any more, but its machine answers: its open connections stay with it" in second.log()


def test_a_machine_that_is_paused_and_one_that_dies(make_cluster: MakeCluster) -> None:
    """One that has left is silent for seconds, as in a live migration: it is given up, and found again. The MASTER that dies leaves
    nobody armed: its clients get their reset at once. One that had left and dies is forgotten by backups too."""
    cluster = make_cluster(3, watched=True, ha_proxy=PATIENT)
    first, second, third = cluster.nodes
    with watchdog(SECONDS, *(node.machine for node in cluster.nodes)):
        with sessions(cluster, first) as of_first:
            code, _, stderr = first.vrrpctl("demote")
            assert code == 0, stderr
            assert first.spec.address in armed(second) & armed(third)
            everybody(first, "STOP")
            cluster.switch.silence(first.port, silent=True)
            until(lambda: first.spec.address not in armed(second), "a machine that answers nothing to be given up", 5)
            cluster.switch.silence(first.port, silent=False)
            until(lambda: first.spec.address in armed(second), "it to be found again, before it says a word", 5)
            everybody(first, "CONT")
            assert of_first.ask() == {first.name}
        assert "10.0.0.1 answers again" in second.log()

        with closing(Sessions(cluster, second)) as of_second:
            for node in (first, second):
                cluster.switch.silence(node.port, silent=True)  # else haproxy's end would be heard
                node.power_off()
            third.wait_for(cluster.vip)
            until(lambda: armed(third) == set(), "those who are gone to be forgotten", 5)
            began = time.monotonic()
            assert of_second.ask() <= {"Connection reset by peer", "Broken pipe"}
            assert time.monotonic() - began < 2


def test_a_machine_is_asked_itself(make_cluster: MakeCluster) -> None:
    """Whatever is between, its kernel answers an ICMP echo; where nobody is, nobody does."""
    cluster = make_cluster(1, create=False)

    def answers(address: str) -> list[str]:
        with closing(icmp.echo("eth0", ipaddress.ip_address(address))) as inquiry:
            found: list[str] = []
            for _ in range(10):
                inquiry.ask()
                time.sleep(0.05)
                found += inquiry.answers()
        return found

    for there, nobody in (("10.0.0.1", "10.0.0.9"), ("fd00::1", "fd00::9")):
        assert set(cluster.client.in_network(lambda: answers(there))) == {there}  # noqa: B023
        assert cluster.client.in_network(lambda: answers(nobody)) == []  # noqa: B023

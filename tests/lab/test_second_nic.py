"""Every instance has further interfaces in the segment of the VIP: whoever asks for the VIP there is answered by one of them alone."""

import time
from ipaddress import ip_address

import pytest

from lab.conftest import MakeCluster
from lab.fabric.cluster import VIP, VIP6, Cluster, update
from lab.fabric.namespace import Namespace
from lab.fabric.network import mac_of
from lab.fabric.node import Nic, Node
from lab.fabric.wait import until
from vrrp_drain.linux.neighbour import inquire

CLIENT_MAC = mac_of(200)
ANSWERS = 0.3  # seconds for everybody to say that he has an address


def who_has(cluster: Cluster, address: str) -> set[str]:
    """Ask the segment three times, as a client does; return the MACs that answered."""

    def ask() -> set[str]:
        inquiry = inquire("eth0", CLIENT_MAC, ip_address(address))
        found: set[str] = set()
        for _ in range(3):
            inquiry.ask()
            time.sleep(ANSWERS)  # everybody gets this long: who is silent cannot be waited for
            found.update(inquiry.answers())
        inquiry.close()
        return found

    return cluster.client.in_network(ask)


def settings(machine: Namespace, *interfaces: str) -> dict[str, str]:
    names = [f"/proc/sys/net/ipv4/conf/{each}/{name}" for each in interfaces for name in ("arp_ignore", "arp_announce")]
    return dict(zip(names, machine.run(["/bin/cat", *names]).stdout.split(), strict=True))


def sysctl(node: Node, name: str, value: int) -> None:
    done = node.machine.run(["/sbin/sysctl", "-q", f"net.ipv4.conf.{name}={value}"])
    assert done.returncode == 0, done.stderr


@pytest.mark.samples("ipv4")
@pytest.mark.parametrize("vip", [VIP, VIP6], ids=["ipv4", "ipv6"])
def test_one_interface_of_the_group_answers(make_cluster: MakeCluster, vip: str) -> None:
    """The MASTER's interface that has the VIP, and no other of it or of a backup: before a move and after it.

    There are three of each instance: one that was there before pre-start, one of which the kernel was told something else, and one
    that is plugged in when all runs.
    """
    cluster = make_cluster(2, create=False, vip=vip)
    first, second = cluster.nodes
    for node in cluster.nodes:
        node.plug_in(Nic(cluster.switch))
        node.plug_in(Nic(cluster.switch, "eth2", "10.2.0.{}/24", 111))
        sysctl(node, "eth2.arp_announce", 1)
    cluster.create()
    first.wait_for(vip)
    for node in cluster.nodes:
        node.plug_in(Nic(cluster.switch, "eth3", "10.0.0.4{}/24", 121))  # in the VIP's own network
    assert who_has(cluster, vip) == {first.mac}
    assert first.vrrpctl("demote")[0] == 0
    second.wait_for(vip)
    assert who_has(cluster, vip) == {second.mac}


def test_no_question_of_an_instance_names_the_vip_on_another_interface(make_cluster: MakeCluster) -> None:
    """Whoever reads that keeps the MAC of the interface for the VIP: the answers to a client that is reached through another one say so."""
    cluster = make_cluster(1, create=False)
    (only,) = cluster.nodes
    only.plug_in(Nic(cluster.switch))
    cluster.create()
    only.wait_for(cluster.vip)
    client = Namespace("far client")
    try:
        cluster.switch.attach(client, 201, ("10.1.0.201/24",))
        client.run(["/sbin/ip", "route", "add", cluster.vip, "dev", "eth0"])
        client.run(["/sbin/ip", "neighbour", "replace", cluster.vip, "lladdr", only.mac, "dev", "eth0", "nud", "stale"])
        only.machine.run(["/sbin/ip", "neighbour", "flush", "dev", "eth1"])
        request = ["/bin/bash", "-c", f"exec 3<>/dev/tcp/{cluster.vip}/80"]
        assert client.run(request, timeout=10).returncode == 0
        known = client.run(["/sbin/ip", "neighbour", "show", cluster.vip]).stdout
    finally:
        client.kill()
    assert only.mac in known, known


def test_what_was_set_before_is_there_afterwards(make_cluster: MakeCluster) -> None:
    """post-stop leaves every interface, and what holds for all, as pre-start found it; an operator's stricter word stands throughout."""
    cluster = make_cluster(1, create=False)
    (only,) = cluster.nodes
    only.plug_in(Nic(cluster.switch))
    interfaces = ("all", "default", "eth0", "eth1", "lo")
    sysctl(only, "eth1.arp_ignore", 2)
    sysctl(only, "all.arp_announce", 1)
    before = settings(only.machine, *interfaces)
    only.start()
    assert settings(only.machine, "eth1") == settings(only.machine, "eth1") | {"/proc/sys/net/ipv4/conf/eth1/arp_ignore": "2"}
    only.monit.stop()
    only.agent.run_script("post-stop")
    assert settings(only.machine, *interfaces) == before


def test_an_operators_word_while_it_runs_is_not_weakened(make_cluster: MakeCluster) -> None:
    """What he made stricter between pre-start and post-stop stays."""
    cluster = make_cluster(1)
    (only,) = cluster.nodes
    sysctl(only, "all.arp_ignore", 8)
    only.monit.stop()
    only.agent.run_script("post-stop")
    assert settings(only.machine, "all")["/proc/sys/net/ipv4/conf/all/arp_ignore"] == "8"


def test_doctor_names_an_interface_that_would_answer(make_cluster: MakeCluster) -> None:
    """Somebody sets back what holds for all: doctor names the interface, a restart of the instance mends it."""
    cluster = make_cluster(2, create=False)
    first, second = cluster.nodes
    for node in cluster.nodes:
        node.plug_in(Nic(cluster.switch))
    cluster.create()
    first.wait_for(cluster.vip)
    assert "vip-on-lo:" not in second.vrrpctl("doctor")[1]
    sysctl(second, "all.arp_ignore", 0)
    code, said, _ = second.vrrpctl("doctor")
    assert (code, "vip-on-lo: 10.0.0.10 is on lo, but arp_ignore is 0 on eth1" in " ".join(said.split())) == (8, True), said
    update(second)
    until(lambda: who_has(cluster, cluster.vip) == {first.mac}, "one interface to answer")

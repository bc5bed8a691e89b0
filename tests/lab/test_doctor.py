"""vrrpctl doctor: nothing to say of a healthy group, and in each broken set-up the cause and the mend."""

import json
import platform
import re
import sys
import textwrap

import pytest

from lab.conftest import MakeCluster, PlugIn, start_keepalived
from lab.fabric.agent import PATH
from lab.fabric.cluster import VIP6
from lab.fabric.namespace import Namespace
from lab.fabric.node import Node
from lab.fabric.wait import until

VRRPCTL = "/var/vcap/packages/vrrp-drain/bin/vrrpctl"
NFT = "/usr/sbin/nft"


def examine(node: Node) -> dict[str, dict[str, str]]:
    """Return what doctor finds, without what is ok: the first finding of each check. The exit code says whether there is a problem."""
    code, stdout, stderr = node.vrrpctl("doctor", "--json")
    assert stdout, stderr
    report = json.loads(stdout)
    assert (code == 0) is report["healthy"]
    assert code in (0, 8)
    print(json.dumps([each for each in report["findings"] if each["severity"] != "ok"], indent=1))
    return {each["check"]: each for each in reversed(report["findings"]) if each["severity"] != "ok"}


def severe(found: dict[str, dict[str, str]]) -> set[str]:
    """Return the checks that found more than something to note."""
    return {check for check, each in found.items() if each["severity"] in ("problem", "warning")}


def rules(node: Node) -> list[str]:
    """Return the machine's nftables rules, without what counts and what runs out."""
    return [line for line in node.machine.run([NFT, "list", "ruleset"]).stdout.splitlines() if not re.search("counter|expires", line)]


def drop(machine: Namespace, table: str, hook: str, *matches: str) -> None:
    """Drop what matches, with rules of the test's own in the machine's kernel."""
    rules = "".join(f"add rule {table} test drops {match} drop; " for match in matches)
    done = machine.run([NFT, f"add table {table} test; add chain {table} test drops {{ type filter hook {hook} priority 0; }}; {rules}"])
    assert done.returncode == 0, done.stderr


@pytest.mark.kernel("doctor", short=True)
@pytest.mark.samples("fd00::10")
@pytest.mark.parametrize("vip", ["10.0.0.10", VIP6])
def test_a_healthy_group_and_an_iaas_that_drops_foreign_sources(make_cluster: MakeCluster, vip: str) -> None:
    """On MASTER and BACKUP there is nothing worse than a note, and their rules are as before.

    With anti-spoofing at the first instance's port, that is found there, with the way out; the other one may send.
    """
    cluster = make_cluster(2, vip=vip)
    first, second = cluster.nodes
    for node in cluster.nodes:
        before = rules(node)
        found = examine(node)
        assert severe(found) == set()
        assert set(found) <= {"adverts", "timing"}, "what the MASTER cannot prove from where it is; a busy machine"
        assert rules(node) == before
    drop(cluster.switch.namespace, "bridge", "forward", "iifname port1 ip saddr != { 10.0.0.1, 10.0.0.10 }")
    found = examine(first)
    assert severe(found) == {"foreign-sources"}
    assert "10.0.0.2 answers our own address, but nothing that we send from" in found["foreign-sources"]["what"]
    assert "set vrrp_drain.handoff_transport to tunnel" in found["foreign-sources"]["mend"]
    assert severe(examine(second)) == set()


def test_vrid_of_somebody_else(make_cluster: MakeCluster, stranger: PlugIn) -> None:
    """Another cluster with our VRID is named, with its VIP and the property to change."""
    cluster = make_cluster(1)
    start_keepalived(stranger(cluster), vip="10.0.0.99", version=3, advert_int=0.1)
    found = examine(cluster.nodes[0])["foreign-adverts"]
    assert found["severity"] == "problem"
    assert found["what"] == "10.0.0.66 uses VRID 1 on this segment for 10.0.0.99, not for our 10.0.0.10"
    assert "another keepalived.virtual_router_id" in found["mend"]


@pytest.mark.kernel("doctor")
def test_adverts_that_are_dropped(make_cluster: MakeCluster) -> None:
    """By the network: both are MASTER, and see each other only answer for the VIP.

    By a firewall of an instance: there doctor sees adverts arrive and vanish; at the peer, that it is not heard.
    """
    cluster = make_cluster(2)
    first, second = cluster.nodes
    drop(cluster.switch.namespace, "bridge", "forward", "ip protocol 112")
    second.wait_for(cluster.vip)
    for node, other in ((first, "02:00:00:00:00:02 (10.0.0.2)"), (second, "02:00:00:00:00:01 (10.0.0.1)")):
        found = examine(node)
        assert "firewall" not in found
        assert found["adverts"]["what"] == f"{other} answers for 10.0.0.10 as well, and no advert of it arrives"
        assert "must let IP protocol 112 pass" in found["adverts"]["mend"]
    drop(second.machine, "inet", "input", "meta l4proto 112")
    assert cluster.switch.namespace.run([NFT, "flush", "ruleset"]).returncode == 0
    here = examine(second)["firewall"]
    assert here["what"] == "adverts of 10.0.0.1 arrive at eth0, but a firewall of this instance drops them"
    assert "both are MASTER" in here["means"]
    assert "accept IP protocol 112" in here["mend"]
    there = examine(first)["adverts"]
    assert there["what"] == "10.0.0.2 adverts priority 253 beside our 254: it does not hear us"
    assert "vrrpctl doctor on 10.0.0.2" in there["mend"]


def test_no_healthy_successor_and_a_frontend_on_the_vip(make_cluster: MakeCluster) -> None:
    """Dead haproxies are told from dead machines, one from all; a listener on the VIP is named with its port."""
    cluster = make_cluster(3)
    first, second, third = cluster.nodes
    second.monit.stop("haproxy")
    found = examine(first)
    assert (found["successor"]["severity"], found["successor"]["what"]) == ("warning", "haproxy of 10.0.0.2 does not answer us")
    third.power_off()
    (first.vcap / "frontend.cfg").write_text(
        "defaults\n mode http\n timeout client 1s\n timeout connect 1s\n timeout server 1s\nfrontend vip\n bind 10.0.0.10:8443\n"
    )
    first.machine.popen(["/usr/sbin/haproxy", "-f", "/var/vcap/frontend.cfg"])
    until(lambda: ":8443" in first.machine.run(["/bin/ss", "-ltn"]).stdout, "the frontend on the VIP to listen")
    found = examine(first)
    assert severe(found) == {"successor", "frontends"}
    assert found["successor"]["severity"] == "problem"
    assert found["successor"]["what"].startswith("haproxy of 10.0.0.2, 10.0.0.3 does not answer us; 10.0.0.3 does not even answer ARP")
    assert "tcp://127.0.0.1:80 is what is asked" in found["successor"]["mend"]
    assert found["frontends"]["what"] == "a listener is bound to the VIP itself: 10.0.0.10:8443"
    assert "bind :::8443 v4v6" in found["frontends"]["mend"]
    third.power_on()


@pytest.mark.thorough
@pytest.mark.long
def test_mixed_advert_intervals(make_cluster: MakeCluster) -> None:
    """An instance whose keepalived was given another interval, past pre-start, is a second MASTER: on both doctor names the property."""
    cluster = make_cluster(2, fast=False)
    first, second = cluster.nodes
    cluster.properties["keepalived"]["advert_int"] = 2
    second.monit.stop("keepalived")
    second.apply(cluster.jobs, cluster.group, cluster.properties, cluster.package)
    second.monit.start("keepalived")
    second.wait_for(cluster.vip)
    for node, what in (
        (second, "10.0.0.1 adverts VRID 1 every 1 s, we every 2 s"),
        (first, "10.0.0.2 adverts VRID 1 every 2 s, we every 1 s"),
    ):
        found = examine(node)["foreign-adverts"]
        while found["what"] == f"{what}, in one packet":  # 3.3 s have one or two adverts of every 2 s in them
            assert found["mend"] == "vrrpctl doctor once more"
            found = examine(node)["foreign-adverts"]
        assert found["what"] == what
        assert "the same keepalived.advert_int" in found["mend"]


def test_a_stale_vip(make_cluster: MakeCluster) -> None:
    """After keepalived was killed, its instance says that the address is stale, the MASTER that two machines answer."""
    cluster = make_cluster(2)
    first, second = cluster.nodes
    first.crash_keepalived()
    second.wait_for(cluster.vip)
    found = examine(first)
    assert "10.0.0.10 is still on eth0: stale" in found["keepalived"]["means"]
    assert found["keepalived"]["mend"].startswith("vrrpctl demote takes the stale address off safely")
    other = examine(second)["adverts"]
    assert other["what"].startswith("02:00:00:00:00:01 (10.0.0.1) answers for 10.0.0.10 as well")
    assert first.vrrpctl("demote")[0] == 0
    assert "adverts" not in severe(examine(second)), "the mend mends it"


@pytest.mark.kernel("doctor")
def test_a_kernel_without_nftables_and_disks_that_cannot_be_written(make_cluster: MakeCluster) -> None:
    """A read-only run directory, a full log and a kernel without a part are findings; so is a damaged configuration. Nothing crashes."""
    cluster = make_cluster(1)
    (only,) = cluster.nodes
    assert only.machine.run([NFT, "delete", "table", "ip", "vrrp_drain"]).returncode == 0
    missing = examine(only)["handoff-rules"]
    assert missing["what"] == "the rules that hand open connections over are not installed, though this kernel takes them"
    assert rules(only) == [], "the trial leaves nothing"
    for options, directory in (("ro", "/var/vcap/sys/run/vrrp-drain"), ("size=4k", "/var/vcap/sys/log/vrrp-drain")):
        assert only.machine.run(["/bin/mount", "-t", "tmpfs", "-o", options, "tmpfs", directory]).returncode == 0
    script = only.vcap / "without_nftables.py"
    script.write_text(WITHOUT_NFTABLES)
    done = only.machine.run([sys.executable, "-I", "/var/vcap/without_nftables.py", VRRPCTL, "doctor", "--json"], {"PATH": PATH})
    assert done.returncode == 8, done.stderr
    said = [each for each in json.loads(done.stdout)["findings"] if each["severity"] != "ok"]
    found = {each["check"]: each for each in reversed(said)}
    assert "Protocol not supported" in found["handoff-rules"]["what"]
    assert found["handoff-rules"]["means"] == "every move cuts the connections that are open"
    directories = [each for each in said if each["check"] == "directories"]
    assert [(each["severity"], each["what"]) for each in directories] == [
        ("problem", "/var/vcap/sys/run/vrrp-drain cannot be written to: Read-only file system"),
        ("warning", "/var/vcap/sys/log/vrrp-drain cannot be written to: No space left on device"),
    ]
    assert "remount,rw" in directories[0]["mend"]
    (only.vcap / "jobs/vrrp-drain/config/vrrp-drain.json").write_text("{")
    found = examine(only)
    assert set(found) == {"configuration"}
    assert "must be JSON" in found["configuration"]["what"]


# Runs a program on a kernel that was built without NETLINK_NETFILTER, as far as the program can tell (seccomp(2)).
_SOCKET = {"x86_64": 41, "aarch64": 198}[platform.machine()]
WITHOUT_NFTABLES = textwrap.dedent(
    f"""
    import ctypes, os, struct, sys
    NUMBER, FAMILY, PROTOCOL = 0, 16, 32  # offsets in struct seccomp_data
    steps = [(0x20, 0, 0, NUMBER), (0x15, 0, 5, {_SOCKET}), (0x20, 0, 0, FAMILY), (0x15, 0, 3, 16),
             (0x20, 0, 0, PROTOCOL), (0x15, 0, 1, 12), (0x06, 0, 0, 0x00050000 | 93), (0x06, 0, 0, 0x7FFF0000)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert libc.prctl(22, 2, program, 0, 0) == 0, os.strerror(ctypes.get_errno())  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
    os.execv(sys.argv[1], sys.argv[1:])
    """
)

"""What a stemcell's hardening may take away: everything goes on, or pre-start, status and doctor name it, with its mend."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from lab.clients.load import Load
from lab.conftest import MakeCluster, nft
from lab.fabric import absent
from lab.fabric.absent import MACVLAN, NFTABLES, SOCK_DIAG, TCP_DIAG, UDP_DIAG, VXLAN, expression
from lab.fabric.cluster import VIP6, Cluster, update
from lab.fabric.hardened import AGENTS_TABLE, SETTINGS, STATEFUL, begin_with, load_rules, set_sysctls, sh
from lab.fabric.node import Node
from lab.fabric.wait import until

IPV4, IPV6 = 2, 10  # NFPROTO_*
REFUSED = "the kernel refuses the rules that hand open connections over"


def said_at_start(node: Node) -> str:
    """Start the node; return what its pre-start said, in one line."""
    (run,) = (each for each in node.agent.run_script("pre-start") if each.job == "vrrp-drain")
    node.monit.start()
    node.agent.run_script("post-start")
    return " ".join(run.stderr.split())


def told(node: Node) -> dict[str, str]:
    """Start the node; return what pre-start, status and doctor say, each in one line."""
    at_start = said_at_start(node)
    doctor = json.loads(node.vrrpctl("doctor", "--json")[1])
    wrong = [each for each in doctor["findings"] if each["severity"] in ("problem", "warning")]
    return {
        "pre-start": at_start,
        "status": " ".join(node.status()["hindrances"]),
        "status for people": " ".join(node.vrrpctl("status")[1].split()),
        "doctor": " ".join(f"{each['check']}: {each['what']}. {each['means']}. {each['mend']}" for each in wrong),
    }


@pytest.mark.samples("nft_dup_ipv6")
@pytest.mark.parametrize(
    ("lacking", "properties", "what", "mend"),
    [
        pytest.param([NFTABLES], {}, f"{REFUSED} (Invalid argument: it has no nftables)", "nf_tables", id="nf_tables"),
        pytest.param([expression("socket")], {}, f"{REFUSED} (it lacks socket of IPv4, in nftables)", "nft_socket", id="nft_socket"),
        pytest.param([expression("dup", IPV4)], {}, f"{REFUSED} (it lacks dup of IPv4, in nftables)", "nft_dup_ipv4", id="nft_dup_ipv4"),
        pytest.param(
            [expression("dup", IPV6), expression("limit")],
            {"keepalived": {"vips": [VIP6]}},
            f"{REFUSED} (it lacks limit of IPv4, dup of IPv6, limit of IPv6, in nftables)",
            "nft_dup_ipv6 nft_limit",
            id="nft_dup_ipv6",
        ),
        pytest.param([expression("counter")], {}, f"{REFUSED} (it lacks counter of IPv4, in nftables)", "nft_counter", id="nft_counter"),
        pytest.param([expression("dynset")], {}, f"{REFUSED} (it lacks dynset of IPv4, in nftables)", "nf_tables", id="dynset"),
        pytest.param(
            [expression("counter")],
            {"vrrp_drain": {"connection_handoff": False}},
            "it lacks counter of IPv4, in nftables). adverts of strangers reach keepalived",
            "nft_counter",
            id="adverts",
        ),
        pytest.param([TCP_DIAG], {}, "the kernel does not tell its connections (it has no tcp_diag)", "inet_diag tcp_diag", id="tcp_diag"),
        pytest.param([SOCK_DIAG], {}, "the kernel does not tell its connections (it has no tcp_diag)", "inet_diag", id="inet_diag"),
        pytest.param(
            [UDP_DIAG],
            {"vrrp_drain": {"quic_ports": [443]}},
            "(it has no udp_diag). drain waits for TCP alone",
            "inet_diag udp_diag",
            id="udp_diag",
        ),
        pytest.param([VXLAN], {"vrrp_drain": {"handoff_transport": "tunnel"}}, "this kernel has no VXLAN", "vxlan", id="vxlan"),
    ],
)
def test_a_module_is_not_there(
    make_cluster: MakeCluster, lacking: Sequence[str], properties: Mapping[str, Any], what: str, mend: str
) -> None:
    """It is named, with how to have it, by pre-start before anything runs; the instance serves, hands over, and comes back."""
    cluster = make_cluster(2, create=False, **properties)
    first, second = cluster.nodes
    absent.take_away(first, *lacking)
    for who, said in told(first).items():
        assert what in said, who
        assert f"modprobe {mend}" in said, who
    first.wait_for(cluster.vip)
    second.start()
    assert second.status()["hindrances"] == []
    assert [(each.exit_code, each.stdout) for each in update(first) if each.job == "vrrp-drain"] == [(0, "0\n")]
    first.wait_for(cluster.vip)
    assert [line for line in first.log().splitlines() if " ERROR " in line and " doctor[" not in line] == []


@pytest.mark.thorough
def test_macvlan_is_not_there(make_cluster: MakeCluster) -> None:
    """With keepalived.use_vmac it is named as well. keepalived itself has what we cannot take away here: that it goes on is not shown."""
    cluster = make_cluster(1, create=False, keepalived={"use_vmac": True})
    (only,) = cluster.nodes
    absent.take_away(only, MACVLAN)
    for who, said in told(only).items():
        assert "kernel: this kernel has no macvlan interfaces, which keepalived.use_vmac needs" in said, who
        assert "modprobe macvlan" in said, who


@pytest.mark.thorough
def test_a_kernel_with_everything(make_cluster: MakeCluster) -> None:
    """Nothing is said of one that has all of it: with a tunnel, QUIC, a virtual MAC and both families."""
    cluster = make_cluster(
        1,
        create=False,
        keepalived={"use_vmac": True, "vips": [VIP6]},
        vrrp_drain={"quic_ports": [443], "handoff_transport": "tunnel"},
    )
    (only,) = cluster.nodes
    said = told(only)
    assert said["status"] == ""
    assert "modprobe" not in " ".join(said.values())


def somebody(number: int) -> tuple[str, ...]:
    """Return what makes a command run as the user and the group of this number: 1000 is vcap."""
    return ("/usr/bin/setpriv", "--reuid", str(number), "--regid", str(number), "--clear-groups", "--")


def upgraded_unnoticed(cluster: Cluster) -> None:
    """Update all, with clients whose connections stay open: none of them is cut or refused, and nothing is found wrong."""
    with Load(cluster.client, cluster.vip, rate=50, keep_alive=10) as load:
        until(lambda: load.answered > 100, "clients to be served")
        for node in cluster.nodes:
            assert [each.stdout for each in update(node) if each.job == "vrrp-drain"] == ["0\n"]
            assert node.status()["hindrances"] == []
        cluster.nodes[0].wait_for(cluster.vip)
    assert load.found.refused() == []
    assert load.found.failed("established") == []


def hardened(make_cluster: MakeCluster, how: Callable[[Node], object], **properties: Any) -> Cluster:
    """Deploy two instances on machines to which ``how`` was done before."""
    cluster = make_cluster(2, create=False, **properties)
    for node in cluster.nodes:
        how(node)
    for node in cluster.nodes:
        assert "WARNING" not in said_at_start(node)
    cluster.nodes[0].wait_for(cluster.vip)
    return cluster


@pytest.mark.thorough
@pytest.mark.parametrize(
    "properties",
    [{}, {"vrrp_drain": {"handoff_transport": "tunnel"}}, {"keepalived": {"use_vmac": True}}],
    ids=["direct", "tunnel", "virtual MAC"],
)
def test_settings_of_the_kernel(make_cluster: MakeCluster, properties: Mapping[str, Any]) -> None:
    """Strict reverse path filtering of all interfaces, no redirects, no forwarding, and what else such lists have: nobody notices."""
    upgraded_unnoticed(hardened(make_cluster, lambda node: set_sysctls(node, SETTINGS.items()), **properties))


@pytest.mark.thorough
def test_arp_that_is_filtered(make_cluster: MakeCluster) -> None:
    """With a virtual MAC nobody would learn where the VIP is: that is named, and is mended by what is told."""
    cluster = make_cluster(1, create=False, keepalived={"use_vmac": True})
    (only,) = cluster.nodes
    set_sysctls(only, [(f"net.ipv4.conf.{each}.arp_filter", 1) for each in ("all", "default", "eth0")])
    for who, said in told(only).items():
        assert "arp-filter: arp_filter is 1 for vrrp.1, and the way to 10.0.0.10's network is eth0" in said, who
        assert "net.ipv4.conf.vrrp/1.arp_filter=0" in said, who
    with Load(cluster.client, cluster.vip, rate=20, keep_alive=0) as load:
        sh(only, "sysctl -q -w net.ipv4.conf.all.arp_filter=0 net.ipv4.conf.default.arp_filter=0 net.ipv4.conf.vrrp/1.arp_filter=0")
        until(lambda: load.answered > 20, "clients to be served")
    assert only.status()["hindrances"] == []


@pytest.mark.thorough
def test_a_reverse_path_filter_that_is_made_strict_later(make_cluster: MakeCluster) -> None:
    """keepalived loosens it for a virtual MAC when it starts: who applies his settings after that keeps all clients out, which is named."""
    cluster = make_cluster(1, keepalived={"use_vmac": True})
    (only,) = cluster.nodes
    assert only.status()["hindrances"] == []
    set_sysctls(only, [("net.ipv4.conf.all.rp_filter", 1)])
    (said,) = only.status()["hindrances"]
    assert said.startswith("reverse-path: rp_filter is strict on vrrp.1, which has the virtual MAC, and answers leave through eth0")
    assert "PROBLEM reverse-path:" in " ".join(only.vrrpctl("doctor")[1].split())


def test_the_agents_own_table(make_cluster: MakeCluster) -> None:
    """Its chains stay as they are, and so do ours."""
    cluster = hardened(make_cluster, lambda node: load_rules(node, AGENTS_TABLE))
    before = [nft(node, "list", "table", "inet", "bosh_agent") for node in cluster.nodes]
    upgraded_unnoticed(cluster)
    assert [nft(node, "list", "table", "inet", "bosh_agent") for node in cluster.nodes] == before


def test_a_firewall_that_lets_no_connection_begin_in_the_middle(make_cluster: MakeCluster) -> None:
    """To conntrack the packets that a new MASTER hands on belong to nothing: ours see them first, in whatever order both were loaded."""
    cluster = make_cluster(2, create=False)
    for node in cluster.nodes:
        load_rules(node, STATEFUL)
        set_sysctls(node, [("net.netfilter.nf_conntrack_tcp_loose", 0)])
        node.start()
        load_rules(node, f"delete table inet hardening\n{STATEFUL}")  # of two with the same priority the later one is the first
    cluster.nodes[0].wait_for(cluster.vip)
    with Load(cluster.client, cluster.vip, rate=50, keep_alive=10) as load:
        until(lambda: load.answered > 100, "clients to be served")
        assert cluster.nodes[0].vrrpctl("demote")[0] == 0
        answered = load.answered
        until(lambda: load.answered > answered + 200, "clients to be served after the move")
    assert load.found.refused() == []
    assert load.found.failed("established") == []


@pytest.mark.thorough
def test_a_firewall_that_lets_nothing_out(make_cluster: MakeCluster) -> None:
    """What is handed on has no state, so an output policy drops it: named with the rule that is missing, and no longer once it is there."""
    outgoing = """
        table inet filter {
            chain output { type filter hook output priority filter; policy drop;
            ct state established,related accept; oifname "lo" accept; meta l4proto { 112, icmp, ipv6-icmp, udp, tcp } ct state new accept; }
        }
        """
    cluster = make_cluster(2, create=False)
    first, second = cluster.nodes
    for node in cluster.nodes:
        load_rules(node, outgoing)
    mend = "nft insert rule inet filter output ip daddr 10.0.0.10 accept"
    for who, said in told(first).items():
        assert "foreign-rules: the nftables chain inet filter output drops what none of its rules lets pass" in said, who
        assert mend in said, who
    second.start()
    for node in cluster.nodes:
        nft(node, *mend.split()[1:])
    upgraded_unnoticed(cluster)


@pytest.mark.samples("077")
@pytest.mark.parametrize("umask", ["077", "0027"])
def test_a_umask(make_cluster: MakeCluster, umask: str) -> None:
    """Of the agent and of monit: who forwards logs reads all of ours, and nobody else than root writes one."""
    cluster = hardened(make_cluster, lambda node: begin_with(node, f"umask {umask}"))
    first = cluster.nodes[0]
    found = sh(first, "cd /var/vcap/sys/log; find vrrp-drain keepalived -type f -printf '%f %m\\n'").split("\n")
    ours = {"vrrp-drain.log", "keepalived.log", "vrrpctl.log"}
    assert {name: mode for name, mode in (line.split() for line in found if line) if name in ours} == dict.fromkeys(ours, "644")
    upgraded_unnoticed(cluster)


@pytest.mark.thorough
def test_nothing_is_executed_from_where_others_write(make_cluster: MakeCluster) -> None:
    """/tmp, /var/tmp and /dev/shm are mounted read-only and noexec, TMPDIR leads there, and others see no process in /proc."""

    def mount(node: Node) -> None:
        sh(
            node,
            "for each in /tmp /var/tmp /dev/shm; do mkdir -p $each; mount -t tmpfs -o ro,noexec,nosuid,nodev tmpfs $each; done;"
            "mount -o remount,hidepid=2,gid=4 /proc",
        )
        begin_with(node, "export TMPDIR=/tmp")

    upgraded_unnoticed(hardened(make_cluster, mount))


@pytest.mark.thorough
@pytest.mark.parametrize("mode", ["770", "750"])
def test_directories_that_are_of_the_group_alone(make_cluster: MakeCluster, mode: str) -> None:
    """sys/run and sys/log, and the jobs' own below them: root works there, whoever is in the group reads the logs, nobody else anything."""

    def make(node: Node) -> None:
        for kind in ("run", "log"):
            for job in ("", "/keepalived", "/vrrp-drain", "/haproxy", "/bpm"):
                path = f"/var/vcap/sys/{kind}{job}"
                sh(node, f"mkdir -p {path}; chown 0:1000 {path}; chmod {mode} {path}")

    cluster = hardened(make_cluster, make)
    upgraded_unnoticed(cluster)
    for node in cluster.nodes:
        log = "/var/vcap/sys/log/vrrp-drain/vrrp-drain.log"
        sh(node, f"cat {log} /var/vcap/sys/log/keepalived/keepalived.log >/dev/null", *somebody(1000))
        assert node.machine.run([*somebody(1000), "/bin/ls", "/var/vcap/sys/run/vrrp-drain"]).returncode != 0, "what decides what root does"
        assert node.machine.run([*somebody(1001), "/bin/cat", log]).returncode != 0


@pytest.mark.thorough
def test_ipv6_is_off_for_interfaces_that_come(make_cluster: MakeCluster) -> None:
    """default.disable_ipv6 holds for the tunnel's device and for the virtual MAC's, which are made later: the VIPs are served."""
    settings = [("net.ipv6.conf.default.disable_ipv6", 1)]
    cluster = hardened(
        make_cluster,
        lambda node: set_sysctls(node, settings),
        watched=True,
        vip=VIP6,
        ha_proxy={"bind": ":::80 v4v6"},
        vrrp_drain={"handoff_transport": "tunnel"},
        keepalived={"use_vmac": True},
    )
    assert cluster.nodes[0].status()["unserved"] == []
    upgraded_unnoticed(cluster)

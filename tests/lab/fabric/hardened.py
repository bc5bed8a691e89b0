"""What hardening does to a machine: firewalls of others', settings of the kernel, mounts, and how files are made."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .agent import PATH

if TYPE_CHECKING:
    from .node import Node

# bosh-agent's: root alone reaches monit and NATS, but for jobs that were let in
AGENTS_TABLE = """
table inet bosh_agent {
    chain monit_access_jobs {
    }
    chain monit_access {
        type filter hook output priority filter - 1; policy accept;
        jump monit_access_jobs
        meta skuid 0 ip daddr 127.0.0.1 tcp dport 2822 accept
        ip daddr 127.0.0.1 tcp dport 2822 drop
    }
    chain nats_access {
        type filter hook output priority filter - 1; policy accept;
        meta skuid 0 ip daddr 10.0.0.250 tcp dport 4222 accept
        ip daddr 10.0.0.250 tcp dport 4222 drop
    }
}
"""
# what every list of hardening has: no TCP begins but by a SYN, and nothing that conntrack does not know
STATEFUL = """
table inet hardening {
    chain early {
        type filter hook prerouting priority mangle; policy accept;
        ct state invalid drop
        tcp flags & (fin|syn|rst|ack) != syn ct state new drop
        tcp flags & (fin|syn) == (fin|syn) drop
    }
    chain first {
        type filter hook prerouting priority raw; policy accept;
        ip saddr 127.0.0.0/8 iifname != "lo" drop
    }
    chain in {
        type filter hook input priority filter; policy drop;
        iifname "lo" accept
        ct state established,related accept
        meta l4proto { 112, icmp, ipv6-icmp } accept
        tcp dport { 80, 443 } ct state new accept
    }
}
"""
SETTINGS = {  # of the lists of CIS, and of Ubuntu's and BOSH's own hardening
    "net.ipv4.ip_forward": 0,
    "net.ipv4.tcp_syncookies": 1,
    "net.ipv4.tcp_rfc1337": 1,
    "net.ipv4.tcp_timestamps": 0,
    "net.ipv4.ip_nonlocal_bind": 0,
    "net.ipv4.icmp_echo_ignore_broadcasts": 1,
    "net.ipv4.icmp_ignore_bogus_error_responses": 1,
    **{
        f"net.ipv4.conf.{interface}.{name}": value
        for interface in ("all", "default", "eth0")
        for name, value in {
            **dict.fromkeys(("accept_redirects", "secure_redirects", "send_redirects", "accept_source_route", "accept_local"), 0),
            **dict.fromkeys(("rp_filter", "log_martians"), 1),
        }.items()
    },
    **{
        f"net.ipv6.conf.{interface}.{name}": 0
        for interface in ("all", "default", "eth0")
        for name in ("accept_ra", "accept_redirects", "accept_source_route", "autoconf", "forwarding")
    },
}


def sh(node: "Node", script: str, *prefix: str) -> str:
    done = node.machine.run([*prefix, "/bin/sh", "-ec", script], {"PATH": PATH})
    assert done.returncode == 0, done.stderr
    return done.stdout


def load_rules(node: "Node", text: str) -> None:
    """Load a ruleset as nft reads it from a file."""
    (node.vcap / "ruleset.nft").write_text(text)
    sh(node, "nft -f /var/vcap/ruleset.nft")


def set_sysctls(node: "Node", settings: Iterable[tuple[str, int]]) -> None:
    sh(node, "sysctl -q -w " + " ".join(f"{name}={value}" for name, value in settings))


def begin_with(node: "Node", line: str) -> None:
    """From now on, until its jobs are rendered anew, every script that monit and the agent start begins with a line of shell."""
    for script in node.vcap.glob("jobs/*/bin/*"):
        first, _, rest = script.read_text().partition("\n")
        if first.endswith("sh"):
            script.write_text(f"{first}\n{line}\n{rest}")

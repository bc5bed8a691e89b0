"""vrrpctl rehearse on real clusters: it proves a good one, says what clients would feel of a bad one, and always puts things back."""

import json
import subprocess
import time
from typing import Any

import pytest

from lab.conftest import MakeCluster
from lab.fabric.agent import PATH
from lab.fabric.cluster import VIP, VIP6, update
from lab.fabric.namespace import terminate
from lab.fabric.node import Node

VRRPCTL = "/var/vcap/packages/vrrp-drain/bin/vrrpctl"
NFT = "/usr/sbin/nft"
BOTH_FAMILIES = {"ha_proxy": {"bind": ":::80 v4v6"}, "vrrp_drain": {"health_check": "tcp://127.0.0.1:80"}}


def rehearse(node: Node, expected: int, *words: str) -> dict[str, Any]:
    """Run a drill that ends with the exit code ``expected``, and return its report."""
    code, stdout, stderr = node.vrrpctl("rehearse", "--json", *words)
    print(stdout, stderr)
    assert code == expected, stderr
    found: dict[str, Any] = json.loads(stdout)
    return found


@pytest.mark.samples("fd00::10")
@pytest.mark.parametrize("vip", ["10.0.0.10", VIP6])
def test_a_healthy_cluster(make_cluster: MakeCluster, vip: str) -> None:
    """Nothing is felt: connections here and at the peer, both moves proven, and the VIP is back. A BACKUP refers to the MASTER."""
    cluster = make_cluster(2, vip=vip, **BOTH_FAMILIES)
    first, second = cluster.nodes
    found = rehearse(first, 0)
    assert [each["move"] for each in found["moves"]] == ["demote", "promote"]
    assert [each["instance"] for each in found["holders"]] == ["haproxy/0", "haproxy/1", "haproxy/0"]
    demote, promote = found["moves"]
    assert min(demote["probes"], promote["probes"]) > 50
    total = found["total"]
    assert (found["felt"], total["refused"], total["lost"], total["slow"], total["longest_gap"]) == (False, 0, 0, 0, 0.0)
    assert 0 < total["slowest"] < 0.1
    assert cluster.holders() == [first]
    assert first.band() == "0"
    assert "SYN-RECV" not in second.machine.run(["/bin/ss", "-tan"]).stdout, "nothing half open is left at the peer"
    code, stdout, stderr = second.vrrpctl("rehearse")
    assert (code, stdout) == (8, "")
    assert "haproxy/1 is not MASTER" in stderr
    assert "run it there. Nothing was moved" in stderr
    assert second.band() == "0"


def firewall(node: Node, verdict: str, *, after: int = 0) -> None:
    """Have the node apply ``verdict`` to connections to the VIP, from byte ``after`` of their SYNs on; doctor's own go elsewhere."""
    matches = f"ip daddr {VIP} tcp dport 80 tcp flags & (syn | ack) == syn quota over {after} bytes"
    rules = f"add chain ip test drops {{ type filter hook input priority 0; }}; add rule ip test drops {matches} {verdict}"
    done = node.machine.run([NFT, f"add table ip test; delete table ip test; add table ip test; {rules}"])
    assert done.returncode == 0, done.stderr


def test_a_peer_that_fails_its_clients(make_cluster: MakeCluster) -> None:
    """A firewall at the peer drops connections to the VIP once it is there: the report says that clients would have felt it.

    One that resets them from the beginning is found before anything is moved.
    """
    cluster = make_cluster(2)
    first, second = cluster.nodes
    trials = 2 * 44  # bytes: IPv4 and TCP headers, one option
    firewall(second, "drop", after=trials)
    found = rehearse(first, 9)
    demote, _ = found["moves"]
    assert demote["lost"] > 50
    assert demote["longest_gap"] > 0.9, "for as long as the peer has the VIP"
    assert (found["felt"], demote["refused"], found["error"]) == (True, 0, None)
    assert [each["instance"] for each in found["holders"]] == ["haproxy/0", "haproxy/1", "haproxy/0"]
    assert (first.band(), cluster.holders()) == ("0", [first])

    firewall(second, "reject with tcp reset")
    begun = first.log().count("priority lowered")
    code, stdout, stderr = first.vrrpctl("rehearse")
    assert (code, stdout) == (8, "")
    assert "no connection to 10.0.0.10 port 80 that is sent to haproxy/1 is accepted there" in stderr
    assert first.log().count("priority lowered") == begun


def test_told_to_stop_and_refused(make_cluster: MakeCluster) -> None:
    """SIGTERM while the peer has the VIP: the band is as before, the VIP comes back. Without a healthy peer nothing is even begun."""
    cluster = make_cluster(2)
    first, second = cluster.nodes
    drill = first.machine.popen([VRRPCTL, "rehearse"], {"PATH": PATH}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    second.wait_for(cluster.vip)
    terminate(drill)
    _, stderr = drill.communicate()
    assert drill.returncode == 7
    assert b"told to stop: this instance is in the active band as before" in stderr
    assert first.band() == "0"
    first.wait_for(cluster.vip)
    second.wait_for(cluster.vip, here=False)
    begun = first.log().count("priority lowered")
    second.monit.stop("haproxy")
    code, stdout, text = first.vrrpctl("rehearse")
    assert (code, stdout) == (8, "")
    assert "vrrpctl doctor finds a problem: successor: haproxy of 10.0.0.2 does not answer us" in text
    assert text.endswith("Nothing was moved\n")
    assert (first.band(), cluster.holders(), first.log().count("priority lowered")) == ("0", [first], begun)


@pytest.mark.thorough
def test_what_a_deploy_would_meet(make_cluster: MakeCluster) -> None:
    """The peers that said that they are out do not count, the last update is told as it was, and what is too much ends with 9."""
    cluster = make_cluster(3, watched=True, vrrp_drain={"successor_timeout": 1})
    first, _, third = cluster.nodes
    began = time.monotonic()
    update(first)
    took = time.monotonic() - began
    first.wait_for(cluster.vip)
    found = rehearse(first, 0, "--max-in-flight", "67%")["deploy"]
    assert (found["at_a_time"], found["spare"], found["prospect"]) == (2, 2, "smooth")
    assert 1.0 < found["last_update_seconds"] < took + 0.5
    assert third.vrrpctl("demote")[0] == 0
    found = rehearse(first, 9, "--max-in-flight", "2")["deploy"]
    assert (found["able"], found["spare"], found["prospect"]) == (["haproxy/1"], 1, "lost")
    assert found["not_able"].endswith("haproxy/2")
    code, stdout, _ = first.vrrpctl("rehearse")
    assert code == 0
    assert "with max_in_flight up to 1 of 3 there is always somebody" in stdout

"""Whatever haproxy listens on, a deploy with default properties succeeds: the health check finds it, here and at the peers."""

import subprocess
from pathlib import Path

import pytest

from lab.conftest import MakeCluster
from lab.fabric.cluster import VIP, VIP6
from lab.fabric.wait import until

LOGGED = "\n    log stdout format raw local0\n    option tcplog"


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    """Give a certificate with its key."""
    made = tmp_path / "any.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=any -keyout - -out -"
    subprocess.run(command.split(), stdout=made.open("wb"), stderr=subprocess.DEVNULL, check=True)
    return made


@pytest.mark.samples("TLS and PROXY", "both families", "a socket alone")
@pytest.mark.parametrize(
    ("bind", "vip", "asked", "peers"),
    [
        (":8443", VIP, "tcp://127.0.0.1:8443", True),
        (":443 ssl crt PEM", VIP, "tcp://127.0.0.1:443", True),
        (":443 accept-proxy ssl crt PEM", VIP, "tcp://127.0.0.1:443, with a PROXY header", True),
        (":80 accept-proxy", VIP, "tcp://127.0.0.1:80, with a PROXY header", True),
        (":8000-8099", VIP, "tcp://127.0.0.1:8000", True),
        (":::443 v4v6", VIP6, "tcp://[::1]:443", True),
        (":::443 v6only", VIP6, "tcp://[::1]:443", False),
        (f"{VIP}:443", VIP, f"tcp://{VIP}:443", False),
        ("unix@/var/vcap/sys/run/haproxy/front.sock", VIP, "its threads and its stats socket", False),
    ],
    ids=["another port", "TLS", "TLS and PROXY", "PROXY", "a range", "both families", "IPv6 alone", "the VIP alone", "a socket alone"],
)
def test_the_default_finds_it(make_cluster: MakeCluster, pem: Path, bind: str, vip: str, asked: str, peers: bool) -> None:
    """post-start succeeds, status and doctor say what is asked, the VIP is handed over, and comes back when haproxy there dies.

    haproxy's log has no complaint about a PROXY header, and whether peers can be asked is known.
    """
    cluster = make_cluster(2, vip=vip, watched=True, ha_proxy={"bind": bind.replace("PEM", str(pem)) + LOGGED})
    first, second = cluster.nodes
    for node, peer in ((first, cluster.group[1]), (second, cluster.group[0])):
        status = node.status()
        assert (status["haproxy_healthy"], status["haproxy_asked"]) == (True, asked), status["haproxy_detail"]
        assert status["successors"] == ([peer.address] if peers else None)
        assert f"haproxy ({asked})" in " ".join(node.vrrpctl("doctor")[1].split())
    code, _, stderr = first.vrrpctl("demote")
    assert code == 0, stderr
    assert cluster.holders() == [second]
    assert ("so none is hurried" not in first.log()) is peers
    code, _, stderr = first.vrrpctl("promote")
    assert code == 0, stderr
    first.wait_for(vip)
    first.machine.run(["killall", "-KILL", "haproxy"])
    second.wait_for(vip, seconds=5)
    until(lambda: "haproxy up -> down, haproxy_died: " in first.log(), "the death to be told")
    assert not any("PROXY" in node.log("haproxy", "haproxy.log") for node in cluster.nodes)

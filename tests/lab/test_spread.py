"""A haproxy that is told to finish closes its clients' connections over a time (its close-spread-time), and not all at once."""

import selectors
import socket
import time

import pytest

from lab.clients.crowd import Crowd
from lab.conftest import MakeCluster
from lab.fabric.cluster import Cluster
from lab.fabric.wait import until

pytestmark = pytest.mark.long

CLIENTS = 300
SPREAD = 6  # seconds
H2_PORT = 82
H2 = f"frontend h2\n    bind :{H2_PORT} proto h2\n    http-request return status 200\n"
SPREADING = f"close-spread-time {SPREAD}s"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))  # RFC 9113 section 3.4, with empty SETTINGS
SETTINGS_ACK = bytes((0, 0, 0, 4, 1, 0, 0, 0, 0))
FIELDS = b"\x82\x86\x84\x41\x03vip"  # GET, http, /, and the authority (RFC 7541 appendix A and section 6.2.1)
GET = bytes((0, 0, len(FIELDS), 1, 5, 0, 0, 0, 1)) + FIELDS  # HEADERS that end the stream 1
HEADERS, GOAWAY = 1, 7  # RFC 9113 sections 6.2, 6.8


def over_http2(cluster: Cluster) -> list[socket.socket]:
    """Open connections of clients that have asked once, and are idle now."""
    opened = cluster.client.in_network(lambda: [socket.create_connection((cluster.vip, H2_PORT), 5) for _ in range(CLIENTS)])
    for each in opened:
        each.sendall(PREFACE + SETTINGS_ACK + GET)
    for each in opened:
        got = b""
        while HEADERS not in frames(got):
            got += each.recv(4096)
    return opened


def frames(data: bytes) -> list[int]:
    """Return the types of the whole frames in ``data`` (RFC 9113 section 4.1)."""
    found = []
    while len(data) >= 9:
        found.append(data[3])
        data = data[9 + int.from_bytes(data[:3], "big") :]
    return found


def goodbyes(opened: list[socket.socket], seconds: float) -> list[float]:
    """Return when each connection was told to go, or closed, in order (monotonic seconds)."""
    end, found = time.monotonic() + seconds, list[float]()
    with selectors.DefaultSelector() as selector:
        for each in opened:
            selector.register(each, selectors.EVENT_READ, each)
        while selector.get_map() and (left := end - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                if not (said := key.data.recv(4096)) or GOAWAY in frames(said):
                    found.append(time.monotonic())
                    selector.unregister(key.data)
    return found


@pytest.mark.parametrize(
    ("global_config", "least", "most"), [(SPREADING, SPREAD / 3, SPREAD + 2), ("", 0.0, 1.5)], ids=["spread", "at once"]
)
def test_idle_clients_over_http2(make_cluster: MakeCluster, global_config: str, least: float, most: float) -> None:
    """With close-spread-time they are told over those seconds, in each third of them some; without it all in the same moment."""
    ha_proxy = {"keepalive_timeout": 40, "global_config": global_config, "extra": H2}
    cluster = make_cluster(2, ha_proxy=ha_proxy, vrrp_drain={"drain_timeout": 30})
    first = cluster.nodes[0]
    opened = over_http2(cluster)
    running = first.agent.start_drain()
    found = goodbyes(opened, 25)
    for each in opened:
        each.close()
    run = running.result()
    assert (run.exit_code, run.stdout) == (0, "0\n")
    assert len(found) == CLIENTS
    assert least <= found[-1] - found[0] <= most


def test_idle_clients_over_http1(make_cluster: MakeCluster) -> None:
    """They are left alone, so nothing happens at once without any setting: each is asked to close with its own next answer."""
    cluster = make_cluster(2, ha_proxy={"keepalive_timeout": 40}, vrrp_drain={"drain_timeout": 30})
    first = cluster.nodes[0]
    with Crowd(cluster.client, cluster.vip, CLIENTS) as crowd:
        assert crowd.ask() == {"haproxy/0": CLIENTS}
        running = first.agent.start_drain()
        until(lambda: "was told to finish" in first.log(), "haproxy to be told to finish")
        assert crowd.told(seconds=3) == 0
        assert crowd.ask() == {"haproxy/0": CLIENTS}, "the answer that asks to close is an answer"
        assert crowd.told(seconds=3) == CLIENTS
    run = running.result()
    assert (run.exit_code, run.stdout) == (0, "0\n")

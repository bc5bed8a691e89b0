"""A client of the segment: whom it connects to, what it learns from, and how its connections end."""

import errno
from ipaddress import ip_address

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP

from unit.support.fakes import MAC, OWN, PEER_MAC, VIP
from vrrp_drain.rehearsal.client import Client, Frame, Target, Turn
from vrrp_drain.rehearsal.tally import Outcome, Probe

OTHER_OF_OURS, THIRD_MAC = "02:00:00:00:01:01", "02:00:00:00:00:03"
TARGET = Target(ip_address(VIP), 80, "eth0", ip_address(OWN), MAC, frozenset({MAC, OTHER_OF_OURS}))
VIP6 = "fd00::10"
TARGET6 = Target(ip_address(VIP6), 80, "eth0", ip_address("fd00::1"), MAC, frozenset({MAC}))


def gratuitous(mac: str) -> bytes:
    return bytes(ARP(op="who-has", hwsrc=mac, psrc=VIP, pdst=VIP))


def advertisement(mac: str, override: int = 1) -> bytes:
    return bytes(IPv6(src="fe80::2", dst="ff02::1", hlim=255) / ICMPv6ND_NA(S=0, O=override, tgt=VIP6) / ICMPv6NDOptDstLLAddr(lladdr=mac))


def told(client: Client, mac: str) -> bytes:
    """Return what ``mac`` says to whoever asks for the VIP on this machine."""
    if client.target is TARGET:
        return bytes(ARP(op="is-at", hwsrc=mac, psrc=VIP, hwdst=MAC, pdst="0.0.0.0"))
    return bytes(IPv6(src=VIP6, dst="fd00::1", hlim=255) / ICMPv6ND_NA(S=1, O=1, tgt=VIP6) / ICMPv6NDOptDstLLAddr(lladdr=mac))


def answer(frame: Frame, flags: str) -> bytes:
    sent = IP(frame.packet)[TCP]
    return bytes(IP(src=VIP, dst=OWN) / TCP(sport=80, dport=sent.sport, flags=flags, ack=(sent.seq + 1) % (1 << 32)))


@pytest.fixture
def client() -> Client:
    """A client that takes the peer for the VIP's machine."""
    created = Client(TARGET, 0.0)
    created.hear(gratuitous(PEER_MAC), 1.0)
    return created


def test_it_follows_announcements() -> None:
    """Here at first, then wherever the last announcement says; one of any of our MACs is here again. What is no news is no turn."""
    client = Client(TARGET, 0.0)
    assert client.connects_here
    for at, mac in enumerate((MAC, PEER_MAC, PEER_MAC, OTHER_OF_OURS)):
        assert client.hear(gratuitous(mac), float(at)) is None
        assert client.connects_here is (mac != PEER_MAC)
    assert client.turns == [Turn(0.0, MAC), Turn(1.0, PEER_MAC), Turn(3.0, MAC)]


def test_ipv6_announcements() -> None:
    """A neighbour advertisement overrides what is known only where it says so (RFC 4861 section 7.2.5)."""
    client = Client(TARGET6, 0.0)
    client.hear(advertisement(PEER_MAC, override=0), 1.0)
    assert client.connects_here
    client.hear(advertisement(PEER_MAC), 2.0)
    assert client.turns[-1] == Turn(2.0, PEER_MAC)


@pytest.mark.parametrize("target", [TARGET, TARGET6], ids=["arp", "ndp"])
def test_an_answer_to_somebody_else(target: Target) -> None:
    """Who proves a move asks from this machine too: what is answered to that no client hears. To the client's own question it does."""
    client = Client(target, 0.0)
    client.hear(told(client, PEER_MAC), 1.0)
    assert client.connects_here, "it has not asked"
    client.connected(1.5, errno.ETIMEDOUT, 2.5)
    assert client.asks(2.5)
    client.hear(told(client, PEER_MAC), 2.75)
    assert client.turns == [Turn(0.0, target.mac), Turn(2.75, PEER_MAC)]
    client.hear(told(client, MAC), 3.5)
    assert not client.connects_here, "a second later it is not waited for any more"


def test_an_announcement_may_be_a_reply(client: Client) -> None:
    """Some announce themselves by a reply that nobody asked for, to everybody (RFC 5227 section 3): clients learn from that."""
    client.hear(bytes(ARP(op="is-at", hwsrc=THIRD_MAC, psrc=VIP, pdst=VIP)), 2.0)
    assert client.turns[-1] == Turn(2.0, THIRD_MAC)


def test_an_accepted_connection(client: Client) -> None:
    """The SYN goes to the MAC that is known, the answer ends the waiting, and a RST tidies up."""
    frame = client.open(61000, 2.0)
    assert (frame.mac, client.waits) == (PEER_MAC, True)
    reset = client.hear(answer(frame, "SA"), 2.25)
    assert reset is not None
    assert (reset.mac, str(IP(reset.packet)[TCP].flags)) == (PEER_MAC, "R")
    assert (client.probes, client.waits) == ([Probe(2.0, PEER_MAC, Outcome.ANSWERED, 0.25)], False)
    assert client.hear(answer(frame, "SA"), 2.5) is None, "sent again"
    assert len(client.probes) == 1


def test_a_refused_connection(client: Client) -> None:
    """A RST wants no RST."""
    assert client.hear(answer(client.open(61000, 2.0), "RA"), 2.25) is None
    assert [each.outcome for each in client.probes] == [Outcome.REFUSED]


def test_a_forged_answer(client: Client) -> None:
    """With another number than ours it ends nothing."""
    client.open(61000, 2.0)
    forged = bytes(IP(src=VIP, dst=OWN) / TCP(sport=80, dport=61000, flags="SA", ack=1))
    assert client.hear(forged, 2.1) is None
    assert client.waits


def test_no_answer(client: Client) -> None:
    """After a second it is lost: a RST goes where the SYN went, and the segment is asked, but not every time."""
    client.open(61000, 2.0)
    client.hear(gratuitous(THIRD_MAC), 2.5)
    assert client.give_up(2.9) == []
    assert not client.asks(2.9)
    (reset,) = client.give_up(3.0)
    assert reset.mac == PEER_MAC
    assert client.probes == [Probe(2.0, PEER_MAC, Outcome.LOST, 1.0)]
    assert client.asks(3.0)
    assert not client.asks(3.0), "one question for what was lost until now"
    client.open(61001, 2.1)
    client.give_up(3.1)
    assert not client.asks(3.5)
    assert client.asks(4.0)


def test_a_syn_that_could_not_leave(client: Client) -> None:
    """That is lost at once."""
    client.open(61000, 2.0)
    client.not_sent(61000, 2.0)
    assert (client.probes, client.waits) == ([Probe(2.0, PEER_MAC, Outcome.LOST, 0.0)], False)


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        (0, Outcome.ANSWERED),
        (errno.ECONNREFUSED, Outcome.REFUSED),
        (errno.ECONNRESET, Outcome.REFUSED),
        (errno.ETIMEDOUT, Outcome.LOST),
        (errno.EADDRNOTAVAIL, Outcome.LOST),
    ],
)
def test_connections_of_sockets(failure: int, outcome: Outcome) -> None:
    """What the kernel says of one."""
    client = Client(TARGET, 0.0)
    client.connected(1.0, failure, 1.5)
    assert client.probes == [Probe(1.0, MAC, outcome, 0.5)]


def test_peers_are_tried_first() -> None:
    """Twice each, while the VIP is here; how that goes says nothing of clients."""
    client = Client(TARGET, 0.0, [PEER_MAC, THIRD_MAC])
    frames: list[Frame] = []
    while not client.connects_here:
        frames.append(client.open(61000 + len(frames), 0.0))
    assert sorted(each.mac for each in frames) == [PEER_MAC, PEER_MAC, THIRD_MAC, THIRD_MAC]
    client.hear(answer(frames[0], "SA"), 0.1)
    client.give_up(1.0)
    assert [each.outcome for each in client.trials] == [Outcome.ANSWERED, *[Outcome.LOST] * 3]
    assert client.probes == []
    assert not client.asks(9.0)

"""Hello: an instance tells its peers from which address its adverts will come, proves that it is of their group, and says what it is to do.

The keepalived link names the addresses of the instances. Adverts come from others where the VIP's interface is a second one, where
they are IPv6 (RFC 5798 section 5.1.2.1: from a link-local address), and from an instance that was given a new address while its
peers still have the link of the deploy before. A hello for a peer holds a token that is made from that peer's instance ID, which
BOSH tells the group and nobody else: the peer's kernel (handoff/admission.py) takes the sender's address in, without any process of ours.

It looks like an advert of virtual router 0, which no router has (RFC 9568 section 5.2.3): keepalived passes it over without a word,
and it gets wherever adverts get. ``priority`` is the VRID that is meant, the token stands where the addresses are. It is sent to the
group of all hosts, which keepalived does not listen to, or to the unicast peers.

Adverts come from a MASTER alone, so a hello also carries the one word that peers need of a backup: whether the VIP can go to it
(``Word``); and of a MASTER, which with unicast adverts to nobody whose address it does not know. It stands where the interval is; releases
before this one say 100 there, and are taken for one that stays. The byte before it says what place its sender has in the group, and
whether connections are open there that it does not have the VIP for (``Open``): the kernel's rules hand their packets on to it
(handoff/forwarding.py). Releases before this one say 0: nothing of both. A hello is for the own instance ID too: where a VM is made anew
beside the one before, the two are of one group.

Where there are VIPs of the other family, the sender's address of that one may stand behind the token: adverts do not name it, and where
nothing goes to all hosts nobody could learn it otherwise. Releases before this one drop a hello of that length.

Whoever can listen on the segment can copy a token. What that means is in docs/security.md.
"""

import hashlib
import struct
from enum import IntEnum

from vrrp_drain.runtime.ip import TTL, IPAddress, Packet, internet_checksum, pseudo_header

from .advert import TYPE_ADVERT

TOKEN_BYTES = 16
VERSION_TYPE = 3 << 4 | TYPE_ADVERT
NO_ROUTER = 0  # the VRID that it is sent with
OPEN_OFFSET, WORD_OFFSET = 4, 5  # bytes: the halves of what is the interval in an advert
FURTHER_OFFSET = 8 + TOKEN_BYTES  # of the address of the other family
PLACE_BITS = 0x3F  # of the byte at OPEN_OFFSET
_HEADER = struct.Struct("!BBBBBBH")
EVERY = 10.0  # seconds between two hellos of an instance whose watcher runs


class Word(IntEnum):
    """What an instance is to do, as it says itself."""

    STAYS = 100  # takes part: the VIP may go to it
    LEAVES = 101  # is being stopped or has just been started, and will take part again
    ENDS = 102  # takes part only when somebody wants it to: BOSH stops or deletes it, or an operator has taken it out
    HOLDS = 103  # takes part, and has the VIP; releases that do not know this word take it for one that stays


class Open(IntEnum):
    """What an instance says of the connections that are open there and belong to the VIP."""

    UNTOLD = 0
    SOME = 0x40  # a peer has the VIP, and some are left here
    NONE = 0x80  # none, and there will be none before it has the VIP again
    LEFT = 0xC0  # it hands the VIP over just now, and goes on serving them


def place(rank: int) -> int:
    """Return how the place in the group is written, 0 being no place."""
    return rank + 1


def token(instance_id: str, vrid: int) -> bytes:
    """Return what a hello for this instance holds, TOKEN_BYTES of it."""
    return hashlib.blake2b(f"{instance_id}/{vrid}".encode(), digest_size=TOKEN_BYTES, person=b"vrrp-drain hello").digest()


def build(
    proof: bytes,
    vrid: int,
    source: IPAddress,
    destination: IPAddress,
    word: Word = Word.STAYS,
    *,
    rank: int | None = None,
    open_there: Open = Open.UNTOLD,
    further: IPAddress | None = None,
) -> bytes:
    """Return a hello as the payload of an IP packet of protocol 112.

    ``rank`` is the sender's place among the instances, ``further`` its address of the other family.
    """
    count, told = TOKEN_BYTES // len(source.packed), 0 if rank is None else open_there | place(rank)
    message = _HEADER.pack(VERSION_TYPE, NO_ROUTER, vrid, count, told, word, 0) + proof + (b"" if further is None else further.packed)
    total = internet_checksum(pseudo_header(source, destination, len(message)) + message)
    return message[:6] + total.to_bytes(2, "big") + message[8:]


def word(packet: Packet) -> Word:
    """Return what the sender of a hello says that it is to do; a word that we do not know is one of a later release, which stays."""
    try:
        return Word(packet.payload[WORD_OFFSET])
    except ValueError:
        return Word.STAYS


def found(packet: Packet) -> Open:
    """Return what the sender of a hello says of the connections that are open there."""
    return Open(packet.payload[OPEN_OFFSET] & ~PLACE_BITS)


def introduces(packet: Packet, proof: bytes, vrid: int, hops: int = 0) -> bool:
    """Tell whether ``packet``, over at most ``hops`` routers, is a hello with our token, ``proof``, as the kernel's rule does."""
    head = bytes((VERSION_TYPE, NO_ROUTER, vrid))
    return (
        packet.ttl >= TTL - hops
        and len(packet.payload) == _HEADER.size + TOKEN_BYTES
        and packet.payload[:3] == head
        and packet.payload[8:] == proof
    )

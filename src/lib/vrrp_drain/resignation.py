"""Adverts of our own on the wire: a lowered priority, then priority 0, while keepalived here keeps the VIP.

Priority 0 says "the current MASTER has stopped participating" (RFC 5798 section 5.2.4): every backup then waits its skew
alone, whether it preempts or not.
"""

from .advert import GROUP_V4, GROUP_V6, RESIGN, Advert, build
from .advert_sender import AdvertSender
from .config import Config
from .place import Place

_AUTH_NONE, _AUTH_SIMPLE = 0, 1  # RFC 2338 section 5.3.6, as keepalived's auth_type PASS


def send(config: Config, place: Place, priority: int) -> None:
    """Advert ``priority`` once, and then 0, to the group or to the unicast peers. Raises SystemFault.

    The first says why: one of the draining band tells the peers to leave us the connections that are open.
    """
    ours = config.keepalived
    destinations = place.peers or (GROUP_V4 if config.vip.version == 4 else GROUP_V6,)
    with AdvertSender(place.interface, place.source) as sender:
        for each in (priority, RESIGN):
            advert = Advert(
                ours.vrrp_version, ours.virtual_router_id, each, ours.advert_int, (config.vip,), *authentication(ours.auth_pass)
            )
            for destination in destinations:
                sender.send(build(advert, sender.source, destination), destination)


def authentication(password: str | None) -> tuple[int, bytes]:
    """Return type and data of version 2's simple password."""
    return (_AUTH_NONE, bytes(8)) if password is None else (_AUTH_SIMPLE, password.encode().ljust(8, b"\0"))

"""Adverts of our own on the wire, while keepalived here keeps the VIP: that we leave, and priority 0.

An advert of the draining band tells the peers' kernels to leave us the connections that are open (handoff/forwarding.py). One that is
lost would cost all of them, so it is said several times, before a successor takes over and once more when it has. Priority 0 says "the
current MASTER has stopped participating" (RFC 5798 section 5.2.4): every backup then waits its skew alone, whether it preempts or not. A
backup that does not preempt takes a draining advert after that for a MASTER that goes on. So what follows priority 0 is sent to all hosts
of the segment: the rules in their kernels hear it, keepalived does not. Where there are unicast peers alone it waits for the successor.
"""

from collections.abc import Sequence
from functools import partial

from vrrp_drain.config.model import Config
from vrrp_drain.keepalived.attachment import Attachment
from vrrp_drain.linux.advert_sender import AdvertSender
from vrrp_drain.runtime.errors import all_of
from vrrp_drain.runtime.ip import GROUP_V4, GROUP_V6, IPAddress
from vrrp_drain.vrrp.advert import RESIGN, Advert, build

from . import greeting

_AUTH_NONE, _AUTH_SIMPLE = 0, 1  # RFC 2338 section 5.3.6, as keepalived's auth_type PASS
_TIMES = 3  # before, and after
_LONGEST_V3 = 40.95  # seconds, RFC 9568 section 5.2.7


def send(config: Config, attachment: Attachment, priority: int, *, resign: bool = True) -> None:
    """Advert ``priority``, and then 0 if we ``resign``, to the group or to the unicast peers.

    The first says why: one of the draining band tells the peers to leave us the connections that are open. Raises SystemFault, when all
    that can be said has been.
    """
    group = attachment.peers or (GROUP_V4 if config.vip.version == 4 else GROUP_V6,)
    beside = () if attachment.peers else greeting.destinations(attachment, config.vip.version)
    before = [partial(_tell, config, attachment, priority, where) for _ in range(_TIMES) for where in (group, beside)]
    after = [
        partial(_tell, config, attachment, RESIGN, group),
        *(partial(_tell, config, attachment, priority, beside) for _ in range(_TIMES)),
    ]
    all_of(
        partial(greeting.say, config, attachment),
        partial(_tell_the_other_family, config, attachment, priority),
        *before,
        *(after if resign else ()),
    )


def remind(config: Config, attachment: Attachment, priority: int, successor: IPAddress) -> None:
    """Advert ``priority`` once more, to ``successor``, which has the VIP now. Raises SystemFault, when all that can be said has been."""
    where = (successor,) if attachment.peers else greeting.destinations(attachment, config.vip.version)
    all_of(
        partial(greeting.say, config, attachment),
        partial(_tell, config, attachment, priority, where),
        partial(_tell_the_other_family, config, attachment, priority),
    )


def authentication(password: str | None) -> tuple[int, bytes]:
    """Return type and data of version 2's simple password."""
    return (_AUTH_NONE, bytes(8)) if password is None else (_AUTH_SIMPLE, password.encode().ljust(8, b"\0"))


def _tell(config: Config, attachment: Attachment, priority: int, destinations: Sequence[IPAddress]) -> None:
    ours = config.keepalived
    advert = Advert(ours.vrrp_version, ours.virtual_router_id, priority, ours.advert_int, (config.vip,), *authentication(ours.auth_pass))
    with AdvertSender(attachment.interface, attachment.source) as sender:
        sender.send(partial(build, advert, sender.source), destinations)


def _tell_the_other_family(config: Config, attachment: Attachment, priority: int) -> None:
    """Further VIPs of the other family stand in no advert of keepalived's; the rules of that family hear ours, in version 3."""
    source, ours = attachment.further_source, config.keepalived
    if source is None:
        return
    vip = next(each for each in ours.addresses if each.version == source.version)
    advert = Advert(3, ours.virtual_router_id, priority, min(ours.advert_int, _LONGEST_V3), (vip,))
    with AdvertSender(attachment.interface, source) as sender:
        for _ in range(_TIMES):
            sender.send(partial(build, advert, source), greeting.destinations(attachment, source.version))

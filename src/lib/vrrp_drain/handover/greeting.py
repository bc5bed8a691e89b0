"""Says hello (vrrp/hello.py) to the peers, and knows where to send what keepalived must not hear."""

from collections.abc import Sequence
from functools import partial

from vrrp_drain.config.model import Config
from vrrp_drain.keepalived.attachment import Attachment
from vrrp_drain.linux.advert_sender import AdvertSender
from vrrp_drain.runtime.errors import all_of
from vrrp_drain.runtime.ip import ALL_HOSTS_V4, ALL_HOSTS_V6, IPAddress
from vrrp_drain.vrrp import hello

_TIMES = 2  # one of them may be lost


def say(config: Config, attachment: Attachment) -> None:
    """Say hello to every peer, in each family of which there are VIPs. Raises SystemFault, when all that can be told has been."""
    sources = [each for each in (attachment.source, attachment.further_source) if each is not None]
    all_of(*(partial(_say, config, attachment, source) for source in sources for _ in range(_TIMES)))


def _say(config: Config, attachment: Attachment, source: IPAddress) -> None:
    vrid = config.keepalived.virtual_router_id
    with AdvertSender(attachment.interface, source) as sender:
        all_of(
            *(
                partial(
                    sender.send, partial(hello.build, hello.token(peer.id, vrid), vrid, source), destinations(attachment, source.version)
                )
                for peer in config.peers
            )
        )


def destinations(attachment: Attachment, family: int) -> Sequence[IPAddress]:
    """Return where what keepalived must not hear is sent to: the unicast peers of ``family``, or all hosts of the segment."""
    return [each for each in attachment.peers if each.version == family] or [ALL_HOSTS_V4 if family == 4 else ALL_HOSTS_V6]

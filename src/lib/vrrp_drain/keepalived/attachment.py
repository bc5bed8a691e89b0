"""What only the machine itself knows of its place in the virtual router: interfaces, and the address it speaks from."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from vrrp_drain.config.model import Config
from vrrp_drain.linux.rtnetlink import Netlink
from vrrp_drain.runtime.errors import ConfigError
from vrrp_drain.runtime.ip import IPAddress


@dataclass(frozen=True)
class Attachment:
    """``interface`` carries the adverts, ``vip_interface`` the VIP that stands in them (another one only with a virtual MAC).

    ``source`` is where our adverts come from, None where the interface has no address yet; ``peers`` are where they go to,
    nothing for multicast. ``further_source`` is an address of the other family, where there are further VIPs of that one.
    """

    interface: str
    vip_interface: str
    source: IPAddress | None
    peers: tuple[IPAddress, ...]
    further_source: IPAddress | None = None


def find(config: Config, netlink: Netlink) -> Attachment:
    """Return our place. Raises ConfigError where properties and machine do not fit together."""
    ours = config.keepalived
    interface = netlink.interface_for(config.vip, ours.interface)
    own = [each for each in netlink.addresses_on(interface, config.vip.version) if each not in ours.addresses]
    peers = tuple(each for each in config.peer_addresses if each not in own) if ours.unicast else ()
    if ours.source is not None:
        source = next((each for each in own if each in ours.source), None)
        if source is None:
            name = "unicast_src_ip" if ours.unicast else "mcast_src_ip"
            raise ConfigError(f"keepalived.{name}", str(ours.source), f"must be an address of {interface}, or its network: {_listed(own)}")
    elif ours.unicast:
        source = next((each for each in (*ours.unicast_peers, config.me.address) if each in own), None)
        if source is None:
            allowed = (
                "give it, or name our address in keepalived.unicast_peers, or let both jobs consume the keepalived link with the `network` "
                f"of the VIP: {interface} has {_listed(own)}, the link says {config.me.address}"
            )
            raise ConfigError("keepalived.unicast_src_ip", None, allowed)
    else:
        source = _speaks_from(own)
    further = {vip.version for vip in ours.addresses} - {config.vip.version}
    others = [each for family in further for each in netlink.addresses_on(interface, family) if each not in ours.addresses]
    return Attachment(interface, _virtual_interface(config) or interface, source, peers, _speaks_from(others))


def unicast_peers(
    config: Config, attachment: Attachment, members: Iterable[IPAddress], own: Collection[IPAddress]
) -> tuple[IPAddress, ...]:
    """Return where unicast adverts go to: the peers that are named, and who has said hello since from another address; () with multicast.

    ``members`` are those that our rules know, ``own`` all addresses of this machine.
    """
    if not attachment.peers:
        return ()
    nobody = {*attachment.peers, *own, *config.keepalived.addresses}
    new = {each for each in members if each.version == config.vip.version and each not in nobody}
    return (*attachment.peers, *sorted(new, key=lambda each: each.packed))


def closed(config: Config, attachment: Attachment) -> bool:
    """Tell whether the addresses are known that all peers' adverts come from.

    Each instance finds this out by itself: where our own adverts come from the address that the link names, so do theirs.
    """
    return bool(attachment.peers) or (attachment.source is not None and attachment.source == config.me.address)


def interface_of(vip: IPAddress, config: Config, interface: str) -> str:
    """Return where keepalived puts ``vip``: on ``interface``, which carries the adverts, or on that of the virtual MAC.

    That one is of the family of keepalived.vip: further VIPs of the other one have no virtual MAC (keepalived's vrrp.c).
    """
    return (_virtual_interface(config) if vip.version == config.vip.version else "") or interface


def _speaks_from(own: list[IPAddress]) -> IPAddress | None:
    """Return the address that multicast adverts come from: the first one, with IPv6 the first link-local one."""
    return next((each for each in own if each.version == 4 or each.is_link_local), None)


def _virtual_interface(config: Config) -> str:
    """Return the interface of the virtual MAC, or nothing where there is none."""
    return f"vrrp.{config.keepalived.virtual_router_id}" if config.keepalived.use_vmac else ""


def _listed(addresses: list[IPAddress]) -> str:
    return ", ".join(map(str, addresses)) or "no address"

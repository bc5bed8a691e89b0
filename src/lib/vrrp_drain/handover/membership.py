"""Who is of our group, as the link, the operator, the machine and the kernel's rules know it now."""

from vrrp_drain.handoff.admission import is_somebodys
from vrrp_drain.handoff.group import Group
from vrrp_drain.handoff.situation import Members, Words
from vrrp_drain.handoff.tunnel import Tunnel
from vrrp_drain.keepalived import attachment
from vrrp_drain.keepalived.instance import Instance
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import IPAddress
from vrrp_drain.vrrp import hello
from vrrp_drain.vrrp.advert import authentication
from vrrp_drain.vrrp.election import Electorate, Register

from .machine import Machine

ANSWER_SECONDS = 0.3  # that a peer's haproxy has


class Membership:
    """Asked anew each time: addresses come and go, and peers say hello."""

    def __init__(self, instance: Instance, machine: Machine) -> None:
        self._instance, self._machine = instance, machine
        self.token = hello.token(instance.config.me.id, instance.config.keepalived.virtual_router_id)

    def register(self) -> Register:
        """Return who we are in the election, kept up to date."""
        return Register(self.electorate)

    def electorate(self) -> Electorate:
        """Return who we are in the election, as things stand now."""
        ours, peers, known = self._instance.config.keepalived, self._instance.named_peers, self._known()
        return Electorate(
            vrid=ours.virtual_router_id,
            version=ours.vrrp_version,
            advert_int=ours.advert_int,
            vip=self._instance.vip,
            own_addresses=self._machine.netlink.addresses(),
            peers=peers,
            unicast=bool(self._instance.attachment.peers),
            hops=ours.unicast_hops,
            authentication=authentication(ours.auth_pass),
            members=peers | frozenset(known.members),
            closed=self._instance.vip.version in known.tables and self._closed,
            nobody=frozenset(ours.addresses) | self._broadcasts(),
            token=self.token,
        )

    def group(self) -> Group:
        """Return what the kernel's rules must know."""
        ours, own = self._instance.config.keepalived, self._machine.netlink.addresses()
        return Group(
            vips=ours.addresses,
            interface=self._instance.interface,
            vrid=ours.virtual_router_id,
            vrrp_version=ours.vrrp_version,
            token=self.token,
            members=self._instance.named_peers - own,
            nobody=own | self._broadcasts(),
            closed=self._closed,
            hops=ours.unicast_hops,
            window=self._instance.config.drain.handoff_window if self._instance.hands_off else 0.0,
            rank=self._instance.config.rank,
            mark=self._instance.config.drain.handoff_mark,
            quic_ports=self._instance.config.drain.quic_ports,
            virtual=self._instance.attachment.vip_interface if ours.use_vmac else "",
            silence=ours.slowest_takeover,
            grace=float(ours.garp_master_delay),
            ranks=tuple(
                (each.address, rank) for rank, each in enumerate(self._instance.config.ranked) if each.id != self._instance.config.me.id
            ),
            tunnel=self.tunnel(),
        )

    def tunnel(self) -> Tunnel | None:
        """Return what packets of open connections are handed on through, None where they go as they are, or not at all."""
        instance = self._instance
        if not instance.tunnels:
            return None
        own = (instance.attachment.source, instance.attachment.further_source)
        ends = tuple(each for each in own if each is not None)
        ours = instance.config.keepalived.virtual_router_id
        return Tunnel(instance.config.drain.handoff_tunnel_port, ours, instance.interface, ends)

    def ends(self) -> frozenset[IPAddress]:
        """Return where the tunnels of the others end: at the addresses that their adverts come from, or may come from."""
        return (self._instance.named_peers | frozenset(self._known().members)) - self._machine.netlink.addresses()

    def words(self) -> Words:
        """Return what the members said of themselves; nothing where the kernel does not keep it."""
        try:
            return self._machine.rules.words()
        except SystemFault:
            return Words()

    def healthy_peers(self, seconds: float = ANSWER_SECONDS) -> list[IPAddress] | None:
        """Return the peers whose haproxy answers us within ``seconds``; None where they cannot be asked from here."""
        return self._machine.haproxy.answering(self._instance.config, self.peers(), seconds)

    def peers(self) -> list[IPAddress]:
        """Return where the others of the group are, as far as it is known."""
        own = self._machine.netlink.addresses()
        named = [each for each in self._instance.config.peer_addresses if each not in own]
        return [*named, *(each for each in self.unicast_peers() if each not in named)]

    def unicast_peers(self) -> tuple[IPAddress, ...]:
        """Return where unicast adverts go to, () with multicast: who was given another address is known by its hello."""
        if not self._instance.attachment.peers:
            return ()
        own = self._machine.netlink.addresses()
        return attachment.unicast_peers(self._instance.config, self._instance.attachment, self._known().members, own)

    def further(self) -> dict[IPAddress, IPAddress]:
        """Return the peers' addresses of the other family as they told them, by those of the VIP's; only what is on our segment.

        Connections are handed on to them past no router, and nobody else may be told to us so.
        """
        instance, netlink = self._instance, self._machine.netlink
        if instance.attachment.further_source is None:
            return {}
        try:
            told = self._machine.rules.further(instance.vip.version)
            nobody = {*netlink.addresses(), *instance.config.keepalived.addresses, *self._broadcasts()}
            return {
                each: other
                for each, other in told.items()
                if other not in nobody and is_somebodys(other) and netlink.is_on_segment(instance.interface, other)
            }
        except SystemFault:  # no rules, or the interface is away
            return {}

    @property
    def _closed(self) -> bool:
        return attachment.closed(self._instance.config, self._instance.attachment)

    def _broadcasts(self) -> frozenset[IPAddress]:
        try:
            networks = [each.network for each in self._machine.netlink.networks_on(self._instance.interface, 4)]
        except SystemFault:  # the interface is away: nobody is heard on it
            return frozenset()
        return frozenset(each.broadcast_address for each in networks if each.prefixlen < 31)

    def _known(self) -> Members:
        """Return whom the kernel's rules know; without rules keepalived hears everybody, and so do we."""
        try:
            return self._machine.rules.membership()
        except SystemFault:
            return Members()

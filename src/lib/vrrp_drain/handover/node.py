"""This instance with all its parts, and what can be done with it: demote, promote."""

import logging
from functools import partial

from vrrp_drain.config.model import Config
from vrrp_drain.config.upstream_job import UNHEALTHY_BY
from vrrp_drain.handoff.rules import Group, Rules
from vrrp_drain.handoff.situation import Situation
from vrrp_drain.handoff.vip_on_lo import VipOnLo
from vrrp_drain.haproxy import health, health_check
from vrrp_drain.keepalived import attachment
from vrrp_drain.keepalived.track_files import TrackFiles
from vrrp_drain.keepalived.upstream_config import UpstreamConfig
from vrrp_drain.linux import listeners, process
from vrrp_drain.linux.neighbour import one_machine
from vrrp_drain.linux.rtnetlink import Netlink
from vrrp_drain.runtime.errors import SystemFault, all_of
from vrrp_drain.runtime.ip import IPAddress
from vrrp_drain.runtime.paths import Paths
from vrrp_drain.runtime.signals import Cancellation
from vrrp_drain.vrrp import bands, hello
from vrrp_drain.vrrp.bands import Band
from vrrp_drain.vrrp.election import Electorate, Register

from . import demote, greeting, joining, promote, resignation
from .advert_stream import adverts
from .event_source import EventSource
from .runner import Ending, run
from .transitions import Action

log = logging.getLogger(__name__)

_PROOF_SECONDS = 0.5  # for the answers to questions who has an address
_ADVERTS = 2.2  # intervals in which a MASTER must have been heard, one of its adverts being lost


class Node:
    """Everything that needs the configuration and the kernel. Raises ConfigError when there is no interface for the VIP."""

    def __init__(self, config: Config, paths: Paths, netlink: Netlink, cancellation: Cancellation) -> None:
        self.config = config
        self.paths = paths
        other = config.drain.upstream_job
        self.priority_control = TrackFiles(paths.keepalived_run) if other is None else UpstreamConfig(other)
        self.pid_file = paths.keepalived_pid_file if other is None else other.pid_file
        self.attachment = attachment.find(config, netlink)
        self.vip_on_lo = VipOnLo(paths.drain_run, netlink, paths.interface_settings)
        self.rules = Rules()
        self._netlink = netlink
        self._cancellation = cancellation

    @property
    def _active(self) -> int:
        return self.config.keepalived.priority

    @property
    def interface(self) -> str:
        return self.attachment.interface

    @property
    def netlink(self) -> Netlink:
        return self._netlink

    @property
    def _needed_to_outrank(self) -> int:
        """Return the priority of a MASTER that is none of our business to replace: without preemption that of any active one."""
        return self._active if self.config.keepalived.preempt else bands.LOWEST_ACTIVE

    @property
    def _lowered(self) -> int:
        return self.config.keepalived.lowered

    def priority(self, band: Band, *, unhealthy: bool) -> int:
        """Return what this instance adverts, or would as MASTER, as far as its band and the watcher's mark decide it."""
        base = self._lowered if band is Band.DRAINING else self._active
        if not unhealthy:
            return base
        return bands.effective(base + (bands.UNHEALTHY_WEIGHT if self.config.drain.upstream_job is None else -UNHEALTHY_BY))

    def demote(self, timeout: float) -> Ending[demote.Demote]:
        """Hand the VIP over, or find out within ``timeout`` seconds that nobody takes it.

        With NO_SUCCESSOR the priority stays lowered: what then is the caller's policy. When we ourselves fail on the
        way, the priority goes back.
        """
        priority = self._lowered
        if problem := health.problem(self.config.drain):
            log.warning("%s: clients of %s are not served from here, any healthy peer takes it", problem, self.config.vip)
            priority = bands.effective(priority + self.config.keepalived.unhealthy_weight)
        self.greet()
        try:
            with self._event_source(priority) as event_source:
                return run(
                    demote.TABLE,
                    event_source,
                    lambda a: self._perform(a, event_source, Band.ACTIVE),
                    timeout,
                    self._facts(priority),
                    log.info,
                )
        except Exception:
            self._put_back(Band.ACTIVE)
            raise

    def promote(self, timeout: float) -> Ending[promote.Promote]:
        """Compete for the VIP and prove the result within ``timeout`` seconds; otherwise the band goes back."""
        before = self.band()
        self.greet()
        self.leave_connections_with_the_master()
        try:
            with self._event_source(self._needed_to_outrank) as event_source:
                return run(promote.TABLE, event_source, lambda a: self._perform(a, event_source, before), timeout, self._facts(), log.info)
        except Exception:
            self._put_back(before)
            raise

    def _put_back(self, band: Band) -> None:
        """Write the band that was there before; why we got here is what the caller is told."""
        try:
            self.priority_control.write(band)
        except SystemFault as error:
            log.warning("%s", error)

    def band(self) -> Band:
        """Return the band that this instance is in; what cannot be read counts as active."""
        try:
            return self.priority_control.read() or Band.ACTIVE
        except SystemFault as error:
            log.warning("%s; taken as %s", error, Band.ACTIVE)
            return Band.ACTIVE

    def vip_here(self) -> bool:
        return self._netlink.has_address(self.attachment.vip_interface, self.config.vip)

    def keepalived_pid(self) -> int | None:
        return process.running(self.pid_file)

    def remove_stale_vip(self) -> bool:
        """Take the VIP away that a dead keepalived left behind; tell whether there was one."""
        if self.keepalived_pid() is not None or not self.vip_here():
            return False
        for address in self.config.keepalived.addresses:
            self._netlink.remove_address(self.attachment.vip_interface, address)
        return True

    def interface_index(self) -> int | None:
        """Return the kernel's number of the interface, None while it is gone."""
        try:
            return self._netlink.index(self.interface)
        except SystemFault:
            return None

    def hold(self) -> None:
        """Put in place what a smooth handover needs; what cannot be had is said in the log, and done without."""
        for hold in (self.hold_vips, self.hold_connections):
            try:
                hold()
            except SystemFault as error:
                log.warning("%s", error)

    def let_go(self) -> None:
        """Undo ``hold``, the rest of it even where a part cannot be undone. Raises SystemFault."""
        all_of(self.rules.release, partial(self.vip_on_lo.release, self.config.keepalived.addresses))

    def _remove_former_vips(self) -> None:
        """Take VIPs away that a killed keepalived left on the interface: of an earlier deployment, nobody else knows them any more."""
        held = self.vip_on_lo.held()
        if held is None or self.keepalived_pid() is not None:
            return
        for vip in held.vips:
            if self._netlink.has_address(held.interface, vip):
                log.warning("%s was still on %s, left by a keepalived that was killed: taken off", vip, held.interface)
                self._netlink.remove_address(held.interface, vip)

    def hold_vips(self) -> None:
        """Put the VIPs on lo as well, so that moves overlap. Raises SystemFault; it works without, less smoothly."""
        self._remove_former_vips()
        self.vip_on_lo.hold(self.config.keepalived.addresses, self.interface)

    def greet(self) -> None:
        """Have the peers know from where our adverts come; without it they do where the keepalived link names that address."""
        try:
            greeting.say(self.config, self.attachment)
        except SystemFault as error:
            log.warning("%s: peers that do not know our address by the keepalived link ignore our adverts until they are told", error)

    def stranger(self, seconds: float) -> str:
        """Listen for ``seconds``, or longer (handover/joining.py), and return who uses our VRID and is not of our group, or nothing."""
        return joining.stranger(self.config, self.interface, self.electorate, seconds)

    @property
    def hands_off(self) -> bool:
        """Tell whether open connections are to survive a move. With a virtual MAC the kernel cannot tell the nodes apart."""
        return self.config.drain.connection_handoff and not self.config.keepalived.use_vmac

    def hold_connections(self) -> None:
        """Install the rules that keep strangers' adverts out, and open connections alive if that is wanted. Raises SystemFault."""
        self.rules.hold(self.group())

    @property
    def _peers(self) -> frozenset[IPAddress]:
        """Return the addresses of the peers that the link or the operator names."""
        return frozenset({*self.config.peer_addresses, *(peer.address for peer in self.config.peers)})

    def group(self) -> Group:
        """Return what the kernel's rules must know."""
        ours, me = self.config.keepalived, self.config.me
        own = self._netlink.addresses()
        return Group(
            vips=ours.addresses,
            interface=self.interface,
            vrid=ours.virtual_router_id,
            vrrp_version=ours.vrrp_version,
            token=hello.token(me.id, ours.virtual_router_id),
            members=self._peers - own,
            nobody=own | self._broadcasts(),
            closed=attachment.closed(self.config, self.attachment),
            window=self.config.drain.handoff_window if self.hands_off else 0.0,
        )

    def bound_to_vip(self) -> list[str]:
        """Return the listeners whose connections are not handed off because they listen on a VIP itself. Raises SystemFault."""
        return listeners.bound_to(self.config.keepalived.addresses) if self.hands_off else []

    def leave_connections_with_the_master(self) -> None:
        """Before we take the VIP over from a MASTER that stays healthy: it goes on serving the connections that it has."""
        if not self.hands_off or not self.config.keepalived.preempt or self.vip_here():
            return
        ours, electorate = self.config.keepalived, self.electorate()
        for advert, packet in adverts(self.interface, self.config.vip.version, _ADVERTS * ours.advert_int):
            if electorate.is_peers(advert, packet) and bands.is_active(advert.priority):
                self._leave_connections_with(packet.source, advert.priority, electorate, ask=True)
                return

    def leave_connections_with(self, master: IPAddress, priority: int) -> None:
        """The same where the MASTER is known, with the priority that it adverts."""
        self._leave_connections_with(master, priority, self.electorate(), ask=False)

    def _leave_connections_with(self, master: IPAddress, priority: int, electorate: Electorate, *, ask: bool) -> None:
        """Packets of clients go to ``master`` then, so it must have proven that it is one of us: ``ask`` takes up to half a second."""
        if not self.hands_off or not self.config.keepalived.preempt or not bands.is_active(priority) or priority >= self._active:
            return
        if master not in electorate.members and not (ask and self._has_an_address_of(electorate.peers, master)):
            log.warning(
                "%s is MASTER, but has not proven to be an instance of this group: its open connections are cut, not sent to it", master
            )
            return
        try:
            self.rules.arm(self.config.keepalived.addresses, master)
        except SystemFault as error:
            log.warning("%s", error)

    def _has_an_address_of(self, peers: frozenset[IPAddress], source: IPAddress) -> bool:
        """Tell whether the machine that speaks from ``source`` answers for an address that the link gives a peer."""
        try:
            mac = self._netlink.mac(self.interface)
            return one_machine(self.interface, mac, source, peers - self._netlink.addresses(), _PROOF_SECONDS)
        except SystemFault as error:
            log.warning("%s: whether %s is an instance of this group is not known", error, source)
            return False

    def electorate(self) -> Electorate:
        """Return who we are in the election, as things stand now."""
        ours = self.config.keepalived
        peers = self._peers
        situation = self._situation()
        return Electorate(
            vrid=ours.virtual_router_id,
            version=ours.vrrp_version,
            advert_int=ours.advert_int,
            vip=self.config.vip,
            own_addresses=self._netlink.addresses(),
            peers=peers,
            unicast=bool(self.attachment.peers),
            authentication=resignation.authentication(ours.auth_pass),
            members=peers | frozenset(situation.members),
            closed=self.config.vip.version in situation.tables and attachment.closed(self.config, self.attachment),
            nobody=frozenset(ours.addresses) | self._broadcasts(),
        )

    def _broadcasts(self) -> frozenset[IPAddress]:
        try:
            networks = [each.network for each in self._netlink.networks_on(self.interface, 4)]
        except SystemFault:  # the interface is away: nobody is heard on it
            return frozenset()
        return frozenset(each.broadcast_address for each in networks if each.prefixlen < 31)

    def _situation(self) -> Situation:
        """Return what the kernel's rules are and know; without rules keepalived hears everybody, and so do we."""
        try:
            return self.rules.state()
        except SystemFault:
            return Situation()

    def _event_source(self, our_priority: int) -> EventSource:
        return EventSource(Register(self.electorate), our_priority, self.attachment, self._netlink, self.pid_file, self._cancellation)

    def _perform(self, action: Action, event_source: EventSource, before: Band) -> None:
        match action:
            case Action.LOWER:
                self.priority_control.write(Band.DRAINING)
            case Action.RESIGN:
                resign = self._may_resign()
                event_source.resign(lambda successor: self._say_that_we_leave(successor, resign=resign))
            case Action.RAISE:
                self.priority_control.write(Band.ACTIVE)
            case Action.PUT_BACK:
                self.priority_control.write(before)
            case Action.PROBE:
                event_source.probe()
            case Action.REMOVE_STALE_VIP:
                self.remove_stale_vip()

    def healthy_peers(self) -> list[IPAddress]:
        """Return the peers whose haproxy answers us; nobody where the health check cannot be asked from here."""
        own = self._netlink.addresses()
        return health_check.answering(self.config.drain.health_check, [each for each in self.config.peer_addresses if each not in own])

    def _may_resign(self) -> bool:
        """Tell whether to advert priority 0: a successor that only waits its skew must be there, and its haproxy answer.

        Peers that do not preempt take the VIP over in no other way.
        """
        if not self.config.keepalived.preempt:
            return True
        if not self.config.drain.fast_handover:
            return False
        healthy = self.healthy_peers()
        if not healthy:
            log.info("no peer's haproxy answers us, so none is hurried: the handover takes three advert intervals")
        return bool(healthy)

    def _say_that_we_leave(self, successor: IPAddress | None, *, resign: bool) -> None:
        try:
            if successor is None:
                resignation.send(self.config, self.attachment, self._lowered, resign=resign)
            else:
                resignation.remind(self.config, self.attachment, self._lowered, successor)
        except SystemFault as error:
            log.warning("%s: peers that do not preempt take the VIP over only after they were told, and open connections may be cut", error)

    def _facts(self, lowered: int = 0) -> dict[str, object]:
        return {
            "vip": self.config.vip,
            "interface": self.interface,
            "vrid": self.config.keepalived.virtual_router_id,
            "active": self._active,
            "lowered": lowered,
        }

"""What we say on the wire ourselves, while keepalived here keeps the VIP: hello, that we leave, and priority 0.

An advert of the draining band tells the peers' kernels to leave us the connections that are open (handoff/forwarding.py). One that is
lost would cost all of them, so it is said several times, before a successor takes over and once more when it has. Priority 0 says "the
current MASTER has stopped participating" (RFC 5798 section 5.2.4): every backup then waits its skew alone, whether it preempts or not.
A backup that does not preempt takes a draining advert after that for a MASTER that goes on. So what follows priority 0 is sent to all
hosts of the segment: the rules in their kernels hear it, keepalived does not. Where there are unicast peers alone it waits for the
successor. Each of these begins with a hello (vrrp/hello.py): adverts of ours are worth nothing to peers that do not know our address.
"""

from collections.abc import Callable, Sequence
from functools import partial

from vrrp_drain.config.model import Member
from vrrp_drain.keepalived.instance import Instance
from vrrp_drain.keepalived.priority_control import PriorityControl
from vrrp_drain.runtime.boot import Boot, Stage
from vrrp_drain.runtime.errors import SystemFault, all_of
from vrrp_drain.runtime.ip import ALL_HOSTS_V4, ALL_HOSTS_V6, GROUP_V4, GROUP_V6, IPAddress
from vrrp_drain.vrrp import bands, hello
from vrrp_drain.vrrp.advert import RESIGN, Advert, authentication, build
from vrrp_drain.vrrp.bands import Band
from vrrp_drain.vrrp.hello import Open

from .machine import Machine
from .membership import Membership
from .vip import Vip

_TIMES = 3  # an advert that says that we leave: before, and after
_HELLOS = 2  # one of them may be lost
_LONGEST_V3 = 40.95  # seconds, RFC 9568 section 5.2.7


class Announcements:
    """Each method raises SystemFault when all that can be said has been."""

    def __init__(self, instance: Instance, machine: Machine, control: PriorityControl, membership: Membership) -> None:
        self._instance, self._machine, self._control, self._membership = instance, machine, control, membership
        self._vip = Vip(instance, machine)
        self._boot = Boot(instance.paths.drain_run)

    def greet(self, complain: Callable[[str], None], open_here: Open = Open.UNTOLD) -> bool:
        """Have the peers know from where our adverts come; ``complain`` of what that means where it cannot be said, and tell if so.

        Without it they do where the keepalived link names that address.
        """
        try:
            self.say_hello(open_here)
        except SystemFault as error:
            complain(f"{error}: peers that do not know our address by the keepalived link ignore our adverts until they are told")
            return False
        return True

    def say_hello(self, open_here: Open = Open.UNTOLD) -> None:
        """Say hello to every peer, in each family of which there are VIPs, and whether the VIP can come here.

        That of the VIP's family names our address of the other one: with unicast the answers in that family go to it.

        What is ``open_here`` tells the peers' kernels whether to hand packets on to us that they do not know.
        """
        sources = [each for each in (self._instance.attachment.source, self._instance.attachment.further_source) if each is not None]
        all_of(*(partial(self._say_hello, source, open_here) for source in sources for _ in range(_HELLOS)))

    def leaving(self, priority: int, *, resign: bool = True) -> None:
        """Advert ``priority``, and then 0 if we ``resign``, to the group or to the unicast peers.

        The first says why: one of the draining band tells the peers to leave us the connections that are open.
        """
        group = self._group()
        beside = () if self._instance.attachment.peers else self._past_keepalived(self._instance.vip.version)
        before = [partial(self._tell, priority, where) for _ in range(_TIMES) for where in (group, beside)]
        after = [partial(self._tell, RESIGN, group), *(partial(self._tell, priority, beside) for _ in range(_TIMES))]
        all_of(
            partial(self.say_hello, _left(priority)), partial(self._tell_the_other_family, priority), *before, *(after if resign else ())
        )

    def remind(self, priority: int, successor: IPAddress) -> None:
        """Advert ``priority`` once more, to ``successor``, which has the VIP now."""
        where = (successor,) if self._instance.attachment.peers else self._past_keepalived(self._instance.vip.version)
        all_of(
            partial(self.say_hello, _left(priority)), partial(self._tell, priority, where), partial(self._tell_the_other_family, priority)
        )

    def yielded(self) -> None:
        """Advert once more as the MASTER that we were beside another one: it outranks us, and learns that there were two."""
        self._tell(self._instance.active, self._group())

    def _group(self) -> Sequence[IPAddress]:
        """Return where keepalived's adverts go to: the unicast peers that are known now, or the multicast group."""
        return self._membership.unicast_peers() or (GROUP_V4 if self._instance.vip.version == 4 else GROUP_V6,)

    def _word(self) -> hello.Word:
        """Return what we are to do, as the band tells and whoever asked for it."""
        try:
            leaves = self._control.read() is Band.DRAINING
        except SystemFault:  # keepalived goes by what it read before, and so may we
            leaves = False
        if not leaves:
            return hello.Word.HOLDS if self._vip.is_here() and self._vip.keepalived() is not None else hello.Word.STAYS
        return hello.Word.ENDS if self._boot.stage() in (Stage.DEMOTED, Stage.ENDING) else hello.Word.LEAVES

    def _say_hello(self, source: IPAddress, open_here: Open) -> None:
        config, word, where = self._instance.config, self._word(), self._past_keepalived(source.version)
        vrid, other = config.keepalived.virtual_router_id, self._instance.attachment.further_source
        told = [None] if other is None or source == other else [other, None]

        def greeting(peer: Member, further: IPAddress | None, destination: IPAddress) -> bytes:
            proof = hello.token(peer.id, vrid)
            return hello.build(proof, vrid, source, destination, word, rank=config.rank, open_there=open_here, further=further)

        with self._machine.sender(self._instance.attachment.interface, source) as sender:
            all_of(*(partial(sender.send, partial(greeting, peer, further), where) for further in told for peer in config.instances))

    def _past_keepalived(self, family: int) -> Sequence[IPAddress]:
        """Return where what keepalived must not hear is sent to: the unicast peers of ``family``, or all hosts of the segment.

        In the other family than the VIP's both: who has not told its address there may hear it all the same.
        """
        everybody = ALL_HOSTS_V4 if family == 4 else ALL_HOSTS_V6
        if family == self._instance.vip.version:
            return self._membership.unicast_peers() or [everybody]
        return [*(self._membership.further().values() if self._instance.attachment.peers else ()), everybody]

    def _tell(self, priority: int, destinations: Sequence[IPAddress]) -> None:
        ours = self._instance.config.keepalived
        vips, proof = (self._instance.vip,), authentication(ours.auth_pass)
        advert = Advert(ours.vrrp_version, ours.virtual_router_id, priority, ours.advert_int, vips, *proof)
        with self._machine.sender(self._instance.attachment.interface, self._instance.attachment.source) as sender:
            sender.send(partial(build, advert, sender.source), destinations)

    def _tell_the_other_family(self, priority: int) -> None:
        """Further VIPs of the other family stand in no advert of keepalived's; the rules of that family hear ours, in version 3."""
        source, ours = self._instance.attachment.further_source, self._instance.config.keepalived
        if source is None:
            return
        vip = next(each for each in ours.addresses if each.version == source.version)
        advert = Advert(3, ours.virtual_router_id, priority, min(ours.advert_int, _LONGEST_V3), (vip,))
        with self._machine.sender(self._instance.attachment.interface, source) as sender:
            for _ in range(_TIMES):
                sender.send(partial(build, advert, source), self._past_keepalived(source.version))


def _left(priority: int) -> Open:
    """Return what goes with an advert of ``priority``: whoever says that haproxy is ill here leaves no connections behind."""
    return Open.LEFT if bands.describe(priority) is bands.Claim.DRAINING else Open.UNTOLD

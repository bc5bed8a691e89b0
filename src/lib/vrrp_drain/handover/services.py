"""What the commands work with, made once when one begins."""

from dataclasses import dataclass

from vrrp_drain.config.model import Config
from vrrp_drain.keepalived import priority_control
from vrrp_drain.keepalived.instance import Instance
from vrrp_drain.keepalived.priority_control import PriorityControl
from vrrp_drain.runtime.paths import Paths
from vrrp_drain.runtime.signals import Cancellation

from .announcements import Announcements
from .arming import Arming
from .handover import Handover
from .installation import Installation
from .machine import Machine
from .membership import Membership
from .vip import Vip


@dataclass(frozen=True)
class Services:
    """The parts, each of which knows only those that it needs. This holds them together for a command, and does nothing."""

    instance: Instance
    machine: Machine
    control: PriorityControl
    vip: Vip
    membership: Membership
    installation: Installation
    announcements: Announcements
    arming: Arming
    handover: Handover


def assemble(config: Config, paths: Paths, machine: Machine, cancellation: Cancellation) -> Services:
    """Return the services of this instance. Raises ConfigError when there is no interface for the VIP."""
    instance, control = Instance.find(config, paths, machine.netlink), priority_control.find(config, paths)
    membership = Membership(instance, machine)
    announcements = Announcements(instance, machine, control, membership)
    return Services(
        instance=instance,
        machine=machine,
        control=control,
        vip=Vip(instance, machine),
        membership=membership,
        installation=Installation(instance, machine, membership),
        announcements=announcements,
        arming=Arming(instance, machine, membership),
        handover=Handover(instance, machine, control, membership, announcements, cancellation),
    )

"""What the watcher sees of this instance at one moment."""

from dataclasses import dataclass

from vrrp_drain.runtime.standing_order import Order
from vrrp_drain.vrrp.bands import Band
from vrrp_drain.vrrp.state import VrrpState


@dataclass(frozen=True)
class Sight:
    """This instance at one moment.

    ``priority`` is what it adverts as MASTER, as far as we decide it; ``band_age`` is how many seconds ago the band was written;
    ``answered`` tells whether anybody else answers for the VIP, None where that is not known; ``obstacle`` is what is wrong with the
    interface, asked when the VIP has just left it; ``full`` is why haproxy takes nobody new; ``hangs`` tells that keepalived is there, and
    makes no progress; ``died`` that this instance leaves because keepalived ended or hangs here; ``order`` is an operator's, that this
    instance stays out until it is promoted, ``let_go`` the one that BOSH may stop it without a successor; ``demoted_by`` is the command of
    an operator who has taken it out, if it is one;
    ``circled`` and ``refused`` are what the kernel's rules stopped lately (strays.py), ``lost`` what of ours is gone (guard.py);
    ``unserved`` names VIPs that no client reaches while this instance is MASTER.
    """

    keepalived_runs: bool
    vip_here: bool
    priority: int
    band: Band
    band_age: float
    unhealthy: bool
    answered: bool | None = None
    obstacle: str = ""
    circled: str = ""
    refused: str = ""
    lost: str = ""
    full: str = ""
    order: Order | None = None
    hangs: bool = False
    died: bool = False
    let_go: Order | None = None
    demoted_by: str = ""
    unserved: str = ""

    @property
    def state(self) -> VrrpState:
        return VrrpState.of(keepalived_runs=self.keepalived_runs, vip_here=self.vip_here)

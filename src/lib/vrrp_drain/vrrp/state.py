"""The VRRP state of an instance, as far as it can be seen from outside of keepalived."""

from vrrp_drain.runtime.str_enum import StrEnum


class VrrpState(StrEnum):
    """The value stands in JSON, metrics and the history."""

    MASTER = "master"
    BACKUP = "backup"
    STOPPED = "stopped"  # keepalived does not run

    @classmethod
    def of(cls, *, keepalived_runs: bool, vip_here: bool) -> "VrrpState":
        """Return the state of an instance where keepalived runs, or not, and the VIP is here, or not."""
        if not keepalived_runs:
            return cls.STOPPED
        return cls.MASTER if vip_here else cls.BACKUP

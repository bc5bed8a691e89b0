"""Every path of ours hangs off one root, so that tests can run beside each other under another one."""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/var/vcap")


@dataclass(frozen=True)
class Paths:
    """Where BOSH and the two jobs keep things, below ``root``."""

    root: Path = ROOT

    @property
    def keepalived_config(self) -> Path:
        return self.root / "jobs/keepalived/config/keepalived.json"

    @property
    def drain_config(self) -> Path:
        return self.root / "jobs/vrrp-drain/config/vrrp-drain.json"

    @property
    def keepalived_binary(self) -> Path:
        return self.root / "packages/keepalived/sbin/keepalived"

    @property
    def keepalived_run(self) -> Path:
        return self.root / "sys/run/keepalived"

    @property
    def keepalived_log(self) -> Path:
        return self.root / "sys/log/keepalived/keepalived.log"

    @property
    def drain_run(self) -> Path:
        return self.root / "sys/run/vrrp-drain"

    @property
    def drain_log(self) -> Path:
        return self.root / "sys/log/vrrp-drain/vrrp-drain.log"

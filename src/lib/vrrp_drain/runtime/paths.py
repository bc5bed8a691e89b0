"""Every path of ours hangs off one root, so that tests can run beside each other under another one."""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/var/vcap")


@dataclass(frozen=True)
class Paths:
    """Where BOSH and the two jobs keep things, below ``root``."""

    root: Path = ROOT

    @property
    def jobs(self) -> Path:
        return self.root / "jobs"

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
    def keepalived_pid_file(self) -> Path:
        return self.keepalived_run / "keepalived.pid"

    @property
    def keepalived_conf(self) -> Path:
        return self.keepalived_run / "keepalived.conf"

    @property
    def keepalived_log(self) -> Path:
        return self.root / "sys/log/keepalived/keepalived.log"

    @property
    def interface_settings(self) -> Path:
        """The kernel's IPv4 settings of every interface. Below another root than BOSH's it is a stand-in: never the machine's own."""
        return Path("/proc/sys/net/ipv4/conf") if self.root == ROOT else self.root / "proc/sys/net/ipv4/conf"

    @property
    def ipv6_settings(self) -> Path:
        """The same of IPv6; the directory is not there where the kernel has none."""
        return Path("/proc/sys/net/ipv6/conf") if self.root == ROOT else self.root / "proc/sys/net/ipv6/conf"

    @property
    def tcp_settings(self) -> Path:
        """The kernel's settings of TCP, for both families."""
        return self.interface_settings.parent

    @property
    def drain_run(self) -> Path:
        return self.root / "sys/run/vrrp-drain"

    @property
    def disk(self) -> Path:
        """Return a directory of ours that a reboot leaves as it is, unlike those below sys/run; a VM that is made anew has none."""
        return self.root / "data/vrrp-drain"

    @property
    def lock(self) -> Path:
        return self.drain_run / "lock"

    @property
    def finishing(self) -> Path:
        """Return the lock of a drain that waits for connections to end, which keeps nobody from moving the VIP."""
        return self.drain_run / "finishing"

    @property
    def listening(self) -> Path:
        """Return the file that says where haproxy listened when it was last seen."""
        return self.drain_run / "listening"

    @property
    def vrrpctl(self) -> Path:
        return self.root / "packages/vrrp-drain/bin/vrrpctl"

    @property
    def watcher_pid_file(self) -> Path:
        return self.drain_run / "watch.pid"

    @property
    def history(self) -> Path:
        return self.root / "sys/log/vrrp-drain/history.log"

    @property
    def drain_log(self) -> Path:
        return self.root / "sys/log/vrrp-drain/vrrp-drain.log"

"""The port that clients use, as far as this machine can tell."""

from vrrp_drain.config.model import Config
from vrrp_drain.haproxy import health_check
from vrrp_drain.linux import listeners
from vrrp_drain.runtime.errors import SystemFault

_LIKELY = 443, 80


def of_clients(config: Config) -> int:
    """Return the health check's port, or where it has none haproxy's: 443, 80, or the lowest. Raises SystemFault where there is none."""
    check = config.drain.health_check
    if check is not None and check.scheme in ("tcp", "http"):
        return check.port or 80
    inodes = {inode for pid in health_check.processes(config.drain.haproxy_pid_file) for inode in health_check.sockets(pid)}
    ports = listeners.ports(inodes, config.vip)
    if not ports:
        raise SystemFault(f"nobody knows which port clients of {config.vip} use, haproxy listens at none that they reach: give --port")
    return next((port for port in _LIKELY if port in ports), min(ports))

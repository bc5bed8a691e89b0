"""The machine that this process runs on: each method of ``Machine`` (machine.py) with its counterpart in linux/ and haproxy/."""

import os
import selectors
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from vrrp_drain.config.model import Config, VrrpDrain
from vrrp_drain.handoff.rules import Rules
from vrrp_drain.haproxy import closing, config_files, health, health_check
from vrrp_drain.haproxy.closing import Closing
from vrrp_drain.haproxy.health import Health
from vrrp_drain.haproxy.listening import Listening
from vrrp_drain.keepalived import checks
from vrrp_drain.keepalived.checks import DisabledCheck
from vrrp_drain.linux import announcement, connections, echo, link_kinds, listeners, neighbour, newcomers, process
from vrrp_drain.linux.advert_sender import AdvertSender
from vrrp_drain.linux.advert_socket import AdvertListener
from vrrp_drain.linux.neighbour import Inquiry
from vrrp_drain.linux.nftables.watch import RulesWatch
from vrrp_drain.linux.packet_capture import PacketCapture
from vrrp_drain.linux.process import Keepalived
from vrrp_drain.linux.program import Program
from vrrp_drain.linux.rtnetlink import AddressWatch, Netlink
from vrrp_drain.linux.sock_diag import End, Socket
from vrrp_drain.linux.vxlan import Vxlan
from vrrp_drain.runtime.ip import IPAddress


class _ThisHaproxy:
    def __init__(self, memory: Path | None) -> None:
        self._listening = Listening(memory)

    def health(self, drain: VrrpDrain, seconds: float = 1.0) -> Health:
        return health.look(drain, seconds, self._listening)

    def answering(self, config: Config, peers: Sequence[IPAddress], seconds: float = 0.3) -> list[IPAddress] | None:
        return health.answering(config, peers, seconds, self._listening)

    def finish(self, pid_file: Path) -> int:
        return health_check.soft_stop(pid_file)

    def closing(self, pid_file: Path) -> Closing:
        return closing.parse(config_files.text_of(health_check.master_process(pid_file)))

    def connections(self, vips: Collection[IPAddress], quic_ports: Collection[int] = ()) -> int:
        return connections.count(vips, quic_ports)

    def connected(self, vips: Collection[IPAddress], quic_ports: Collection[int] = ()) -> bool:
        return connections.some(vips, quic_ports)

    def serves_quic(self, vips: Collection[IPAddress], ports: Collection[int]) -> bool:
        return connections.some_of_quic(vips, ports)

    def bound_to(self, vips: Collection[IPAddress]) -> list[Socket]:
        return listeners.bound_to(vips)

    def unmarked(self, there: Collection[End]) -> list[tuple[End, End]]:
        return connections.unmarked(there)


class _TheseProcesses:
    def look(self, pid_file: Path) -> Keepalived | None:
        return process.look(pid_file)

    def fd(self, pid: int) -> int | None:
        return process.fd(pid)

    def disabled_checks(self, pid: int, config: Path) -> list[DisabledCheck]:
        return checks.disabled(pid, config)

    def kill(self, keepalived: Keepalived) -> None:
        process.kill(keepalived)


class ThisMachine:
    """The machine that this process runs on; ``memory`` is the file that says where haproxy listened when it was last seen."""

    def __init__(self, netlink: Netlink, memory: Path | None = None) -> None:
        self.netlink = netlink
        self.rules = Rules()
        self.vxlan = Vxlan()
        self.haproxy = _ThisHaproxy(memory)
        self.processes = _TheseProcesses()

    def hear(self, interface: str, family: int) -> AdvertListener:
        return AdvertListener(interface, family)

    def capture(self, interface: str, family: int, vrid: int, *, outgoing: bool = False) -> PacketCapture:
        return PacketCapture(interface, family, vrid, outgoing=outgoing)

    def sender(self, interface: str, source: IPAddress | None) -> AdvertSender:
        return AdvertSender(interface, source)

    def inquire(self, interface: str, target: IPAddress) -> Inquiry:
        return neighbour.inquire(interface, self.netlink.mac(interface), target)

    def echo(self, interface: str, target: IPAddress) -> Inquiry:
        return echo.echo(interface, target)

    def announce(self, interface: str, address: IPAddress) -> None:
        announcement.announce(interface, self.netlink.mac(interface), address)

    def newcomers(self, vips: Collection[IPAddress]) -> newcomers.Newcomers:
        return newcomers.Newcomers(vips)

    def one_machine(self, interface: str, source: IPAddress, others: Iterable[IPAddress], seconds: float) -> bool:
        return neighbour.one_machine(interface, self.netlink.mac(interface), source, others, seconds)

    def watch_addresses(self) -> AddressWatch:
        return AddressWatch()

    def watch_rules(self) -> RulesWatch:
        return RulesWatch()

    def makes_links(self, kind: str) -> bool:
        return link_kinds.known(kind)

    def selector(self) -> selectors.BaseSelector:
        return selectors.DefaultSelector()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def keepalived(self, pid_file: Path) -> int | None:
        found = process.look(pid_file)
        return found.main.pid if found is not None and found.works else None

    def keepalived_fd(self, pid_file: Path) -> int | None:
        found = process.look(pid_file)
        return process.fd(found.vrrp.pid) if found is not None and found.vrrp is not None and found.works else None

    def close(self, fd: int) -> None:
        os.close(fd)

    def run(self, command: Sequence[str], environment: Mapping[str, str], seconds: float) -> Program:
        return Program(command, environment, seconds)

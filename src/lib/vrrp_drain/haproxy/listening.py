"""Where haproxy takes clients' connections: its own listening sockets, asked of the kernel, and what its configuration says of them.

That is what is asked where vrrp_drain.health_check says nothing. Of each address one port is kept, the one that a client would most likely
use and that disturbs nobody: 80, then 443, then the lowest, and a port that only relays bytes to a server after all others, since there
a connection that says nothing reaches that server too. See docs/decisions/0016-what-haproxy-listens-on.md.
"""

import ipaddress
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from vrrp_drain.linux import listeners
from vrrp_drain.linux.sock_diag import Socket
from vrrp_drain.runtime import files, ip
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import IPAddress

from . import acceptance, bind_lines, health_check
from .bind_lines import Configuration, Proxy

_LIKELY = (80, 443)
_MOST_KEPT = 64
_LOOPBACK = {4: ipaddress.ip_address("127.0.0.1"), 6: ipaddress.ip_address("::1")}


class NotListening(SystemFault):
    """haproxy runs, and no client reaches a socket of it."""


class Bind(NamedTuple):
    """A listener of haproxy's. One at [::] that is not ``ipv6_only`` has IPv4 clients as well."""

    address: IPAddress
    port: int
    ipv6_only: bool = False
    proxy: Proxy = Proxy.NOBODY

    @property
    def families(self) -> tuple[int, ...]:
        """Return the IP versions of its clients, its own first."""
        dual = self.address.version == 6 and self.address.is_unspecified and not self.ipv6_only
        return (6, 4) if dual else (self.address.version,)

    def here(self) -> IPAddress | None:
        """Return the address at which this machine itself reaches it; None where a connection would go elsewhere, as to a peer's VIP."""
        addresses = [_LOOPBACK[each] for each in self.families] if self.address.is_unspecified else [self.address]
        return next((each for each in addresses if acceptance.is_here(str(each), self.port)), None)

    def at(self, peer: IPAddress, own: IPAddress | None) -> bool:
        """Tell whether a peer that listens as we do is reached there at ``peer``; ``own`` is ours of that kind."""
        return peer.version in self.families and (self.address.is_unspecified or self.address == own)


@dataclass(frozen=True)
class Found:
    """``binds`` in the order in which they are asked; none where haproxy's ``frontends`` have sockets in the file system alone."""

    binds: tuple[Bind, ...]
    crowded: tuple[Socket, ...] = ()  # listeners for whose clients the kernel has no room any more


class Listening:
    """Knows where haproxy listens, for as long as its processes and their sockets are the same, and from one command to the next.

    Whose a socket is costs a look at every open connection, so that is asked once. ``memory`` is the file in which it is kept.
    """

    def __init__(self, memory: Path | None = None) -> None:
        self._memory = memory
        self._pids: list[int] = []
        self._inodes: frozenset[int] = frozenset()
        self._binds: tuple[Bind, ...] = ()
        self._kept: tuple[Bind, ...] | None = None

    def find(self, pid_file: Path, asked: int | None = None) -> Found:
        """Return where haproxy listens now; port ``asked`` goes before all others. Raises SystemFault: Nowhere, NotListening."""
        master = health_check.master_process(pid_file)
        pids, all_there = health_check.processes(pid_file), listeners.all_of_them()
        there = {each.inode for each in all_there}
        if pids != self._pids or not self._inodes or not self._inodes <= there:
            self._look(master, pids, all_there, asked)
        crowded = (each for each in all_there if each.inode in self._inodes and each.waiting > each.most)
        return Found(self._binds, tuple(sorted(crowded, key=lambda each: each.port)))

    def last_known(self) -> tuple[Bind, ...]:
        """Return where it listened when it was last seen, by this command or another."""
        if self._binds or self._memory is None:
            return self._binds
        try:
            kept = json.loads(files.read(self._memory))
            return tuple(Bind(ipaddress.ip_address(a), int(port), bool(only), Proxy(proxy)) for a, port, only, proxy in kept)
        except (OSError, ValueError, TypeError):
            return ()

    def _look(self, master: int, pids: list[int], all_there: Sequence[Socket], asked: int | None) -> None:
        self._pids, self._inodes, self._binds = pids, frozenset(), ()
        workers = pids[1:] or pids
        inodes = {inode for pid in workers for inode in health_check.sockets(pid)}
        ours, said = [each for each in all_there if each.inode in inodes], bind_lines.of_process(master)
        frontends = [each for each in ours if said.about(each.address, each.port)] or ours
        if not frontends and not (said.unix and any(health_check.stats_sockets(pid) for pid in workers)):
            raise NotListening(
                f"haproxy (pid {master}) runs, but does not listen anywhere: it is starting or finishing, or has no frontend"
            )
        reachable = [each for each in frontends if not each.address.is_loopback]
        if frontends and not reachable:
            where = ", ".join(sorted({ip.host_port(each.address, each.port) for each in frontends})[:4])
            raise NotListening(f"haproxy (pid {master}) listens at {where} alone, where no client of the VIP comes")
        self._inodes, self._binds = frozenset(each.inode for each in reachable), tuple(_chosen(reachable, said, asked))
        self._keep()

    def _keep(self) -> None:
        """Have the next command know it, also where haproxy has ended by then; a disk that is full costs that alone."""
        if self._memory is None or self._binds == self._kept:
            return
        self._kept = self._binds
        try:
            files.replace(self._memory, json.dumps([[str(each.address), *each[1:]] for each in self._binds]))
        except OSError:
            return


def _chosen(found: Sequence[Socket], said: Configuration, asked: int | None) -> Iterator[Bind]:
    """Yield of each address the port to ask, those for every address first."""

    def rank(each: Socket) -> tuple[bool, bool, bool, int, int, int]:
        relays = any(line.relays for line in said.about(each.address, each.port))
        likely = _LIKELY.index(each.port) if each.port in _LIKELY else len(_LIKELY)
        return not each.address.is_unspecified, each.port != asked, relays, likely, each.port, each.address.version

    seen: set[IPAddress] = set()
    for each in sorted(found, key=rank):
        if each.address not in seen and len(seen) < _MOST_KEPT:
            seen.add(each.address)
            lines = said.about(each.address, each.port)
            yield Bind(each.address, each.port, each.ipv6_only, min((line.proxy for line in lines), default=Proxy.NOBODY))

"""Sends packets of protocol 112 from the VIP's interface, as keepalived there does, and beside it."""

import socket
from collections.abc import Callable, Iterable
from types import TracebackType

from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import PROTOCOL, TTL, IPAddress


class AdvertSender:
    """A raw socket whose multicast does not come back to our own keepalived; use it as a context manager. Raises SystemFault."""

    def __init__(self, interface: str, source: IPAddress | None) -> None:
        self._interface = interface
        if source is None:
            raise SystemFault(f"{interface} has no address to send an advert from")
        self.source = source
        try:
            self._socket = _open(interface, source)
        except OSError as error:
            raise self._fault(error) from error

    def __enter__(self) -> "AdvertSender":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close()

    def send(self, build: Callable[[IPAddress], bytes], destinations: Iterable[IPAddress]) -> None:
        """Send what ``build`` makes for it to each of ``destinations``, groups or peers.

        Raises SystemFault when all have had their turn: one that cannot be told keeps nothing from the others.
        """
        failed: OSError | None = None
        for destination in destinations:
            try:
                self._socket.sendto(build(destination), (str(destination), 0))
            except OSError as error:
                failed = failed or error
        if failed is not None:
            raise self._fault(failed) from failed

    def _fault(self, error: OSError) -> SystemFault:
        return SystemFault(f"cannot send an advert on {self._interface}: {error.strerror}")


def _open(interface: str, source: IPAddress) -> socket.socket:
    opened = socket.socket(socket.AF_INET if source.version == 4 else socket.AF_INET6, socket.SOCK_RAW, PROTOCOL)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
        index = socket.if_nametoindex(interface)
        for level, option, value in _options(source.version, index):
            opened.setsockopt(level, option, value)
        opened.bind((str(source), 0) if source.version == 4 else (str(source), 0, 0, index))
    except OSError:
        opened.close()
        raise
    return opened


def _options(family: int, index: int) -> Iterable[tuple[int, int, int]]:
    if family == 4:
        level = socket.IPPROTO_IP
        return (level, socket.IP_MULTICAST_TTL, TTL), (level, socket.IP_TTL, TTL), (level, socket.IP_MULTICAST_LOOP, 0)
    level = socket.IPPROTO_IPV6
    return (
        (level, socket.IPV6_MULTICAST_HOPS, TTL),
        (level, socket.IPV6_UNICAST_HOPS, TTL),
        (level, socket.IPV6_MULTICAST_LOOP, 0),
        (level, socket.IPV6_MULTICAST_IF, index),
    )

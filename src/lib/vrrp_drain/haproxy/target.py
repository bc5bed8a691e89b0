"""What is asked of haproxy, here and of the peers: vrrp_drain.health_check, or where that says nothing a port at which haproxy listens."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from vrrp_drain.config.model import Config, VrrpDrain
from vrrp_drain.runtime import ip
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import IPAddress

from . import health_check
from .bind_lines import Proxy
from .listening import Bind, Found, Listening

# A PROXY header, version 2, command LOCAL: the sender speaks for itself, as a health check does (haproxy's proxy-protocol.txt, 2.2).
_HEADER = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"


@dataclass(frozen=True)
class Target:
    """One question; with ``proxy`` a PROXY header goes before it."""

    url: SplitResult
    proxy: bool = False

    @property
    def header(self) -> bytes:
        return _HEADER if self.proxy else b""

    def __str__(self) -> str:
        return f"{self.url.geturl()}, with a PROXY header" if self.proxy else self.url.geturl()


def here(drain: VrrpDrain, listening: Listening) -> tuple[Target | None, Found]:
    """Return what to ask on this machine, None where nothing that haproxy listens at is reached from here; and where it listens.

    Raises SystemFault where nothing is known to ask: haproxy does not run, or listens nowhere.
    """
    if (given := drain.health_check) is not None:
        try:
            found = listening.find(drain.haproxy_pid_file, _port(given))
        except SystemFault:  # then the check alone decides
            found = Found(())
        return Target(given, _wants_proxy(given, found.binds, Proxy.EVERYBODY)), found
    try:
        found = listening.find(drain.haproxy_pid_file)
    except health_check.Nowhere as error:
        raise SystemFault(f"haproxy does not run: {error}") from error
    for each in found.binds:
        if (address := each.here()) is not None:
            return Target(_url(address, each.port), each.proxy is Proxy.EVERYBODY), found
    return None, found


def of_peers(config: Config, listening: Listening, peers: Sequence[IPAddress]) -> dict[IPAddress, Target] | None:
    """Return what to ask of each peer, which is taken to listen as we do; None where one of them cannot be asked from here."""
    given, drain = config.drain.health_check, config.drain
    if given is not None and given.scheme == "unix":
        return None
    try:
        binds = listening.find(drain.haproxy_pid_file, given and _port(given)).binds
    except SystemFault:  # it has ended, or is ending: where did it listen?
        binds = ()
    binds = binds or listening.last_known()
    if given is not None:
        proxy = _wants_proxy(given, binds, Proxy.ELSEWHERE)
        return {each: Target(given._replace(netloc=ip.host_port(each, given.port)), proxy) for each in peers}
    found = {}
    for peer in peers:
        bind = next((each for each in binds if each.at(peer, config.me.address)), None)
        if bind is None:
            return None
        found[peer] = Target(_url(peer, bind.port), bind.proxy >= Proxy.ELSEWHERE)
    return found


def _wants_proxy(given: SplitResult, binds: Sequence[Bind], least: Proxy) -> bool:
    """Tell whether a port that was given is one of haproxy's, as far as that is known, and wants a PROXY header."""
    return any(each.port == _port(given) and each.proxy >= least for each in binds)


def _port(given: SplitResult) -> int | None:
    return given.port or (80 if given.scheme == "http" else None)


def _url(address: IPAddress, port: int) -> SplitResult:
    return urlsplit(f"tcp://{ip.host_port(address, port)}")

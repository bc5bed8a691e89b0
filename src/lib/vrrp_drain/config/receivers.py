"""Who is told of what the watcher sees: the properties ``vrrp_drain.hooks`` and ``vrrp_drain.webhooks``.

A webhook's URL and headers may carry credentials: neither an error nor ``repr`` tells them.
"""

from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Hook:
    """A program that gets every notice on its standard input; ``timeout`` in seconds."""

    command: tuple[str, ...]
    timeout: float = 30.0


@dataclass(frozen=True)
class Webhook:
    """An address that gets every notice in a POST; times in seconds, ``ca_cert`` in PEM or None for the CAs of the machine."""

    url: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    ca_cert: str | None = field(default=None, repr=False)
    timeout: float = 5.0
    retry_for: float = 86400.0

    @property
    def origin(self) -> str:
        """Return scheme, host and port: what may be told, since the path of a webhook is often its credential."""
        url = urlsplit(self.url)
        return f"{url.scheme}://{url.netloc}"

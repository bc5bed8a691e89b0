"""Who is told of what the watcher sees: the properties ``vrrp_drain.hooks`` and ``vrrp_drain.webhooks``.

A webhook's URL and headers may carry credentials: neither an error nor ``repr`` tells them.
"""

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from vrrp_drain.runtime.errors import ConfigError

from . import validators
from .validators import Section

_NONE: list[object] = []
_NOTHING: object = {}
_URL = r"https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[1-9]\d{0,4})?(?:[/?][!-\"$-~]*)?"
_URL_ALLOWED = "http://HOST[:PORT]/PATH or https://HOST[:PORT]/PATH without user and password: credentials belong in headers"
_HEADER_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # RFC 9110, section 5.6.2
_FRAMING = ("connection", "content-length", "host", "transfer-encoding")  # what every request says for itself


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


def hooks(section: Section) -> tuple[Hook, ...]:
    """Take ``hooks`` from the section vrrp_drain. Raises ConfigError."""
    return tuple(_hook(f"vrrp_drain.hooks[{n}]", each) for n, each in enumerate(section.take("hooks", validators.entries, _NONE)))


def webhooks(section: Section) -> tuple[Webhook, ...]:
    """Take ``webhooks`` from the section vrrp_drain. Raises ConfigError."""
    return tuple(_webhook(f"vrrp_drain.webhooks[{n}]", each) for n, each in enumerate(section.take("webhooks", validators.entries, _NONE)))


def _hook(name: str, raw: object) -> Hook:
    section = Section(name, raw)
    hook = Hook(
        command=section.take("command", _command),
        timeout=section.take("timeout", validators.number(0.1, 300), default=30.0),
    )
    section.refuse_the_rest()
    return hook


def _webhook(name: str, raw: object) -> Webhook:
    section = Section(name, raw, secret=True)
    webhook = Webhook(
        url=section.take("url", _url),
        headers=_headers(f"{name}.headers", section.take("headers", validators.anything, _NOTHING)),
        ca_cert=section.take_if_given("ca_cert", _certificates),
        timeout=section.take("timeout", validators.number(0.1, 60), default=5.0),
        retry_for=section.take("retry_for", validators.number(0, 604_800), default=86400.0),
    )
    section.refuse_the_rest()
    if webhook.ca_cert is not None and not webhook.url.startswith("https:"):
        raise ConfigError(f"{name}.ca_cert", validators.HIDDEN, "is used only where the url is https://")
    return webhook


def _headers(name: str, raw: object) -> tuple[tuple[str, str], ...]:
    section = Section(name, raw, secret=True)
    for key in section:
        if not re.fullmatch(_HEADER_NAME, key):
            raise ConfigError(name, validators.HIDDEN, "must have names of HTTP headers as keys")
        if key.lower() in _FRAMING:
            raise ConfigError(f"{name}.{key}", validators.HIDDEN, "is set by every request itself: leave it out")
    return tuple((key, section.take(key, _header_value)) for key in section)


_header_value = validators.matching(r"[!-~](?:[ -~]*[!-~])?", "one line of ASCII text without blanks around it")
_certificates = validators.matching(
    r"\s*(?:-----BEGIN CERTIFICATE-----\s[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----\s*)+",
    "one or more certificates in PEM (-----BEGIN CERTIFICATE-----)",
)


def _url(value: object) -> str:
    url = validators.matching(_URL, _URL_ALLOWED)(value)
    try:
        urlsplit(url).port  # noqa: B018  # reading it checks it
    except ValueError:
        raise ValueError(f"must be {_URL_ALLOWED}") from None
    return url


def _command(value: object) -> tuple[str, ...]:
    words = value if isinstance(value, list) else []
    if not words or not all(isinstance(word, str) and "\0" not in word for word in words) or not words[0].startswith("/"):
        raise ValueError("must be a list of text: the absolute path of a program, then its arguments")
    return tuple(words)

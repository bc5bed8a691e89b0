"""Texts with a structure: their patterns (see kinds.py), and what the program makes of them."""

from typing import Final

from .kinds import BLANK

HOST: Final = "[A-Za-z0-9._-]+"
IPV6: Final = "([0-9A-Fa-f:.]+)"  # a group, so kinds.Text looks at it more closely
PORT: Final = "(?:6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})"
AUTHORITY: Final = rf"(?:{HOST}|\[{IPV6}\])"
INTERFACE: Final = f'[^{BLANK}/:{{}}"#!]{{1,15}}'
MAIL_ADDRESS: Final = f'[^{BLANK}@"{{}}#!<>]+@[^{BLANK}@"{{}}#!<>]+'
WORD: Final = f'[^{BLANK}"{{}}#!]+'
PATH: Final = f'/[^{BLANK}"]+'
SERVER: Final = rf"{AUTHORITY}(?::{PORT})?|{IPV6}"  # without a port an IPv6 address needs no brackets
_SPACE = " \\t\\r\\n\\f\\v"
HEALTH_CHECK: Final = f"tcp://{AUTHORITY}:{PORT}/?|http://{AUTHORITY}(?::{PORT})?(?:[/?][^{BLANK}]*)?|unix:///[^{BLANK}]+"
URL: Final = rf'https?://{AUTHORITY}(?::{PORT})?(?:[/?][!-"$-~]*)?'
_CERTIFICATE = rf"-----BEGIN CERTIFICATE-----[{_SPACE}][A-Za-z0-9+/={_SPACE}]+-----END CERTIFICATE-----"
CERTIFICATES: Final = rf"[{_SPACE}]*(?:{_CERTIFICATE}[{_SPACE}]*)+"


def host_and_port(server: str) -> tuple[str, int]:
    """Return host and port of what ``SERVER`` describes; the port is SMTP's where none is given."""
    if server.startswith("["):
        host, _, port = server[1:].partition("]")
    elif server.count(":") == 1:
        host, _, port = server.partition(":")
    else:
        host, port = server, ""
    return host, int(port.lstrip(":") or 25)

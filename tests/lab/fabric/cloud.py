"""A network that sends the VIP by a table of its own, as clouds do: nobody answers for it, and an API changes the table.

The instances tell the API who is MASTER by keepalived's notification, as docs/iaas.md has it; a second program asks it where the VIP is.
"""

import http.server
import socket
import threading
import time
from ipaddress import IPv6Address
from types import TracebackType

from .namespace import Namespace
from .network import Switch
from .node import Node

_PORT = 8000
_IP = "/usr/sbin/ip"
_DIRECTORY = "jobs/cloud/bin"
NOTIFY = f"notify /var/vcap/{_DIRECTORY}/moved"
COMMAND = [f"/var/vcap/{_DIRECTORY}/vip-is-at-master"]
_MOVED = """#!/bin/bash
[ "$3" = MASTER ] || exit 0
exec curl --silent --fail --max-time 5 --request PUT '{api}' --data '{address}'
"""
_ASKS = """#!/bin/bash
at=$(curl --silent --fail --max-time 5 '{api}') || {{ echo "the API does not answer"; exit 2; }}
[ "$at" = "$VRRP_DRAIN_MASTER" ] && exit 0
echo "$VRRP_DRAIN_VIP is at $at"
exit 1
"""


def carries_no_arp(switch: Switch, vip: str) -> None:
    """Have nobody on this segment asked for ``vip``, nor told who has it."""
    if ":" in vip:
        packed = IPv6Address(vip).packed.hex()
        dropped = [f"icmpv6 type {kind} @th,64,128 0x{packed} drop" for kind in ("nd-neighbor-solicit", "nd-neighbor-advert")]
    else:
        dropped = [f"arp {end} ip {vip} drop" for end in ("daddr", "saddr")]
    rules = "\n".join(f"add rule bridge cloud forward {each}" for each in dropped)
    text = f"add table bridge cloud\nadd chain bridge cloud forward {{ type filter hook forward priority 0; }}\n{rules}\n"
    done = switch.namespace.run(["nft", text], {"PATH": "/usr/sbin:/sbin:/usr/bin"})
    assert done.returncode == 0, done.stderr


class Cloud:
    """``gateway`` routes the VIP to the instance that the API was told last, ``delay`` seconds after that. Use it as a context manager."""

    def __init__(self, gateway: Namespace, address: str, vip: str, delay: float = 0.0) -> None:
        """``address`` is the gateway's, at which the instances reach the API."""
        self.delay = delay
        self.told: list[str] = []
        self.at = ""
        self._gateway, self._vip = gateway, vip

        class Api(http.server.BaseHTTPRequestHandler):
            def do_PUT(api) -> None:  # noqa: N805
                self._move(api.rfile.read(int(api.headers["Content-Length"])).decode())
                api._answer("")

            def do_GET(api) -> None:  # noqa: N805
                api._answer(self.at)

            def _answer(api, text: str) -> None:  # noqa: N805
                api.send_response(200)
                api.send_header("Content-Length", str(len(text)))
                api.end_headers()
                api.wfile.write(text.encode())

            def log_message(api, *args: object) -> None:  # noqa: N805
                """Say nothing."""

        class Server(http.server.ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in address else socket.AF_INET

        self._server = gateway.in_network(lambda: Server((address, _PORT), Api))
        self.api = f"http://{f'[{address}]' if ':' in address else address}:{_PORT}/vip"

    def __enter__(self) -> "Cloud":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def install(self, node: Node, address: str) -> None:
        """Give an instance the programs that tell and ask the API; ``address`` is the one that its adverts come from."""
        directory = node.vcap / _DIRECTORY
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in (("moved", _MOVED), ("vip-is-at-master", _ASKS)):
            script = directory / name
            script.write_text(text.format(api=self.api, address=address))
            script.chmod(0o755)

    def _move(self, address: str) -> None:
        self.told.append(address)
        time.sleep(self.delay)  # an API takes its time: that is the scenario
        if self.told[-1] == address:
            self._gateway.run([_IP, "route", "replace", self._vip, "via", address])
            self.at = address

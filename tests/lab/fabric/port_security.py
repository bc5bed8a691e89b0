"""A network that drops what does not bear the sending port's own addresses, as OpenStack's port security does; it allows the VIPs."""

from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address

from . import ruleset
from .namespace import Namespace
from .network import Switch
from .node import Node

_PATH = {"PATH": "/usr/sbin:/sbin:/usr/bin"}


def secure(switch: Switch, node: Node, vips: Sequence[str]) -> None:
    """From now on ``node`` sends from its own addresses and from ``vips`` alone, until its machine gets another port."""
    own = [*(each.partition("/")[0] for each in node.addresses), *vips]
    v4 = [each for each in own if ip_address(each).version == 4]
    v6 = [each for each in own if ip_address(each).version == 6]
    chain = "bridge security forward"
    dropped = [
        f"ip saddr != {{ {', '.join(v4)} }}",
        f"arp saddr ip != {{ {', '.join([*v4, '0.0.0.0'])} }}",  # a probe, RFC 5227 section 2.1.1, claims nothing
        f"ip6 saddr != {{ {', '.join([*v6, '::', str(_link_local(node.mac))])} }}",
    ]
    rules = "".join(f"add rule {chain} iifname {node.port} {each} counter drop\n" for each in dropped)
    _nft(switch.namespace, f"add table bridge security\nadd chain {chain} {{ type filter hook forward priority 0; }}\n{rules}")


def dropped(switch: Switch) -> int:
    """Return how many packets had somebody else's source."""
    return ruleset.counted(ruleset.objects(switch.namespace, "table", "bridge", "security"))


def _nft(namespace: Namespace, text: str) -> None:
    done = namespace.run(["nft", text], _PATH)
    assert done.returncode == 0, done.stderr


def _link_local(mac: str) -> IPv6Address:
    """Return the address that the kernel makes of ``mac`` (RFC 4291 appendix A)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    return IPv6Address(b"\xfe\x80" + bytes(6) + bytes((octets[0] ^ 2,)) + octets[1:3] + b"\xff\xfe" + octets[3:])

"""Values of properties that are refused, with what is said: the Python side and the templates are asked for each."""

from typing import Any

from unit.support.fakes import IPV6_VIP, OWN, PEER, VIP

SEPARATORS = [*"\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029", "\0", "\x1b", "\x7f"]  # the former are those of str.splitlines
WRONG: dict[str, list[object]] = {
    "keepalived.vip": [
        *("10.0.0", "haproxy.example.org", f"{VIP}/33", 7, True),
        *("224.0.0.18", "255.255.255.255", "127.0.0.1", "::", "fe80::10%eth0"),
    ],
    "keepalived.vips": [
        *("10.0.0.11", {}, [7], ["haproxy.example.org"], ["10.0.0.11/33"], ["224.0.0.18"], ["127.0.0.1"]),
        *(["10.0.0.11", "10.0.0.11"], ["10.0.0.11", None], ["2001:db8::11", "2001:DB8:0::11/128"]),
    ],
    "keepalived.interface": ["", "eth 0", "a-name-too-long-for-linux", "eth0/1", 3, *(f"a{each}b" for each in SEPARATORS), "a\u00a0b"],
    "keepalived.virtual_router_id": [0, 256, "1", 1.5, True],
    "keepalived.vrrp_version": [1, 4, "3", 2.0, True],
    "keepalived.advert_int": [0, -1, 256, 0.5, 1.5, "1", True, [1]],
    "keepalived.priority": [221, 255, "254", True],
    "keepalived.preempt": [0, "false"],
    "keepalived.preempt_delay": [-1, 1001, "10", True],
    "keepalived.startup_delay": [-1, 3601, "5", True],
    "keepalived.healthcheck_name": ["", "check haproxy", 'a"b', "x" * 65, 5],
    "keepalived.healthcheck_command": ["", "  ", 'say "hello"', 5, "\u00a0", *(f"two{each}lines" for each in SEPARATORS)],
    "keepalived.healthcheck_interval": [0, 3601, "2", 1.5, True],
    "keepalived.healthcheck_timeout": [0, 3601, "2", 1.5, True],
    "keepalived.healthcheck_rise": [0, 101, "2", 1.5, True],
    "keepalived.healthcheck_fall": [0, 101, "2", 1.5, True],
    "keepalived.healthcheck_weight": [-187, 188, "0", False, 1.5],
    "keepalived.track_process": ["", "two words", "bin/haproxy", "x" * 16, 'a"b', 5],
    "keepalived.track_interfaces": ["eth1", {}, [""], ["eth 1"], ["a-name-too-long-for-linux"], [3], ["eth1", "eth1"]],
    "keepalived.garp_master_refresh": [-1, 86401, "60", 1.5, True],
    "keepalived.garp_master_delay": [0, 3601, "5", 1.5, True],
    "keepalived.dont_track_primary": [0, "true", "yes"],
    "keepalived.unicast": [1, "true"],
    "keepalived.unicast_peers": [
        *(PEER, {}, ["haproxy.example.org"], [f"{PEER}/24"], ["224.0.0.18"], ["::1"], ["fe80::2%eth0"], [7], [PEER, PEER]),
    ],
    "keepalived.unicast_hops": [-1, 255, "1", 1.5, True],
    "keepalived.unicast_src_ip": ["", "haproxy.example.org", f"{OWN}/24", "10.0.0.0/33", 7, [OWN]],
    "keepalived.mcast_src_ip": ["", "haproxy.example.org", f"{OWN}/24", "10.0.0.0/33", 7, [OWN]],
    "keepalived.auth_pass": ["", "nine char", "123456789", 'a"b', "a b", "a#b", "a!b", "{a}", 12345678],
    "keepalived.notification_email": ["", "nobody", ["nobody"], ["a@example.org", "nobody"], ["a b@example.org"], ["a@b", "a@b"], 5],
    "keepalived.notification_email_from": [
        "",
        "nobody",
        "a b@example.org",
        'a"@example.org',
        ["a@example.org"],
        5,
        *(f"a{each}b@c" for each in SEPARATORS),
    ],
    "keepalived.smtp_server": ["", "mail example", "mail:", "mail:smtp", "smtp://mail", "mail:123456", "[::1", 25],
    "keepalived.smtp_connect_timeout": [0, 301, "30", 1.5, True],
    "keepalived.use_vmac": [1, "true"],
    "keepalived.extra_global_config": ["a {", "}", "} a {", "a {\n# }", ["a"], 5, *(f"a{each}b" for each in SEPARATORS if each != "\n")],
    "keepalived.extra_instance_config": ["a {", "}", "} a {", "a {\n! }", ["a"], 5, *(f"a{each}b" for each in SEPARATORS if each != "\n")],
    "vrrp_drain.handover_timeout": [0, 3, 3.13, -5, 3601, "10", True],
    "vrrp_drain.post_start_timeout": [0, 3, 3601, "120", True],
    "vrrp_drain.fast_handover": [0, "true"],
    "vrrp_drain.connection_handoff": [0, "true"],
    "vrrp_drain.handoff_window": [0, 86401, "300", True],
    "vrrp_drain.handoff_mark": [-1, 1 << 32, "0x1", 1.5, True],
    "vrrp_drain.quic_ports": [443, "443", ["443"], [0], [65536], [443, 443], [True], [4.5]],
    "vrrp_drain.handoff_transport": ["", "Tunnel", "vxlan", True, 1],
    "vrrp_drain.handoff_tunnel_port": [0, 65536, "9923", 9.5, True],
    "vrrp_drain.drain_timeout": [-1, 86401, "60", True],
    "vrrp_drain.quiet_time": [-1, 601, "1", True],
    "vrrp_drain.promote_after": [0, 86401, "120", True],
    "vrrp_drain.haproxy_soft_stop": [1, "yes"],
    "vrrp_drain.haproxy_pid_file": ["haproxy.pid", "", 5, *(f"/a{each}b" for each in SEPARATORS), "/a\u00a0b"],
    "vrrp_drain.on_no_successor": ["stop", "", True],
    "vrrp_drain.takeover_proof": ["ARP", "", "hook", True],
    "vrrp_drain.takeover_command": ["/bin/true", [], ["bin/true"], [7], {}],
    "vrrp_drain.health_interval": [0, 0.05, 61, "1", True],
    "vrrp_drain.health_fall": [0, 21, "2", 1.5, True],
    "vrrp_drain.health_rise": [0, 21, "2", 1.5, True],
    "vrrp_drain.metrics_port": [-1, 65536, "9922", 9922.5, True],
    "vrrp_drain.hooks": ["/bin/true", {"command": ["/bin/true"]}, 5],
    "vrrp_drain.webhooks": ["https://a.example.org/", {"url": "https://a.example.org/"}, 5],
    "vrrp_drain.health_check": [
        *("127.0.0.1:80", "https://127.0.0.1/", "http:///health", "http://127.0.0.1:port/", "http://[::1", 80),
        *("tcp://127.0.0.1", "tcp://:80", "tcp://127.0.0.1:0", "tcp://127.0.0.1:65536", "tcp://127.0.0.1:80/path"),
        *("unix://", "unix:///", "unix://host/path"),
        *(f"http://a/b{each}c" for each in SEPARATORS),
    ],
}

REFUSED_TOGETHER: list[tuple[dict[str, Any], str, str]] = [
    (
        {"vrrp_drain": {"takeover_proof": "command"}},
        "vrrp_drain.takeover_command",
        "must be given where vrrp_drain.takeover_proof is command",
    ),
    ({"vrrp_drain": {"takeover_command": ["/bin/true"]}}, "vrrp_drain.takeover_command", "is used only where vrrp_drain.takeover_proof is"),
    (
        {"keepalived": {"vip": f"{IPV6_VIP}/64", "vrrp_version": 2}},
        "keepalived.vrrp_version",
        f"must be 3, because keepalived.vip {IPV6_VIP}/64",
    ),
    ({"keepalived": {"advert_int": 1.5}}, "keepalived.advert_int", "version 2 of VRRP takes whole seconds"),
    ({"keepalived": {"vrrp_version": 3, "advert_int": 41}}, "keepalived.advert_int", "version 3 of VRRP takes 0.01 to 40.95 seconds"),
    ({"keepalived": {"vrrp_version": 3, "advert_int": 0.015}}, "keepalived.advert_int", "version 3 of VRRP takes 0.01 to 40.95 seconds"),
    ({"keepalived": {"vip": OWN}}, "keepalived.vip", "must not be the address of an instance (haproxy/0)"),
    ({"keepalived": {"vip": f"{PEER}/24"}}, "keepalived.vip", "must not be the address of an instance (haproxy/1)"),
    ({"keepalived": {"vips": ["10.0.0.11", f"{PEER}/24"]}}, "keepalived.vips", "must not be the address of an instance (haproxy/1)"),
    ({"keepalived": {"vips": ["10.0.0.11", f"{VIP}/24"]}}, "keepalived.vips", "is there twice, or is keepalived.vip"),
    ({"keepalived": {"vrrp_version": 3, "auth_pass": "secret"}}, "keepalived.auth_pass", "version 3 of VRRP has no authentication"),
    ({"keepalived": {"vip": IPV6_VIP, "auth_pass": "secret"}}, "keepalived.auth_pass", "version 3 of VRRP has no authentication"),
    (
        {"keepalived": {"preempt": False, "healthcheck_weight": -188}},
        *("keepalived.healthcheck_weight", "must be 0 where keepalived.preempt is false"),
    ),
    (
        {"keepalived": {"preempt": False, "preempt_delay": 10}},
        *("keepalived.preempt_delay", "has no effect where keepalived.preempt is false"),
    ),
    ({"keepalived": {"unicast_peers": [PEER]}}, "keepalived.unicast_peers", "is used only where keepalived.unicast is true"),
    (
        {"keepalived": {"unicast": True, "unicast_peers": [PEER, "2001:db8::2"]}},
        *("keepalived.unicast_peers", "must all be IPv4, as keepalived.vip is"),
    ),
    ({"keepalived": {"vip": IPV6_VIP, "unicast": True}}, "keepalived.unicast_peers", "must all be IPv6, as keepalived.vip is"),
    ({"keepalived": {"unicast_hops": 1}}, "keepalived.unicast_hops", "is used only where keepalived.unicast is true"),
    ({"keepalived": {"unicast_src_ip": OWN}}, "keepalived.unicast_src_ip", "is used only where keepalived.unicast is true"),
    ({"keepalived": {"unicast": True, "mcast_src_ip": OWN}}, "keepalived.mcast_src_ip", "is not used where keepalived.unicast is true"),
    ({"keepalived": {"mcast_src_ip": "fe80::/10"}}, "keepalived.mcast_src_ip", "must be IPv4, as keepalived.vip is"),
    ({"keepalived": {"vip": IPV6_VIP, "mcast_src_ip": OWN}}, "keepalived.mcast_src_ip", "must be IPv6, as keepalived.vip is"),
    (
        {"keepalived": {"unicast": True, "unicast_src_ip": "2001:db8::/64"}},
        *("keepalived.unicast_src_ip", "must be IPv4, as keepalived.vip is"),
    ),
    (
        {"keepalived": {"notification_email": "a@example.org", "smtp_server": "mail"}},
        *("keepalived.notification_email_from", "must be given where keepalived.notification_email is"),
    ),
    (
        {"keepalived": {"notification_email": "a@example.org", "notification_email_from": "k@example.org"}},
        *("keepalived.smtp_server", "must be given where keepalived.notification_email is"),
    ),
    (
        {"keepalived": {"advert_int": 2}, "vrrp_drain": {"handover_timeout": 6}},
        *("vrrp_drain.handover_timeout", "must be longer than Master_Down_Interval, 6.13 s at keepalived.advert_int 2"),
    ),
    (
        {"keepalived": {"preempt_delay": 10}, "vrrp_drain": {"handover_timeout": 13}},
        "vrrp_drain.handover_timeout",
        "must be longer than Master_Down_Interval, 13.13 s at keepalived.advert_int 1 and preempt_delay 10",
    ),
    (
        {"keepalived": {"advert_int": 40}, "vrrp_drain": {"post_start_timeout": 120}},
        *("vrrp_drain.post_start_timeout", "must be longer than Master_Down_Interval, 120.13 s at keepalived.advert_int 40"),
    ),
    (
        {"keepalived": {"preempt_delay": 120}, "vrrp_drain": {"post_start_timeout": 120}},
        "vrrp_drain.post_start_timeout",
        "must be longer than Master_Down_Interval, 123.13 s at keepalived.advert_int 1 and preempt_delay 120",
    ),
    *(
        (
            {"keepalived": {"preempt": True}, "vrrp_drain": {name: "/var/vcap/jobs/keepalived/config/keepalived.config"}},
            *(f"vrrp_drain.{name}", "is for another release's keepalived job, but the keepalived link comes from this release's"),
        )
        for name in ("keepalived_config", "keepalived_pid_file")
    ),
]


def hook(**changes: object) -> dict[str, Any]:
    """Return the section of one hook."""
    return {"vrrp_drain": {"hooks": [{"command": ["/bin/true"]}, {"command": ["/bin/true"], **changes}]}}


def webhook(**changes: object) -> dict[str, Any]:
    """Return the section of two webhooks, the second one changed."""
    url = "https://a.example.org/path-of-a-secret"
    return {"vrrp_drain": {"webhooks": [{"url": url}, {"url": url, **changes}]}}


PEM = "-----BEGIN CERTIFICATE-----\nTUlJ\n-----END CERTIFICATE-----\n"
_COMMAND = "must be a list of text: the absolute path of a program, then its arguments"
_URL = "must be http://HOST[:PORT]/PATH or https://HOST[:PORT]/PATH without user and password: credentials belong in headers"
_UNKNOWN = "is not a property that this version knows"
_LINE = "must be one line of ASCII text without blanks around it"
_PEM = "must be one or more certificates in PEM (-----BEGIN CERTIFICATE-----)"
WRONG_INSIDE: list[tuple[dict[str, Any], str, str]] = [
    ({"vrrp_drain": {"hooks": ["/bin/true"]}}, "vrrp_drain.hooks[0]", "must be a JSON object"),
    *((hook(command=value), "vrrp_drain.hooks[1].command", _COMMAND) for value in ("/bin/true", [], ["true"], ["/bin/true", 5], ["/a\0"])),
    (hook(command=None), "vrrp_drain.hooks[1].command", "must be given"),
    *((hook(timeout=value), "vrrp_drain.hooks[1].timeout", "must be a number from 0.1 to 300") for value in (0, 301, "30", True)),
    (hook(comand=["/bin/false"]), "vrrp_drain.hooks[1].comand", _UNKNOWN),
    ({"vrrp_drain": {"webhooks": ["https://a.example.org/secret"]}}, "vrrp_drain.webhooks[0]", "must be a JSON object"),
    *(
        (webhook(url=value), "vrrp_drain.webhooks[1].url", _URL)
        for value in (
            *("a.example.org", "ftp://a.example.org/secret", "https://", "https:///secret", "https://me:secret@a.example.org/"),
            *("https://secret@a.example.org/", "https://a.example.org:0/", "https://a.example.org:65536/secret", "https://a b/secret"),
            *("https://a.example.org/sec ret", "https://a.example.org/#secret", "https://a.example.org/s\u00e9cret", ["secret"], 5),
        )
    ),
    (webhook(url=None), "vrrp_drain.webhooks[1].url", "must be given"),
    (webhook(headers=["X-Token: secret"]), "vrrp_drain.webhooks[1].headers", "must be a JSON object"),
    (webhook(headers={"X Token": "secret"}), "vrrp_drain.webhooks[1].headers", "must have names of HTTP headers as keys"),
    (webhook(headers={"Token: secret": "5"}), "vrrp_drain.webhooks[1].headers", "must have names of HTTP headers as keys"),
    *(
        (webhook(headers={"X-Token": value}), "vrrp_drain.webhooks[1].headers.X-Token", _LINE)
        for value in ("secret\n", "secret\r\nX-Other: 1", " secret", "s\u00e9cret", "", 5, ["secret"])
    ),
    (webhook(headers={"X-Token": None}), "vrrp_drain.webhooks[1].headers.X-Token", "must be given"),
    *(
        (webhook(headers={name: "secret"}), f"vrrp_drain.webhooks[1].headers.{name}", "is set by every request itself: leave it out")
        for name in ("Host", "content-length", "TRANSFER-ENCODING")
    ),
    *(
        (webhook(ca_cert=value), "vrrp_drain.webhooks[1].ca_cert", _PEM)
        for value in ("secret", "/var/vcap/ca.pem", "", PEM + "secret", PEM.replace("CERTIFICATE", "RSA PRIVATE KEY"), [PEM], 5)
    ),
    (webhook(url="http://a.example.org/", ca_cert=PEM), "vrrp_drain.webhooks[1].ca_cert", "is used only where the url is https://"),
    *((webhook(timeout=value), "vrrp_drain.webhooks[1].timeout", "must be a number from 0.1 to 60") for value in (0, 61, "5", True)),
    *(
        (webhook(retry_for=value), "vrrp_drain.webhooks[1].retry_for", "must be a number from 0 to 604800")
        for value in (-1, 604801, "1", True)
    ),
    (webhook(header={"X-Token": "secret"}), "vrrp_drain.webhooks[1].header", _UNKNOWN),
]
CONTRADICTIONS = [(given, name) for given, name, _ in (*REFUSED_TOGETHER, *WRONG_INSIDE)]

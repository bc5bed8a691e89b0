"""The properties ``vrrp_drain.*`` and what must hold between them. After a change: ``make generate``."""

from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from .kinds import Boolean, Choice, Integer, ListOf, Number, Text, Words
from .objects import BEGINS, GIVEN, IS, LONGER, NOT, Derived, Headers, Object, Objects, Property, Rule, Where
from .texts import CERTIFICATES, HEALTH_CHECK, PATH, URL

_PATH = Text(PATH, "an absolute path", into=Path)
_BY_COMMAND = Where("takeover_proof", IS, "command")

HOOK: Final = Object(
    (
        Property("command", Words(), "what is started", required=True),
        Property("timeout", Number(0.1, 300), "seconds after which it is killed", default=30),
    )
)

WEBHOOK: Final = Object(
    (
        Property(
            "url",
            Text(URL, "http://HOST[:PORT]/PATH or https://HOST[:PORT]/PATH without user and password: credentials belong in headers"),
            "where the notice goes",
            required=True,
        ),
        Property("headers", Headers(), "names and values, such as a credential", default={}),
        Property(
            "ca_cert",
            Text(CERTIFICATES, "one or more certificates in PEM (-----BEGIN CERTIFICATE-----)"),
            "whom to believe instead of the CAs that the machine trusts",
        ),
        Property("timeout", Number(0.1, 60), "seconds that an answer may take", default=5),
        Property("retry_for", Number(0, 604_800), "seconds for which a notice is re-sent while nobody takes it", default=86400),
    ),
    (Rule("ca_cert", "is used only where the url is https://", (Where("ca_cert", GIVEN), Where("url", NOT + BEGINS, "https:"))),),
    secret=True,
)

PROPERTIES: Final = (
    Property(
        "handover_timeout",
        Number(0.1, 3600),
        "Seconds to wait for a peer to take the VIP over.",
        default=Derived(
            "Master_Down_Interval of the slowest possible successor (3 x advert_int + skew), plus keepalived.preempt_delay, plus 2: "
            "5.1 at advert_int 1"
        ),
        example=10,
    ),
    Property(
        "successor_timeout",
        Number(0, 86400),
        "Seconds that pre-stop and drain of the MASTER wait for a peer that can take the VIP over, as long as one may yet come: where "
        "several instances are updated at the same time, the last one waits for the first that is back, and serves meanwhile. After that "
        "on_no_successor decides. It is never less than handover_timeout.",
        default=300,
        example=900,
    ),
    Property(
        "post_start_timeout",
        Number(1, 3600),
        "Seconds that post-start gives keepalived and haproxy to come up and the VRRP state to settle; after that the instance counts as "
        "failed.",
        default=Derived("120, or twice Master_Down_Interval where that is more"),
        example=60,
    ),
    Property(
        "on_no_successor",
        Choice("proceed", "fail"),
        "What pre-stop and drain do when no peer has taken the VIP over in time: proceed (warn, and stop this instance all the same) or "
        "fail (put the priority back; BOSH stops the deploy).",
        default="proceed",
        example="fail",
    ),
    Property(
        "takeover_proof",
        Choice("arp", "adverts", "command"),
        "What proves that a peer has the VIP, or after a promotion that nobody else has: arp (who answers for it on the segment), adverts "
        "(the MASTER's adverts alone, where nobody answers for the VIP: clouds, VIPs that are routed), or command (the adverts, and the "
        "success of vrrp_drain.takeover_command).",
        default="arp",
        example="adverts",
    ),
    Property(
        "takeover_command",
        Words(),
        "With takeover_proof command: the program that ends with status 0 once the network sends VRRP_DRAIN_VIP to the instance with the "
        "address VRRP_DRAIN_MASTER; it may send it there itself. Otherwise it is run again, within handover_timeout. It has these two "
        "and VRRP_DRAIN_INSTANCE in its environment, and 30 seconds.",
        example=["/var/vcap/jobs/my-job/bin/vip-is-at-master", "--verbose"],
    ),
    Property(
        "fast_handover",
        Boolean(),
        "Tell a healthy peer by an advert of priority 0 to take over at once, while this instance still serves: tens of milliseconds "
        "instead of three advert_int. Only where the health check, asked at the peers' addresses, is answered by one; otherwise, and with "
        "false, a peer takes over because this instance's priority is lower.",
        default=True,
        example=False,
    ),
    Property(
        "connection_handoff",
        Boolean(),
        "Keep established connections alive when the VIP moves: the instance that leaves goes on serving them, and the new MASTER sends it "
        "their packets.",
        default=True,
        example=False,
    ),
    Property(
        "handoff_window",
        Number(1, 86400),
        "Seconds for which the new MASTER sends an instance that has left the connections that it serves, and again as many for as long as "
        "its watcher says that haproxy serves some. It is never less than drain_timeout and a minute, so that nobody is cut while drain "
        "still waits for him.",
        default=300,
        example=3600,
    ),
    Property(
        "handoff_mark",
        Integer(0, (1 << 32) - 1),
        "The mark (SO_MARK) by which connections of frontends that are bound to a VIP itself are told from their listener; what such a "
        "connection sends has it too. One bit that no rule of others looks at (ip rule fwmark, iptables -m mark); 268435456 is "
        "0x10000000. A packet that has a mark already keeps it. Frontends that are bound to the wildcard address get none. With 0 nothing "
        "is marked, and a move cuts the connections of frontends that are bound to a VIP.",
        default=1 << 28,
        example=1 << 27,
    ),
    Property(
        "quic_ports",
        ListOf(Integer(1, 65535)),
        "UDP ports at which haproxy serves HTTP/3 (`bind quic4@:443`): their connections survive a move as those of TCP do, and drain "
        "waits for them. Needs a haproxy that is bound to the wildcard address and gives each connection a socket of its own "
        "(`tune.quic.socket-owner connection`, its default; as another user than root it needs CAP_NET_BIND_SERVICE for that, at ports "
        "below 1024). What else comes by UDP stays with whoever has the VIP, and so does all of it where no port is named.",
        default=[],
        example=[443],
    ),
    Property(
        "handoff_transport",
        Choice("direct", "tunnel"),
        "How the new MASTER sends those packets: direct (as they came, with the client's address as their source), or tunnel (inside UDP, "
        "from its own address to that of the instance that has left). The tunnel is for networks that drop what comes from a source "
        "address that the port does not have, such as OpenStack's port security, and for instances with a router between them. The same on "
        "all instances.",
        default="direct",
        example="tunnel",
    ),
    Property(
        "handoff_tunnel_port",
        Integer(1, 65535),
        "With handoff_transport tunnel: the UDP port of the tunnel, which the network must let pass between the instances. The same on "
        "all instances.",
        default=9923,
        example=4790,
    ),
    Property(
        "drain_timeout",
        Number(0, 86400),
        "Seconds that drain waits, once a peer has the VIP, for the connections that are still served from here. After that haproxy is "
        "stopped, which cuts them.",
        default=60,
        example=600,
    ),
    Property(
        "quiet_time",
        Number(0, 600),
        "Seconds for which nobody new must have come to this instance, once a peer has the VIP, before haproxy is told to finish, or is "
        "stopped: clients and routers that have not learnt yet where the VIP is still come here, and are served. drain_timeout bounds it; "
        "0 waits for nobody.",
        default=1,
        example=3,
    ),
    Property(
        "promote_after",
        Number(1, 86400),
        "Seconds after which the watcher promotes an instance that was stopped half way, as by a deploy that failed: for so long no "
        "lifecycle script of any job has run there, and haproxy answers. Longer than the pauses of a drain that BOSH is told to call "
        "again.",
        default=120,
        example=600,
    ),
    Property(
        "haproxy_soft_stop",
        Boolean(),
        "Once a peer has the VIP, tell haproxy to finish (SIGUSR1 to its master process): clients of keep-alive connections are asked to "
        "close with their next answer, and come back to the new MASTER. Needs `option idle-close-on-response`, which haproxy-boshrelease "
        "has. Where another job's drain ends haproxy (`ha_proxy.drain_enable` of haproxy-boshrelease), it is left to that one.",
        default=True,
        example=False,
    ),
    Property(
        "haproxy_pid_file",
        _PATH,
        "Pid file of haproxy, or of a process above it, as bpm's init is; it tells which processes are haproxy's.",
        default="/var/vcap/sys/run/bpm/haproxy/haproxy.pid",
        example="/var/vcap/sys/run/haproxy/haproxy.pid",
    ),
    Property(
        "health_check",
        Text(HEALTH_CHECK, "tcp://HOST:PORT, http://HOST[:PORT]/PATH, or unix:///PATH of haproxy's stats socket", into=urlsplit),
        "How to ask haproxy whether it serves, here and at the peers' addresses. Where haproxy expects a PROXY header, one is sent.",
        default=Derived(
            "a connection to a port at which haproxy listens, as the kernel tells it: 80, else 443, else the lowest; ports that only relay "
            "TCP after all others. Peers are taken to listen at the same port"
        ),
        example="http://127.0.0.1:8080/health",
    ),
    Property(
        "health_interval",
        Number(0.1, 60),
        "Seconds between two checks of haproxy by the watcher, which asks as health_check says.",
        default=1,
        example=0.5,
    ),
    Property(
        "health_fall",
        Integer(1, 20),
        "Failed checks in a row after which haproxy counts as hung. Its death is seen at once and needs none.",
        default=2,
        example=3,
    ),
    Property("health_rise", Integer(1, 20), "Checks in a row that haproxy must answer before it counts as back.", default=2, example=5),
    Property(
        "metrics_port",
        Integer(0, 65535),
        "Port on 127.0.0.1 where the watcher gives metrics for Prometheus; 0 for none.",
        default=9922,
        example=0,
    ),
    Property(
        "hooks",
        Objects(HOOK),
        "Programs that are told of every change. Each gets the notice as JSON on its standard input, and VRRP_DRAIN_KIND, _STATE, "
        "_PREVIOUS, _CAUSE, _REASON, _INSTANCE, _VIP and _MASTER in its environment.",
        default=[],
        example=[{"command": ["/var/vcap/jobs/my-job/bin/on-vip-change", "--verbose"], "timeout": 10}],
    ),
    Property(
        "webhooks",
        Objects(WEBHOOK),
        "Addresses that get the notice of every change in a POST of JSON.",
        default=[],
        example=[{"url": "https://chat.example.org/hooks/vip", "headers": {"Authorization": "Bearer ((chat_token))"}}],
        secret=True,
    ),
    Property(
        "keepalived_config",
        _PATH,
        "Only beside another release's keepalived job: its configuration file, in which the priority is lowered. A template beside it, "
        "with .template at the end of its name, is lowered too.",
        default=Derived("where haproxy-boshrelease's job has it: /var/vcap/jobs/keepalived/config/keepalived.config"),
        example="/var/vcap/jobs/my-keepalived/config/keepalived.conf",
        beside="/var/vcap/jobs/keepalived/config/keepalived.config",
    ),
    Property(
        "keepalived_pid_file",
        _PATH,
        "Only beside another release's keepalived job: its pid file.",
        default=Derived("where haproxy-boshrelease's job has it: /var/vcap/sys/run/keepalived/keepalived.pid"),
        example="/var/vcap/sys/run/my-keepalived/keepalived.pid",
        beside="/var/vcap/sys/run/keepalived/keepalived.pid",
    ),
)

RULES: Final = (
    *(
        Rule(on, "must be longer than Master_Down_Interval, {takeover}", (Where(on, NOT + LONGER, "slowest"),))
        for on in ("handover_timeout", "post_start_timeout")
    ),
    *(
        Rule(
            on,
            "is for another release's keepalived job, but the keepalived link comes from this release's",
            (Where(on, GIVEN), Where("ours", IS, True)),
        )
        for on in ("keepalived_config", "keepalived_pid_file")
    ),
    Rule(
        "takeover_command",
        "must be given where vrrp_drain.takeover_proof is command",
        (_BY_COMMAND, Where("takeover_command", NOT + GIVEN)),
    ),
    Rule(
        "takeover_command",
        "is used only where vrrp_drain.takeover_proof is command",
        (Where("takeover_proof", NOT + IS, "command"), Where("takeover_command", GIVEN)),
    ),
)

VRRP_DRAIN: Final = Object(PROPERTIES, RULES)

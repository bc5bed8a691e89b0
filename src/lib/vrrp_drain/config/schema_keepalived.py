"""The properties ``keepalived.*`` and what must hold between them. After a change: ``make generate``."""

from typing import Final

from vrrp_drain.vrrp import bands

from .kinds import BLANK, CONTROL, Address, Boolean, Choice, Integer, Lines, ListOf, Number, Text
from .objects import ABOVE, FAMILY, GIVEN, HUNDREDTHS, IS, MEMBER, NOT, REPEATED, WHOLE, Derived, Object, Property, Rule, Where
from .texts import INTERFACE, MAIL_ADDRESS, SERVER, host_and_port

_MAIL = Text(MAIL_ADDRESS, "an e-mail address")
_VIP = Address("an IPv4 or IPv6 address, with a prefix length or without", prefix=True, unicast="a unicast address that clients can reach")
_SOURCE = Address("an address of this instance, or a network (10.0.0.0/24) in which it has one", prefix=True, network=True)
_IPV4_VIP, _IPV6_VIP = (Where("vip", FAMILY, family) for family in (4, 6))
_UNICAST, _MULTICAST, _PREEMPTS, _STAYS = (Where(name, IS, value) for name in ("unicast", "preempt") for value in (True, False))
_VERSION_2, _VERSION_3 = (Where("vrrp_version", IS, version) for version in (2, 3))
_MAILS = Where("notification_email", GIVEN)
_WEIGHT = bands.UNHEALTHY_WEIGHT
_HUNDREDTHS_ONLY = "version 3 of VRRP takes 0.01 to 40.95 seconds in steps of 0.01"

PROPERTIES: Final = (
    Property(
        "vip",
        _VIP,
        "Virtual IP that clients use. All instances must have the same one; to change it, see docs/deploy.md.",
        example="10.0.0.10",
        required=True,
        linked=True,
    ),
    Property(
        "vips",
        ListOf(_VIP),
        "Further virtual IPs of either family, which are always where keepalived.vip is. They are not part of the adverts, so this list "
        "may be changed in a rolling deploy.",
        default=[],
        example=["10.0.0.11", "2001:db8::10/64"],
        linked=True,
    ),
    Property(
        "interface",
        Text(INTERFACE, "auto, or the name of an interface"),
        "Interface that gets the VIPs; auto takes the one whose network has keepalived.vip.",
        default="auto",
        example="eth1",
        linked=True,
    ),
    Property(
        "virtual_router_id",
        Integer(1, 255),
        "VRID. Every VRRP cluster on a network segment needs its own.",
        default=1,
        example=51,
        linked=True,
    ),
    Property(
        "vrrp_version",
        Choice(2, 3),
        "VRRP version. Instances of different versions do not hear each other: to change it, stop the whole instance group first.",
        default=Derived("2 for an IPv4 keepalived.vip and 3 for an IPv6 one", (((_IPV4_VIP,), 2), ((_IPV6_VIP,), 3))),
        example=3,
        linked=True,
    ),
    Property(
        "advert_int",
        Number(0.01, 255),
        "Seconds between two adverts; a dead MASTER is replaced after three of them. Whole seconds with version 2, where changing it needs "
        "the whole instance group to be stopped first; up to 40.95 in steps of 0.01 with version 3.",
        default=1,
        example=0.1,
        linked=True,
    ),
    Property(
        "priority",
        Integer(bands.LOWEST_BASE, bands.HIGHEST),
        "Base priority of this instance. An instance group that sets it gives all its instances the same one: useful for groups of one "
        "instance.",
        default=Derived(f"{bands.HIGHEST} for the bootstrap instance, {bands.HIGHEST - 1} for the next, and so on"),
        example=230,
        linked=True,
    ),
    Property(
        "preempt",
        Boolean(),
        "An instance with a higher priority takes the VIP from an active one that has it. false leaves the VIP where it is when an "
        "instance comes back: one move fewer in a deploy.",
        default=True,
        example=False,
        linked=True,
    ),
    Property(
        "preempt_delay",
        Number(0, 1000),
        "Seconds that an instance waits before it takes the VIP from a MASTER of lower priority.",
        default=0,
        example=10,
        linked=True,
    ),
    Property(
        "startup_delay",
        Number(0, 3600),
        "Seconds that keepalived waits after its start before it takes part in the election.",
        default=0,
        example=5,
    ),
    Property(
        "healthcheck_name",
        Text("[A-Za-z0-9_.-]{1,64}", "1 to 64 letters, digits, '_', '.', '-'"),
        "Name of the health check in keepalived's log.",
        default="check_haproxy",
        example="check_port",
    ),
    Property(
        "healthcheck_command",
        Text(f'[^{CONTROL}"]*[^{BLANK}"][^{CONTROL}"]*', "one line without double quotes"),
        "Command that keepalived runs every healthcheck_interval, as root; while it fails the instance is unhealthy.",
        default="killall -0 haproxy",
        example="/bin/nc -z 127.0.0.1 80",
    ),
    Property("healthcheck_interval", Integer(1, 3600), "Seconds between two runs of healthcheck_command.", default=2, example=1),
    Property(
        "healthcheck_timeout",
        Integer(1, 3600),
        "Seconds after which a run of healthcheck_command has failed.",
        default=Derived("healthcheck_interval", same_as="healthcheck_interval"),
        example=1,
    ),
    Property(
        "healthcheck_rise", Integer(1, 100), "Successful runs in a row after which this instance is healthy again.", default=1, example=2
    ),
    Property("healthcheck_fall", Integer(1, 100), "Failed runs in a row after which this instance is unhealthy.", default=1, example=2),
    Property(
        "healthcheck_weight",
        Choice(_WEIGHT, 0),
        f"What an unhealthy instance loses. {_WEIGHT} takes that from its priority, so that the VIP goes to any healthy "
        "instance within three advert_int, and stays somewhere when all are unhealthy. 0 is FAULT: it gives the VIP up at once, and when "
        "all are unhealthy the VIP is nowhere.",
        default=Derived(f"{_WEIGHT}, or 0 where keepalived.preempt is false", (((_PREEMPTS,), _WEIGHT), ((_STAYS,), 0))),
        example=0,
        linked=True,
    ),
    Property(
        "track_process",
        Text("[A-Za-z0-9_.+-]{1,15}", "the name of a process: 1 to 15 letters, digits, '_', '.', '+', '-'"),
        "Name of a process whose end makes the instance unhealthy at once. Where the kernel does not report the end of processes (in "
        "containers), it is looked for every second instead, and keepalived's vrrpctl.log says so.",
        example="haproxy",
    ),
    Property(
        "track_interfaces",
        ListOf(Text(INTERFACE, "the name of an interface")),
        "Further interfaces that must be up for the instance to be healthy.",
        default=[],
        example=["eth1"],
    ),
    Property("dont_track_primary", Boolean(), "Ignore faults of the interface that the VIP is on.", default=False, example=True),
    Property(
        "unicast",
        Boolean(),
        "Send adverts to each peer instead of to the multicast group, for networks that drop multicast. All instances must have the same: "
        "to change it, see docs/deploy.md.",
        default=False,
        example=True,
        linked=True,
    ),
    Property(
        "unicast_peers",
        ListOf(Address("a unicast IP address", unicast="a unicast IP address")),
        "Where adverts go with keepalived.unicast; the instance's own address may be among them. Where it is empty, to the addresses of "
        "the other instances in the keepalived link.",
        default=[],
        example=["10.0.0.1", "10.0.0.2"],
        linked=True,
    ),
    Property(
        "unicast_hops",
        Integer(0, 254),
        "Routers that adverts may cross with keepalived.unicast, as between availability zones: those that have crossed more are dropped "
        "(TTL below 255 minus this, RFC 5082). All instances must have the same. Connections are not handed over across a router.",
        default=0,
        example=1,
        linked=True,
    ),
    Property(
        "unicast_src_ip",
        _SOURCE,
        "Where adverts come from with keepalived.unicast; a network in which every instance has an address suits all of them.",
        default=Derived("the instance's own address among unicast_peers or in the keepalived link"),
        example="10.0.0.0/24",
        linked=True,
    ),
    Property(
        "mcast_src_ip",
        _SOURCE,
        "Where multicast adverts come from; a network in which every instance has an address suits all of them.",
        default=Derived("the interface's first address"),
        example="10.0.0.0/24",
        linked=True,
    ),
    Property(
        "auth_pass",
        Text("[A-Za-z0-9_.,:;/@%^&*()<>?=+~$-]{1,8}", "1 to 8 characters: letters, digits and _.,:;/@%^&*()<>?=+~$-"),
        "Password in the adverts, version 2 only. It is sent in clear text: it keeps clusters apart that share a VRID by mistake, it "
        "secures nothing. To change it, stop the whole instance group first.",
        example="cf-lb-1",
        secret=True,
        linked=True,
    ),
    Property(
        "garp_master_refresh",
        Integer(0, 86400),
        "Seconds between two gratuitous ARPs of the MASTER, for a switch that missed the first; 0 sends no more after the takeover.",
        default=60,
        example=10,
    ),
    Property(
        "garp_master_delay",
        Integer(1, 3600),
        "Seconds after a takeover at which gratuitous ARP is sent a second time.",
        default=1,
        example=5,
    ),
    Property(
        "notification_email",
        ListOf(_MAIL, or_one=True),
        "Who gets an e-mail at every VRRP transition; one address or a list. Needs notification_email_from and smtp_server.",
        example=["operators@example.org"],
    ),
    Property("notification_email_from", _MAIL, "Sender of these e-mails.", example="keepalived@example.org"),
    Property(
        "smtp_server",
        Text(SERVER, "HOST or HOST:PORT", into=host_and_port),
        "The mail server that takes them, without encryption and authentication; port 25 when it is not given.",
        example="mail.example.org:25",
    ),
    Property("smtp_connect_timeout", Integer(1, 300), "Seconds that keepalived waits for the mail server.", default=30, example=5),
    Property(
        "use_vmac",
        Boolean(),
        "Give the VIPs VRRP's virtual MAC (00:00:5e:00:01:VRID) on an interface vrrp.VRID of their own, so that clients learn no "
        "new MAC at a move; the switch learns at which port it is. The network must let instances send from that MAC.",
        default=False,
        example=True,
        linked=True,
    ),
    Property(
        "extra_global_config",
        Lines(),
        "Lines that are added to global_defs in keepalived.conf, for what has no property.",
        default="",
        example="vrrp_garp_interval 0.01\n",
    ),
    Property(
        "extra_instance_config",
        Lines(),
        "Lines that are added to the vrrp_instance in keepalived.conf, for what has no property.",
        default="",
        example='notify "/var/vcap/jobs/my-job/bin/vip-moved"\n',
    ),
)

RULES: Final = (
    Rule("vrrp_version", "must be 3, because keepalived.vip {vip} is IPv6", (_VERSION_2, _IPV6_VIP)),
    Rule(
        "advert_int",
        "version 2 of VRRP takes whole seconds from 1 to 255; set keepalived.vrrp_version to 3",
        (_VERSION_2, Where("advert_int", NOT + WHOLE)),
    ),
    Rule("advert_int", _HUNDREDTHS_ONLY, (_VERSION_3, Where("advert_int", ABOVE, 40.95))),
    Rule("advert_int", _HUNDREDTHS_ONLY, (_VERSION_3, Where("advert_int", NOT + HUNDREDTHS))),
    Rule("vip", "must not be the address of an instance ({member})", (Where("vip", MEMBER),)),
    Rule("vips", "must not be the address of an instance ({member})", (Where("vips", MEMBER),), each=True),
    Rule("vips", "is there twice, or is keepalived.vip: only further addresses belong here", (Where("vips", REPEATED, "vip"),), each=True),
    Rule(
        "auth_pass",
        "version 3 of VRRP has no authentication; leave it out, or set keepalived.vrrp_version to 2",
        (_VERSION_3, Where("auth_pass", GIVEN)),
    ),
    Rule(
        "healthcheck_weight",
        "must be 0 where keepalived.preempt is false: no instance would take the VIP from one that is unhealthy",
        (_STAYS, Where("healthcheck_weight", NOT + IS, 0)),
    ),
    Rule("preempt_delay", "has no effect where keepalived.preempt is false", (_STAYS, Where("preempt_delay", ABOVE, 0))),
    Rule("unicast_peers", "is used only where keepalived.unicast is true", (_MULTICAST, Where("unicast_peers", GIVEN))),
    Rule("unicast_hops", "is used only where keepalived.unicast is true", (_MULTICAST, Where("unicast_hops", ABOVE, 0))),
    Rule("unicast_src_ip", "is used only where keepalived.unicast is true", (_MULTICAST, Where("unicast_src_ip", GIVEN))),
    Rule("mcast_src_ip", "is not used where keepalived.unicast is true; set unicast_src_ip", (_UNICAST, Where("mcast_src_ip", GIVEN))),
    *(
        Rule(on, f"must be IPv{family}, as keepalived.vip is", (Where("vip", FAMILY, family), Where(on, FAMILY, other)))
        for on in ("unicast_src_ip", "mcast_src_ip")
        for family, other in ((4, 6), (6, 4))
    ),
    *(
        Rule(
            "unicast_peers",
            f"must all be IPv{family}, as keepalived.vip is: give them in keepalived.unicast_peers",
            (_UNICAST, Where("vip", FAMILY, family), *when, Where(peers, FAMILY, other)),
            shows=peers,
        )
        for family, other in ((4, 6), (6, 4))
        for peers, when in (("unicast_peers", ()), ("peers", (Where("unicast_peers", NOT + GIVEN),)))
    ),
    *(
        Rule(needed, "must be given where keepalived.notification_email is", (_MAILS, Where(needed, NOT + GIVEN)))
        for needed in ("notification_email_from", "smtp_server")
    ),
)

KEEPALIVED: Final = Object(PROPERTIES, RULES)

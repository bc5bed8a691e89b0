"""The one schema of what a manifest may say, and of what the jobs' templates make of it for the instance.

``make generate`` writes from it the specs of the jobs, the checks in their templates, and docs/properties.md. After a change: that.
"""

from typing import Final, NamedTuple

from vrrp_drain.vrrp import bands

from .kinds import Address, Boolean, Integer, Number, Text
from .objects import ABOVE, AMONG, NOT, Derived, Object, Objects, Property, Rule, Where
from .schema_drain import VRRP_DRAIN
from .schema_keepalived import KEEPALIVED
from .texts import WORD
from .upstream_job import LOWERED_BY

MAX_INSTANCES: Final = bands.WIDTH

_WORD = Text(WORD, "text without blanks")
_MEMBER = Object(
    (
        Property("name", _WORD, required=True),
        Property("index", Integer(0, 1_000_000), required=True),
        Property("id", _WORD, required=True),
        Property(
            "address",
            Address("an IP address: give the job consumes: {keepalived: {from: keepalived, ip_addresses: true}} in the manifest"),
            required=True,
        ),
        Property("bootstrap", Boolean(), required=True),
    )
)
_GROUP = (
    Property("instances", Objects(_MEMBER, at_least_one=True), required=True),
    Property("instance", _MEMBER, required=True),
    Property("keepalived", KEEPALIVED, required=True),
)
_GROUP_RULES = (
    Rule("instances", f"at most {MAX_INSTANCES} can share one VIP", (Where("count", ABOVE, MAX_INSTANCES),), shows="count"),
    Rule(
        "instance.id",
        "must be one of the keepalived link's instances: does the link lead to another instance group?",
        (Where("id", NOT + AMONG, "ids"),),
        shows="id",
    ),
)
_DRAIN = Property("vrrp_drain", VRRP_DRAIN, default={})
DOCUMENT: Final = Object((*_GROUP, _DRAIN), _GROUP_RULES)  # what Config reads

# The same with what upstream_job.read finds in the place of the section keepalived.
_THEIRS = (
    Property("priority", Integer(LOWERED_BY + 1, bands.HIGHEST), required=True),
    Property("weight", Integer(-253, 253), required=True),
)
_BESIDE = Object((*(each for each in KEEPALIVED.properties if each.name != "priority"), *_THEIRS), KEEPALIVED.rules)
BESIDE: Final = Object((*_GROUP[:2], Property("keepalived", _BESIDE, required=True), _DRAIN), _GROUP_RULES)

_SECONDS = Number(0.1, 3600)
VIP_DEMOTE: Final = Object(
    (
        Property("timeout", _SECONDS, "Seconds to wait for a successor.", default=Derived("vrrp_drain.handover_timeout"), example=30),
        Property(
            "keep",
            Boolean(),
            "Stay demoted even if nobody takes over; otherwise the priority goes back and the errand fails.",
            default=False,
            example=True,
        ),
        Property(
            "until_promoted",
            Boolean(),
            "Stay demoted after a reboot and a deploy too, until vip-promote. Otherwise either of them ends it.",
            default=False,
            example=True,
        ),
    )
)
VIP_PROMOTE: Final = Object(
    (Property("timeout", _SECONDS, "Seconds to wait for a settled state.", default=Derived("vrrp_drain.handover_timeout"), example=30),)
)


class Job(NamedTuple):
    """``section`` is the prefix of its properties, ``document`` what its template hands to vrrpctl."""

    section: str
    properties: Object
    document: Object


JOBS: Final = {
    "keepalived": Job("keepalived", KEEPALIVED, Object(_GROUP, _GROUP_RULES)),
    "vrrp-drain": Job("vrrp_drain", VRRP_DRAIN, DOCUMENT),
    "vip-demote": Job("vip_demote", VIP_DEMOTE, Object((Property("vip_demote", VIP_DEMOTE, required=True),))),
    "vip-promote": Job("vip_promote", VIP_PROMOTE, Object((Property("vip_promote", VIP_PROMOTE, required=True),))),
}

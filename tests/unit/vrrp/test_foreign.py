"""Every way in which somebody who uses our virtual router ID differs from us: which it is, and the sentence that is made of it."""

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from unit.support.fakes import OWN, PEER, STRANGER, VIP, carries
from vrrp_drain.vrrp.advert import Advert
from vrrp_drain.vrrp.election import Electorate
from vrrp_drain.vrrp.foreign import Difference, Foreign

OTHER_VIP = ip_address("10.0.0.20")
ADVERT = Advert(2, 1, 253, 1.0, (ip_address(VIP),))
US = Electorate(1, 2, 1.0, ip_address(VIP), frozenset({ip_address(OWN)}), frozenset({ip_address(PEER)}))
ALL = "give all instances the same keepalived."
FIRST = "(to change it, stop the whole instance group first)"


def differs(source: str = PEER, destination: str = "224.0.0.18", us: dict[str, Any] | None = None, **advert: Any) -> Foreign | None:
    return replace(US, **us or {}).classify(carries(replace(ADVERT, **advert), source, destination), 0.0).foreign


@pytest.mark.parametrize(
    ("foreign", "difference", "what", "mend"),
    [
        (
            differs(STRANGER, addresses=(OTHER_VIP, ip_address("10.0.0.21"))),
            Difference.VIP,
            "10.0.0.77 uses VRID 1 on this segment for 10.0.0.20, 10.0.0.21, not for our 10.0.0.10",
            "give one of the two clusters another keepalived.virtual_router_id",
        ),
        (
            differs(version=3),
            Difference.VERSION,
            "10.0.0.2 speaks VRRP version 3 for VRID 1, we speak 2",
            f"they do not hear each other and both become MASTER; {ALL}vrrp_version {FIRST}",
        ),
        (
            differs(advert_int=2.0, us={"advert_int": 0.5}),
            Difference.INTERVAL,
            "10.0.0.2 adverts VRID 1 every 2 s, we every 0.5 s",
            f"version 2 ignores such adverts and both become MASTER; {ALL}advert_int {FIRST}",
        ),
        (
            differs(auth_type=1),
            Difference.AUTHENTICATION,
            "10.0.0.2 adverts VRID 1 with another authentication than ours",
            f"keepalived ignores such adverts and both become MASTER; {ALL}auth_pass {FIRST}",
        ),
        (
            differs(us={"unicast": True}),
            Difference.CASTING,
            "10.0.0.2 adverts VRID 1 to the multicast group, we to each peer",
            f"they do not hear each other and both become MASTER; {ALL}unicast {FIRST}",
        ),
        (
            differs(destination=OWN),
            Difference.CASTING,
            "10.0.0.2 adverts VRID 1 to each peer, we to the multicast group",
            f"they do not hear each other and both become MASTER; {ALL}unicast {FIRST}",
        ),
        (
            differs(addresses=(ip_address(VIP), OTHER_VIP)),
            Difference.VIP_LIST,
            "10.0.0.2 adverts VRID 1 for 10.0.0.10, 10.0.0.20, we for 10.0.0.10 alone",
            f"keepalived ignores a list that differs and both become MASTER; {ALL}vip",
        ),
        (
            differs(STRANGER, us={"closed": True}),
            Difference.MEMBERSHIP,
            "10.0.0.77 adverts VRID 1 for our 10.0.0.10 and is no instance of this group",
            "clients reach it or us, whatever we do; find out whose machine it is (another deployment, a VM left over), and give one of "
            "the two another keepalived.vip and keepalived.virtual_router_id",
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Difference) else "",
)
def test_each_difference_has_its_words(foreign: Foreign | None, difference: Difference, what: str, mend: str) -> None:
    """What it is and the mend are told apart without reading a sentence; logs and notices have both in one."""
    assert foreign is not None
    assert (foreign.difference, foreign.what, foreign.mend, str(foreign)) == (difference, what, mend, f"{what}: {mend}")


def test_every_difference_is_in_the_table() -> None:
    """The table above forgets none."""
    (mark,) = test_each_difference_has_its_words.pytestmark  # type: ignore[attr-defined]
    assert {row[1] for row in mark.args[1]} == set(Difference)


def test_a_member_is_not_foreign() -> None:
    """Nor is one that still has another VIP, while the property is changed instance by instance."""
    assert differs() is None
    assert differs(addresses=(OTHER_VIP,)) is None

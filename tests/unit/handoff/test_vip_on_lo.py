"""The VIP on lo: put there with the ARP settings that it needs, and taken away without a trace."""

import errno
import ipaddress
import json
import os
from pathlib import Path

import pytest

from unit.support.fakes import VIP, FakeIPR, address
from vrrp_drain.handoff.vip_on_lo import VipOnLo, loud
from vrrp_drain.linux.rtnetlink import Netlink
from vrrp_drain.runtime import files
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.ip import IPAddress

THE_VIP = ipaddress.ip_address(VIP)
OTHER_VIP = ipaddress.ip_address("10.0.0.11")
SIXTH = ipaddress.ip_address("fd00::10")


@pytest.fixture
def sysctl(tmp_path: Path) -> Path:
    """A /proc/sys/net/ipv4/conf in which eth0 has somebody's settings, eth1 the kernel's, and nothing is said of all."""
    for interface, ignore, announce in (("eth0", 0, 1), ("eth1", 0, 0), ("all", 0, 0)):
        directory = tmp_path / "conf" / interface
        directory.mkdir(parents=True)
        (directory / "arp_ignore").write_text(f"{ignore}\n")
        (directory / "arp_announce").write_text(f"{announce}\n")
    return tmp_path / "conf"


@pytest.fixture
def vip_on_lo(tmp_path: Path, netlink: Netlink, sysctl: Path) -> VipOnLo:
    return VipOnLo(tmp_path / "run", netlink, sysctl)


def settings(sysctl: Path, interface: str = "eth0") -> tuple[str, str]:
    return tuple((sysctl / interface / name).read_text().strip() for name in ("arp_ignore", "arp_announce"))  # type: ignore[return-value]


def on_lo(ipr: FakeIPR) -> set[str]:
    return {str(each.get_attr("IFA_ADDRESS")) for each in ipr.addresses if each["index"] == 1}


def test_hold_and_release_leave_no_trace(vip_on_lo: VipOnLo, ipr: FakeIPR, sysctl: Path, tmp_path: Path) -> None:
    """Between the two the VIP is on lo and every interface keeps quiet about it; afterwards all is what it was."""
    vip_on_lo.hold([THE_VIP], "eth0")
    assert on_lo(ipr) == {"127.0.0.1", VIP}
    assert (settings(sysctl), settings(sysctl, "all"), settings(sysctl, "eth1")) == (("1", "2"), ("1", "2"), ("0", "0"))
    vip_on_lo.release()
    assert on_lo(ipr) == {"127.0.0.1"}
    assert (settings(sysctl), settings(sysctl, "all")) == (("0", "1"), ("0", "0"))
    assert list((tmp_path / "run").iterdir()) == []


def test_stricter_settings_are_kept(vip_on_lo: VipOnLo, sysctl: Path) -> None:
    """An operator's arp_ignore of 2 is not loosened to 1."""
    (sysctl / "eth0/arp_ignore").write_text("2\n")
    vip_on_lo.hold([THE_VIP], "eth0")
    assert settings(sysctl) == ("2", "2")


@pytest.mark.parametrize("where", ["eth0", "all"])
@pytest.mark.parametrize(
    ("before", "held"), [(0, "1"), (1, "1"), (2, "2"), (3, "3"), (4, "1"), (7, "1"), (8, "8")], ids=lambda value: str(value)
)
def test_what_is_as_strict_stands(vip_on_lo: VipOnLo, sysctl: Path, where: str, before: int, held: str) -> None:
    """A number of an operator's that keeps the VIPs on lo to themselves is kept; one that counts as 0 (ip-sysctl, arp_ignore) is not."""
    (sysctl / where / "arp_ignore").write_text(f"{before}\n")
    vip_on_lo.hold([THE_VIP], "eth0")
    assert settings(sysctl, where)[0] == held
    vip_on_lo.release()
    assert settings(sysctl, where)[0] == str(before)


@pytest.mark.parametrize("where", ["eth0", "all"])
@pytest.mark.parametrize(("meanwhile", "left"), [(2, "2"), (8, "8"), (0, "0"), (5, "0")])
def test_what_was_made_stricter_meanwhile_stays(vip_on_lo: VipOnLo, sysctl: Path, where: str, meanwhile: int, left: str) -> None:
    """post-stop puts back what pre-start found, but weakens nothing that somebody has said since."""
    vip_on_lo.hold([THE_VIP], "eth0")
    (sysctl / where / "arp_ignore").write_text(f"{meanwhile}\n")
    vip_on_lo.release()
    assert settings(sysctl, where)[0] == left


def test_what_an_earlier_release_held(vip_on_lo: VipOnLo, ipr: FakeIPR, sysctl: Path, tmp_path: Path) -> None:
    """It told the VIP's interface alone: hold completes that, and release puts back what was there before the two of them."""
    ipr.addresses.append(address(1, f"{VIP}/32"))
    for name, value in (("arp_ignore", 1), ("arp_announce", 2)):
        (sysctl / "eth0" / name).write_text(f"{value}\n")
    (tmp_path / "run").mkdir()
    recorded = {"vips": [VIP], "interface": "eth0", "before": {"arp_ignore": 0, "arp_announce": 1}}
    (tmp_path / "run/overlap.json").write_text(json.dumps(recorded))
    vip_on_lo.hold([THE_VIP], "eth0")
    assert (on_lo(ipr), settings(sysctl), settings(sysctl, "all")) == ({"127.0.0.1", VIP}, ("1", "2"), ("1", "2"))
    told = json.loads((tmp_path / "run/overlap.json").read_text())
    assert {name: told[name] for name in recorded} == recorded, "what that release reads if the deploy goes back to it"
    vip_on_lo.release()
    assert (settings(sysctl), settings(sysctl, "all")) == (("0", "1"), ("0", "0"))


@pytest.mark.parametrize(
    ("of_all", "of_eth0", "of_eth1", "found"),
    [
        ((1, 2), (0, 0), (0, 0), {}),
        ((0, 0), (1, 2), (1, 2), {}),
        ((0, 0), (1, 2), (0, 0), {"eth1": {"arp_ignore": 0, "arp_announce": 0}}),
        ((0, 2), (3, 0), (3, 0), {"eth1": {"arp_ignore": 3}}),
        ((1, 2), (5, 0), (8, 0), {"eth0": {"arp_ignore": 5}}),
        ((1, 2), (1, 2), (0, 3), {"eth1": {"arp_announce": 3}}),
    ],
)
def test_which_interfaces_answer(
    sysctl: Path, of_all: tuple[int, int], of_eth0: tuple[int, int], of_eth1: tuple[int, int], found: dict[str, dict[str, int]]
) -> None:
    """Of an interface the higher number of its own and all's counts: also where the higher one means less."""
    for interface, numbers in (("all", of_all), ("eth0", of_eth0), ("eth1", of_eth1)):
        for name, number in zip(("arp_ignore", "arp_announce"), numbers, strict=True):
            (sysctl / interface / name).write_text(f"{number}\n")
    assert loud(sysctl, "eth0") == found


def test_hold_twice_remembers_the_first_state(vip_on_lo: VipOnLo, sysctl: Path) -> None:
    """The second hold does not take our own settings for what was there before."""
    vip_on_lo.hold([THE_VIP], "eth0")
    vip_on_lo.hold([THE_VIP], "eth0")
    vip_on_lo.release()
    assert settings(sysctl) == ("0", "1")


def test_an_interface_that_was_made_anew_is_set_again(vip_on_lo: VipOnLo, ipr: FakeIPR, sysctl: Path) -> None:
    """It has the kernel's settings, and would answer ARP for the VIP on lo: the next hold sees that, and release undoes it."""
    vip_on_lo.hold([THE_VIP], "eth0")
    (sysctl / "eth0/arp_ignore").write_text("0\n")
    (sysctl / "eth0/arp_announce").write_text("0\n")
    vip_on_lo.hold([THE_VIP], "eth0")
    assert (on_lo(ipr), settings(sysctl)) == ({"127.0.0.1", VIP}, ("1", "2"))
    vip_on_lo.release()
    assert settings(sysctl) == ("0", "1")


@pytest.mark.parametrize("step", ["the file", "the settings"])
def test_a_crash_half_way_is_mended(vip_on_lo: VipOnLo, ipr: FakeIPR, sysctl: Path, step: str) -> None:
    """Killed before the address was put on lo, the next hold completes it, and release still restores the first state."""
    vip_on_lo.hold([THE_VIP], "eth0")
    ipr.addr("del", index=1, address=VIP, prefixlen=32)
    if step == "the file":
        (sysctl / "eth0/arp_ignore").write_text("0\n")
        (sysctl / "eth0/arp_announce").write_text("1\n")
    vip_on_lo.hold([THE_VIP], "eth0")
    assert on_lo(ipr) == {"127.0.0.1", VIP}
    assert settings(sysctl) == ("1", "2")
    vip_on_lo.release()
    assert settings(sysctl) == ("0", "1")


def test_another_vip_or_interface_replaces_the_first(vip_on_lo: VipOnLo, ipr: FakeIPR, sysctl: Path) -> None:
    """After a deploy that changed them, nothing of the old ones stays."""
    vip_on_lo.hold([THE_VIP], "eth0")
    vip_on_lo.hold([OTHER_VIP], "eth1")
    assert on_lo(ipr) == {"127.0.0.1", "10.0.0.11"}
    assert (settings(sysctl), settings(sysctl, "eth1")) == (("0", "1"), ("1", "2"))


def test_an_address_of_somebody_else_stays_his(vip_on_lo: VipOnLo, ipr: FakeIPR, sysctl: Path) -> None:
    """A VIP that is on lo already is neither touched nor taken away later."""
    ipr.addresses.append(address(1, f"{VIP}/32"))
    vip_on_lo.hold([THE_VIP], "eth0")
    vip_on_lo.release()
    assert on_lo(ipr) == {"127.0.0.1", VIP}
    assert settings(sysctl) == ("0", "1")


def test_refused_by_the_kernel(vip_on_lo: VipOnLo, ipr: FakeIPR, sysctl: Path) -> None:
    """Where the address cannot be added, the settings go back and the error says what is lost."""
    ipr.addition_error = errno.EPERM
    with pytest.raises(SystemFault, match=rf"{VIP} could not be put on lo .*may be slow"):
        vip_on_lo.hold([THE_VIP], "eth0")
    assert settings(sysctl) == ("0", "1")


def test_ipv6_needs_no_settings_and_is_never_a_source(vip_on_lo: VipOnLo, ipr: FakeIPR, sysctl: Path) -> None:
    """IPv6 answers only for addresses of the interface asked; on lo the address is deprecated from the start."""
    vip_on_lo.hold([SIXTH], "eth0")
    assert settings(sysctl, "all") == ("0", "0")
    assert "fd00::10" in on_lo(ipr)
    assert ipr.added_with["IFA_CACHEINFO"] == {"ifa_preferred": 0, "ifa_valid": 0xFFFFFFFF}
    assert settings(sysctl) == ("0", "1")


def test_all_vips_of_both_families_are_held(vip_on_lo: VipOnLo, ipr: FakeIPR, sysctl: Path, tmp_path: Path) -> None:
    """Every VIP is put on lo and goes again; one IPv4 address among them is enough to need the settings."""
    vip_on_lo.hold([SIXTH, THE_VIP, OTHER_VIP], "eth0")
    assert on_lo(ipr) == {"127.0.0.1", VIP, "10.0.0.11", "fd00::10"}
    assert settings(sysctl) == ("1", "2")
    vip_on_lo.release()
    assert on_lo(ipr) == {"127.0.0.1"}
    assert settings(sysctl) == ("0", "1")
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize("again", [1, 2])
def test_one_of_several_may_be_somebody_elses(vip_on_lo: VipOnLo, ipr: FakeIPR, sysctl: Path, again: int) -> None:
    """What was on lo before us stays there after us, however often hold is called; the rest is ours and goes."""
    ipr.addresses.append(address(1, f"{VIP}/32"))
    for _ in range(again):
        vip_on_lo.hold([THE_VIP, OTHER_VIP, SIXTH], "eth0")
    assert on_lo(ipr) == {"127.0.0.1", VIP, "10.0.0.11", "fd00::10"}
    vip_on_lo.release()
    assert on_lo(ipr) == {"127.0.0.1", VIP}
    assert settings(sysctl) == ("0", "1")


def test_an_ipv4_address_of_somebody_else_needs_no_settings_of_ours(vip_on_lo: VipOnLo, ipr: FakeIPR, sysctl: Path) -> None:
    """Where only IPv6 is left for us to hold, ARP is not our business."""
    ipr.addresses.append(address(1, f"{VIP}/32"))
    vip_on_lo.hold([THE_VIP, SIXTH], "eth0")
    assert on_lo(ipr) == {"127.0.0.1", VIP, "fd00::10"}
    assert settings(sysctl) == ("0", "1")


def test_a_list_that_changed_replaces_the_first(vip_on_lo: VipOnLo, ipr: FakeIPR, sysctl: Path) -> None:
    """After a deploy that changed keepalived.vips, exactly the new list is held, and the first state is still known."""
    vip_on_lo.hold([THE_VIP, OTHER_VIP], "eth0")
    vip_on_lo.hold([THE_VIP, SIXTH], "eth0")
    assert on_lo(ipr) == {"127.0.0.1", VIP, "fd00::10"}
    vip_on_lo.release()
    assert settings(sysctl) == ("0", "1")


def test_one_that_the_kernel_refuses_takes_the_others_along(
    vip_on_lo: VipOnLo, ipr: FakeIPR, netlink: Netlink, sysctl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All or none: what was put on lo before the refusal goes again, and the error names them all."""
    add = netlink.add_to_lo

    def refuse_ipv6(address: IPAddress) -> None:
        ipr.addition_error = errno.EACCES if address == SIXTH else None
        add(address)

    monkeypatch.setattr(netlink, "add_to_lo", refuse_ipv6)
    with pytest.raises(SystemFault, match=rf"^{VIP}, fd00::10, 10\.0\.0\.11 could not be put on lo \(fd00::10 .*Permission denied\)"):
        vip_on_lo.hold([THE_VIP, SIXTH, OTHER_VIP], "eth0")
    assert on_lo(ipr) == {"127.0.0.1"}
    assert settings(sysctl) == ("0", "1")


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", '{"vips": ["nonsense"], "interface": "eth0", "before": {}}'),
        *('{"vips": ["10.0.0.10"], "interface": "eth0"}', '{"vip": "10.0.0.10", "interface": "eth0", "before": {}}'),
    ],
)
def test_a_damaged_record_is_named(vip_on_lo: VipOnLo, tmp_path: Path, text: str) -> None:
    """What cannot be read is not guessed at: the file is named, and nothing is changed."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run/overlap.json").write_text(text)
    with pytest.raises(SystemFault, match=r"overlap\.json"):
        vip_on_lo.release()


def test_a_damaged_record_leaves_no_vip_on_lo(vip_on_lo: VipOnLo, ipr: FakeIPR, sysctl: Path, tmp_path: Path) -> None:
    """Told which VIPs are held, release takes them off lo all the same; what the ARP settings were nobody knows."""
    vip_on_lo.hold([THE_VIP, SIXTH], "eth0")
    (tmp_path / "run/overlap.json").write_text("{")
    with pytest.raises(SystemFault, match=r"^cannot read .*overlap\.json .*: the interface's ARP settings stay as they are"):
        vip_on_lo.release([THE_VIP, SIXTH])
    assert on_lo(ipr) == {"127.0.0.1"}
    assert settings(sysctl) == ("1", "2")


def test_what_cannot_be_undone_keeps_nothing_else_from_it(vip_on_lo: VipOnLo, ipr: FakeIPR, sysctl: Path, tmp_path: Path) -> None:
    """An address that the kernel does not give up is named, the settings go back, and the record stays for the next try."""
    vip_on_lo.hold([THE_VIP], "eth0")
    ipr.deletion_error = errno.EPERM
    with pytest.raises(SystemFault, match=rf"^cannot undo {tmp_path}/run/overlap.json: {VIP} could not be taken off lo: "):
        vip_on_lo.release()
    assert settings(sysctl) == ("0", "1")
    ipr.deletion_error = None
    vip_on_lo.release()
    assert on_lo(ipr) == {"127.0.0.1"}
    assert list((tmp_path / "run").iterdir()) == []


def test_a_record_that_cannot_be_removed(vip_on_lo: VipOnLo, ipr: FakeIPR, sysctl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system that is read-only everything is undone, and the file that stays is named."""
    vip_on_lo.hold([THE_VIP], "eth0")

    def read_only(path: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(files, "remove", read_only)
    with pytest.raises(SystemFault, match=r"^cannot remove .*overlap\.json: Read-only file system; what it tells of is undone$"):
        vip_on_lo.release()
    assert on_lo(ipr) == {"127.0.0.1"}
    assert settings(sysctl) == ("0", "1")


def test_an_interface_that_is_gone(vip_on_lo: VipOnLo, ipr: FakeIPR, sysctl: Path) -> None:
    """Its settings went with it; the rest is undone."""
    vip_on_lo.hold([THE_VIP], "eth0")
    for file in (sysctl / "eth0").iterdir():
        file.unlink()
    (sysctl / "eth0").rmdir()
    vip_on_lo.release()
    assert on_lo(ipr) == {"127.0.0.1"}


def test_what_is_missing(vip_on_lo: VipOnLo, netlink: Netlink, sysctl: Path) -> None:
    """What somebody took off lo or set back is named; before hold, and after release, nothing is missed."""
    assert vip_on_lo.lacks() == []
    vip_on_lo.hold([THE_VIP, OTHER_VIP], "eth0")
    assert vip_on_lo.lacks() == []
    netlink.remove_address("lo", OTHER_VIP)
    (sysctl / "eth0/arp_ignore").write_text("0\n")
    assert vip_on_lo.lacks() == ["10.0.0.11 on lo", "arp_ignore of eth0"]
    vip_on_lo.hold([THE_VIP, OTHER_VIP], "eth0")
    assert vip_on_lo.lacks() == []
    vip_on_lo.release()
    assert vip_on_lo.lacks() == []

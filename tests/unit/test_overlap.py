"""The VIP on lo: put there with the ARP settings that it needs, and taken away without a trace."""

import errno
import ipaddress
import os
from pathlib import Path

import pytest

from unit.fakes import VIP, FakeIPR, address
from vrrp_drain import files
from vrrp_drain.advert import IPAddress
from vrrp_drain.errors import SystemFault
from vrrp_drain.netlink import Netlink
from vrrp_drain.overlap import Overlap

THE_VIP = ipaddress.ip_address(VIP)
OTHER_VIP = ipaddress.ip_address("10.0.0.11")
SIXTH = ipaddress.ip_address("fd00::10")


@pytest.fixture
def sysctl(tmp_path: Path) -> Path:
    """A /proc/sys/net/ipv4/conf in which eth0 has somebody's settings and eth1 the kernel's."""
    for interface, ignore, announce in (("eth0", 0, 1), ("eth1", 0, 0)):
        directory = tmp_path / "conf" / interface
        directory.mkdir(parents=True)
        (directory / "arp_ignore").write_text(f"{ignore}\n")
        (directory / "arp_announce").write_text(f"{announce}\n")
    return tmp_path / "conf"


@pytest.fixture
def overlap(tmp_path: Path, netlink: Netlink, sysctl: Path) -> Overlap:
    return Overlap(tmp_path / "run", netlink, sysctl)


def settings(sysctl: Path, interface: str = "eth0") -> tuple[str, str]:
    return tuple((sysctl / interface / name).read_text().strip() for name in ("arp_ignore", "arp_announce"))  # type: ignore[return-value]


def on_lo(ipr: FakeIPR) -> set[str]:
    return {str(each.get_attr("IFA_ADDRESS")) for each in ipr.addresses if each["index"] == 1}


def test_hold_and_release_leave_no_trace(overlap: Overlap, ipr: FakeIPR, sysctl: Path, tmp_path: Path) -> None:
    """Between the two the VIP is on lo and eth0 keeps quiet about it; afterwards all is what it was."""
    overlap.hold([THE_VIP], "eth0")
    assert on_lo(ipr) == {"127.0.0.1", VIP}
    assert settings(sysctl) == ("1", "2")
    overlap.release()
    assert on_lo(ipr) == {"127.0.0.1"}
    assert settings(sysctl) == ("0", "1")
    assert list((tmp_path / "run").iterdir()) == []


def test_stricter_settings_are_kept(overlap: Overlap, sysctl: Path) -> None:
    """An operator's arp_ignore of 2 is not loosened to 1."""
    (sysctl / "eth0/arp_ignore").write_text("2\n")
    overlap.hold([THE_VIP], "eth0")
    assert settings(sysctl) == ("2", "2")


def test_hold_twice_remembers_the_first_state(overlap: Overlap, sysctl: Path) -> None:
    """The second hold does not take our own settings for what was there before."""
    overlap.hold([THE_VIP], "eth0")
    overlap.hold([THE_VIP], "eth0")
    overlap.release()
    assert settings(sysctl) == ("0", "1")


def test_an_interface_that_was_made_anew_is_set_again(overlap: Overlap, ipr: FakeIPR, sysctl: Path) -> None:
    """It has the kernel's settings, and would answer ARP for the VIP on lo: the next hold sees that, and release undoes it."""
    overlap.hold([THE_VIP], "eth0")
    (sysctl / "eth0/arp_ignore").write_text("0\n")
    (sysctl / "eth0/arp_announce").write_text("0\n")
    overlap.hold([THE_VIP], "eth0")
    assert (on_lo(ipr), settings(sysctl)) == ({"127.0.0.1", VIP}, ("1", "2"))
    overlap.release()
    assert settings(sysctl) == ("0", "1")


@pytest.mark.parametrize("step", ["the file", "the settings"])
def test_a_crash_half_way_is_mended(overlap: Overlap, ipr: FakeIPR, sysctl: Path, step: str) -> None:
    """Killed before the address was put on lo, the next hold completes it, and release still restores the first state."""
    overlap.hold([THE_VIP], "eth0")
    ipr.addr("del", index=1, address=VIP, prefixlen=32)
    if step == "the file":
        (sysctl / "eth0/arp_ignore").write_text("0\n")
        (sysctl / "eth0/arp_announce").write_text("1\n")
    overlap.hold([THE_VIP], "eth0")
    assert on_lo(ipr) == {"127.0.0.1", VIP}
    assert settings(sysctl) == ("1", "2")
    overlap.release()
    assert settings(sysctl) == ("0", "1")


def test_another_vip_or_interface_replaces_the_first(overlap: Overlap, ipr: FakeIPR, sysctl: Path) -> None:
    """After a deploy that changed them, nothing of the old ones stays."""
    overlap.hold([THE_VIP], "eth0")
    overlap.hold([OTHER_VIP], "eth1")
    assert on_lo(ipr) == {"127.0.0.1", "10.0.0.11"}
    assert (settings(sysctl), settings(sysctl, "eth1")) == (("0", "1"), ("1", "2"))


def test_an_address_of_somebody_else_stays_his(overlap: Overlap, ipr: FakeIPR, sysctl: Path) -> None:
    """A VIP that is on lo already is neither touched nor taken away later."""
    ipr.addresses.append(address(1, f"{VIP}/32"))
    overlap.hold([THE_VIP], "eth0")
    overlap.release()
    assert on_lo(ipr) == {"127.0.0.1", VIP}
    assert settings(sysctl) == ("0", "1")


def test_refused_by_the_kernel(overlap: Overlap, ipr: FakeIPR, sysctl: Path) -> None:
    """Where the address cannot be added, the settings go back and the error says what is lost."""
    ipr.addition_error = errno.EPERM
    with pytest.raises(SystemFault, match=rf"{VIP} could not be put on lo .*may be slow"):
        overlap.hold([THE_VIP], "eth0")
    assert settings(sysctl) == ("0", "1")


def test_ipv6_needs_no_settings_and_is_never_a_source(overlap: Overlap, ipr: FakeIPR, sysctl: Path) -> None:
    """IPv6 answers only for addresses of the interface asked; on lo the address is deprecated from the start."""
    overlap.hold([SIXTH], "eth0")
    assert "fd00::10" in on_lo(ipr)
    assert ipr.added_with["IFA_CACHEINFO"] == {"ifa_preferred": 0, "ifa_valid": 0xFFFFFFFF}
    assert settings(sysctl) == ("0", "1")


def test_all_vips_of_both_families_are_held(overlap: Overlap, ipr: FakeIPR, sysctl: Path, tmp_path: Path) -> None:
    """Every VIP is put on lo and goes again; one IPv4 address among them is enough to need the settings."""
    overlap.hold([SIXTH, THE_VIP, OTHER_VIP], "eth0")
    assert on_lo(ipr) == {"127.0.0.1", VIP, "10.0.0.11", "fd00::10"}
    assert settings(sysctl) == ("1", "2")
    overlap.release()
    assert on_lo(ipr) == {"127.0.0.1"}
    assert settings(sysctl) == ("0", "1")
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize("again", [1, 2])
def test_one_of_several_may_be_somebody_elses(overlap: Overlap, ipr: FakeIPR, sysctl: Path, again: int) -> None:
    """What was on lo before us stays there after us, however often hold is called; the rest is ours and goes."""
    ipr.addresses.append(address(1, f"{VIP}/32"))
    for _ in range(again):
        overlap.hold([THE_VIP, OTHER_VIP, SIXTH], "eth0")
    assert on_lo(ipr) == {"127.0.0.1", VIP, "10.0.0.11", "fd00::10"}
    overlap.release()
    assert on_lo(ipr) == {"127.0.0.1", VIP}
    assert settings(sysctl) == ("0", "1")


def test_an_ipv4_address_of_somebody_else_needs_no_settings_of_ours(overlap: Overlap, ipr: FakeIPR, sysctl: Path) -> None:
    """Where only IPv6 is left for us to hold, ARP is not our business."""
    ipr.addresses.append(address(1, f"{VIP}/32"))
    overlap.hold([THE_VIP, SIXTH], "eth0")
    assert on_lo(ipr) == {"127.0.0.1", VIP, "fd00::10"}
    assert settings(sysctl) == ("0", "1")


def test_a_list_that_changed_replaces_the_first(overlap: Overlap, ipr: FakeIPR, sysctl: Path) -> None:
    """After a deploy that changed keepalived.vips, exactly the new list is held, and the first state is still known."""
    overlap.hold([THE_VIP, OTHER_VIP], "eth0")
    overlap.hold([THE_VIP, SIXTH], "eth0")
    assert on_lo(ipr) == {"127.0.0.1", VIP, "fd00::10"}
    overlap.release()
    assert settings(sysctl) == ("0", "1")


def test_one_that_the_kernel_refuses_takes_the_others_along(
    overlap: Overlap, ipr: FakeIPR, netlink: Netlink, sysctl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All or none: what was put on lo before the refusal goes again, and the error names them all."""
    add = netlink.add_to_lo

    def refuse_ipv6(address: IPAddress) -> None:
        ipr.addition_error = errno.EACCES if address == SIXTH else None
        add(address)

    monkeypatch.setattr(netlink, "add_to_lo", refuse_ipv6)
    with pytest.raises(SystemFault, match=rf"^{VIP}, fd00::10, 10\.0\.0\.11 could not be put on lo \(fd00::10 .*Permission denied\)"):
        overlap.hold([THE_VIP, SIXTH, OTHER_VIP], "eth0")
    assert on_lo(ipr) == {"127.0.0.1"}
    assert settings(sysctl) == ("0", "1")


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", '{"vips": ["nonsense"], "interface": "eth0", "before": {}}'),
        *('{"vips": ["10.0.0.10"], "interface": "eth0"}', '{"vip": "10.0.0.10", "interface": "eth0", "before": {}}'),
    ],
)
def test_a_damaged_record_is_named(overlap: Overlap, tmp_path: Path, text: str) -> None:
    """What cannot be read is not guessed at: the file is named, and nothing is changed."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run/overlap.json").write_text(text)
    with pytest.raises(SystemFault, match=r"overlap\.json"):
        overlap.release()


def test_a_damaged_record_leaves_no_vip_on_lo(overlap: Overlap, ipr: FakeIPR, sysctl: Path, tmp_path: Path) -> None:
    """Told which VIPs are held, release takes them off lo all the same; what the ARP settings were nobody knows."""
    overlap.hold([THE_VIP, SIXTH], "eth0")
    (tmp_path / "run/overlap.json").write_text("{")
    with pytest.raises(SystemFault, match=r"^cannot read .*overlap\.json .*: the interface's ARP settings stay as they are"):
        overlap.release([THE_VIP, SIXTH])
    assert on_lo(ipr) == {"127.0.0.1"}
    assert settings(sysctl) == ("1", "2")


def test_what_cannot_be_undone_keeps_nothing_else_from_it(overlap: Overlap, ipr: FakeIPR, sysctl: Path, tmp_path: Path) -> None:
    """An address that the kernel does not give up is named, the settings go back, and the record stays for the next try."""
    overlap.hold([THE_VIP], "eth0")
    ipr.deletion_error = errno.EPERM
    with pytest.raises(SystemFault, match=rf"^cannot undo {tmp_path}/run/overlap.json: {VIP} could not be taken off lo: "):
        overlap.release()
    assert settings(sysctl) == ("0", "1")
    ipr.deletion_error = None
    overlap.release()
    assert on_lo(ipr) == {"127.0.0.1"}
    assert list((tmp_path / "run").iterdir()) == []


def test_a_record_that_cannot_be_removed(overlap: Overlap, ipr: FakeIPR, sysctl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system that is read-only everything is undone, and the file that stays is named."""
    overlap.hold([THE_VIP], "eth0")

    def read_only(path: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(files, "remove", read_only)
    with pytest.raises(SystemFault, match=r"^cannot remove .*overlap\.json: Read-only file system; what it tells of is undone$"):
        overlap.release()
    assert on_lo(ipr) == {"127.0.0.1"}
    assert settings(sysctl) == ("0", "1")


def test_an_interface_that_is_gone(overlap: Overlap, ipr: FakeIPR, sysctl: Path) -> None:
    """Its settings went with it; the rest is undone."""
    overlap.hold([THE_VIP], "eth0")
    for file in (sysctl / "eth0").iterdir():
        file.unlink()
    (sysctl / "eth0").rmdir()
    overlap.release()
    assert on_lo(ipr) == {"127.0.0.1"}
